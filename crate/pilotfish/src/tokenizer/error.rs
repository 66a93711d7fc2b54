//! What can be wrong with a vocabulary, or with a text for it.

use super::TokenId;
use crate::gguf::GgufError;

/// Why a tokenizer could not be made, or a text not be encoded.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TokenizerError {
    /// A key of the metadata is missing or of another type.
    #[error("the tokenizer's metadata: {0}")]
    Metadata(#[from] GgufError),
    /// A kind of tokenizer that is not built in.
    #[error(
        "tokenizer model {found:?} is not supported, expected \"gpt2\" (byte-level BPE) or \"llama\" (SentencePiece BPE)"
    )]
    Model {
        /// What the file says.
        found: String,
    },
    /// A pre-tokenizer that is not built in; guessing would give other ids than the model was trained on.
    #[error("pre-tokenizer {found:?} is not supported, expected one of {}", super::pre_tokenizer::names())]
    PreTokenizer {
        /// What the file says.
        found: String,
    },
    /// No tokens at all.
    #[error("the vocabulary is empty, expected at least one token; the file is damaged")]
    Empty,
    /// Lists that must have one entry per token differ in length.
    #[error("{what} has {found} entries, expected {expected}, one per token; the file is damaged")]
    Length {
        /// The key.
        what: &'static str,
        /// Its length.
        found: usize,
        /// How many tokens there are.
        expected: usize,
    },
    /// A token type with no meaning.
    #[error("token {id} has type {found}, expected 0 to 6; the file is damaged")]
    Kind {
        /// The token.
        id: TokenId,
        /// Its type.
        found: i32,
    },
    /// A score that cannot be ordered.
    #[error("the score of token {id} is not a number; the file is damaged")]
    Score {
        /// The token.
        id: TokenId,
    },
    /// A merge that does not lead from tokens to a token.
    #[error(
        "merge {index} ({merge:?}) {why}, expected two tokens divided by a space whose union is a token; the file is damaged"
    )]
    Merge {
        /// Its place in the list.
        index: usize,
        /// The merge, cut after 40 characters.
        merge: String,
        /// What is wrong.
        why: &'static str,
    },
    /// A special token outside the vocabulary.
    #[error("{key} is {id}, but the vocabulary has {n_vocab} tokens; the file is damaged")]
    IdOutOfRange {
        /// The key, or the token's name in a `tokenizer.json`.
        key: String,
        /// What it says.
        id: u64,
        /// How many tokens there are.
        n_vocab: u32,
    },
    /// Not a `tokenizer.json`.
    #[error("not a readable tokenizer.json: {0}")]
    Json(String),
    /// A `tokenizer.json` that uses what is not built in.
    #[error("this tokenizer.json uses {found}, expected {expected}")]
    JsonUnsupported {
        /// What it uses.
        found: String,
        /// What can be had.
        expected: &'static str,
    },
    /// A beginning-of-sequence token was asked for and there is none.
    #[error("this vocabulary has no beginning-of-sequence token; encode without one")]
    NoBos,
    /// A character that neither a token nor bytes can stand for.
    #[error(
        "the vocabulary has no token for {character:?}, no byte tokens and no unknown token; leave that character out"
    )]
    Unencodable {
        /// The character.
        character: char,
    },
    /// A text whose offsets would not fit 32 bits.
    #[error("the text has {found} bytes, expected at most {max}; divide it")]
    TextTooLong {
        /// Its length.
        found: usize,
        /// The most that can be.
        max: usize,
    },
    /// A step of a `tokenizer.json` failed on this text.
    #[error("the tokenizer.json could not be applied to the text: {0}")]
    Pipeline(String),
}

impl TokenizerError {
    /// A stable name for programs.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Metadata(error) => error.code(),
            Self::Model { .. } => "tokenizer.model",
            Self::PreTokenizer { .. } => "tokenizer.pre_tokenizer",
            Self::Empty => "tokenizer.empty",
            Self::Length { .. } => "tokenizer.length",
            Self::Kind { .. } => "tokenizer.kind",
            Self::Score { .. } => "tokenizer.score",
            Self::Merge { .. } => "tokenizer.merge",
            Self::IdOutOfRange { .. } => "tokenizer.id",
            Self::Json(_) => "tokenizer.json",
            Self::JsonUnsupported { .. } => "tokenizer.json_unsupported",
            Self::NoBos => "tokenizer.no_bos",
            Self::Unencodable { .. } => "tokenizer.unencodable",
            Self::TextTooLong { .. } => "tokenizer.text_too_long",
            Self::Pipeline(_) => "tokenizer.pipeline",
        }
    }
}
