//! The mix on the CPU: a whole step at once, steered live. What it computes is said plainly in [`super::twin`]; here the passes over
//! a vocabulary are vectorised, and what edits single tokens touches only these.

use std::collections::BTreeMap;

use std::ops;

use pilotfish_cpu::{Isa, Range, Workers, cross_sum, exp_sums, noise_bounds, range};

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

/// Tokens that a thread takes at once.
const PIECE: usize = 32 * RUN;

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
    /// Reports are [`Telemetry::of_the_mix`].
    pub mix_only: bool,
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
    mix_only: bool,
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
    /// Of what [`exp_sums`] says of `logits`, of which `max` is the highest.
    fn new(logits: &'a [f32], max: f32, [sum, spread]: [f64; 2]) -> Self {
        Self { logits, max, lse: f64::from(max) + sum.ln(), entropy: sum.ln() - spread / sum }
    }

    /// The log-probability of a token; -inf where it has none.
    fn log_prob(&self, id: u32) -> f32 {
        let l = self.logits[id as usize];
        if is_possible(l) { (f64::from(l) - self.lse).min(0.0) as f32 } else { f32::NEG_INFINITY }
    }
}

/// What a piece of the vocabulary adds to a step.
#[derive(Debug, Default)]
struct Sums {
    /// [`exp_sums`] of the rows that are reported, none if only the mix is.
    reported: Vec<[f64; 2]>,
    /// The same of the mix.
    mix: [f64; 2],
    /// The mix's normaliser at the sampler's temperature.
    sampled: f64,
    /// [`cross_sum`] of the mix and the base.
    apart: f64,
    /// The best token of a draw from all, and how good it is.
    drawn: Option<(f32, u32)>,
    /// The most likely tokens, see [`CpuMixer::likeliest`].
    likeliest: Vec<(u32, f32)>,
}

/// z of every id where every logit is a number of ordinary size: the twin's sums in the twin's order.
fn sum(workers: &Workers, rows: &[&[f32]], terms: &[(usize, f32)], scale: f32, z: &mut [f32]) {
    workers.pieces(z, PIECE, |first, z| {
        z.fill(0.0);
        for (row, weight) in terms {
            z.iter_mut().zip(&rows[*row][first..]).for_each(|(z, l)| *z += weight * l);
        }
        if scale != 1.0 {
            for z in z {
                *z *= scale;
            }
        }
    });
}

