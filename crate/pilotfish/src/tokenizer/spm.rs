//! SentencePiece's BPE: any two neighbours whose union is a token may merge, the one with the best score first.
//!
//! Unlike byte-pair encoding by a list, nothing has to be derived from the vocabulary: Gemma's 262 thousand tokens
//! would make 515 thousand merges. Spaces are written `▁`, and a character without a token falls back to its bytes.

use std::collections::HashSet;

use super::merge::{Merge, Merger, NONE};
use super::vocabulary::{TokenKind, Vocabulary};
use super::{TokenId, TokenizerError};

/// What stands for a space in a vocabulary.
pub(super) const SPACE: char = '▁';

/// Scores and byte tokens.
#[derive(Debug, Clone)]
pub(super) struct Spm {
    /// By token: smaller merges sooner; [`NONE`] never.
    priorities: Vec<u32>,
    /// Bytes of the longest token that a merge can make.
    longest: u32,
    /// Characters that some token has before a `▁`. Behind any other, no merge crosses the beginning of a word.
    before_space: HashSet<char>,
    bytes: Vec<Option<TokenId>>,
    unknown: Option<TokenId>,
    /// A text begins with a space, and so does what follows a special token.
    pub(super) space_prefix: bool,
}

impl Spm {
    /// One score per token, higher is better.
    pub(super) fn new(
        vocabulary: &Vocabulary,
        scores: &[f32],
        unknown: Option<TokenId>,
        space_prefix: bool,
    ) -> Result<Self, TokenizerError> {
        if scores.len() != vocabulary.len() as usize {
            return Err(TokenizerError::Length {
                what: "tokenizer.ggml.scores",
                found: scores.len(),
                expected: vocabulary.len() as usize,
            });
        }
        let mut this = Self {
            priorities: Vec::with_capacity(scores.len()),
            longest: 0,
            before_space: HashSet::new(),
            bytes: byte_tokens(vocabulary),
            unknown,
            space_prefix,
        };
        for ((id, name), &score) in vocabulary.names().zip(scores) {
            if score.is_nan() {
                return Err(TokenizerError::Score { id });
            }
            // Text that only looks like a control token must not become one.
            let merges =
                matches!(vocabulary.kind(id), Some(TokenKind::Normal | TokenKind::UserDefined | TokenKind::Unused));
            this.priorities.push(if merges { priority(score) } else { NONE });
            if merges {
                this.longest = this.longest.max(name.len() as u32);
                let spaces = name.match_indices(SPACE);
                this.before_space.extend(spaces.filter_map(|(at, _)| name[..at].chars().next_back()));
            }
        }
        Ok(this)
    }

    /// Encodes a stretch of text without special tokens, shorter than 1 GiB.
    pub(super) fn encode(
        &self,
        vocabulary: &Vocabulary,
        merger: &mut Merger,
        text: &str,
        after_special: bool,
        ids: &mut Vec<TokenId>,
    ) -> Result<(), TokenizerError> {
        let mut escaped = String::with_capacity(text.len() + text.len() / 2);
        if self.space_prefix && after_special {
            escaped.push(SPACE);
        }
        escaped.extend(text.chars().map(|c| if c == ' ' { SPACE } else { c }));

        let mut rest = escaped.as_str();
        while !rest.is_empty() {
            let (piece, after) = rest.split_at(self.first_word(rest));
            self.encode_word(vocabulary, merger, piece, ids)?;
            rest = after;
        }
        Ok(())
    }

    /// Bytes up to the first `▁` that no token has after the character before it; words are merged one by one, which
    /// keeps the heap small.
    fn first_word(&self, text: &str) -> usize {
        let ends = |&(at, _): &(usize, &str)| {
            let before = text[..at].chars().next_back();
            before.is_some_and(|before| !self.before_space.contains(&before))
        };
        text.match_indices(SPACE).find(ends).map_or(text.len(), |(at, _)| at)
    }

    fn encode_word(
        &self,
        vocabulary: &Vocabulary,
        merger: &mut Merger,
        word: &str,
        ids: &mut Vec<TokenId>,
    ) -> Result<(), TokenizerError> {
        let token = |start: usize, len: usize| {
            let id = vocabulary.id(&word[start..start + len])?;
            let priority = self.priorities[id as usize];
            (priority != NONE).then_some(Merge { priority, id })
        };
        merger.clear();
        for (start, c) in word.char_indices() {
            merger.push(start, c.len_utf8(), NONE);
        }
        let merged = merger.run(|left, right| {
            let len = left.len + right.len;
            if len > self.longest { None } else { token(left.start as usize, len as usize) }
        });
        for symbol in merged {
            let (start, len) = (symbol.start as usize, symbol.len as usize);
            match symbol.id {
                NONE => match token(start, len) {
                    Some(single) => ids.push(single.id),
                    None => self.fall_back(&word[start..start + len], ids)?,
                },
                id => ids.push(id),
            }
        }
        Ok(())
    }

    /// Bytes for a character without a token, or the unknown token.
    fn fall_back(&self, text: &str, ids: &mut Vec<TokenId>) -> Result<(), TokenizerError> {
        let bytes: Option<Vec<TokenId>> =
            text.bytes().map(|byte| self.bytes.get(usize::from(byte)).copied().flatten()).collect();
        match (bytes, self.unknown) {
            (Some(bytes), _) => ids.extend(bytes),
            (None, Some(unknown)) => ids.push(unknown),
            (None, None) => {
                let character = text.chars().next().unwrap_or_default();
                return Err(TokenizerError::Unencodable { character });
            }
        }
        Ok(())
    }
}

/// The tokens `<0x00>` to `<0xFF>`.
pub(super) fn byte_tokens(vocabulary: &Vocabulary) -> Vec<Option<TokenId>> {
    (0..=u8::MAX).map(|byte| vocabulary.id(&format!("<0x{byte:02X}>"))).collect()
}

/// The byte that a name such as `<0x0A>` stands for.
pub(super) fn byte_of_name(name: &str) -> Option<u8> {
    let digits = name.strip_prefix("<0x")?.strip_suffix('>')?;
    let is_hex = digits.len() == 2 && digits.bytes().all(|b| b.is_ascii_hexdigit());
    is_hex.then(|| u8::from_str_radix(digits, 16).ok()).flatten()
}

/// The order of scores turned round into an order of integers, below [`NONE`]. No NaN comes here.
fn priority(score: f32) -> u32 {
    // The sum makes -0.0 and 0.0 equal, as scores they are.
    let bits = (score + 0.0).to_bits();
    // IEEE floats order as sign and magnitude; this makes them order as unsigned integers.
    let ascending = if bits >> 31 == 0 { bits | 1 << 31 } else { !bits };
    !ascending
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn priorities_order_as_scores_do() {
        let scores = [f32::INFINITY, 3.5, 1e-30, 0.0, -1e-30, -1.0, -1e9, f32::NEG_INFINITY];
        let priorities: Vec<u32> = scores.into_iter().map(priority).collect();
        assert!(priorities.is_sorted() && priorities.iter().all(|&p| p != NONE));
        assert_eq!(priority(0.0), priority(-0.0));
    }

    #[test]
    fn only_two_hexadecimal_digits_name_a_byte() {
        assert_eq!(byte_of_name("<0x0A>"), Some(10));
        for name in ["<0xA>", "<0x+A>", "<0x0A", "0x0A>", "<0x100>", "<0xé>"] {
            assert_eq!(byte_of_name(name), None, "{name}");
        }
    }
}
