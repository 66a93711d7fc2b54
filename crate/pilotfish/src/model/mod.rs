//! Weight sets, key-value caches, and the recorded forward pass.

mod adapters;
mod batch;
mod forward;
mod kv;
mod merge;
mod slots;
mod source;
pub mod twin;
mod weights;

pub use adapters::{RowAdapter, RowAdapters};
pub use batch::{BatchPlace, BatchToken};
pub use forward::{Forward, ForwardPlan, Logits, Sizes};
pub use kv::KvCache;
pub use merge::merge;
pub use slots::{RowSlots, SlotPool};
pub use source::{ByteSource, SourceError};
pub use weights::{GateUp, Layer, LoadProgress, Projection, Weights};
