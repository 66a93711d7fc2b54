//! Ids one at a time into text that can be shown at once: what is emitted is never taken back.

use std::ops::Deref;

use super::{TokenId, Tokenizer};

/// Decodes ids as they come, holding back the bytes of a character until it is whole.
///
/// `T` is anything that points to a tokenizer: `&Tokenizer`, `Rc<Tokenizer>`, `Arc<Tokenizer>`. The texts that
/// [`push`](Self::push) and [`finish`](Self::finish) give are together what [`Tokenizer::decode`] gives for all ids.
#[derive(Debug, Clone)]
pub struct StreamDecoder<T> {
    tokenizer: T,
    /// Bytes of a character that is not whole yet: at most three.
    pending: Vec<u8>,
    /// Nothing has been decoded yet, so a first space may be the encoder's.
    at_start: bool,
    shows_special: bool,
}

impl<T: Deref<Target = Tokenizer>> StreamDecoder<T> {
    /// For ids that begin a text.
    pub fn new(tokenizer: T) -> Self {
        Self { tokenizer, pending: Vec::new(), at_start: true, shows_special: false }
    }

    /// For ids that continue a text: a first space belongs to them.
    pub fn continuing(tokenizer: T) -> Self {
        Self { at_start: false, ..Self::new(tokenizer) }
    }

    /// The same, with control tokens by their names.
    #[must_use]
    pub fn with_special(self) -> Self {
        Self { shows_special: true, ..self }
    }

    /// Takes the next id and gives the text that is now certain; often empty.
    pub fn push(&mut self, id: TokenId) -> String {
        if self.tokenizer.is_special(id) && !self.shows_special {
            return String::new();
        }
        match self.tokenizer.token_bytes(id) {
            None => self.pending.extend("\u{fffd}".bytes()),
            Some(bytes) => {
                let first_space = self.at_start && self.tokenizer.strips_first_space();
                let bytes = match bytes.as_ref() {
                    [b' ', rest @ ..] if first_space => rest,
                    bytes => bytes,
                };
                self.pending.extend_from_slice(bytes);
            }
        }
        self.at_start = false;
        self.whole_characters()
    }

    /// Ends the text: what is left of a character that never became whole shows as U+FFFD.
    pub fn finish(&mut self) -> String {
        let rest = std::mem::take(&mut self.pending);
        String::from_utf8_lossy(&rest).into_owned()
    }

    /// All of `ids` and the end.
    pub(super) fn decode(mut self, ids: &[TokenId]) -> String {
        let mut text = String::new();
        for &id in ids {
            text.push_str(&self.push(id));
        }
        text.push_str(&self.finish());
        text
    }

    /// Takes from `pending` all but a character's beginning at its end.
    fn whole_characters(&mut self) -> String {
        let mut text = String::new();
        let mut rest = self.pending.as_slice();
        while let Err(error) = std::str::from_utf8(rest) {
            let (valid, after) = rest.split_at(error.valid_up_to());
            text.push_str(&String::from_utf8_lossy(valid));
            rest = after;
            let Some(invalid) = error.error_len() else {
                // The beginning of a character: wait for the rest.
                let begun = rest.to_vec();
                self.pending = begun;
                return text;
            };
            text.push(char::REPLACEMENT_CHARACTER);
            rest = &rest[invalid..];
        }
        text.push_str(&String::from_utf8_lossy(rest));
        self.pending.clear();
        text
    }
}
