//! Weight sets, key-value caches, and the recorded forward pass.

mod forward;
mod source;
pub mod twin;
mod weights;

pub use forward::{BATCH_ENTRY, BatchToken, Forward, ForwardPlan, Logits, Sizes, batch_words};
pub use source::{ByteSource, SourceError};
pub use weights::{GateUp, Layer, LoadProgress, Projection, Weights};
