//! Chat templates: a conversation into the text that a model was trained on.
//!
//! Files carry a Jinja template (`tokenizer.chat_template`); where there is none, the vocabulary tells which of the
//! well-known forms the model knows. Encode what comes out with [`Encode::special`](crate::tokenizer::Encode) and
//! [`Bos::Auto`](crate::tokenizer::Bos): a BOS that the template wrote is not doubled.
//!
//! ```
//! use pilotfish::chat::{ChatTemplate, Message};
//! let template = ChatTemplate::new("{% for m in messages %}<{{ m.role }}>{{ m.content }}{% endfor %}", "", "")?;
//! let text = template.render(&[Message::system("Be brief."), Message::user("Hi")], false)?;
//! assert_eq!(text, "<system>Be brief.<user>Hi");
//! # Ok::<(), pilotfish::chat::ChatError>(())
//! ```

mod date;
mod error;
mod jinja;
mod known;
mod template;

pub use date::Date;
pub use error::ChatError;
pub use known::KnownTemplate;
pub use template::ChatTemplate;

use serde::{Deserialize, Serialize};

/// Who speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// Says how the assistant should be.
    System,
    /// The person.
    User,
    /// The model.
    Assistant,
}

/// One turn of a conversation.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Message {
    /// Who speaks.
    pub role: Role,
    /// What is said.
    pub content: String,
}

impl Message {
    /// What the assistant is told about itself.
    pub fn system(content: impl Into<String>) -> Self {
        Self { role: Role::System, content: content.into() }
    }

    /// What the person says.
    pub fn user(content: impl Into<String>) -> Self {
        Self { role: Role::User, content: content.into() }
    }

    /// What the model says.
    pub fn assistant(content: impl Into<String>) -> Self {
        Self { role: Role::Assistant, content: content.into() }
    }
}

#[cfg(test)]
mod tests;
