//! Why a readable file is not a model that can be run.

use super::families;
use crate::gguf::GgufError;

/// Why a file's header does not describe a model for this engine.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ArchError {
    /// A metadata key is missing or of another type.
    #[error(transparent)]
    Metadata(#[from] GgufError),
    /// A family nobody has written a file for.
    #[error("the architecture {found:?} is not supported; supported are {}", families().collect::<Vec<_>>().join(", "))]
    UnknownArchitecture {
        /// `general.architecture`.
        found: String,
    },
    /// An adapter, a projector or a vocabulary.
    #[error("this file holds {found}, expected a model with its weights")]
    NotAModel {
        /// What it holds.
        found: String,
    },
    /// One of several files that make a model.
    #[error("this is one of {parts} files that make up the model; merge them with llama-gguf-split --merge")]
    Split {
        /// How many there are.
        parts: u32,
    },
    /// A tensor the family needs is not there.
    #[error(
        "tensor {tensor:?} is missing, expected with the shape {expected:?}; the file is incomplete: convert the model again"
    )]
    MissingTensor {
        /// The tensor.
        tensor: String,
        /// Its shape, fastest dimension first.
        expected: Vec<u64>,
    },
    /// A tensor has another shape than the metadata says.
    #[error("tensor {tensor:?} has the shape {found:?}, expected {expected:?}; the file contradicts its own metadata")]
    TensorShape {
        /// The tensor.
        tensor: String,
        /// The shape in the file.
        found: Vec<u64>,
        /// The shape that follows from the metadata; 0 where any size would do.
        expected: Vec<u64>,
    },
    /// A tensor that the family does not compute with; leaving it out would give wrong numbers.
    #[error(
        "tensor {tensor:?} is not part of the architecture {family:?} as supported here; this variant of the model cannot be run"
    )]
    UnusedTensor {
        /// The tensor.
        tensor: String,
        /// The family.
        family: &'static str,
    },
    /// A value outside what can be computed.
    #[error("metadata key {key:?} is {found}, expected {expected}; this variant of the model cannot be run")]
    Unsupported {
        /// The key.
        key: String,
        /// The value.
        found: String,
        /// What would do.
        expected: String,
    },
}

impl ArchError {
    /// A stable code, the same in every release.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Metadata(error) => error.code(),
            Self::UnknownArchitecture { .. } => "arch.unknown",
            Self::NotAModel { .. } => "arch.not_a_model",
            Self::Split { .. } => "arch.split",
            Self::MissingTensor { .. } => "arch.missing_tensor",
            Self::TensorShape { .. } => "arch.tensor_shape",
            Self::UnusedTensor { .. } => "arch.unused_tensor",
            Self::Unsupported { .. } => "arch.unsupported",
        }
    }
}
