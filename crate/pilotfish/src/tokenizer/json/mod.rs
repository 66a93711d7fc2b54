//! A tokenizer from the `tokenizer.json` of Hugging Face's `tokenizers`, of the BPE kind.
//!
//! Steps and added tokens do what that crate does, and tests compare the two. It is not used itself, because of what it
//! brings (offsets of every character, training, every part of two regular expression engines: an eighth of the download), and
//! because it trusts a file more than we do.

use std::collections::HashMap;
use std::fmt;

use serde::de::{Error as _, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};
use serde_json::Value;

use super::bpe::{Bpe, Fallback};
use super::merge::Merger;
use super::roles::Roles;
use super::special::Piece;
use super::spm::{byte_of_name, byte_tokens};
use super::vocabulary::{TokenKind, Vocabulary};
use super::{Model, Spelling, TokenId, Tokenizer, TokenizerError};
use crate::gguf::StringArray;

mod added;
mod fields;
mod normalizer;
mod pattern;
mod pre_tokenizer;

pub(super) use normalizer::nfc;

use added::AddedTokens;
use normalizer::Normalizer;

/// What a text goes through before and while it is merged.
#[derive(Debug, Clone)]
pub(super) struct Pipeline {
    normalizers: Vec<Normalizer>,
    pre_tokenizers: Vec<pre_tokenizer::Step>,
    added: AddedTokens,
    bpe: Bpe,
}

impl Pipeline {
    pub(super) fn encode(
        &self,
        vocabulary: &Vocabulary,
        merger: &mut Merger,
        text: &str,
        special: bool,
        ids: &mut Vec<TokenId>,
    ) -> Result<(), TokenizerError> {
        self.added.split(&self.normalizers, text, special, &mut |piece, begins| match piece {
            Piece::Token(id) => {
                ids.push(id);
                Ok(())
            }
            Piece::Text(text) => pre_tokenizer::divide(&self.pre_tokenizers, text, begins, &mut |piece| {
                self.bpe.encode(vocabulary, merger, piece, ids);
            }),
        })
    }
}

impl Tokenizer {
    /// The tokenizer of a `tokenizer.json`. Which tokens begin and end a text it hardly says: names tell.
    ///
    /// # Errors
    /// [`TokenizerError::Json`] if it is none, [`TokenizerError::JsonUnsupported`] for models other than BPE and for
    /// steps that are not built in, [`TokenizerError::Merge`] and [`TokenizerError::IdOutOfRange`] for damaged ones.
    pub fn from_json(json: &[u8]) -> Result<Self, TokenizerError> {
        // The model's kind first: the vocabulary of other kinds has another shape, which would be a poor message.
        let Kind { model } = parse(json)?;
        if let Some(found) = model.ty.filter(|ty| ty != "BPE") {
            return Err(unsupported(format!("model {found:?}"), "\"BPE\""));
        }
        let file: File = parse(json)?;
        let affixes = [&file.model.continuing_subword_prefix, &file.model.end_of_word_suffix];
        if affixes.into_iter().flatten().any(|affix| !affix.is_empty()) {
            return Err(unsupported("a subword prefix or suffix".into(), "none"));
        }

        let spelling = spelling(file.decoder.as_ref())?;
        let added = distinct(file.added_tokens);
        let mut vocabulary = vocabulary(&file.model, &added)?;
        let bos = first_of_template(file.post_processor.as_ref()).and_then(|n| vocabulary.id(n));
        let unk = file.model.unk_token.as_deref();
        let unk = unk.and_then(|name| vocabulary.id(name));
        let bpe = bpe(&file.model, &vocabulary, unk)?;

        let normalizers = normalizer::read(file.normalizer.as_ref())?;
        let pre_tokenizers = pre_tokenizer::read(file.pre_tokenizer.as_ref())?;
        let added = AddedTokens::new(&added, &normalizers)?;
        let roles = Roles { bos, unk, adds_bos: bos.is_some(), ..Roles::default() };
        let roles = roles.complete(&mut vocabulary);
        Ok(Self {
            model: Model::Json(Box::new(Pipeline { normalizers, pre_tokenizers, added, bpe })),
            vocabulary,
            spelling,
            roles,
        })
    }
}

#[derive(Deserialize)]
struct Kind {
    model: KindOfModel,
}

#[derive(Deserialize)]
struct KindOfModel {
    #[serde(rename = "type")]
    ty: Option<String>,
}

#[derive(Deserialize)]
struct File {
    model: BpeModel,
    #[serde(default)]
    added_tokens: Vec<Added>,
    normalizer: Option<Value>,
    pre_tokenizer: Option<Value>,
    decoder: Option<Value>,
    post_processor: Option<Value>,
}

#[derive(Deserialize)]
struct BpeModel {
    vocab: HashMap<String, u32>,
    merges: Vec<Pair>,
    unk_token: Option<String>,
    continuing_subword_prefix: Option<String>,
    end_of_word_suffix: Option<String>,
    #[serde(default)]
    fuse_unk: bool,
    #[serde(default)]
    byte_fallback: bool,
    #[serde(default)]
    ignore_merges: bool,
}

/// Older files write `"a b"`, newer ones `["a", "b"]`.
enum Pair {
    Joined(String),
    Divided(String, String),
}

/// Derived, each of the hundred thousand would be copied before it is read.
impl<'de> Deserialize<'de> for Pair {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Either;

