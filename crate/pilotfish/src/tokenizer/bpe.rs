//! Byte-pair encoding by a list of merges: the earlier in the list, the sooner.

use std::collections::HashMap;

use super::merge::{Merge, Merger};
use super::vocabulary::Vocabulary;
use super::{TokenId, TokenizerError};

/// The merges, and what becomes of characters without a token.
#[derive(Debug, Clone)]
pub(super) struct Bpe {
    /// (left, right) -> (place in the list, what they make).
    merges: HashMap<(TokenId, TokenId), (u32, TokenId)>,
    /// A piece that is a token is taken whole.
    pub(super) ignore_merges: bool,
    pub(super) fallback: Fallback,
}

/// What stands for a character that is no token; in byte-level vocabularies every character is one.
#[derive(Debug, Clone, Default)]
pub(super) struct Fallback {
    /// Tokens of the 256 bytes.
    pub(super) bytes: Option<Box<[TokenId]>>,
    /// The unknown token.
    pub(super) unknown: Option<TokenId>,
    /// Unknown characters in a row make one unknown token.
    pub(super) fuse_unknown: bool,
}

impl Bpe {
    /// `merges` gives the pairs in order.
    pub(super) fn new<'m>(
        vocabulary: &Vocabulary,
        merges: impl ExactSizeIterator<Item = (&'m str, &'m str)>,
    ) -> Result<Self, TokenizerError> {
        let mut map = HashMap::with_capacity(merges.len());
        let mut both = String::new();
        for (index, (left, right)) in merges.enumerate() {
            let refuse = |why| {
                let merge = format!("{left} {right}").chars().take(40).collect();
                TokenizerError::Merge { index, merge, why }
            };
            let id = |name: &str, why| {
                let found = vocabulary.id(name).filter(|_| !name.is_empty());
                found.ok_or_else(|| refuse(why))
            };
            both.clear();
            both.push_str(left);
            both.push_str(right);
            let left = id(left, "begins with what is no token")?;
            let right = id(right, "ends with what is no token")?;
            let made = id(&both, "makes what is no token")?;
            // Of equal merges the first counts.
            map.entry((left, right)).or_insert((index as u32, made));
        }
        Ok(Self { merges: map, ignore_merges: false, fallback: Fallback::default() })
    }

    /// Encodes one piece, of less than 4 GiB, in the characters of the vocabulary.
    pub(super) fn encode(&self, vocabulary: &Vocabulary, merger: &mut Merger, piece: &str, ids: &mut Vec<TokenId>) {
        if self.ignore_merges
            && let Some(id) = vocabulary.id(piece)
        {
            ids.push(id);
            return;
        }
        merger.clear();
        let mut after_unknown = false;
        for (start, c) in piece.char_indices() {
            let text = &piece[start..start + c.len_utf8()];
            let known = vocabulary.id(text);
            let Fallback { bytes, unknown, fuse_unknown } = &self.fallback;
            match (known, bytes, unknown) {
                (Some(id), ..) => merger.push(start, text.len(), id),
                (None, Some(tokens), _) => {
                    for (at, byte) in text.bytes().enumerate() {
                        merger.push(start + at, 1, tokens[usize::from(byte)]);
                    }
                }
                (None, None, Some(_)) if *fuse_unknown && after_unknown => {}
                (None, None, &Some(unknown)) => merger.push(start, text.len(), unknown),
                // Such a character leaves no trace, as in the tokenizers that were trained so.
                (None, None, None) => {}
            }
            after_unknown = known.is_none();
        }
        let merged = merger.run(|left, right| {
            let &(priority, id) = self.merges.get(&(left.id, right.id))?;
            Some(Merge { priority, id })
        });
        ids.extend(merged.map(|symbol| symbol.id));
    }
}
