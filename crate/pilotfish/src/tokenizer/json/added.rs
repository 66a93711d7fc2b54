//! Tokens that a `tokenizer.json` finds before it divides a text, in the text as it is or as normalized.

use std::collections::HashMap;

use super::super::special::{Piece, Special, SpecialTokens};
use super::normalizer::{Normalizer, normalize};
use super::{Added, TokenizerError};

#[derive(Debug, Clone)]
pub(super) struct AddedTokens {
    /// Found in the text as it is.
    as_is: SpecialTokens,
    /// Found after normalization, theirs and the text's.
    normalized: SpecialTokens,
}

impl AddedTokens {
    pub(super) fn new(added: &[Added], normalizers: &[Normalizer]) -> Result<Self, TokenizerError> {
        // Of two with the same id the later counts.
        let by_id: HashMap<u32, &Added> = added.iter().map(|added| (added.id, added)).collect();
        let (mut as_is, mut normalized) = (Vec::new(), Vec::new());
        for (id, added) in by_id {
            let (text, list) = if added.normalized {
                (normalize(normalizers, &added.content)?, &mut normalized)
            } else {
                (added.content.clone(), &mut as_is)
            };
            list.push(Special {
                text: text.into(),
                id,
                control: added.special,
                strips_before: added.lstrip,
                strips_after: added.rstrip,
                single_word: added.single_word,
            });
        }
        Ok(Self { as_is: SpecialTokens::new(as_is), normalized: SpecialTokens::new(normalized) })
    }

    /// Calls `piece` with the normalized stretches of `text` and the tokens between them, in order, and with whether
    /// it is the beginning of `text`. Control tokens are found only where `control` allows.
    pub(super) fn split(
        &self,
        normalizers: &[Normalizer],
        text: &str,
        control: bool,
        piece: &mut dyn FnMut(Piece<'_>, bool) -> Result<(), TokenizerError>,
    ) -> Result<(), TokenizerError> {
        let mut begins = true;
        for stretch in find(&self.as_is, text, control) {
            match stretch {
                Piece::Token(_) => piece(stretch, begins)?,
                Piece::Text(text) => {
                    for stretch in find(&self.normalized, &normalize(normalizers, text)?, control) {
                        piece(stretch, begins)?;
                        begins = false;
                    }
                }
            }
            begins = false;
        }
        Ok(())
    }
}

/// From left to right the longest at each place. One that may not stand where it is found hides those within it all
/// the same.
fn find<'t>(tokens: &SpecialTokens, text: &'t str, control: bool) -> Vec<Piece<'t>> {
    let mut pieces = Vec::new();
    // Where the last token ended, and how far was looked.
    let (mut after, mut at) = (0, 0);
    while at < text.len() {
        let Some(found) = tokens.longest_at(&text.as_bytes()[at..], true) else {
            at += 1;
            continue;
        };
        let (mut start, mut end) = (at, at + found.text.len());
        at = end;
        if found.control && !control || found.single_word && within_word(&text[..start], &text[end..]) {
            continue;
        }
        if found.strips_before {
            start = text[..start].trim_end().len().max(after);
        }
        if found.strips_after {
            end = text.len() - text[end..].trim_start().len();
        }
        if after < start {
            pieces.push(Piece::Text(&text[after..start]));
        }
        // One that lies in the white space of the one before is nothing more.
        if start < end {
            pieces.push(Piece::Token(found.id));
        }
        after = end;
    }
    if after < text.len() {
        pieces.push(Piece::Text(&text[after..]));
    }
    pieces
}

/// Whether a letter, mark, digit or connector touches what lies between.
fn within_word(before: &str, after: &str) -> bool {
    let is_word = |c: Option<char>| c.is_some_and(regex_syntax::is_word_character);
    is_word(before.chars().next_back()) || is_word(after.chars().next())
}
