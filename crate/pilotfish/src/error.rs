//! One error type for the crate, made of one enum per module. Codes are stable: the npm package and the CLI print them.

use crate::chat::ChatError;
use crate::gguf::GgufError;
use crate::gpu::GpuError;
use crate::quant::QuantError;
use crate::tokenizer::TokenizerError;

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
    /// A chat template, or a conversation for it.
    #[error(transparent)]
    Chat(#[from] ChatError),
    /// A vocabulary, or a text for it.
    #[error(transparent)]
    Tokenizer(#[from] TokenizerError),
}

impl Error {
    /// The stable code, `module.what`.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Gpu(error) => error.code(),
            Self::Gguf(error) => error.code(),
            Self::Quant(error) => error.code(),
            Self::Chat(error) => error.code(),
            Self::Tokenizer(error) => error.code(),
        }
    }
}

/// The crate's result.
pub type Result<T, E = Error> = std::result::Result<T, E>;
