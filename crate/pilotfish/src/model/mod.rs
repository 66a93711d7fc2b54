//! Weight sets, key-value caches, and the recorded forward pass.

mod adapters;
mod forward;
mod merge;
mod source;
pub mod twin;
mod weights;

pub use adapters::{RowAdapter, RowAdapters};
pub use forward::{BATCH_ENTRY, BatchToken, Forward, ForwardPlan, Logits, Sizes, batch_words};
pub use merge::merge;
pub use source::{ByteSource, SourceError};
pub use weights::{GateUp, Layer, LoadProgress, Projection, Weights};