/// Whether every logit is a number of ordinary size.
fn is_ordinary(range: &Range) -> bool {
    !range.nan && range.max.max(-range.min) < ORDINARY
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
            mix_only: plan.mix_only,
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

    /// The terms' weights at a step.
    fn weights(&self, step: u32) -> Vec<f32> {
        (0..self.rule.terms.len()).map(|term| self.rule.weight(term, step)).collect()
    }

    /// The rows that have weight at a step.
    fn weighty(&self, step: u32) -> Vec<(usize, f32)> {
        let terms = self.rule.terms.iter().map(|term| term.row).zip(self.weights(step));
        terms.filter(|(_, weight)| *weight != 0.0).collect()
    }

    /// What a sum of weighted logits is multiplied with.
    fn scale(&self, weighty: &[(usize, f32)]) -> f32 {
        if self.rule.normalize { 1.0 / weighty.iter().map(|(_, weight)| weight).sum::<f32>() } else { 1.0 }
    }

    /// Whether a step needs no more of the rows than their sum.
    pub fn adds_up(&self) -> bool {
        self.mix_only && self.rule.filter.is_none()
    }

    /// What the rows' logits are multiplied with in the sums that [`CpuMixer::step_of_sums`] draws the next token from.
    pub fn shares(&self) -> Vec<(usize, f32)> {
        let weighty = self.weighty(self.step_number());
        let scale = self.scale(&weighty);
        weighty.into_iter().map(|(row, weight)| (row, weight * scale)).collect()
    }

    /// Draws a token from `sums`, `[vocab]` each, which together are all rows times their [shares](CpuMixer::shares), and reports. The
    /// token joins the past.
    pub fn step_of_sums(&mut self, workers: &Workers, sums: &[&[f32]]) -> Result<Telemetry, MixError> {
        debug_assert!(self.adds_up());
        let step = self.step_number();
        // Whose they are cannot be told any more.
        let ranges = self.ranges(workers, sums);
        if !ranges.iter().all(is_ordinary) {
            return Err(MixError::Logits { step, rows: self.weighty(step).into_iter().map(|(row, _)| row).collect() });
        }
        let terms: Vec<(usize, f32)> = (0..sums.len()).map(|part| (part, 1.0)).collect();
        let as_summed = self.mix(step, |_, z| sum(workers, sums, &terms, 1.0, z));
        let max = if as_summed && let [whole] = &ranges[..] { Some(whole.max) } else { None };
        self.draw_and_report(workers, step, &[], max)
    }

    /// Draws a token from `rows`, `[vocab]` logits each, and reports. The token joins the past.
    pub fn step(&mut self, workers: &Workers, rows: &[&[f32]]) -> Result<Telemetry, MixError> {
        let step = self.step_number();
        let filter = self.rule.filter.map(|filter| filter.row);
        let weighty = self.weighty(step);
        let mut looked_at: Vec<usize> = weighty.iter().map(|(row, _)| *row).collect();
        looked_at.extend(self.report.iter().copied().chain(filter));
        looked_at.sort_unstable();
        looked_at.dedup();
        let ranges = self.ranges(workers, &looked_at.iter().map(|row| rows[*row]).collect::<Vec<_>>());
        let ranges: BTreeMap<usize, Range> = looked_at.into_iter().zip(ranges).collect();
        let bad = ranges.iter().filter(|(_, range)| range.nan || range.max == f32::INFINITY);
        let bad: Vec<usize> = bad.map(|(row, _)| *row).collect();
        if !bad.is_empty() {
            return Err(MixError::Logits { step, rows: bad });
        }
        let simple = filter.is_none() && ranges.values().all(is_ordinary);
        let as_summed = self.mix(step, |mixer, z| {
            if simple {
                sum(workers, rows, &weighty, mixer.scale(&weighty), z);
            } else {
                *z = mixer.plain(step).unedited(rows);
            }
        });
        // Without guides and rules z is the base's row, of which all is known.
        let is_base = simple && as_summed && weighty == [(self.report[0], 1.0)];
        let max = is_base.then(|| ranges[&self.report[0]].max);
        let reported: &[usize] = if self.mix_only { &[] } else { &self.report };
        let reported: Vec<(&[f32], f32)> = reported.iter().map(|row| (rows[*row], ranges[row].max)).collect();
        self.draw_and_report(workers, step, &reported, max)
    }

    /// Makes z: what `unedited` leaves there, edited, or the token that is given for this step. Says whether it is what `unedited` left.
    fn mix(&mut self, step: u32, unedited: impl FnOnce(&Self, &mut Vec<f32>)) -> bool {
        let mut z = std::mem::take(&mut self.z);
        z.resize(self.vocab as usize, 0.0);
        let forced = step.checked_sub(self.forced.0).and_then(|at| self.forced.1.get(at as usize));
        let edited = if let Some(forced) = forced {
            z.fill(MASKED);
            z[*forced as usize] = 0.0;
            true
        } else {
            unedited(self, &mut z);
            self.edit(step, &mut z)
        };
        self.z = z;
        !edited
    }

    /// Draws from z and reports; of `reported` rows each with its highest logit, of none if only the mix is. `max` is the highest z where it is
    /// known: of `reported` the first, the base, is z itself then.
    fn draw_and_report(
        &mut self,
        workers: &Workers,
        step: u32,
        reported: &[(&[f32], f32)],
        max: Option<f32>,
    ) -> Result<Telemetry, MixError> {
        let is_base = max.is_some();
        let max = max.unwrap_or_else(|| self.ranges(workers, &[&self.z])[0].max);
        if max <= 0.5 * MASKED {
            return Err(MixError::Empty { step });
        }
        let sums = self.sums(workers, step, reported, max, is_base);
        let token = match sums.drawn {
            Some((_, id)) => id,
            None => self.draw_from_kept(step).ok_or(MixError::Empty { step })?,
        };
        let telemetry = self.telemetry(step, token, reported, max, sums);
        self.past.push(token);
        Ok(telemetry)
    }

    /// What `work` says of each piece of the vocabulary, in order.
    fn pieces<R: Send>(&self, workers: &Workers, work: impl Fn(ops::Range<usize>) -> R + Sync) -> Vec<R> {
        let vocab = self.vocab as usize;
        let mut said: Vec<Option<R>> = (0..vocab.div_ceil(PIECE)).map(|_| None).collect();
        workers.pieces(&mut said, 1, |piece, said| {
            let first = piece * PIECE;
            said[0] = Some(work(first..vocab.min(first + PIECE)));
        });
        said.into_iter().flatten().collect()
    }

    /// The ranges of `[vocab]` numbers each.
    fn ranges(&self, workers: &Workers, all: &[&[f32]]) -> Vec<Range> {
        let pieces =
            self.pieces(workers, |ids| all.iter().map(|x| range(self.isa, &x[ids.clone()])).collect::<Vec<_>>());
        let whole = |x: usize| pieces.iter().map(|piece| piece[x]).reduce(Range::and).unwrap_or(Range::NOTHING);
        (0..all.len()).map(whole).collect()
    }

    /// Scores, penalties, masks. Says whether there are any.
    fn edit(&self, step: u32, z: &mut [f32]) -> bool {
        let mut edited = !self.scores.is_empty();
        for (z, score) in z.iter_mut().zip(&self.scores) {
            *z = if *z == MASKED || *score == MASKED { MASKED } else { *z + score };
        }
        let penalties = &self.sampling.penalties;
        let first = if penalties.prompt { 0 } else { self.prompt };
        if penalties.charge() || penalties.no_repeat_ngram != 0 {
            edited = true;
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
            edited = true;
            self.ends.iter().filter(|id| **id < self.vocab).for_each(|id| z[*id as usize] = MASKED);
        }
        edited
    }

    /// What is added up over the vocabulary, the highest z being `max`. Where the mix is the base, its sums are the base's.
    fn sums(&self, workers: &Workers, step: u32, reported: &[(&[f32], f32)], max: f32, is_base: bool) -> Sums {
        let (isa, inv_t) = (self.isa, self.sampling.inv_temperature());
        let pieces = self.pieces(workers, |ids| {
            let z = &self.z[ids.clone()];
            let first = ids.start as u32;
            let of_row = |(row, max): &(&[f32], f32)| exp_sums(isa, &row[ids.clone()], *max, 1.0);
            let reported_sums: Vec<[f64; 2]> = reported.iter().map(of_row).collect();
            let mix = reported_sums.first().copied().filter(|_| is_base);
            let mix = mix.unwrap_or_else(|| exp_sums(isa, z, max, 1.0));
            let base = reported.first().filter(|_| !is_base);
            Sums {
                mix,
                reported: reported_sums,
                sampled: if inv_t == 1.0 { mix[0] } else { exp_sums(isa, z, max, inv_t)[0] },
                apart: base.map_or(0.0, |(base, base_max)| cross_sum(isa, z, max, &base[ids.clone()], *base_max)),
                drawn: self.draw(step, first, z, max),
                likeliest: self.likeliest(first, z),
            }
        });
        let mut all = Sums { reported: vec![[0.0; 2]; reported.len()], ..Sums::default() };
        for piece in pieces {
            let add = |sum: &mut [f64; 2], more: [f64; 2]| *sum = [sum[0] + more[0], sum[1] + more[1]];
            all.reported.iter_mut().zip(piece.reported).for_each(|(sum, more)| add(sum, more));
            add(&mut all.mix, piece.mix);
            all.sampled += piece.sampled;
            all.apart += piece.apart;
            // Of equals the first, which has the lowest id.
            if let Some(drawn) = piece.drawn
                && all.drawn.is_none_or(|best| drawn.0 > best.0)
            {
                all.drawn = Some(drawn);
            }
            all.likeliest.extend(piece.likeliest);
        }
        all.likeliest.sort_by(|a, b| b.1.total_cmp(&a.1).then(a.0.cmp(&b.0)));
        all.likeliest.truncate(self.candidates);
        all
    }

    /// The best token of a piece, and how good it is, where all tokens may be drawn; `None` where filters leave some out, or where
    /// the draw is greedy and the highest z, `max`, is not in this piece.
    fn draw(&self, step: u32, first: u32, z: &[f32], max: f32) -> Option<(f32, u32)> {
        if self.sampling.temperature == 0.0 {
            let at = z.iter().position(|z| *z == max)?;
            return Some((max, first + at as u32));
        }
        if self.sampling.filters() {
            return None;
        }
        let (inv_t, seed) = (self.sampling.inv_temperature(), self.sampling.seed);
        let mut bounds = [0.0; RUN];
        let mut best: Option<(f32, u32)> = None;
        for (run, z) in z.chunks(RUN).enumerate() {
            let first = first + (run * RUN) as u32;
            let bounds = &mut bounds[..z.len()];
            noise_bounds(self.isa, seed, step, first, z, inv_t, bounds);
            let least = best.map_or(f32::NEG_INFINITY, |(score, _)| score);
            // Nearly all end here.
            if range(self.isa, bounds).max <= least {
                continue;
            }
            for ((id, bound), z) in (first..).zip(&*bounds).zip(z) {
                if *z == MASKED || best.is_some_and(|(score, _)| *bound <= score) {
                    continue;
                }
                let noisy = z * inv_t + pick::gumbel(pick::noise_bits(seed, step, id));
                if best.is_none_or(|(score, _)| noisy > score) {
                    best = Some((noisy, id));
                }
            }
        }
        best
    }

    /// The token of a draw from what the filters keep.
    fn draw_from_kept(&self, step: u32) -> Option<u32> {
        let Self { z, sampling, .. } = self;
        pick::twin(z, sampling.inv_temperature(), sampling.seed, step, self.plain(step).kept(z))
    }

    fn telemetry(&self, step: u32, token: u32, reported: &[(&[f32], f32)], max: f32, sums: Sums) -> Telemetry {
        let inv_t = self.sampling.inv_temperature();
        let mix = Normal::new(&self.z, max, sums.mix);
        let reported: Vec<Normal<'_>> =
            reported.iter().zip(sums.reported).map(|((row, max), sums)| Normal::new(row, *max, sums)).collect();
        // softmax(z / T) has another normaliser.
        let sampled_lse = f64::from(max) * f64::from(inv_t) + sums.sampled.ln();
        let sampled = |id: u32| (f64::from(self.z[id as usize]) * f64::from(inv_t) - sampled_lse).min(0.0) as f32;
        let rows = |id: u32| reported.iter().map(|row| row.log_prob(id)).collect::<Vec<f32>>();
        let kl = |base: &Normal<'_>| {
            let kl = sums.apart / sums.mix[0] - (mix.lse - f64::from(mix.max)) + (base.lse - f64::from(base.max));
            if kl > 1e28 { f32::INFINITY } else { kl.max(0.0) as f32 }
        };
        let base = reported.first();
        Telemetry {
            step,
            token,
            log_probs: rows(token),
            mix_log_prob: mix.log_prob(token),
            sampled_log_prob: sampled(token),
            base_entropy: base.map_or(f32::NAN, |base| base.entropy.max(0.0) as f32),
            kl: base.map_or(f32::NAN, kl),
            weights: self.weights(step),
            temperature: self.sampling.temperature,
            candidates: sums
                .likeliest
                .into_iter()
                .map(|(id, _)| Candidate { id, mix: mix.log_prob(id), sampled: sampled(id), rows: rows(id) })
                .collect(),
        }
    }

    /// The most likely tokens of a piece, most likely first, the lowest id first where they tie.
    fn likeliest(&self, first: u32, z: &[f32]) -> Vec<(u32, f32)> {
        let most = self.candidates;
        let mut found: Vec<(u32, f32)> = Vec::with_capacity(most + 1);
        if most == 0 {
            return found;
        }
        for (run, z) in z.chunks(RUN).enumerate() {
            let enough = |found: &[(u32, f32)], z: f32| {
                found.len() == most && found.last().is_some_and(|(_, least)| z <= *least)
            };
            // Nearly all end here.
            if enough(&found, range(self.isa, z).max) {
                continue;
            }
            for (id, z) in (first + (run * RUN) as u32..).zip(z) {
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
mod tests;
