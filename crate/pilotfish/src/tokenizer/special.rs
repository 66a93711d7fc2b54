//! Tokens that are found in a text before it is divided further: control tokens and user-defined ones.
//!
//! At every position the longest wins. The texts are sorted, so those that share the characters read so far are a range,
//! and reading one byte more narrows it: no table per text, no automaton to build.

use super::TokenId;

/// A token that is matched as a whole.
#[derive(Debug, Clone)]
#[expect(clippy::struct_excessive_bools, reason = "each is a property by itself, as files have them")]
pub(super) struct Special {
    /// What the text holds.
    pub(super) text: Box<str>,
    /// The token it becomes.
    pub(super) id: TokenId,
    /// Matched only where the caller allows special tokens.
    pub(super) control: bool,
    /// White space after it belongs to it (phi-3).
    pub(super) strips_after: bool,
    /// White space before it belongs to it.
    pub(super) strips_before: bool,
    /// Found only where no letters or digits touch it.
    pub(super) single_word: bool,
}

/// A stretch of text, or a token found in it.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Piece<'t> {
    Text(&'t str),
    Token(TokenId),
}

/// All of a vocabulary's special tokens.
#[derive(Debug, Clone, Default)]
pub(super) struct SpecialTokens {
    /// Sorted by their bytes, without repetition.
    sorted: Vec<Special>,
    /// For every first byte, where its range in `sorted` begins and ends.
    by_first: Vec<(u32, u32)>,
}

impl SpecialTokens {
    /// Empty texts are left out; of equal ones the smallest id stays.
    pub(super) fn new(mut specials: Vec<Special>) -> Self {
        specials.retain(|special| !special.text.is_empty());
        specials.sort_by(|a, b| (a.text.as_bytes(), a.id).cmp(&(b.text.as_bytes(), b.id)));
        specials.dedup_by(|later, first| later.text == first.text);
        let by_first = (0..=u8::MAX)
            .map(|byte| {
                let first = |special: &Special| special.text.as_bytes()[0];
                let begin = specials.partition_point(|s| first(s) < byte);
                let end = specials.partition_point(|s| first(s) <= byte);
                (begin as u32, end as u32)
            })
            .collect();
        Self { sorted: specials, by_first }
    }

    /// Divides `text`; control tokens only where `control` allows. No piece is an empty text.
    pub(super) fn split<'t>(&self, text: &'t str, control: bool) -> Vec<Piece<'t>> {
        let mut pieces = Vec::new();
        let (mut begin, mut at) = (0, 0);
        while at < text.len() {
            let Some(found) = self.longest_at(&text.as_bytes()[at..], control) else {
                at += 1;
                continue;
            };
            if begin < at {
                pieces.push(Piece::Text(&text[begin..at]));
            }
            pieces.push(Piece::Token(found.id));
            at += found.text.len();
            if found.strips_after {
                at = text.len() - text[at..].trim_start().len();
            }
            begin = at;
        }
        if begin < text.len() {
            pieces.push(Piece::Text(&text[begin..]));
        }
        pieces
    }

    /// The longest special that `rest` begins with. `rest` may begin inside a character: no text does, so none matches.
    pub(super) fn longest_at(&self, rest: &[u8], control: bool) -> Option<&Special> {
        let (begin, end) = *self.by_first.get(usize::from(*rest.first()?))?;
        let mut range = self.sorted.get(begin as usize..end as usize)?;
        let mut longest = None;
        // Invariant: every text in `range` begins with `rest[..len]`.
        for len in 1.. {
            let first = range.first()?;
            if first.text.len() == len {
                if control || !first.control {
                    longest = Some(first);
                }
                range = &range[1..];
            }
            let Some(&byte) = rest.get(len) else { break };
            let below = range.partition_point(|s| s.text.as_bytes()[len] < byte);
            let upto = range.partition_point(|s| s.text.as_bytes()[len] <= byte);
            range = &range[below..upto];
            if range.is_empty() {
                break;
            }
        }
        longest
    }
}