        impl<'de> Visitor<'de> for Either {
            type Value = Pair;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a merge, \"a b\" or [\"a\", \"b\"]")
            }

            fn visit_str<E>(self, both: &str) -> Result<Pair, E> {
                Ok(Pair::Joined(both.to_owned()))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut pair: A) -> Result<Pair, A::Error> {
                match (pair.next_element()?, pair.next_element()?) {
                    (Some(left), Some(right)) => Ok(Pair::Divided(left, right)),
                    _ => Err(A::Error::invalid_length(1, &self)),
                }
            }
        }

        deserializer.deserialize_any(Either)
    }
}

#[derive(Deserialize)]
#[expect(clippy::struct_excessive_bools, reason = "as the file has them")]
struct Added {
    id: u32,
    content: String,
    /// Found only where no letters or digits touch it.
    single_word: bool,
    /// White space before it belongs to it.
    lstrip: bool,
    /// White space after it belongs to it.
    rstrip: bool,
    /// Found in the normalized text.
    normalized: bool,
    special: bool,
}

fn parse<'j, T: Deserialize<'j>>(json: &'j [u8]) -> Result<T, TokenizerError> {
    serde_json::from_slice(json).map_err(|error| TokenizerError::Json(error.to_string()))
}

fn unsupported(found: String, expected: &'static str) -> TokenizerError {
    TokenizerError::JsonUnsupported { found, expected }
}

/// Added tokens without repetition and without empty ones.
fn distinct(added: Vec<Added>) -> Vec<Added> {
    let mut seen = std::collections::HashSet::new();
    let mut added = added;
    added.retain(|added| !added.content.is_empty() && seen.insert(added.content.clone()));
    added
}

fn vocabulary(model: &BpeModel, added: &[Added]) -> Result<Vocabulary, TokenizerError> {
    let listed = model.vocab.iter().map(|(name, &id)| (name.as_str(), id));
    let all = listed.chain(added.iter().map(|a| (a.content.as_str(), a.id)));
    // Ids may have holes, but a stray one must not make a vocabulary of billions.
    let most = 2 * (model.vocab.len() + added.len()) + 1024;
    let mut len = 0;
    for (name, id) in all.clone() {
        if id as usize >= most {
            return Err(TokenizerError::IdOutOfRange {
                key: format!("the id of {name:?}"),
                id: id.into(),
                n_vocab: most as u32,
            });
        }
        len = len.max(id as usize + 1);
    }
    let mut names = vec![""; len];
    let mut kinds = vec![TokenKind::Unused; len];
    for (name, id) in all {
        names[id as usize] = name;
        kinds[id as usize] = match byte_of_name(name) {
            Some(_) if model.byte_fallback => TokenKind::Byte,
            _ => TokenKind::Normal,
        };
    }
    for added in added {
        kinds[added.id as usize] = if added.special { TokenKind::Control } else { TokenKind::UserDefined };
    }
    Vocabulary::new(names.into_iter().collect::<StringArray>(), kinds)
}

fn bpe(model: &BpeModel, vocabulary: &Vocabulary, unknown: Option<TokenId>) -> Result<Bpe, TokenizerError> {
    let pairs = model.merges.iter().map(|pair| match pair {
        Pair::Joined(both) => both.split_once(' ').unwrap_or((both, "")),
        Pair::Divided(left, right) => (left.as_str(), right.as_str()),
    });
    let mut bpe = Bpe::new(vocabulary, pairs)?;
    bpe.ignore_merges = model.ignore_merges;
    bpe.fallback = Fallback {
        // Without all 256 there are characters that need the unknown token, as if there were none.
        bytes: (model.byte_fallback).then(|| byte_tokens(vocabulary).into_iter().collect()).flatten(),
        unknown,
        fuse_unknown: model.fuse_unk,
    };
    Ok(bpe)
}

/// How names spell bytes, from the decoder, alone or in a sequence.
fn spelling(decoder: Option<&Value>) -> Result<Spelling, TokenizerError> {
    let steps = match decoder.and_then(|decoder| decoder.get("decoders")) {
        Some(Value::Array(steps)) => steps.iter().collect(),
        _ => decoder.into_iter().collect::<Vec<_>>(),
    };
    let has = |kind: &str| {
        let is_kind = |step: &&&Value| step.get("type").and_then(Value::as_str) == Some(kind);
        steps.iter().find(is_kind)
    };
    if has("ByteLevel").is_some() {
        return Ok(Spelling::ByteLevel);
    }
    let strips_first_space = match has("Metaspace") {
        Some(step) => step.get("prepend_scheme").and_then(Value::as_str) != Some("never"),
        None if has("Replace").is_some() => has("Strip").is_some(),
        None => {
            let found = "a decoder without ByteLevel, Metaspace or Replace".to_owned();
            return Err(unsupported(found, "one of these"));
        }
    };
    Ok(Spelling::Spm { strips_first_space })
}

/// The special token that a template puts before a single text.
fn first_of_template(post_processor: Option<&Value>) -> Option<&str> {
    let processor = post_processor?;
    if let Some(Value::Array(processors)) = processor.get("processors") {
        return processors.iter().find_map(|p| first_of_template(Some(p)));
    }
    processor.get("single")?.get(0)?.get("SpecialToken")?.get("id")?.as_str()
}

#[cfg(test)]
mod tests;
