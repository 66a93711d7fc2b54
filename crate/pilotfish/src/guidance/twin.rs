//! A whole step on the CPU: what the [`super::Mixer`] does, said plainly.

use super::{Candidate, FilterKind, MixError, MixRule, Sampling, Telemetry};
use crate::ops::elementary::sort_key;
use crate::ops::mix::Kept;
use crate::ops::mixing::{MASKED, is_possible, logit};
use crate::ops::{mix, pick, row_max, select};

/// One step: settings, and its number.
#[derive(Debug, Clone, Copy)]
pub struct Step<'a> {
    /// What is mixed.
    pub rule: &'a MixRule,
    /// How a token is drawn.
    pub sampling: &'a Sampling,
    /// Rows whose log-probs are reported, the base first.
    pub report: &'a [usize],
    /// How many of the most likely tokens are reported.
    pub candidates: usize,
    /// Numbers the noise.
    pub step: u32,
}

impl Step<'_> {
    /// Draws a token from `rows`, one slice of logits for each row, all of one length, and reports.
    pub fn run(&self, rows: &[&[f32]]) -> Result<Telemetry, MixError> {
        let base = rows[self.report[0]];
        let z = self.mixed(rows);
        let inv_t = self.sampling.inv_temperature();
        let bad: Vec<usize> = (0..rows.len()).filter(|row| self.looks_at(*row) && is_bad(rows[*row])).collect();
        if !bad.is_empty() {
            return Err(MixError::Logits { step: self.step, rows: bad });
        }
        let token = if self.sampling.temperature == 0.0 {
            argmax(&z)
        } else {
            pick::twin(&z, inv_t, self.sampling.seed, self.step, self.kept(&z))
        };
        let token = token.ok_or(MixError::Empty { step: self.step })?;
        let mix = log_softmax(&z, inv_t);
        let reported: Vec<Vec<f64>> = self
            .report
            .iter()
            .map(|row| log_softmax(&rows[*row].iter().map(|l| logit(*l)).collect::<Vec<_>>(), 1.0))
            .collect();
        let log_probs = |id: u32| {
            reported
                .iter()
                .zip(self.report)
                .map(|(log_probs, row)| {
                    let at = id as usize;
                    if is_possible(logit(rows[*row][at])) { log_probs[at] as f32 } else { f32::NEG_INFINITY }
                })
                .collect::<Vec<f32>>()
        };
        let mut order: Vec<u32> = (0..z.len() as u32).filter(|id| z[*id as usize] != MASKED).collect();
        order.sort_by(|a, b| z[*b as usize].total_cmp(&z[*a as usize]).then(a.cmp(b)));
        let expected = |of: &dyn Fn(usize) -> f64, under: &[f64]| -> f64 {
            (0..under.len()).filter(|id| under[*id] > -200.0).map(|id| under[id].exp() * of(id)).sum()
        };
        debug_assert_eq!(base.len(), z.len());
        Ok(Telemetry {
            step: self.step,
            token,
            log_probs: log_probs(token),
            mix_log_prob: mix[token as usize] as f32,
            base_entropy: expected(&|id| -reported[0][id], &reported[0]) as f32,
            kl: expected(&|id| mix[id] - reported[0][id], &mix).max(0.0) as f32,
            weights: self.rule.terms.iter().map(|term| term.weight).collect(),
            temperature: self.sampling.temperature,
            candidates: order
                .iter()
                .take(self.candidates)
                .map(|id| Candidate { id: *id, mix: mix[*id as usize] as f32, rows: log_probs(*id) })
                .collect(),
        })
    }

    /// z of every id, [`MASKED`] where left out.
    pub fn mixed(&self, rows: &[&[f32]]) -> Vec<f32> {
        let kept = self.rule.filter.map(|filter| {
            let row = rows[filter.row];
            let possible = || row.iter().map(|l| logit(*l)).filter(|l| is_possible(*l));
            let (mut lowest, mut lowest_key) = (MASKED, 0);
            match filter.kind {
                FilterKind::Plausibility { alpha } => lowest = row_max::twin(row) + alpha.ln(),
                FilterKind::TopK { k } => lowest_key = select::count_key(possible(), k),
                FilterKind::TopP { p } => lowest_key = select::mass_key(possible(), row_max::twin(row), 1.0, p),
            }
            Kept { row, lowest, lowest_key }
        });
        let terms: Vec<(&[f32], f32)> = self.rule.terms.iter().map(|term| (rows[term.row], term.weight)).collect();
        mix::twin(rows[self.report[0]], &terms, self.rule.normalize, kept)
    }

    /// Whether the sampler's filters keep a z of `z`.
    pub fn kept(&self, z: &[f32]) -> impl Fn(f32) -> bool + use<> {
        let there = || z.iter().copied().filter(|z| *z != MASKED);
        let max = there().fold(MASKED, f32::max);
        let mut lowest_key = 0;
        if self.sampling.top_k != 0 {
            lowest_key = select::count_key(there(), self.sampling.top_k);
        }
        if self.sampling.top_p != 1.0 {
            let left = there().filter(|z| sort_key(*z) >= lowest_key);
            let key = select::mass_key(left, max, self.sampling.inv_temperature(), self.sampling.top_p);
            lowest_key = lowest_key.max(key);
        }
        let lowest = max + self.sampling.min_p_drop();
        move |z| z != MASKED && z >= lowest && sort_key(z) >= lowest_key
    }

    fn looks_at(&self, row: usize) -> bool {
        self.report.contains(&row)
            || self.rule.terms.iter().any(|term| term.row == row && term.weight != 0.0)
            || self.rule.filter.is_some_and(|filter| filter.row == row)
    }
}

fn is_bad(row: &[f32]) -> bool {
    row.iter().any(|l| logit(*l) == MASKED)
}

fn argmax(z: &[f32]) -> Option<u32> {
    let mut best = None;
    let mut top = MASKED;
    for (id, z) in (0u32..).zip(z) {
        if *z > top {
            top = *z;
            best = Some(id);
        }
    }
    best
}

/// log softmax(x / T) in f64; what is masked gets -inf.
fn log_softmax(x: &[f32], inv_t: f32) -> Vec<f64> {
    let scaled = |x: f32| f64::from(x) * f64::from(inv_t);
    let max = x.iter().map(|x| scaled(*x)).fold(f64::NEG_INFINITY, f64::max);
    let there = x.iter().filter(|x| **x != MASKED);
    let lse = max + there.map(|x| (scaled(*x) - max).exp()).sum::<f64>().ln();
    x.iter().map(|x| if *x == MASKED { f64::NEG_INFINITY } else { scaled(*x) - lse }).collect()
}
