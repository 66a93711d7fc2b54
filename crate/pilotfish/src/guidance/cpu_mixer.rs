//! The mix on the CPU: a whole step at once, steered live. What it computes is said plainly in [`super::twin`]; here the passes over
//! a vocabulary are vectorised, and what edits single tokens touches only these.

use std::collections::BTreeMap;

use pilotfish_cpu::{Isa, Range, cross_sum, exp_sums, noise_bounds, range};

use super::rule::check_row;
use super::tokens::check_forced;
use super::twin::Step;
use super::{Candidate, MixError, MixRule, Sampling, Schedule, Telemetry, TokenRules};
use crate::ops::mixing::{MASKED, is_possible};
use crate::ops::{pick, prepare};

/// Logits below this in magnitude need no clamping when they are summed.
const ORDINARY: f32 = 1e20;

/// Tokens that are bounded at once, since nearly none of them are looked at.
const RUN: usize = 256;

/// What a [`CpuMixer`] is made of.
#[derive(Debug, Clone)]
pub struct CpuMixerPlan<'a> {
    /// Ids that are mixed: the smallest vocabulary of all rows.
    pub vocab: u32,
    /// How many rows.
    pub rows: usize,
    /// What is mixed.
    pub rule: &'a MixRule,
    /// How a token is drawn.
    pub sampling: &'a Sampling,
    /// What is said about single tokens.
    pub tokens: &'a TokenRules,
    /// The base's prompt, for penalties that count it.
    pub prompt: &'a [u32],
    /// Tokens that end the text.
    pub ends: &'a [u32],
    /// Rows whose log-probs are reported: the base first, then each guide's.
    pub report: &'a [usize],
    /// How many of the most likely tokens are reported.
    pub candidates: u32,
}

/// Mixes, draws and reports, step after step.
#[derive(Debug)]
pub struct CpuMixer {
    isa: Isa,
    vocab: u32,
    rule: MixRule,
    sampling: Sampling,
    tokens: TokenRules,
    /// What `tokens` adds to each token; nothing where nothing is said.
    scores: Vec<f32>,
    ends: Vec<u32>,
    report: Vec<usize>,
    candidates: usize,
    /// The base's prompt, and what was drawn since.
    past: Vec<u32>,
    /// Tokens of the prompt.
    prompt: usize,
    /// Tokens given ahead, and the step of the first.
    forced: (u32, Vec<u32>),
    /// The mixed logits of the last step, [`MASKED`] where a token was left out.
    z: Vec<f32>,
}

/// A row, and what its softmax is divided by.
#[derive(Debug, Clone, Copy)]
struct Normal<'a> {
    logits: &'a [f32],
    max: f32,
    /// `ln Σ exp(logit)`.
    lse: f64,
    /// Its entropy, in nats.
    entropy: f64,
}

impl<'a> Normal<'a> {
    fn new(isa: Isa, logits: &'a [f32], max: f32) -> Self {
        let [sum, spread] = exp_sums(isa, logits, max, 1.0);
        let lse = f64::from(max) + sum.ln();
        Self { logits, max, lse, entropy: sum.ln() - spread / sum }
    }

    /// The log-probability of a token; -inf where it has none.
    fn log_prob(&self, id: u32) -> f32 {
        let l = self.logits[id as usize];
        if is_possible(l) { (f64::from(l) - self.lse).min(0.0) as f32 } else { f32::NEG_INFINITY }
    }
}

impl CpuMixer {
    /// Checks the plan. The next step is step 0.
    pub fn new(plan: &CpuMixerPlan<'_>) -> Result<Self, MixError> {
        plan.rule.validate(plan.rows, plan.vocab)?;
        plan.sampling.validate(plan.vocab)?;
        for row in plan.report {
            check_row("the report", *row, plan.rows)?;
        }
        let mut mixer = Self {
            isa: Isa::best(),
            vocab: plan.vocab,
            rule: plan.rule.clone(),
            sampling: *plan.sampling,
            tokens: TokenRules::default(),
            scores: Vec::new(),
            ends: plan.ends.to_vec(),
            report: plan.report.to_vec(),
            candidates: plan.candidates as usize,
            past: plan.prompt.to_vec(),
            prompt: plan.prompt.len(),
            forced: (0, Vec::new()),
            z: Vec::new(),
        };
        mixer.set_tokens(plan.tokens)?;
        Ok(mixer)
    }

    /// Gives terms new weights, all or none. Their schedules end.
    pub fn set_weights(&mut self, weights: &[(usize, f32)]) -> Result<(), MixError> {
        self.rule = self.rule.with_weights(weights)?;
        Ok(())
    }

