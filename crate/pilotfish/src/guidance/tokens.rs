//! What is said about single tokens: scores, bans, and sets that alone are allowed.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::MixError;
use crate::ops::mixing::{MASKED, MOST_FORCED};

/// The largest magnitude of a score.
const MOST_SCORE: f32 = 1e4;

/// Scores and masks by token. Ids are those that are mixed: below the smallest vocabulary of all rows.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct TokenRules {
    /// Added to a token's z (a logit bias), whatever the weights and `normalize` are; of either sign, at most 10,000 in
    /// magnitude.
    #[serde(alias = "logit_bias", skip_serializing_if = "BTreeMap::is_empty")]
    pub scores: BTreeMap<u32, f32>,
    /// Never drawn.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub banned: Vec<u32>,
    /// If given, nothing else is drawn; what is banned, too, stays banned.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub allowed: Option<Vec<u32>>,
}

impl TokenRules {
    /// Refuses tokens from `vocab` on, scores that are no numbers, and masks that leave nothing.
    pub fn validate(&self, vocab: u32) -> Result<(), MixError> {
        for (token, score) in &self.scores {
            check_token("a score", *token, vocab)?;
            // NaN fails this, too.
            let sound = score.abs() <= MOST_SCORE;
            if !sound {
                return Err(MixError::Score { token: *token, found: *score, most: MOST_SCORE });
            }
        }
        self.banned.iter().try_for_each(|token| check_token("a ban", *token, vocab))?;
        let allowed = self.allowed.iter().flatten();
        allowed.clone().try_for_each(|token| check_token("the allowed set", *token, vocab))?;
        // Without an allowed set as many bans as tokens are needed to leave nothing.
        let left = if self.allowed.is_some() {
            allowed.into_iter().any(|token| !self.banned.contains(token))
        } else {
            self.banned.len() < vocab as usize || (0..vocab).any(|token| !self.banned.contains(&token))
        };
        if left { Ok(()) } else { Err(MixError::Mask) }
    }

    /// Whether nothing is said.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// What is added to each of `vocab` tokens, [`MASKED`] where it may not be drawn.
    pub(super) fn table(&self, vocab: u32) -> Vec<f32> {
        let mut table = vec![if self.allowed.is_some() { MASKED } else { 0.0 }; vocab as usize];
        for token in self.allowed.iter().flatten() {
            table[*token as usize] = 0.0;
        }
        for (token, score) in &self.scores {
            if table[*token as usize] == 0.0 {
                table[*token as usize] = *score;
            }
        }
        for token in &self.banned {
            table[*token as usize] = MASKED;
        }
        table
    }
}

/// Refuses more tokens to be given ahead than there is room for, and tokens from `vocab` on.
pub fn check_forced(ids: &[u32], vocab: u32) -> Result<(), MixError> {
    if ids.len() > MOST_FORCED {
        return Err(MixError::Forced { found: ids.len(), most: MOST_FORCED });
    }
    ids.iter().try_for_each(|id| check_token("a forced token", *id, vocab))
}

/// Refuses a token from `vocab` on.
fn check_token(what: &'static str, found: u32, vocab: u32) -> Result<(), MixError> {
    if found < vocab { Ok(()) } else { Err(MixError::Token { what, found, vocab }) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_outside_scores_that_are_no_numbers_and_masks_that_leave_nothing_are_refused() {
        let none = TokenRules::default();
        assert!(none.validate(1).is_ok() && none.is_empty());
        let code = |rules: TokenRules| rules.validate(10).expect_err("it is refused").code();
        for score in [f32::NAN, f32::NEG_INFINITY, 2e4] {
            assert_eq!(code(TokenRules { scores: [(3, score)].into(), ..none.clone() }), "mix.score");
        }
        assert_eq!(code(TokenRules { scores: [(10, 1.0)].into(), ..none.clone() }), "mix.token");
        assert_eq!(code(TokenRules { banned: vec![10], ..none.clone() }), "mix.token");
        assert_eq!(code(TokenRules { allowed: Some(vec![1, 10]), ..none.clone() }), "mix.token");
        assert_eq!(code(TokenRules { allowed: Some(vec![]), ..none.clone() }), "mix.mask");
        let contradiction = TokenRules { allowed: Some(vec![1, 2]), banned: vec![2, 1], ..none.clone() };
        assert_eq!(code(contradiction), "mix.mask");
        assert_eq!(code(TokenRules { banned: (0..10).collect(), ..none.clone() }), "mix.mask");
        assert!(TokenRules { banned: vec![1; 10], ..none }.validate(10).is_ok());
    }

    #[test]
    fn a_ban_goes_before_a_score_and_before_being_allowed() {
        let rules =
            TokenRules { scores: [(0, 1.0), (1, 2.0), (3, 4.0)].into(), banned: vec![1], allowed: Some(vec![0, 1, 2]) };
        assert_eq!(rules.table(4), [1.0, MASKED, 0.0, MASKED]);
    }

    #[test]
    fn rules_read_as_the_field_writes_them() {
        let rules: TokenRules = serde_json::from_str(r#"{"logit_bias":{"7":-1.5},"banned":[2]}"#).expect("it parses");
        assert_eq!(rules, TokenRules { scores: [(7, -1.5)].into(), banned: vec![2], allowed: None });
    }
}
