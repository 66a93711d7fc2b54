//! Text to token ids and back.
//!
//! [`Tokenizer::from_gguf`] reads the vocabulary that a model's own file carries: byte-level BPE
//! (`tokenizer.ggml.model` = `gpt2`) and SentencePiece BPE (`llama`). [`Tokenizer::from_json`] reads the
//! `tokenizer.json` of Hugging Face's `tokenizers`. Ids are those that the model's own tokenizer gives.
//!
//! ```
//! # use pilotfish::tokenizer::{Encode, Tokenizer};
//! # fn show(tokenizer: &Tokenizer) -> Result<(), pilotfish::tokenizer::TokenizerError> {
//! let ids = tokenizer.encode("Hello world", Encode::default())?;
//! assert_eq!(tokenizer.decode(&ids), "Hello world");
//! # Ok(())
//! # }
//! ```
//!
//! The normalizers, pre-tokenizers and added tokens of a `tokenizer.json` are the `tokenizers` crate's. Merging is our
//! own (`merge.rs`): the crate indexes out of bounds on merges that make no token, and keeps a vocabulary three times.

mod bpe;
mod byte_level;
mod difference;
mod error;
mod gguf;
mod json;
mod merge;
mod pre_tokenizer;
mod roles;
mod special;
mod spm;
mod stream;
mod unicode;
mod vocabulary;

use std::borrow::Cow;

pub use difference::{VocabularyDifference, vocabulary_difference};
pub use error::TokenizerError;
pub use stream::StreamDecoder;
pub use vocabulary::TokenKind;

use bpe::Bpe;
use json::Pipeline;
use merge::Merger;
use pre_tokenizer::PreTokenizer;
use roles::Roles;
use special::{Piece, SpecialTokens};
use spm::{SPACE, Spm};
use vocabulary::Vocabulary;

/// A token's number: its row in the embedding and in the logits.
pub type TokenId = u32;

/// Bytes of the longest text that [`Tokenizer::encode`] takes: offsets are 32 bits, and escaping can triple a text.
pub const MAX_TEXT_BYTES: usize = 1 << 30;

/// How a text is to be encoded. The default is for text by a user: no special tokens in it, BOS as the file says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Encode {
    /// Whether control tokens written in the text (`<|im_start|>`) become those tokens. True for what a chat template
    /// made; false for what a user typed.
    pub special: bool,
    /// The beginning-of-sequence token.
    pub bos: Bos,
}

/// Whether the ids begin with the beginning-of-sequence token. It is never put before one that is there already.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Bos {
    /// As the file says (`tokenizer.ggml.add_bos_token`, or its tokenizer's custom).
    #[default]
    Auto,
    /// Never added.
    Never,
    /// Always added.
    Always,
}

/// A vocabulary with the way to encode into it.
#[derive(Debug, Clone)]
pub struct Tokenizer {
    vocabulary: Vocabulary,
    model: Model,
    spelling: Spelling,
    roles: Roles,
}

#[derive(Debug, Clone)]
enum Model {
    ByteLevel { bpe: Bpe, pre_tokenizer: PreTokenizer, specials: SpecialTokens },
    Spm { spm: Spm, specials: SpecialTokens },
    Json(Box<Pipeline>),
}

/// How names spell bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Spelling {
    /// GPT-2's alphabet.
    ByteLevel,
    /// `▁` for a space, `<0x0A>` for a byte; the first space of a text may be the encoder's.
    Spm { strips_first_space: bool },
}

impl Tokenizer {
    /// The ids of `text`.
    ///
    /// # Errors
    /// [`TokenizerError::NoBos`] if BOS is wanted always and there is none, [`TokenizerError::TextTooLong`] beyond
    /// [`MAX_TEXT_BYTES`], [`TokenizerError::Unencodable`] for a character outside an SPM vocabulary without byte
    /// tokens, [`TokenizerError::Pipeline`] where a step of a `tokenizer.json` fails.
    pub fn encode(&self, text: &str, how: Encode) -> Result<Vec<TokenId>, TokenizerError> {
        if text.len() > MAX_TEXT_BYTES {
            return Err(TokenizerError::TextTooLong { found: text.len(), max: MAX_TEXT_BYTES });
        }
        let bos = match (how.bos, self.roles.bos) {
            (Bos::Never, _) => None,
            (Bos::Auto, bos) => bos.filter(|_| self.roles.adds_bos),
            (Bos::Always, Some(bos)) => Some(bos),
            (Bos::Always, None) => return Err(TokenizerError::NoBos),
        };
        let mut ids = Vec::with_capacity(text.len() / 3 + 2);
        ids.extend(bos);
        let at_text = ids.len();
        self.encode_text(text, how.special, &mut ids)?;
        if bos.is_some() && ids.get(at_text).copied() == bos {
            ids.remove(0);
        }
        Ok(ids)
    }

