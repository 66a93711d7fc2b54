//! What is mixed: rows with weights, and a row that may say which tokens are allowed.

use serde::{Deserialize, Serialize};

use super::MixError;
use crate::ops::mixing::{MOST, MOST_POINTS};
use crate::ops::prepare::scheduled;

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

/// A term's weight by steps: on straight lines between the points, level before the first and after the last. The GPU
/// evaluates it by the number of the step it makes, so steps in flight have the weights of their own numbers; a
/// weight that is set live ends the schedule from the next submitted step on.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Schedule {
    /// The term, counted in [`MixRule::terms`]; its own weight does not count.
    pub term: usize,
    /// `(step, weight)`, 1 to 16, steps from 0 ascending.
    pub points: Vec<(u32, f32)>,
}

/// Which tokens a row allows.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum FilterKind {
    /// Those with at least `alpha` (above 0, at most 1) times the probability of the most likely one: the adaptive
    /// plausibility constraint of contrastive decoding (arXiv 2210.15097, section 3.2). Min-p is the same rule, and reads
    /// as `{"kind": "min_p", "p": ..}`.
    #[serde(alias = "min_p")]
    Plausibility {
        /// The ratio.
        #[serde(alias = "p")]
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
    /// Those whose log-probability lies nearest to the row's entropy, together at least the share `p` (above 0, at most 1) of the
    /// probability: typical-p (arXiv 2202.00666).
    TypicalP {
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

/// z = Σ weight · logits over the terms, and the mix is softmax(z).
///
/// **Raw logits, log-softmax over all tokens, log-softmax over candidates** give one and the same mix, which is why a term
/// has no transform: they differ by a constant per row, and a constant per row is a constant in z. This is Σ weight · log π
/// for each of them. (A repetition penalty looks at the sign of z; here it sees raw logits, as everywhere in the field.)
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
    /// Weights that change by step, at most one for each term.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub schedules: Vec<Schedule>,
}

impl MixRule {
    /// A row by itself.
    pub fn only(row: usize) -> Self {
        Self { terms: vec![Term { row, weight: 1.0 }], ..Self::default() }
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
        for (at, schedule) in self.schedules.iter().enumerate() {
            schedule.validate(self.terms.len())?;
            if self.schedules[..at].iter().any(|other| other.term == schedule.term) {
                return Err(MixError::Schedule { term: schedule.term, what: "two schedules".into() });
            }
        }
        self.check_sum()?;
        self.filter.map_or(Ok(()), |filter| filter.validate(rows, vocab))
    }

    /// The weight of `term` at `step`.
    pub fn weight(&self, term: usize, step: u32) -> f32 {
        let schedule = self.schedules.iter().find(|schedule| schedule.term == term);
        schedule.map_or(self.terms[term].weight, |schedule| scheduled(&schedule.points, step))
    }

    /// The same with new weights for some terms, whose schedules end; all of them or none.
    pub(super) fn with_weights(&self, weights: &[(usize, f32)]) -> Result<Self, MixError> {
        let mut rule = self.clone();
        let terms = rule.terms.len();
        for (term, weight) in weights.iter().copied() {
            check_weight(term, weight)?;
            rule.terms.get_mut(term).ok_or(MixError::Term { found: term, terms })?.weight = weight;
            rule.schedules.retain(|schedule| schedule.term != term);
        }
        rule.check_sum()?;
        Ok(rule)
    }

    /// The same with other schedules for some terms; all of them or none.
    pub(super) fn with_schedules(&self, schedules: &[Schedule]) -> Result<Self, MixError> {
        let mut rule = self.clone();
        for schedule in schedules {
            schedule.validate(rule.terms.len())?;
            rule.schedules.retain(|other| other.term != schedule.term);
            rule.schedules.push(schedule.clone());
        }
        rule.check_sum()?;
        Ok(rule)
    }

    /// Refuses weights that cancel, at whatever step, if they are to be normalised.
    fn check_sum(&self) -> Result<(), MixError> {
        if !self.normalize {
            return Ok(());
        }
        let sum_at = |step| (0..self.terms.len()).map(|term| self.weight(term, step)).sum::<f32>();
        // Between two points the sum is a straight line: it stays clear of 0 if it does so, on one side, at every point.
        let first = sum_at(0);
        let points = self.schedules.iter().flat_map(|schedule| &schedule.points);
        let mut sums = points.map(|(step, _)| sum_at(*step));
        let cancels = |sum: &f32| sum.abs() < LEAST_SUM || sum.signum() != first.signum();
        let crossing = if cancels(&first) { Some(first) } else { sums.find(cancels) };
        crossing.map_or(Ok(()), |sum| Err(MixError::Normalize { sum: if sum.abs() < LEAST_SUM { sum } else { 0.0 } }))
    }
}

impl Schedule {
    /// Refuses a term from `terms` on, no points or too many, steps that do not ascend, weights that are no numbers.
    pub fn validate(&self, terms: usize) -> Result<(), MixError> {
        let Self { term, points } = self;
        let term = *term;
        if term >= terms {
            return Err(MixError::Term { found: term, terms });
        }
        if points.is_empty() || points.len() > MOST_POINTS {
            return Err(MixError::Schedule { term, what: format!("{} points", points.len()) });
        }
        if let Some(pair) = points.windows(2).find(|pair| pair[0].0 >= pair[1].0) {
            return Err(MixError::Schedule { term, what: format!("step {} after step {}", pair[1].0, pair[0].0) });
        }
        points.iter().try_for_each(|(_, weight)| check_weight(term, *weight))
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
            FilterKind::TopP { p } | FilterKind::TypicalP { p } => share("p", p),
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
    fn weights_are_set_together() {
        let mixed = MixRule { normalize: true, ..rule(&[1.0, 1.0, -1.0]) };
        let refused = |weights: &[(usize, f32)]| mixed.with_weights(weights).expect_err("it is refused").code();
        assert_eq!(refused(&[(1, 0.0)]), "mix.normalize");
        assert_eq!(refused(&[(3, 1.0)]), "mix.term");
        // Half of it cancels, all of it does not.
        let moved = mixed.with_weights(&[(1, 0.0), (2, 0.0)]).expect("the sum is 1");
        assert_eq!(moved.terms.iter().map(|term| term.weight).collect::<Vec<_>>(), [1.0, 0.0, 0.0]);
    }

    #[test]
    fn schedules_that_cannot_be_are_refused() {
        let schedule = |points: &[(u32, f32)]| Schedule { term: 1, points: points.to_vec() };
        let with = |schedules: &[Schedule]| MixRule { schedules: schedules.to_vec(), ..rule(&[1.0, 0.5]) };
        assert!(with(&[schedule(&[(0, 0.0), (20, -2.0)])]).validate(2, 100).is_ok());
        let long: Vec<(u32, f32)> = (0..17).map(|step| (step, 1.0)).collect();
        for points in [&[][..], &[(3, 1.0), (3, 2.0)], &[(3, 1.0), (2, 2.0)], &long] {
            assert_eq!(code(&with(&[schedule(points)])), "mix.schedule");
        }
        assert_eq!(code(&with(&[schedule(&[(0, f32::NAN)])])), "mix.weight");
        assert_eq!(code(&with(&[Schedule { term: 2, points: vec![(0, 1.0)] }])), "mix.term");
        assert_eq!(code(&with(&[schedule(&[(0, 1.0)]), schedule(&[(0, 1.0)])])), "mix.schedule");
        // The sum goes through 0 between the points.
        let crossing = MixRule { normalize: true, ..with(&[schedule(&[(0, 0.0), (20, -2.0)])]) };
        assert_eq!(code(&crossing), "mix.normalize");
        let clear = MixRule { normalize: true, ..with(&[schedule(&[(0, 0.0), (20, -0.9)])]) };
        assert!(clear.validate(2, 100).is_ok());
        // A weight that is set ends the schedule.
        assert_eq!(clear.weight(1, 10), -0.45);
        assert_eq!(clear.with_weights(&[(1, 3.0)]).expect("a weight").weight(1, 10), 3.0);
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