    /// Gives terms schedules, all or none.
    pub fn set_schedules(&mut self, schedules: &[Schedule]) -> Result<(), MixError> {
        self.rule = self.rule.with_schedules(schedules)?;
        Ok(())
    }

    /// Changes scores, bans and the allowed set.
    pub fn set_tokens(&mut self, tokens: &TokenRules) -> Result<(), MixError> {
        tokens.validate(self.vocab)?;
        self.scores = if tokens.is_empty() { Vec::new() } else { tokens.table(self.vocab) };
        self.tokens = tokens.clone();
        Ok(())
    }

    /// Gives the tokens of the steps from `from` on, whatever the mix says; what was given before is forgotten.
    pub fn force(&mut self, from: u32, ids: &[u32]) -> Result<(), MixError> {
        check_forced(ids, self.vocab)?;
        self.forced = (from, ids.to_vec());
        Ok(())
    }

    /// Changes how tokens are drawn.
    pub fn set_sampling(&mut self, sampling: &Sampling) -> Result<(), MixError> {
        sampling.validate(self.vocab)?;
        self.sampling = *sampling;
        Ok(())
    }

    /// Goes on after a prompt and what was `said`: the next step has the number of tokens said, and with the same seed makes the
    /// same noise as it ever did.
    pub fn restart(&mut self, prompt: &[u32], said: &[u32]) {
        self.past = [prompt, said].concat();
        self.prompt = prompt.len();
    }

    /// The number of the next step.
    fn step_number(&self) -> u32 {
        (self.past.len() - self.prompt) as u32
    }

    /// The mixed logits of the last step, -inf where a token was left out: `[vocab]`.
    pub fn logits(&self) -> Vec<f32> {
        self.z.iter().map(|z| if *z <= 0.5 * MASKED { f32::NEG_INFINITY } else { *z }).collect()
    }

    /// Draws a token from `rows`, `[vocab]` logits each, and reports. The token joins the past.
    pub fn step(&mut self, rows: &[&[f32]]) -> Result<Telemetry, MixError> {
        let (isa, step) = (self.isa, self.step_number());
        let weights: Vec<f32> = (0..self.rule.terms.len()).map(|term| self.rule.weight(term, step)).collect();
        let filter = self.rule.filter.map(|filter| filter.row);
        let terms = self.rule.terms.iter().map(|term| term.row).zip(weights.iter().copied());
        let weighty = terms.filter(|(_, weight)| *weight != 0.0).map(|(row, _)| row);
        let mut looked_at: Vec<usize> = weighty.chain(self.report.iter().copied()).chain(filter).collect();
        looked_at.sort_unstable();
        looked_at.dedup();
        let ranges: BTreeMap<usize, Range> = looked_at.iter().map(|row| (*row, range(isa, rows[*row]))).collect();
        let bad = ranges.iter().filter(|(_, range)| range.nan || range.max == f32::INFINITY);
        let bad: Vec<usize> = bad.map(|(row, _)| *row).collect();
        if !bad.is_empty() {
            return Err(MixError::Logits { step, rows: bad });
        }
        let forced = step.checked_sub(self.forced.0).and_then(|at| self.forced.1.get(at as usize)).copied();
        let ordinary = |range: &Range| range.max.max(-range.min) < ORDINARY;
        let simple = filter.is_none() && ranges.values().all(ordinary);
        let mut z = std::mem::take(&mut self.z);
        if let Some(forced) = forced {
            z.clear();
            z.resize(self.vocab as usize, MASKED);
            z[forced as usize] = 0.0;
        } else {
            if simple {
                self.sum(rows, &weights, &mut z);
            } else {
                z = self.plain(step).unedited(rows);
            }
            self.edit(step, &mut z);
        }
        self.z = z;
        let z_range = range(isa, &self.z);
        if z_range.max <= 0.5 * MASKED {
            return Err(MixError::Empty { step });
        }
        let token = self.draw(step, z_range.max).ok_or(MixError::Empty { step })?;
        let reported: Vec<Normal<'_>> =
            self.report.iter().map(|row| Normal::new(isa, rows[*row], ranges[row].max)).collect();
        let mix = Normal::new(isa, &self.z, z_range.max);
        let telemetry = self.telemetry(step, token, weights, &mix, &reported);
        self.past.push(token);
        Ok(telemetry)
    }

