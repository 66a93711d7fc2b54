//! A tokenizer from the metadata of a GGUF file (keys `tokenizer.ggml.*`).

use super::pre_tokenizer::PreTokenizer;
use super::roles::Roles;
use super::special::{Special, SpecialTokens};
use super::spm::{SPACE, Spm};
use super::vocabulary::{TokenKind, Vocabulary};
use super::{Bpe, Model, Spelling, TokenId, Tokenizer, TokenizerError};
use crate::gguf::Metadata;

impl Tokenizer {
    /// The tokenizer that a model's file carries.
    ///
    /// Files without `tokenizer.ggml.pre` get the pre-tokenizer `default`, as in llama.cpp.
    ///
    /// # Errors
    /// [`TokenizerError`] for missing keys and wrong types, lists of unequal lengths, merges that lead nowhere, special
    /// ids outside the vocabulary, and kinds of tokenizer that are not built in.
    pub fn from_gguf(metadata: &Metadata) -> Result<Self, TokenizerError> {
        let model = metadata.string("tokenizer.ggml.model")?;
        if !matches!(model, "gpt2" | "llama") {
            return Err(TokenizerError::Model { found: model.chars().take(40).collect() });
        }
        let mut vocabulary = vocabulary(metadata)?;
        let mut roles = roles(metadata, vocabulary.len())?;
        let adds_bos = metadata.opt_bool("tokenizer.ggml.add_bos_token")?;
        let space_prefix = metadata.opt_bool("tokenizer.ggml.add_space_prefix")?;

        if model == "gpt2" {
            let pre_tokenizer = pre_tokenizer(metadata)?;
            roles.adds_bos = adds_bos.unwrap_or(pre_tokenizer.bos);
            let roles = roles.complete(&mut vocabulary);
            let mut bpe = bpe(metadata, &vocabulary)?;
            bpe.ignore_merges = pre_tokenizer.ignore_merges;
            let specials = specials(metadata, &vocabulary, Spelling::ByteLevel)?;
            return Ok(Self {
                model: Model::ByteLevel { bpe, pre_tokenizer, specials },
                vocabulary,
                spelling: Spelling::ByteLevel,
                roles,
            });
        }

        roles.adds_bos = adds_bos.unwrap_or(true);
        let roles = roles.complete(&mut vocabulary);
        let scores = metadata.f32s("tokenizer.ggml.scores")?;
        let space_prefix = space_prefix.unwrap_or(true);
        let spm = Spm::new(&vocabulary, &scores, roles.unk, space_prefix)?;
        let spelling = Spelling::Spm { strips_first_space: space_prefix };
        let specials = specials(metadata, &vocabulary, spelling)?;
        Ok(Self { model: Model::Spm { spm, specials }, vocabulary, spelling, roles })
    }
}

fn vocabulary(metadata: &Metadata) -> Result<Vocabulary, TokenizerError> {
    let names = metadata.strings("tokenizer.ggml.tokens")?;
    let kinds = match metadata.opt_i32s("tokenizer.ggml.token_type")? {
        None => vec![TokenKind::Normal; names.len()],
        Some(numbers) => (0..)
            .zip(numbers)
            .map(|(id, found)| TokenKind::from_gguf(found).ok_or(TokenizerError::Kind { id, found }))
            .collect::<Result<_, _>>()?,
    };
    Vocabulary::new(names.clone(), kinds)
}

fn roles(metadata: &Metadata, n_vocab: u32) -> Result<Roles, TokenizerError> {
    let role = |name: &str| -> Result<Option<TokenId>, TokenizerError> {
        let key = format!("tokenizer.ggml.{name}_token_id");
        match metadata.opt_u32(&key)? {
            // Older converters wrote -1 where there is none.
            None | Some(u32::MAX) => Ok(None),
            Some(id) if id < n_vocab => Ok(Some(id)),
            Some(id) => Err(TokenizerError::IdOutOfRange { key, id: id.into(), n_vocab }),
        }
    };
    Ok(Roles {
        bos: role("bos")?,
        eos: role("eos")?,
        eot: role("eot")?,
        unk: role("unknown")?,
        pad: role("padding")?,
        adds_bos: false,
        ends: role("eom")?.into_iter().collect(),
    })
}

fn pre_tokenizer(metadata: &Metadata) -> Result<PreTokenizer, TokenizerError> {
    let name = metadata.opt_string("tokenizer.ggml.pre")?.unwrap_or("default");
    PreTokenizer::named(name).ok_or_else(|| TokenizerError::PreTokenizer { found: name.chars().take(40).collect() })
}

fn bpe(metadata: &Metadata, vocabulary: &Vocabulary) -> Result<Bpe, TokenizerError> {
    let merges = metadata.strings("tokenizer.ggml.merges")?;
    // A merge without a space has an empty side, which no token is.
    let pairs = merges.iter().map(|merge| merge.split_once(' ').unwrap_or((merge, "")));
    Bpe::new(vocabulary, pairs)
}

/// Tokens that are found in a text before it is divided.
fn specials(metadata: &Metadata, vocabulary: &Vocabulary, spelling: Spelling) -> Result<SpecialTokens, TokenizerError> {
    // phi-3's own tokenizer drops white space after these; its files do not say so.
    let is_phi3 = metadata.opt_string("general.architecture")? == Some("phi3");
    let specials = vocabulary.names().filter_map(|(id, name)| {
        let kind = vocabulary.kind(id)?;
        let control = match kind {
            TokenKind::Control | TokenKind::Unknown => true,
            TokenKind::UserDefined => false,
            TokenKind::Normal | TokenKind::Unused | TokenKind::Byte => return None,
        };
        let text = match spelling {
            Spelling::Spm { .. } => name.replace(SPACE, " "),
            Spelling::ByteLevel => name.to_owned(),
        };
        Some(Special {
            strips_after: is_phi3 && (control || name == "</s>") && !matches!(name, "<unk>" | "<s>" | "<|endoftext|>"),
            text: text.into(),
            id,
            control,
            strips_before: false,
            single_word: false,
        })
    });
    Ok(SpecialTokens::new(specials.collect()))
}
