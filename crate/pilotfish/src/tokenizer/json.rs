//! A tokenizer from the `tokenizer.json` of Hugging Face's `tokenizers`, of the BPE kind.
//!
//! Normalizers, pre-tokenizers and added tokens are that crate's, so what a file asks for is what it gets. The model,
//! the decoder and the post-processor's first token are read here, and checked: the crate trusts a file more than we do.

use std::collections::HashMap;

use serde::Deserialize;
use serde_json::Value;
use tokenizers::models::bpe::Vocab;
use tokenizers::models::wordlevel::WordLevelBuilder;
use tokenizers::normalizers::NormalizerWrapper;
use tokenizers::pre_tokenizers::PreTokenizerWrapper;
use tokenizers::{AddedToken, AddedVocabulary, OffsetReferential, OffsetType, PreTokenizer};

use super::bpe::{Bpe, Fallback};
use super::merge::Merger;
use super::roles::Roles;
use super::spm::{byte_of_name, byte_tokens};
use super::vocabulary::{TokenKind, Vocabulary};
use super::{Model, Spelling, TokenId, Tokenizer, TokenizerError};
use crate::gguf::StringArray;

/// What a text goes through before and while it is merged.
#[derive(Debug, Clone)]
pub(super) struct Pipeline {
    normalizer: Option<NormalizerWrapper>,
    pre_tokenizer: Option<PreTokenizerWrapper>,
    /// Added tokens where control tokens count as text, and where they do not.
    added: [AddedVocabulary; 2],
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
        let added = &self.added[usize::from(special)];
        let mut pieces = added.extract_and_normalize(self.normalizer.as_ref(), text);
        if let Some(pre_tokenizer) = &self.pre_tokenizer {
            pre_tokenizer.pre_tokenize(&mut pieces).map_err(|error| TokenizerError::Pipeline(error.to_string()))?;
        }
        let pieces = pieces.get_splits(OffsetReferential::Normalized, OffsetType::None);
        for (piece, _, found) in pieces {
            match found {
                Some(tokens) => ids.extend(tokens.iter().map(|token| token.id)),
                None => self.bpe.encode(vocabulary, merger, piece, ids),
            }
        }
        Ok(())
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

        let normalizer: Option<NormalizerWrapper> = step(file.normalizer, "normalizer", &NORMALIZERS)?;
        let pre_tokenizer = step(file.pre_tokenizer, "pre-tokenizer", &PRE_TOKENIZERS)?;
        let added = added_vocabulary(&added, normalizer.as_ref())?;
        let roles = Roles { bos, unk, adds_bos: bos.is_some(), ..Roles::default() };
        let roles = roles.complete(&mut vocabulary);
        Ok(Self {
            model: Model::Json(Box::new(Pipeline { normalizer, pre_tokenizer, added, bpe })),
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
#[derive(Deserialize)]
#[serde(untagged)]
enum Pair {
    Joined(String),
    Divided(String, String),
}

#[derive(Deserialize)]
struct Added {
    id: u32,
    #[serde(flatten)]
    token: AddedToken,
}

fn parse<'j, T: Deserialize<'j>>(json: &'j [u8]) -> Result<T, TokenizerError> {
    serde_json::from_slice(json).map_err(|error| TokenizerError::Json(error.to_string()))
}

fn unsupported(found: String, expected: &'static str) -> TokenizerError {
    TokenizerError::JsonUnsupported { found, expected }
}

/// Added tokens without repetition and without empty ones, which the crate refuses.
fn distinct(added: Vec<Added>) -> Vec<Added> {
    let mut seen = std::collections::HashSet::new();
    let mut added = added;
    added.retain(|added| {
        let content = &added.token.content;
        !content.is_empty() && seen.insert(content.clone())
    });
    added
}

fn vocabulary(model: &BpeModel, added: &[Added]) -> Result<Vocabulary, TokenizerError> {
    let listed = model.vocab.iter().map(|(name, &id)| (name.as_str(), id));
    let all = listed.chain(added.iter().map(|a| (a.token.content.as_str(), a.id)));
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
        kinds[added.id as usize] = if added.token.special { TokenKind::Control } else { TokenKind::UserDefined };
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

const NORMALIZERS: [&str; 9] = ["NFC", "NFD", "NFKC", "NFKD", "Lowercase", "Prepend", "Replace", "Strip", "Sequence"];

const PRE_TOKENIZERS: [&str; 6] = ["ByteLevel", "Digits", "Metaspace", "Punctuation", "Sequence", "Split"];

/// A normalizer or pre-tokenizer of the crate, if it and all within it are of those kinds.
fn step<T: for<'j> Deserialize<'j>>(
    value: Option<Value>,
    what: &str,
    kinds: &[&str],
) -> Result<Option<T>, TokenizerError> {
    let Some(value) = value else { return Ok(None) };
    let mut within = vec![&value];
    while let Some(value) = within.pop() {
        let kind = value.get("type").and_then(Value::as_str);
        if kind.is_none_or(|kind| !kinds.contains(&kind)) {
            let found = format!("{what} {:?}", kind.unwrap_or("without a type"));
            let expected = "one that BPE tokenizers use (NFC, Replace, Split, ByteLevel, Metaspace and such)";
            return Err(unsupported(found, expected));
        }
        let lists = [value.get("normalizers"), value.get("pretokenizers")];
        within.extend(lists.into_iter().flatten().filter_map(Value::as_array).flatten());
    }
    let step = serde_json::from_value(value);
    step.map(Some).map_err(|error| TokenizerError::Json(format!("its {what}: {error}")))
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

fn added_vocabulary(
    added: &[Added],
    normalizer: Option<&NormalizerWrapper>,
) -> Result<[AddedVocabulary; 2], TokenizerError> {
    let refuse = |error: tokenizers::Error| TokenizerError::Json(format!("its added tokens: {error}"));
    // The crate asks a model for ids; this one knows only these.
    let ids: Vocab = added.iter().map(|added| (added.token.content.clone(), added.id)).collect();
    let model = WordLevelBuilder::new().vocab(ids).build().map_err(refuse)?;
    let mut special_found = AddedVocabulary::new();
    let tokens = added.iter().map(|added| added.token.clone());
    special_found.add_tokens(tokens, &model, normalizer).map_err(refuse)?;
    let mut special_is_text = special_found.clone();
    special_is_text.set_encode_special_tokens(true);
    Ok([special_is_text, special_found])
}
