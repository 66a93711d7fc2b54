//! What can be wrong with a template, or with a conversation for it.

use crate::gguf::GgufError;

/// Why a template could not be read or a conversation not be rendered.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ChatError {
    /// The template's key in the metadata is not a text.
    #[error("the chat template's metadata: {0}")]
    Metadata(#[from] GgufError),
    /// Not a Jinja template, or one that uses what is not built in.
    #[error("the chat template cannot be read: {message}; give another template, or use the vocabulary's default")]
    Syntax {
        /// What and where.
        message: String,
    },
    /// The template itself says no (`raise_exception`).
    #[error("the chat template refuses this conversation: {message}")]
    Refused {
        /// In the template's words.
        message: String,
    },
    /// The template does something that cannot be done.
    #[error("the chat template failed: {message}; give another template, or use the vocabulary's default")]
    Failed {
        /// What and where.
        message: String,
    },
    /// The template does not come to an end.
    #[error("the chat template took more than {steps} steps; it loops, or the conversation is far too long")]
    TooManySteps {
        /// The most that are allowed.
        steps: u64,
    },
    /// Nothing to render.
    #[error("the conversation is empty, expected at least one message")]
    Empty,
}

impl ChatError {
    /// The stable code, `module.what`.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Metadata(error) => error.code(),
            Self::Syntax { .. } => "chat.syntax",
            Self::Refused { .. } => "chat.refused",
            Self::Failed { .. } => "chat.failed",
            Self::TooManySteps { .. } => "chat.too_many_steps",
            Self::Empty => "chat.empty",
        }
    }
}
