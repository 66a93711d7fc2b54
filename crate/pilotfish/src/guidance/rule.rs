//! What is mixed: rows with weights, and a row that may say which tokens are allowed.

use serde::{Deserialize, Serialize};

use super::MixError;
use crate::ops::mixing::MOST;

/// The largest magnitude of a weight.
pub(super) const MOST_WEIGHT: f32 = 1e4;
/// The smallest magnitude of a sum of weights that can be divided by.
const LEAST_SUM: f32 = 1e-3;

/// One row's part in the mix.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Term {
    /// The row, counted over all weight sets.
    pub row: usize,
    /// What its logits are multiplied with; of either sign, 0 leaves the row out, at most 10,000 in magnitude.
    pub weight: f32,
}

/// Which tokens a row allows.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum FilterKind {
    /// Those with at least `alpha` (above 0, at most 1) times the probability of the most likely one: the adaptive
    /// plausibility constraint of contrastive decoding (arXiv 2210.15097, section 3.2).
    Plausibility {
        /// The ratio.
        alpha: f32,
    },
    /// The `k` most likely ones, at least 1, and those that tie with the last.
    TopK {
        /// How many.
        k: u32,
    },
    /// The most likely ones that together hold the share `p` (above 0, at most 1) of the probability at temperature 1, and those that
    /// tie with the last.
    TopP {
        /// The share.
        p: f32,
    },
}

/// A filter by one row, applied before the mix: what it leaves out is left out of the mix, too.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct RowFilter {
    /// The row that decides; it need not have a term.
    pub row: usize,
    /// How it decides.
    #[serde(flatten)]
    pub kind: FilterKind,
}

/// z = Σ weight · logits over the terms. As adding a constant to a row changes no probability, raw logits do for
/// log-probabilities: this is Σ weight · log π, and the mix is softmax(z / T).
///
/// A token to which the base, or a row with weight, gives probability 0 (a logit of -inf) is left out.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MixRule {
    /// One to sixteen terms; a row may be in several.
    pub terms: Vec<Term>,
    /// Divides z by the sum of the weights.
    #[serde(default)]
    pub normalize: bool,
    /// A filter by a row.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub filter: Option<RowFilter>,
}

impl MixRule {
    /// A row by itself.
    pub fn only(row: usize) -> Self {
        Self { terms: vec![Term { row, weight: 1.0 }], normalize: false, filter: None }
    }

    /// Refuses rows from `rows` on, weights that are no numbers, and settings out of range. `vocab` bounds the filter's k.
    pub fn validate(&self, rows: usize, vocab: u32) -> Result<(), MixError> {
        if self.terms.is_empty() || self.terms.len() > MOST {
            return Err(MixError::Terms { found: self.terms.len(), most: MOST });
        }
        for (at, term) in self.terms.iter().enumerate() {
            check_row("a term", term.row, rows)?;
            check_weight(at, term.weight)?;
        }
        self.check_sum()?;
        self.filter.map_or(Ok(()), |filter| filter.validate(rows, vocab))
    }

    /// Gives `term` a new weight, if the mix can be made with it.
    pub(super) fn set_weight(&mut self, term: usize, weight: f32) -> Result<(), MixError> {
        let terms = self.terms.len();
        check_weight(term, weight)?;
        let slot = self.terms.get_mut(term).ok_or(MixError::Term { found: term, terms })?;
        let before = std::mem::replace(&mut slot.weight, weight);
        self.check_sum().inspect_err(|_| self.terms[term].weight = before)
    }

    /// Refuses weights that cancel if they are to be normalised.
    fn check_sum(&self) -> Result<(), MixError> {
        let sum: f32 = self.terms.iter().map(|term| term.weight).sum();
        if self.normalize && sum.abs() < LEAST_SUM { Err(MixError::Normalize { sum }) } else { Ok(()) }
    }
}

