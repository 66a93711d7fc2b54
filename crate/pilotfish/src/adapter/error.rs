//! Why an adapter cannot be used.

use crate::gguf::GgufError;
use crate::quant::QuantError;

/// Why an adapter cannot be read, or does not belong to a model.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum AdapterError {
    /// The GGUF container.
    #[error(transparent)]
    Gguf(#[from] GgufError),
    /// The format of a tensor.
    #[error(transparent)]
    Quant(#[from] QuantError),
    /// A GGUF file, but no LoRA adapter.
    #[error("this file holds {found}, expected a LoRA adapter (general.type \"adapter\", adapter.type \"lora\")")]
    NotAnAdapter {
        /// What it holds.
        found: String,
    },
    /// `adapter_config.json` is not what PEFT writes.
    #[error("adapter_config.json: {message}; expected the file that PEFT writes beside adapter_model.safetensors")]
    Config {
        /// What is wrong with it.
        message: String,
    },
    /// `adapter_model.safetensors` cannot be read.
    #[error("adapter_model.safetensors: {message}; the file is damaged or no safetensors file: get it again")]
    Safetensors {
        /// What is wrong with it.
        message: String,
    },
    /// A kind of adapter, or a part of one, that is not computed here.
    #[error("the adapter uses {what}, which is not supported: LoRA on q, k, v, o, gate, up and down projections is")]
    Unsupported {
        /// By its name.
        what: String,
    },
    /// A rank out of range.
    #[error("{tensor} has rank {found}, expected 1 to {most}")]
    Rank {
        /// The tensor.
        tensor: String,
        /// Its rank.
        found: u64,
        /// The most.
        most: u32,
    },
    /// A and B do not fit each other, or the configuration.
    #[error("{tensor} has the shape {found:?}, expected {expected}")]
    TensorShape {
        /// The tensor.
        tensor: String,
        /// Its shape, as the file has it.
        found: Vec<u64>,
        /// What would do.
        expected: String,
    },
    /// One of A and B is missing.
    #[error("{found} has no {missing} beside it: the adapter is incomplete")]
    HalfMissing {
        /// The half that is there.
        found: String,
        /// The half that is not.
        missing: String,
    },
    /// A number that is none.
    #[error("layer {layer}, {module}: the adapter holds NaN, infinity or a scale that is no finite number")]
    NotFinite {
        /// The layer.
        layer: u32,
        /// The matrix.
        module: &'static str,
    },
    /// Nothing is changed.
    #[error("the adapter changes nothing: it has no pair of LoRA matrices")]
    Empty,
    /// Made for another family.
    #[error("the adapter was made for the architecture {found:?}, the model is {expected:?}: use it with its own base")]
    Architecture {
        /// The adapter's.
        found: String,
        /// The model's.
        expected: &'static str,
    },
    /// Made for a deeper model.
    #[error("the adapter changes layer {found}, the model has {expected}: use it with its own base")]
    Layer {
        /// The layer.
        found: u32,
        /// Layers of the model.
        expected: u32,
    },
    /// Made for a model of another width.
    #[error(
        "layer {layer}, {module}: the adapter is for a matrix of {} inputs and {} outputs, the model's has {} and {}: use it with its own base",
        found[0], found[1], expected[0], expected[1]
    )]
    Shape {
        /// The layer.
        layer: u32,
        /// The matrix.
        module: &'static str,
        /// Inputs and outputs of the adapter's.
        found: [u64; 2],
        /// Inputs and outputs of the model's.
        expected: [u64; 2],
    },
    /// A preference vector of another length.
    #[error("the preference vector has {found} entries, the adapter has {expected} preferences")]
    Preference {
        /// Entries given.
        found: usize,
        /// Entries of the adapter's.
        expected: usize,
    },
    /// A share or preference that cannot be used.
    #[error("{what} is {found}, expected a number of at most {most} in magnitude")]
    Share {
        /// What it is.
        what: &'static str,
        /// The value.
        found: f32,
        /// The largest magnitude.
        most: f32,
    },
}

impl AdapterError {
    /// The stable code, `adapter.what`.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Gguf(error) => error.code(),
            Self::Quant(error) => error.code(),
            Self::NotAnAdapter { .. } => "adapter.not_an_adapter",
            Self::Config { .. } => "adapter.config",
            Self::Safetensors { .. } => "adapter.safetensors",
            Self::Unsupported { .. } => "adapter.unsupported",
            Self::Rank { .. } => "adapter.rank",
            Self::TensorShape { .. } => "adapter.tensor_shape",
            Self::HalfMissing { .. } => "adapter.half_missing",
            Self::NotFinite { .. } => "adapter.not_finite",
            Self::Empty => "adapter.empty",
            Self::Architecture { .. } => "adapter.architecture",
            Self::Layer { .. } => "adapter.layer",
            Self::Shape { .. } => "adapter.shape",
            Self::Preference { .. } => "adapter.preference",
            Self::Share { .. } => "adapter.share",
        }
    }
}
