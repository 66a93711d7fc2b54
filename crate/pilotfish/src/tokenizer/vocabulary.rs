//! The vocabulary: names by id and ids by name, compactly. 262 thousand names are a handful of allocations.

use std::hash::{BuildHasher, RandomState};

use super::{TokenId, TokenizerError};
use crate::gguf::StringArray;

/// What a token is for, as `tokenizer.ggml.token_type` numbers it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TokenKind {
    /// Text.
    Normal,
    /// Stands for text the vocabulary has no token for, or pads the vocabulary.
    Unknown,
    /// Steers the model (`<bos>`, `<|im_start|>`); text holds it only where the caller allows.
    Control,
    /// Text that is never divided.
    UserDefined,
    /// Never made.
    Unused,
    /// One byte (`<0x0A>`).
    Byte,
}

impl TokenKind {
    /// The kind with GGUF's number; converters write 0 for "not said".
    pub(super) fn from_gguf(number: i32) -> Option<Self> {
        Some(match number {
            0 | 1 => Self::Normal,
            2 => Self::Unknown,
            3 => Self::Control,
            4 => Self::UserDefined,
            5 => Self::Unused,
            6 => Self::Byte,
            _ => return None,
        })
    }
}

/// Names, kinds and the way back from name to id.
#[derive(Debug, Clone)]
pub(super) struct Vocabulary {
    names: StringArray,
    kinds: Vec<TokenKind>,
    /// Open addressing with linear probing, at most half full; [`EMPTY`] where nothing is.
    slots: Vec<TokenId>,
    /// Makes collisions that a file was written for unlikely.
    seed: u64,
}

const EMPTY: u32 = u32::MAX;

impl Vocabulary {
    /// `kinds` holds a kind for every name. Where names repeat, the first keeps the way back.
    pub(super) fn new(names: StringArray, kinds: Vec<TokenKind>) -> Result<Self, TokenizerError> {
        if names.is_empty() {
            return Err(TokenizerError::Empty);
        }
        if kinds.len() != names.len() {
            return Err(TokenizerError::Length {
                what: "tokenizer.ggml.token_type",
                found: kinds.len(),
                expected: names.len(),
            });
        }
        let mut this = Self {
            slots: vec![EMPTY; (names.len() * 2).next_power_of_two()],
            names,
            kinds,
            seed: RandomState::new().hash_one(0),
        };
        for id in 0..this.len() {
            if let Err(free) = this.slot(this.name(id).unwrap_or_default()) {
                this.slots[free] = id;
            }
        }
        Ok(this)
    }

    /// How many tokens there are; ids are below this.
    pub(super) fn len(&self) -> u32 {
        self.names.len() as u32
    }

    /// The name as the file has it.
    pub(super) fn name(&self, id: TokenId) -> Option<&str> {
        self.names.get(id as usize)
    }

    /// The names in the order of their ids.
    pub(super) fn names(&self) -> impl Iterator<Item = (TokenId, &str)> {
        (0..).zip(self.names.iter())
    }

    pub(super) fn kind(&self, id: TokenId) -> Option<TokenKind> {
        self.kinds.get(id as usize).copied()
    }

    pub(super) fn set_kind(&mut self, id: TokenId, kind: TokenKind) {
        if let Some(slot) = self.kinds.get_mut(id as usize) {
            *slot = kind;
        }
    }

    /// The id of a name.
    pub(super) fn id(&self, name: &str) -> Option<TokenId> {
        self.slot(name).ok().map(|slot| self.slots[slot])
    }

    /// Where `name` is, or else the free slot where it would go.
    fn slot(&self, name: &str) -> Result<usize, usize> {
        let mask = self.slots.len() - 1;
        let mut slot = hash(name, self.seed) as usize & mask;
        loop {
            match self.slots[slot] {
                EMPTY => return Err(slot),
                id if self.name(id) == Some(name) => return Ok(slot),
                _ => slot = (slot + 1) & mask,
            }
        }
    }
}

/// Names are short and looked up for every pair of neighbours in a text: a multiplication per eight bytes. With the
/// standard library's hash, encoding takes 1.7 times as long (`SmolLM2`'s vocabulary, a megabyte of prose).
fn hash(name: &str, seed: u64) -> u64 {
    const ODD: u64 = 0x9e37_79b9_7f4a_7c15;
    let mut state = seed ^ name.len() as u64;
    for chunk in name.as_bytes().chunks(8) {
        let mut word = [0; 8];
        word[..chunk.len()].copy_from_slice(chunk);
        state = (state ^ u64::from_le_bytes(word)).wrapping_mul(ODD).rotate_left(29);
    }
    state.wrapping_mul(ODD) >> 29
}
