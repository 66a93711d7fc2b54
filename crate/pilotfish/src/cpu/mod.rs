//! The forward pass on the CPU: weights in the bits of their file, keys and values in paged f16, rows with adapters in one
//! batch. The kernels are `pilotfish_cpu`'s; here is what a model makes of them.
//!
//! Nothing here samples, mixes or knows of sessions: a batch of tokens goes in, logits come out.

mod adapters;
mod blocks;
mod cache;
mod error;
mod forward;
mod weights;

pub use adapters::Adapters;
pub use cache::Cache;
pub use error::CpuError;
pub use forward::{Forward, Token};
pub use pilotfish_cpu::{Crew, Isa, Precision, Workers};
pub use weights::Weights;

#[cfg(test)]
mod tests;
