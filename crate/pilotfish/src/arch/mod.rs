//! What a file means: one file per model family, each turning metadata into one `ModelSpec` of pure data.
//!
//! A new family is one file with a `read` function and one line in [`FAMILIES`]; what it may vary is [`ModelSpec`].
//! Every tensor a family uses is checked for its shape here, and a file with others is refused: nothing is ignored.

mod error;
mod gemma3;
mod llama;
mod memory;
mod qwen2;
mod qwen3;
mod reader;
mod rope;
mod spec;

pub use error::ArchError;
pub use memory::Memory;
pub use rope::{Rope, RopeScaling, RopeStyle};
pub use spec::{Activation, Layer, LayerTensors, ModelSpec, ModelTensors, TensorIndex};

use reader::Reader;

/// Reads one family's metadata and tensors.
type ReadFamily = fn(&mut Reader<'_>) -> Result<ModelSpec, ArchError>;

/// The families, by `general.architecture`.
const FAMILIES: [(&str, ReadFamily); 4] =
    [("llama", llama::read), ("gemma3", gemma3::read), ("qwen2", qwen2::read), ("qwen3", qwen3::read)];

/// Values of `general.architecture` that can be run.
pub fn families() -> impl Iterator<Item = &'static str> {
    FAMILIES.iter().map(|(name, _)| *name)
}

#[cfg(test)]
mod tests;
#[cfg(test)]
mod tests_files;
