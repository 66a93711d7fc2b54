//! A whole step on the CPU: what the [`super::Mixer`] does, said plainly.

use super::{Candidate, FilterKind, MixError, MixRule, Sampling, Telemetry, TokenRules};
use crate::ops::elementary::sort_key;
use crate::ops::mix::Kept;
use crate::ops::mixing::{IMPOSSIBLE, MASKED, is_possible, logit};
use crate::ops::{mix, pick, prepare, row_max, select};

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
    /// Numbers the noise, and is where schedules stand.
    pub step: u32,
    /// The base's prompt.
    pub prompt: &'a [u32],
    /// What was drawn since.
    pub said: &'a [u32],
    /// What is said about single tokens.
    pub tokens: &'a TokenRules,
    /// Tokens that end the text.
    pub ends: &'a [u32],
    /// The token that is given for this step.
    pub forced: Option<u32>,
}

/// Nothing is said about any token.
static NO_RULES: TokenRules =
    TokenRules { scores: std::collections::BTreeMap::new(), banned: Vec::new(), allowed: None };

impl<'a> Step<'a> {
    /// Of the base alone in the report, with no past.
    pub fn new(rule: &'a MixRule, sampling: &'a Sampling, step: u32) -> Self {
        Self {
            rule,
            sampling,
            report: &[0],
            candidates: 0,
            step,
            prompt: &[],
            said: &[],
            tokens: &NO_RULES,
            ends: &[],
            forced: None,
        }
    }

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
        let mix = log_softmax(&z, 1.0);
        let sampled = log_softmax(&z, inv_t);
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
            sampled_log_prob: sampled[token as usize] as f32,
            base_entropy: expected(&|id| -reported[0][id], &reported[0]) as f32,
            kl: expected(&|id| mix[id] - reported[0][id], &mix).max(0.0) as f32,
            weights: self.weights(),
            temperature: self.sampling.temperature,
            candidates: order
                .iter()
                .take(self.candidates)
                .map(|id| Candidate {
                    id: *id,
                    mix: mix[*id as usize] as f32,
                    sampled: sampled[*id as usize] as f32,
                    rows: log_probs(*id),
                })
                .collect(),
        })
    }

    /// z of every id, [`MASKED`] where left out.
    pub fn mixed(&self, rows: &[&[f32]]) -> Vec<f32> {
        let mut z = self.unedited(rows);
        self.edit(&mut z);
        z
    }

    /// z before scores, penalties and masks.
    pub(super) fn unedited(&self, rows: &[&[f32]]) -> Vec<f32> {
        let kept = self.rule.filter.map(|filter| {
            let row = rows[filter.row];
            let possible = || row.iter().map(|l| logit(*l)).filter(|l| is_possible(*l));
            let (mut lowest, mut lowest_key, mut typical) = (MASKED, 0, None);
            match filter.kind {
                FilterKind::Plausibility { alpha } => lowest = row_max::twin(row) + alpha.ln(),
                FilterKind::TopK { k } => lowest_key = select::count_key(possible(), k),
                FilterKind::TopP { p } => lowest_key = select::mass_key(possible(), row_max::twin(row), 1.0, p),
                FilterKind::TypicalP { p } => {
                    let max = row_max::twin(row);
                    let mean = select::mean_below(possible(), max, 1.0);
                    let key = |l| select::typical_key(l, max, 1.0, mean);
                    lowest_key = select::mass_key_by(possible(), max, 1.0, p, key);
                    typical = Some((max, mean));
                }
            }
            Kept { row, lowest, lowest_key, typical }
        });
        let terms: Vec<(&[f32], f32)> = self.rule.terms.iter().map(|term| rows[term.row]).zip(self.weights()).collect();
        mix::twin(rows[self.report[0]], &terms, self.rule.normalize, kept)
    }

    /// Scores, penalties, masks.
    fn edit(&self, z: &mut [f32]) {
        let penalties = &self.sampling.penalties;
        let all = [self.prompt, self.said].concat();
        let first = if penalties.prompt { 0 } else { self.prompt.len() };
        let past = prepare::window(&all, first, penalties.last_n);
        let repeating = prepare::repeating(past, penalties.no_repeat_ngram);
        let scores = self.tokens.table(z.len() as u32);
        for (id, z) in (0u32..).zip(z.iter_mut()) {
            let count = past.iter().filter(|said| **said == id).count();
            let late_end = self.step < self.sampling.first_end() && self.ends.contains(&id);
            if *z == MASKED || scores[id as usize] == MASKED || repeating.contains(&id) || late_end {
                *z = MASKED;
                continue;
            }
            *z += scores[id as usize];
            if count > 0 {
                *z = if *z > 0.0 { *z / penalties.repetition } else { *z * penalties.repetition };
                *z -= count as f32 * penalties.frequency + penalties.presence;
            }
            *z = z.clamp(IMPOSSIBLE, -IMPOSSIBLE);
        }
        if let Some(forced) = self.forced {
            z.fill(MASKED);
            z[forced as usize] = 0.0;
        }
    }

    /// The terms' weights at this step.
    fn weights(&self) -> Vec<f32> {
        (0..self.rule.terms.len()).map(|term| self.rule.weight(term, self.step)).collect()
    }

    /// Whether the sampler's filters keep a z of `z`.
    pub fn kept(&self, z: &[f32]) -> impl Fn(f32) -> bool + use<> {
        let there = || z.iter().copied().filter(|z| *z != MASKED);
        let max = there().fold(MASKED, f32::max);
        let inv_t = self.sampling.inv_temperature();
        // Looked at only where something goes by it.
        let by_typicality = self.sampling.typical_p != 1.0;
        let mean = if by_typicality { select::mean_below(there(), max, inv_t) } else { 0.0 };
        let typicality = move |z: f32| select::typical_key(z, max, inv_t, mean);
        let mut least_typical = 0;
        if by_typicality {
            least_typical = select::mass_key_by(there(), max, inv_t, self.sampling.typical_p, typicality);
        }
        let typical = || there().filter(|z| typicality(*z) >= least_typical);
        let mut lowest_key = 0;
        if self.sampling.top_k != 0 {
            lowest_key = select::count_key(typical(), self.sampling.top_k);
        }
        if self.sampling.top_p != 1.0 {
            let left = typical().filter(|z| sort_key(*z) >= lowest_key);
            let key = select::mass_key(left, max, inv_t, self.sampling.top_p);
            lowest_key = lowest_key.max(key);
        }
        let lowest = max + self.sampling.min_p_drop();
        move |z| z != MASKED && z >= lowest && sort_key(z) >= lowest_key && typicality(z) >= least_typical
    }

    fn looks_at(&self, row: usize) -> bool {
        self.report.contains(&row)
            || self.rule.terms.iter().zip(self.weights()).any(|(term, weight)| term.row == row && weight != 0.0)
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