    fn encode_text(&self, text: &str, special: bool, ids: &mut Vec<TokenId>) -> Result<(), TokenizerError> {
        let mut merger = Merger::default();
        match &self.model {
            Model::ByteLevel { bpe, pre_tokenizer, specials } => {
                for piece in specials.split(text, special) {
                    match piece {
                        Piece::Token(id) => ids.push(id),
                        Piece::Text(text) => {
                            let text = if pre_tokenizer.nfc && !text.is_ascii() {
                                Cow::Owned(json::nfc(text))
                            } else {
                                Cow::Borrowed(text)
                            };
                            pre_tokenizer.split(&text, &mut |piece| {
                                let piece = byte_level::to_alphabet(piece);
                                bpe.encode(&self.vocabulary, &mut merger, &piece, ids);
                            });
                        }
                    }
                }
            }
            Model::Spm { spm, specials } => {
                // A ▁ of the text is a space to the vocabulary; as one it also counts for runs of spaces.
                let text =
                    if text.contains(SPACE) { Cow::Owned(text.replace(SPACE, " ")) } else { Cow::Borrowed(text) };
                let mut after_special = true;
                for piece in specials.split(&text, special) {
                    match piece {
                        Piece::Token(id) => ids.push(id),
                        Piece::Text(text) => {
                            let vocabulary = &self.vocabulary;
                            spm.encode(vocabulary, &mut merger, text, after_special, ids)?;
                        }
                    }
                    after_special = matches!(piece, Piece::Token(_));
                }
            }
            Model::Json(pipeline) => {
                pipeline.encode(&self.vocabulary, &mut merger, text, special, ids)?;
            }
        }
        Ok(())
    }

    /// The text of `ids`, without control tokens. Bytes that are no UTF-8 become U+FFFD, as do ids outside the vocabulary.
    pub fn decode(&self, ids: &[TokenId]) -> String {
        self.stream().decode(ids)
    }

    /// The text of `ids` with control tokens by their names.
    pub fn decode_with_special(&self, ids: &[TokenId]) -> String {
        self.stream().with_special().decode(ids)
    }

    /// A decoder for ids that come one at a time and begin a text.
    pub fn stream(&self) -> StreamDecoder<&Self> {
        StreamDecoder::new(self)
    }

    /// The bytes a token stands for; control tokens stand for their names. `None` outside the vocabulary.
    ///
    /// A character can be spread over several tokens, so these need not be UTF-8.
    pub fn token_bytes(&self, id: TokenId) -> Option<Cow<'_, [u8]>> {
        let name = self.vocabulary.name(id)?;
        let kind = self.vocabulary.kind(id)?;
        let as_is = Cow::Borrowed(name.as_bytes());
        Some(match (self.spelling, kind) {
            (_, TokenKind::Control | TokenKind::Unknown) | (Spelling::ByteLevel, TokenKind::UserDefined) => as_is,
            (Spelling::ByteLevel, _) => Cow::Owned(byte_level::from_alphabet(name)),
            (Spelling::Spm { .. }, TokenKind::Byte) => match spm::byte_of_name(name) {
                Some(byte) => Cow::Owned(vec![byte]),
                None => as_is,
            },
            (Spelling::Spm { .. }, _) if name.contains(SPACE) => Cow::Owned(name.replace(SPACE, " ").into_bytes()),
            (Spelling::Spm { .. }, _) => as_is,
        })
    }

    /// A token as text, to be shown; half characters show as U+FFFD. `None` outside the vocabulary.
    pub fn token_text(&self, id: TokenId) -> Option<String> {
        let bytes = self.token_bytes(id)?;
        Some(String::from_utf8_lossy(&bytes).into_owned())
    }

    /// A token's name as the file has it: `Ġworld`, `▁world`, `<0x0A>`.
    pub fn token_name(&self, id: TokenId) -> Option<&str> {
        self.vocabulary.name(id)
    }

    /// The token of that name, if there is one.
    pub fn token_id(&self, name: &str) -> Option<TokenId> {
        self.vocabulary.id(name)
    }

    /// What a token is for. `None` outside the vocabulary.
    pub fn token_kind(&self, id: TokenId) -> Option<TokenKind> {
        self.vocabulary.kind(id)
    }

    /// How many tokens there are: ids are below this. A model may have more rows, which are never text.
    pub fn n_vocab(&self) -> u32 {
        self.vocabulary.len()
    }

    /// Beginning of sequence.
    pub fn bos(&self) -> Option<TokenId> {
        self.roles.bos
    }

    /// Whether [`Bos::Auto`] puts one before a text.
    pub fn adds_bos(&self) -> bool {
        self.roles.adds_bos && self.roles.bos.is_some()
    }

    /// End of sequence.
    pub fn eos(&self) -> Option<TokenId> {
        self.roles.eos
    }

    /// End of a chat turn, where that is not only the end of sequence.
    pub fn eot(&self) -> Option<TokenId> {
        self.roles.eot
    }

    /// Stands for what has no token.
    pub fn unk(&self) -> Option<TokenId> {
        self.roles.unk
    }

    /// Fills batches; never made.
    pub fn pad(&self) -> Option<TokenId> {
        self.roles.pad
    }

    /// Whether generation ends with this token: end of sequence, of turn, of message, as metadata or its name tells.
    pub fn is_end(&self, id: TokenId) -> bool {
        self.roles.ends.contains(&id)
    }

    /// All tokens that end generation, in ascending order.
    pub fn ends(&self) -> &[TokenId] {
        &self.roles.ends
    }

    /// Whether the token steers the model and is no text: control tokens, unknown and padding ones.
    pub fn is_special(&self, id: TokenId) -> bool {
        matches!(self.vocabulary.kind(id), Some(TokenKind::Control | TokenKind::Unknown))
    }

    /// Whether the first space of a text is the encoder's and not the author's.
    fn strips_first_space(&self) -> bool {
        self.spelling == Spelling::Spm { strips_first_space: true }
    }
}

#[cfg(test)]
mod tests;
