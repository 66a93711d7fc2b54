//! Makes guides for Pilotfish: low-rank adapters trained from preference pairs on this machine.
//!
//! The frozen base is decoded from the GGUF file that the engine runs, so what is trained against is what will be steered.

mod base;
mod batch;
pub mod english;
mod error;
mod forest;
mod forward;
mod hash;
mod lora;
mod objective;
mod ops;
mod optimizer;
pub mod output;
pub mod pairs;
mod parm;
pub mod recipe;
pub mod rules;
pub mod run;
mod sample;

pub use base::Base;
pub use error::{Result, TrainError};
pub use forest::Tree;
pub use hash::sha256;
pub use lora::{Change, Lora, LoraOptions, Target};
pub use objective::{AnswerScore, Objective, PairScore};
pub use optimizer::{AdamW, OptimizerOptions, clip};
pub use parm::{Mixing, ParmOptions};
pub use sample::{SampleOptions, Sampler};

#[cfg(test)]
mod tests;
