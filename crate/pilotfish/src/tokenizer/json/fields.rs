//! What a step of a `tokenizer.json` says of itself, read with messages that name the step.

use serde_json::Value;

use super::{TokenizerError, unsupported};

/// One step and where it stands.
#[derive(Clone, Copy)]
pub(super) struct Fields<'j> {
    /// `normalizer` or `pre-tokenizer`.
    what: &'static str,
    pub(super) kind: &'j str,
    pub(super) value: &'j Value,
}

impl<'j> Fields<'j> {
    /// The steps of `value` in order, those of sequences one after another; `list` is what a sequence calls its own.
    pub(super) fn steps(
        value: Option<&'j Value>,
        what: &'static str,
        list: &str,
    ) -> Result<Vec<Fields<'j>>, TokenizerError> {
        let mut steps = Vec::new();
        let mut waiting: Vec<&Value> = value.into_iter().collect();
        while let Some(value) = waiting.pop() {
            let kind = value.get("type").and_then(Value::as_str);
            let fields = Fields { what, kind: kind.unwrap_or("without a type"), value };
            if fields.kind == "Sequence" {
                let within = value.get(list).and_then(Value::as_array);
                waiting.extend(within.ok_or_else(|| fields.wrong(&format!("`{list}` is no list")))?.iter().rev());
            } else {
                steps.push(fields);
            }
        }
        Ok(steps)
    }

    pub(super) fn text(&self, key: &str) -> Result<&'j str, TokenizerError> {
        let text = self.value.get(key).and_then(Value::as_str);
        text.ok_or_else(|| self.wrong(&format!("`{key}` is no string")))
    }

    pub(super) fn flag(&self, key: &str) -> Result<bool, TokenizerError> {
        let flag = self.value.get(key).and_then(Value::as_bool);
        flag.ok_or_else(|| self.wrong(&format!("`{key}` is neither true nor false")))
    }

    /// A flag that may be left out, or null.
    pub(super) fn flag_or(&self, key: &str, default: bool) -> Result<bool, TokenizerError> {
        match self.value.get(key) {
            None | Some(Value::Null) => Ok(default),
            Some(_) => self.flag(key),
        }
    }

    /// A field's value says what it cannot say.
    pub(super) fn wrong(&self, why: &str) -> TokenizerError {
        TokenizerError::Json(format!("its {} {}: {why}", self.what, self.kind))
    }

    /// There is no such step.
    pub(super) fn unknown(&self) -> TokenizerError {
        let expected = "one that BPE tokenizers use (NFC, Replace, Split, ByteLevel, Metaspace and such)";
        unsupported(format!("{} {:?}", self.what, self.kind), expected)
    }
}