impl RowFilter {
    /// Refuses a row from `rows` on, and settings out of range.
    pub fn validate(&self, rows: usize, vocab: u32) -> Result<(), MixError> {
        check_row("the row filter", self.row, rows)?;
        let share = |what, found: f32| {
            let expected = "above 0 and at most 1";
            if found > 0.0 && found <= 1.0 { Ok(()) } else { Err(MixError::Filter { what, found, expected }) }
        };
        match self.kind {
            FilterKind::Plausibility { alpha } => share("alpha", alpha),
            FilterKind::TopP { p } => share("p", p),
            FilterKind::TopK { k } if k == 0 || k > vocab => {
                let expected = "at least 1 and at most the vocabulary's size";
                Err(MixError::Filter { what: "k", found: k as f32, expected })
            }
            FilterKind::TopK { .. } => Ok(()),
        }
    }
}

pub(super) fn check_row(what: &'static str, found: usize, rows: usize) -> Result<(), MixError> {
    if found < rows { Ok(()) } else { Err(MixError::Row { what, found, rows }) }
}

fn check_weight(term: usize, found: f32) -> Result<(), MixError> {
    // NaN fails this too.
    if found.abs() <= MOST_WEIGHT { Ok(()) } else { Err(MixError::Weight { term, found, most: MOST_WEIGHT }) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rule(weights: &[f32]) -> MixRule {
        MixRule {
            terms: weights.iter().enumerate().map(|(row, weight)| Term { row, weight: *weight }).collect(),
            ..Default::default()
        }
    }

    fn code(rule: &MixRule) -> &'static str {
        rule.validate(2, 100).expect_err("it is refused").code()
    }

    #[test]
    fn what_cannot_be_mixed_is_refused() {
        assert!(rule(&[1.0, -2.5]).validate(2, 100).is_ok());
        assert_eq!(code(&rule(&[])), "mix.terms");
        assert_eq!(code(&rule(&[1.0; 17])), "mix.terms");
        assert_eq!(code(&rule(&[1.0; 3])), "mix.row");
        for weight in [f32::NAN, f32::INFINITY, -2e4] {
            assert_eq!(code(&rule(&[1.0, weight])), "mix.weight");
        }
        assert_eq!(code(&MixRule { normalize: true, ..rule(&[1.0, -1.0]) }), "mix.normalize");
        let filtered = |row, kind| MixRule { filter: Some(RowFilter { row, kind }), ..rule(&[1.0]) };
        assert_eq!(code(&filtered(2, FilterKind::TopK { k: 4 })), "mix.row");
        for kind in [
            FilterKind::TopK { k: 0 },
            FilterKind::TopK { k: 101 },
            FilterKind::TopP { p: 0.0 },
            FilterKind::TopP { p: f32::NAN },
            FilterKind::Plausibility { alpha: 1.5 },
        ] {
            assert_eq!(code(&filtered(0, kind)), "mix.filter");
        }
    }

    #[test]
    fn a_refused_weight_changes_nothing() {
        let mut mixed = MixRule { normalize: true, ..rule(&[1.0, 1.0]) };
        let before = mixed.clone();
        assert_eq!(mixed.set_weight(1, -1.0).expect_err("it cancels").code(), "mix.normalize");
        assert_eq!(mixed.set_weight(2, 1.0).expect_err("there is none").code(), "mix.term");
        assert_eq!(mixed, before);
    }

    #[test]
    fn a_rule_reads_as_plain_json() {
        let text =
            r#"{"terms":[{"row":0,"weight":1.0},{"row":1,"weight":-0.5}],"filter":{"row":0,"kind":"top_k","k":20}}"#;
        let rule: MixRule = serde_json::from_str(text).expect("it parses");
        assert_eq!(rule.filter, Some(RowFilter { row: 0, kind: FilterKind::TopK { k: 20 } }));
        let again = serde_json::to_string(&rule).expect("it prints");
        assert_eq!(serde_json::from_str::<MixRule>(&again).expect("it parses again"), rule);
    }
}
