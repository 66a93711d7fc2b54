//! Prompts and token ids from arguments and files.

use std::path::{Path, PathBuf};

use clap::Args;
use pilotfish::chat::{Message, Role};
use pilotfish::engine::Prompt;
use pilotfish::tokenizer::{Bos, Encode, TokenId};
use serde::de::DeserializeOwned;

use crate::error::{CliError, Result};

/// Token ids from the command line or from a file.
#[derive(Debug, Clone, Default, Args)]
pub(crate) struct IdsArgs {
    /// Token ids, divided by commas.
    #[arg(long, value_name = "ID,...", value_delimiter = ',', conflicts_with = "ids_file")]
    pub(crate) ids: Option<Vec<TokenId>>,
    /// A file that holds a JSON array of token ids.
    #[arg(long, value_name = "FILE")]
    pub(crate) ids_file: Option<PathBuf>,
}

impl IdsArgs {
    /// The ids, if any were given.
    pub(crate) fn read(&self) -> Result<Option<Vec<TokenId>>> {
        match (&self.ids, &self.ids_file) {
            (Some(ids), _) => Ok(Some(ids.clone())),
            (None, Some(path)) => json(path, "a JSON array of token ids").map(Some),
            (None, None) => Ok(None),
        }
    }
}

/// How a text becomes ids.
#[derive(Debug, Clone, Copy, Default, Args)]
pub(crate) struct EncodeArgs {
    /// Take control tokens written in the text (<|im_start|>) as those tokens.
    #[arg(long)]
    pub(crate) special: bool,
    /// Never begin with the beginning-of-sequence token; else the model's file decides.
    #[arg(long)]
    pub(crate) no_bos: bool,
}

impl EncodeArgs {
    /// For the tokenizer.
    pub(crate) fn how(self) -> Encode {
        Encode { special: self.special, bos: if self.no_bos { Bos::Never } else { Bos::Auto } }
    }
}

/// What to continue: one of these, or what a mix file says.
#[derive(Debug, Clone, Default, Args)]
pub(crate) struct PromptArgs {
    /// A text to continue.
    #[arg(long, value_name = "TEXT", conflicts_with_all = ["chat", "ids", "ids_file", "system"])]
    pub(crate) prompt: Option<String>,
    /// What a user says, through the model's chat template.
    #[arg(long, value_name = "TEXT", conflicts_with_all = ["ids", "ids_file"])]
    pub(crate) chat: Option<String>,
    /// A system message before --chat.
    #[arg(long, value_name = "TEXT", requires = "chat")]
    pub(crate) system: Option<String>,
    #[command(flatten)]
    pub(crate) ids: IdsArgs,
}

impl PromptArgs {
    /// The prompt, if any was given.
    pub(crate) fn read(&self) -> Result<Option<Prompt>> {
        if let Some(text) = &self.prompt {
            return Ok(Some(Prompt::Text(text.clone())));
        }
        if let Some(user) = &self.chat {
            let system = self.system.iter().map(|content| Message { role: Role::System, content: content.clone() });
            let user = Message { role: Role::User, content: user.clone() };
            return Ok(Some(Prompt::Chat(system.chain([user]).collect())));
        }
        Ok(self.ids.read()?.map(Prompt::Ids))
    }
}

/// What a file holds.
pub(crate) fn bytes(path: &Path) -> Result<Vec<u8>> {
    std::fs::read(path).map_err(|source| CliError::File { path: path.to_owned(), source })
}

/// The text of a file.
pub(crate) fn text(path: &Path) -> Result<String> {
    String::from_utf8(bytes(path)?).map_err(|error| CliError::Content {
        path: path.to_owned(),
        expected: "UTF-8 text",
        found: format!("byte {} is not UTF-8", error.utf8_error().valid_up_to()),
    })
}

/// What a JSON file holds.
pub(crate) fn json<T: DeserializeOwned>(path: &Path, expected: &'static str) -> Result<T> {
    serde_json::from_str(&text(path)?).map_err(|error| CliError::Content {
        path: path.to_owned(),
        expected,
        found: error.to_string(),
    })
}
