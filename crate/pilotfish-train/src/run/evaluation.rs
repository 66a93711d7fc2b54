//! How good an adapter is on pairs that it has not learned from.

use serde::{Deserialize, Serialize};

use crate::objective::{Objective, PairScore};

/// What the held-out pairs say.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Evaluation {
    /// Pairs.
    pub pairs: usize,
    /// Mean loss.
    pub loss: f64,
    /// Share of pairs whose chosen answer has the greater summed log-probability.
    pub accuracy: f64,
    /// The same after the base's own margin is taken off: what was learned, and not known before. Half for the base itself.
    pub accuracy_over_base: f64,
    /// Mean of `Σ log π(chosen) - Σ log π(rejected)`, in nats.
    pub margin: f64,
    /// Standard deviation of the margin over pairs; β times it should stay below about 1.
    pub margin_deviation: f64,
}

impl Evaluation {
    /// From the pairs' scores, and the base's on the same pairs.
    pub(super) fn of(scores: &[PairScore], base: &[PairScore], objective: &Objective) -> Self {
        let n = scores.len().max(1) as f64;
        let margin = |score: &PairScore| score[0].sum - score[1].sum;
        let share = |difference: f64| if difference == 0.0 { 0.5 } else { f64::from(difference > 0.0) };
        let mean = |values: &mut dyn Iterator<Item = f64>| values.sum::<f64>() / n;
        let mean_margin = mean(&mut scores.iter().map(margin));
        let loss = |(score, base): (&PairScore, &PairScore)| objective.value(score, Some(base));
        let over = |(score, base): (&PairScore, &PairScore)| share(margin(score) - margin(base));
        Self {
            pairs: scores.len(),
            loss: mean(&mut scores.iter().zip(base).map(loss)),
            accuracy: mean(&mut scores.iter().map(|score| share(margin(score)))),
            accuracy_over_base: mean(&mut scores.iter().zip(base).map(over)),
            margin: mean_margin,
            margin_deviation: mean(&mut scores.iter().map(|score| (margin(score) - mean_margin).powi(2))).sqrt(),
        }
    }
}
