//! One error type for the crate, made of one enum per module. Codes are stable: the npm package and the CLI print them.

use crate::gpu::GpuError;
use crate::guidance::MixError;

/// What went wrong, with the module's own account inside.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The GPU.
    #[error(transparent)]
    Gpu(#[from] GpuError),
    /// The mix of guides, or the sampler's settings.
    #[error(transparent)]
    Mix(#[from] MixError),
}

impl Error {
    /// The stable code, `module.reason`.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Gpu(error) => error.code(),
            Self::Mix(error) => error.code(),
        }
    }
}

/// The crate's result.
pub type Result<T, E = Error> = std::result::Result<T, E>;
