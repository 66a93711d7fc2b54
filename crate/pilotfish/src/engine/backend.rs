//! What a user asks for: which processor runs the steps, and how exactly it computes.

use serde::{Deserialize, Serialize};

/// Which processor runs a session's steps.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Backend {
    /// The GPU; where there is none, or only software that plays one, whichever is measured to be faster.
    #[default]
    Auto,
    /// The GPU, or an error.
    Gpu,
    /// The CPU.
    Cpu,
}

/// How exactly matrices are multiplied.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Precision {
    /// In f32.
    Exact,
    /// With activations of 8 bits a block of 32, as llama.cpp does: mean KL to the exact pass below 5e-3.
    Fast,
}
