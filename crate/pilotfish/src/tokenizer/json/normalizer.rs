//! What a `tokenizer.json` does to a text before it is divided.

use serde_json::Value;
use unicode_normalization_alignments::UnicodeNormalization as _;

use super::TokenizerError;
use super::fields::Fields;
use super::pattern::Pattern;

#[derive(Debug, Clone)]
pub(super) enum Normalizer {
    /// Unicode's normalization forms.
    Form(Form),
    /// Character by character: a final sigma is no other than the rest.
    Lowercase,
    /// Before a text that is not empty.
    Prepend(String),
    /// Every match becomes the text.
    Replace(Pattern, String),
    /// White space at the ends.
    Strip { left: bool, right: bool },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Form {
    Nfc,
    Nfd,
    Nfkc,
    Nfkd,
}

impl Form {
    /// With the tables of the `tokenizers` crate, which are Unicode 9's.
    fn of(self, text: &str) -> String {
        match self {
            Self::Nfc => text.nfc().map(|(c, _)| c).collect(),
            Self::Nfd => text.nfd().map(|(c, _)| c).collect(),
            Self::Nfkc => text.nfkc().map(|(c, _)| c).collect(),
            Self::Nfkd => text.nfkd().map(|(c, _)| c).collect(),
        }
    }
}

/// Unicode normalization form C, with the tables that a `tokenizer.json` would use.
pub(in crate::tokenizer) fn nfc(text: &str) -> String {
    Form::Nfc.of(text)
}

/// A file's normalizers in order.
pub(super) fn read(value: Option<&Value>) -> Result<Vec<Normalizer>, TokenizerError> {
    Fields::steps(value, "normalizer", "normalizers")?.iter().map(Normalizer::read).collect()
}

/// The text after all of them.
pub(super) fn normalize(normalizers: &[Normalizer], text: &str) -> Result<String, TokenizerError> {
    normalizers.iter().try_fold(text.to_owned(), |text, normalizer| normalizer.apply(text))
}

impl Normalizer {
    fn read(fields: &Fields<'_>) -> Result<Self, TokenizerError> {
        Ok(match fields.kind {
            "NFC" => Self::Form(Form::Nfc),
            "NFD" => Self::Form(Form::Nfd),
            "NFKC" => Self::Form(Form::Nfkc),
            "NFKD" => Self::Form(Form::Nfkd),
            "Lowercase" => Self::Lowercase,
            "Prepend" => Self::Prepend(fields.text("prepend")?.to_owned()),
            "Replace" => Self::Replace(Pattern::read(fields)?, fields.text("content")?.to_owned()),
            "Strip" => Self::Strip { left: fields.flag("strip_left")?, right: fields.flag("strip_right")? },
            _ => return Err(fields.unknown()),
        })
    }

    fn apply(&self, text: String) -> Result<String, TokenizerError> {
        Ok(match self {
            Self::Form(form) => form.of(&text),
            Self::Lowercase => text.chars().flat_map(char::to_lowercase).collect(),
            Self::Prepend(_) if text.is_empty() => text,
            Self::Prepend(before) => before.clone() + &text,
            Self::Replace(pattern, content) => {
                let mut replaced = String::with_capacity(text.len());
                let mut after = 0;
                for found in pattern.matches(&text)? {
                    replaced.push_str(&text[after..found.start]);
                    replaced.push_str(content);
                    after = found.end;
                }
                replaced + &text[after..]
            }
            Self::Strip { left, right } => {
                let text = if *left { text.trim_start() } else { &text };
                if *right { text.trim_end() } else { text }.to_owned()
            }
        })
    }
}
