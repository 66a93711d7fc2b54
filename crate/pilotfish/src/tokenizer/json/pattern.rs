//! What a step of a `tokenizer.json` looks for: a text or a regular expression in Oniguruma's spelling.

use std::ops::Range;

use fancy_regex::Regex;

use super::TokenizerError;
use super::fields::Fields;

#[derive(Debug, Clone)]
pub(super) enum Pattern {
    Text(String),
    Regex(Box<Regex>),
}

impl Pattern {
    /// `{"String": "▁"}` or `{"Regex": "\\s+"}`
    pub(super) fn read(fields: &Fields<'_>) -> Result<Self, TokenizerError> {
        let said = |kind: &str| fields.value.get("pattern")?.get(kind)?.as_str();
        match (said("String"), said("Regex")) {
            (Some(text), _) => Ok(Self::Text(text.to_owned())),
            (None, Some(regex)) => {
                let regex = Regex::new(regex).map_err(|error| fields.wrong(&format!("{regex:?}: {error}")))?;
                Ok(Self::Regex(Box::new(regex)))
            }
            (None, None) => Err(fields.wrong("`pattern` holds neither \"String\" nor \"Regex\"")),
        }
    }

    /// Where it is found in `text`, from left to right, each after the one before. A match can be empty, but
    /// an empty text has none.
    pub(super) fn matches(&self, text: &str) -> Result<Vec<Range<usize>>, TokenizerError> {
        if text.is_empty() {
            return Ok(Vec::new());
        }
        match self {
            Self::Text(pattern) => Ok(text.match_indices(pattern).map(|(at, found)| at..at + found.len()).collect()),
            Self::Regex(regex) => {
                let found = regex.find_iter(text).map(|found| found.map(|found| found.range()));
                found.collect::<Result<_, _>>().map_err(|error| TokenizerError::Pipeline(error.to_string()))
            }
        }
    }
}