    /// z of every id where every logit is a number of ordinary size: the twin's sums in the twin's order.
    fn sum(&self, rows: &[&[f32]], weights: &[f32], z: &mut Vec<f32>) {
        z.clear();
        z.resize(self.vocab as usize, 0.0);
        for (term, weight) in self.rule.terms.iter().zip(weights).filter(|(_, weight)| **weight != 0.0) {
            z.iter_mut().zip(rows[term.row]).for_each(|(z, l)| *z += weight * l);
        }
        if self.rule.normalize {
            let scale = 1.0 / weights.iter().sum::<f32>();
            for z in z.iter_mut() {
                *z *= scale;
            }
        }
    }

    /// Scores, penalties, masks.
    fn edit(&self, step: u32, z: &mut [f32]) {
        for (z, score) in z.iter_mut().zip(&self.scores) {
            *z = if *z == MASKED || *score == MASKED { MASKED } else { *z + score };
        }
        let penalties = &self.sampling.penalties;
        let first = if penalties.prompt { 0 } else { self.prompt };
        if penalties.charge() || penalties.no_repeat_ngram != 0 {
            let past = prepare::window(&self.past, first, penalties.last_n);
            let mut counts: BTreeMap<u32, u32> = BTreeMap::new();
            for id in past {
                *counts.entry(*id).or_default() += 1;
            }
            for (id, count) in counts.range(..self.vocab) {
                let z = &mut z[*id as usize];
                if *z != MASKED {
                    *z = if *z > 0.0 { *z / penalties.repetition } else { *z * penalties.repetition };
                    *z -= *count as f32 * penalties.frequency + penalties.presence;
                }
            }
            let repeating = prepare::repeating(past, penalties.no_repeat_ngram);
            repeating.into_iter().filter(|id| *id < self.vocab).for_each(|id| z[id as usize] = MASKED);
        }
        if step < self.sampling.first_end() {
            self.ends.iter().filter(|id| **id < self.vocab).for_each(|id| z[*id as usize] = MASKED);
        }
    }

    /// The token, of which `max` is the highest z.
    fn draw(&self, step: u32, max: f32) -> Option<u32> {
        let Self { z, sampling, .. } = self;
        if sampling.temperature == 0.0 {
            return z.iter().position(|z| *z == max).map(|id| id as u32);
        }
        let (inv_t, seed) = (sampling.inv_temperature(), sampling.seed);
        if sampling.filters() {
            pick::twin(z, inv_t, seed, step, self.plain(step).kept(z))
        } else {
            Some(self.draw_from_all(inv_t, seed, step))
        }
    }

    /// The id with the largest z * `inv_t` + noise, the lowest on ties, as [`pick::twin`] of all that are not masked finds it.
    fn draw_from_all(&self, inv_t: f32, seed: u64, step: u32) -> u32 {
        let mut bounds = [0.0; RUN];
        let mut best = (f32::NEG_INFINITY, 0);
        for (run, z) in self.z.chunks(RUN).enumerate() {
            let first = (run * RUN) as u32;
            let bounds = &mut bounds[..z.len()];
            noise_bounds(self.isa, seed, step, first, z, inv_t, bounds);
            // Nearly all end here.
            if range(self.isa, bounds).max <= best.0 {
                continue;
            }
            for ((id, bound), z) in (first..).zip(&*bounds).zip(z) {
                if *bound <= best.0 || *z == MASKED {
                    continue;
                }
                let noisy = z * inv_t + pick::gumbel(pick::noise_bits(seed, step, id));
                if noisy > best.0 {
                    best = (noisy, id);
                }
            }
        }
        best.1
    }

