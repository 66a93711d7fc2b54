//! One error type for the crate, made of one enum per module. Codes are stable: the npm package and the CLI print them.

use crate::gguf::GgufError;
use crate::gpu::GpuError;
use crate::quant::QuantError;

/// What went wrong, with the module's own account inside.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The GPU.
    #[error(transparent)]
    Gpu(#[from] GpuError),
    /// The file's header or metadata.
    #[error(transparent)]
    Gguf(#[from] GgufError),
    /// Decoding or packing weights.
    #[error(transparent)]
    Quant(#[from] QuantError),
}

impl Error {
    /// The stable code, `module.what`.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Gpu(error) => error.code(),
            Self::Gguf(error) => error.code(),
            Self::Quant(error) => error.code(),
        }
    }
}

/// The crate's result.
pub type Result<T, E = Error> = std::result::Result<T, E>;
