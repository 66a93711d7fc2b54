//! Base and guide mix their logits id by id, so an id must mean the same to both.

use super::{TokenId, TokenKind, Tokenizer};

/// The first id that means different things.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VocabularyDifference {
    /// The id.
    pub id: TokenId,
    /// What the first vocabulary has there, as text.
    pub left: String,
    /// What the second has.
    pub right: String,
}

/// Compares the ids that both have. What one has beyond the other is no difference: files pad their vocabularies.
///
/// Tokens are compared by the bytes they stand for, so files may spell them differently; ids that either marks as unused
/// are not compared.
pub fn vocabulary_difference(left: &Tokenizer, right: &Tokenizer) -> Option<VocabularyDifference> {
    let id = (0..left.n_vocab().min(right.n_vocab())).find(|&id| {
        let unused = Some(TokenKind::Unused);
        let compared = left.token_kind(id) != unused && right.token_kind(id) != unused;
        compared && left.token_bytes(id) != right.token_bytes(id)
    })?;
    Some(VocabularyDifference {
        id,
        left: left.token_text(id).unwrap_or_default(),
        right: right.token_text(id).unwrap_or_default(),
    })
}