    fn telemetry(
        &self,
        step: u32,
        token: u32,
        weights: Vec<f32>,
        mix: &Normal<'_>,
        reported: &[Normal<'_>],
    ) -> Telemetry {
        let (base, inv_t) = (&reported[0], self.sampling.inv_temperature());
        // softmax(z / T) has another normaliser.
        let sampled_lse = match inv_t {
            1.0 => mix.lse,
            _ => f64::from(mix.max) * f64::from(inv_t) + exp_sums(self.isa, &self.z, mix.max, inv_t)[0].ln(),
        };
        let sampled = |id: u32| (f64::from(self.z[id as usize]) * f64::from(inv_t) - sampled_lse).min(0.0) as f32;
        let rows = |id: u32| reported.iter().map(|row| row.log_prob(id)).collect::<Vec<f32>>();
        let apart = cross_sum(self.isa, mix.logits, mix.max, base.logits, base.max);
        let sum = (mix.lse - f64::from(mix.max)).exp();
        let kl = apart / sum - (mix.lse - f64::from(mix.max)) + (base.lse - f64::from(base.max));
        Telemetry {
            step,
            token,
            log_probs: rows(token),
            mix_log_prob: mix.log_prob(token),
            sampled_log_prob: sampled(token),
            base_entropy: base.entropy.max(0.0) as f32,
            kl: if kl > 1e28 { f32::INFINITY } else { kl.max(0.0) as f32 },
            weights,
            temperature: self.sampling.temperature,
            candidates: self
                .likeliest()
                .into_iter()
                .map(|(id, _)| Candidate { id, mix: mix.log_prob(id), sampled: sampled(id), rows: rows(id) })
                .collect(),
        }
    }

    /// The most likely tokens, most likely first, the lowest id first where they tie.
    fn likeliest(&self) -> Vec<(u32, f32)> {
        let most = self.candidates;
        let mut found: Vec<(u32, f32)> = Vec::with_capacity(most + 1);
        if most == 0 {
            return found;
        }
        for (run, z) in self.z.chunks(RUN).enumerate() {
            let enough = |found: &[(u32, f32)], z: f32| {
                found.len() == most && found.last().is_some_and(|(_, least)| z <= *least)
            };
            // Nearly all end here.
            if enough(&found, range(self.isa, z).max) {
                continue;
            }
            for (id, z) in ((run * RUN) as u32..).zip(z) {
                if *z == MASKED || enough(&found, *z) {
                    continue;
                }
                let place = found.partition_point(|(_, other)| *other >= *z);
                found.insert(place, (id, *z));
                found.truncate(most);
            }
        }
        found
    }

    /// The same step as its twin has it.
    fn plain(&self, step: u32) -> Step<'_> {
        Step {
            report: &self.report,
            candidates: self.candidates,
            prompt: &self.past[..self.prompt],
            said: &self.past[self.prompt..],
            tokens: &self.tokens,
            ends: &self.ends,
            ..Step::new(&self.rule, &self.sampling, step)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::guidance::{FilterKind, Penalties, RowFilter, Term};
    use crate::ops::mixing::lab::{Kind, rows_of};

    const VOCAB: usize = 700;

    fn rule(weights: &[f32]) -> MixRule {
        let term = |(row, weight): (usize, &f32)| Term { row, weight: *weight };
        MixRule { terms: weights.iter().enumerate().map(term).collect(), ..MixRule::default() }
    }

    /// Every rule and every setting, over rows of every kind: the token of the twin, and its report.
    #[test]
    fn a_step_is_the_twins() {
        let rules = [
            rule(&[1.0]),
            rule(&[1.0, 1.5, -0.5]),
            MixRule { normalize: true, ..rule(&[1.0, 2.0, 0.0]) },
            MixRule { schedules: vec![Schedule { term: 1, points: vec![(0, 0.0), (3, 2.0)] }], ..rule(&[1.0, 1.0]) },
            MixRule { filter: Some(RowFilter { row: 1, kind: FilterKind::TopK { k: 40 } }), ..rule(&[1.0, 0.5]) },
            MixRule { filter: Some(RowFilter { row: 2, kind: FilterKind::TopP { p: 0.9 } }), ..rule(&[1.0, 0.5]) },
            MixRule {
                filter: Some(RowFilter { row: 0, kind: FilterKind::Plausibility { alpha: 0.1 } }),
                ..rule(&[1.0, -0.5])
            },
            MixRule { filter: Some(RowFilter { row: 0, kind: FilterKind::TypicalP { p: 0.5 } }), ..rule(&[1.0]) },
        ];
        let penalties =
            Penalties { repetition: 1.3, presence: 0.2, frequency: 0.1, no_repeat_ngram: 2, last_n: 40, prompt: true };
        let plain = Sampling::default();
        let samplings = [
            plain,
            Sampling::greedy(),
            Sampling { temperature: 0.7, top_k: 30, top_p: 0.9, seed: 11, ..plain },
            Sampling { temperature: 1.4, min_p: 0.05, seed: 12, ..plain },
            Sampling { typical_p: 0.6, seed: 13, min_tokens: 3, ..plain },
            Sampling { penalties, ignore_eos: true, seed: 14, ..plain },
        ];
        let said =
            TokenRules { scores: [(3, 4.0), (8, -2.0)].into(), banned: vec![5, 6], allowed: Some((0..400).collect()) };
        let mut compared = 0;
        for kind in [Kind::Random, Kind::Spread, Kind::Equal, Kind::Ties, Kind::Holes] {
            for rule in &rules {
                for sampling in &samplings {
                    for tokens in [&TokenRules::default(), &said] {
                        let logits = rows_of(VOCAB, 3, kind);
                        let rows: Vec<&[f32]> = logits.iter().map(Vec::as_slice).collect();
                        let plan = CpuMixerPlan {
                            vocab: VOCAB as u32,
                            rows: 3,
                            rule,
                            sampling,
                            tokens,
                            prompt: &[1, 2, 3, 2],
                            ends: &[9, 10],
                            report: &[0, 1, 2],
                            candidates: 7,
                        };
                        let mut mixer = CpuMixer::new(&plan).expect("it is sound");
                        mixer.force(2, &[17]).expect("it is a token");
                        let mut past = Vec::new();
                        for step in 0..4 {
                            let twin = Step {
                                report: &[0, 1, 2],
                                candidates: 7,
                                prompt: &[1, 2, 3, 2],
                                said: &past,
                                tokens,
                                ends: &[9, 10],
                                forced: (step == 2).then_some(17),
                                ..Step::new(rule, sampling, step)
                            };
                            let (got, want) = (mixer.step(&rows), twin.run(&rows));
                            let context = format!("{kind:?}, {rule:?}, {sampling:?}, step {step}");
                            match (&got, &want) {
                                (Ok(got), Ok(want)) => alike(got, want, &context),
                                _ => assert_eq!(got, want, "{context}"),
                            }
                            past.push(want.map_or(0, |telemetry| telemetry.token));
                            mixer.restart(&[1, 2, 3, 2], &past);
                            compared += 1;
                        }
                    }
                }
            }
        }
        assert!(compared > 1000);
        let nan = vec![0.0, f32::NAN];
        let plan = CpuMixerPlan {
            vocab: 2,
            rows: 1,
            rule: &rules[0],
            sampling: &plain,
            tokens: &TokenRules::default(),
            prompt: &[],
            ends: &[],
            report: &[0],
            candidates: 0,
        };
        let refused = CpuMixer::new(&plan).expect("it is sound").step(&[&nan]);
        assert_eq!(refused, Err(MixError::Logits { step: 0, rows: vec![0] }));
    }

    #[test]
    fn a_draw_from_all_is_the_twins() {
        let (rule, sampling) = (rule(&[1.0]), Sampling { temperature: 0.8, seed: 9, ..Sampling::default() });
        for vocab in [1, 255, 256, 5000] {
            let logits = rows_of(vocab, 1, Kind::Spread);
            let plan = CpuMixerPlan {
                vocab: vocab as u32,
                rows: 1,
                rule: &rule,
                sampling: &sampling,
                tokens: &TokenRules::default(),
                prompt: &[],
                ends: &[],
                report: &[0],
                candidates: 0,
            };
            let mut mixer = CpuMixer::new(&plan).expect("it is sound");
            for step in 0..200 {
                let drawn = mixer.step(&[&logits[0]]).expect("it draws").token;
                assert_eq!(Some(drawn), pick::twin(&logits[0], 1.0 / 0.8, 9, step, |_| true));
            }
        }
    }

    fn alike(got: &Telemetry, want: &Telemetry, context: &str) {
        let close = |got: f32, want: f32, what: &str| {
            let same = got == want || (got - want).abs() <= 2e-5 * want.abs().max(1.0) || (got < -80.0 && want < -80.0);
            let both_out = want > 1e20 && got > 1e20;
            assert!(same || both_out, "{what} is {got}, not {want}: {context}");
        };
        assert_eq!((got.step, got.token, &got.weights), (want.step, want.token, &want.weights), "{context}");
        close(got.mix_log_prob, want.mix_log_prob, "the mix");
        close(got.sampled_log_prob, want.sampled_log_prob, "the draw");
        close(got.base_entropy, want.base_entropy, "the entropy");
        close(got.kl, want.kl, "KL");
        got.log_probs.iter().zip(&want.log_probs).for_each(|(got, want)| close(*got, *want, "a row"));
        let ids = |telemetry: &Telemetry| telemetry.candidates.iter().map(|c| c.id).collect::<Vec<_>>();
        assert_eq!(ids(got), ids(want), "{context}");
        for (got, want) in got.candidates.iter().zip(&want.candidates) {
            close(got.mix, want.mix, "a candidate's mix");
            got.rows.iter().zip(&want.rows).for_each(|(got, want)| close(*got, *want, "a candidate's row"));
        }
    }
}
