//! Pilotfish: a small guide steers a bigger language model, one token at a time, on the user's own GPU.
//!
//! Arrows point one way: `engine -> guidance, model -> ops -> gpu`, and `model -> arch -> gguf, quant`.
//! Nothing here knows about the web, the command line or the clock.

pub mod adapter;
pub mod arch;
pub mod chat;
#[cfg(feature = "cpu")]
pub mod cpu;
pub mod engine;
pub mod error;
pub mod gguf;
pub mod gpu;
pub mod guidance;
pub mod model;
pub mod ops;
pub mod quant;
pub mod tokenizer;

pub use error::{Error, Result};
