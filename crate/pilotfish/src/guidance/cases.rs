//! Whole steps on the GPU against their twin: the same token, the same report, step after step.

use super::twin::Step;
use super::{
    FilterKind, MixError, MixRule, Mixer, MixerPlan, Penalties, RowFilter, Sampling, Schedule, Telemetry, Term,
    TokenRules,
};
use crate::gpu::{Gpu, GpuError, StepShape, record};
use crate::ops::grid::{Case, Comparison};
use crate::ops::mixing::Spread;
use crate::ops::mixing::lab::{Kind, rows_of};

/// Where a second decode batch begins, in bytes.
const SECOND: u64 = 256;
/// The lane that is mixed for.
const LANE: u32 = 3;

/// One point of the grid.
#[derive(Debug, Clone)]
struct Setup {
    vocab: usize,
    rows: usize,
    kind: Kind,
    rule: MixRule,
    sampling: Sampling,
    tokens: TokenRules,
    prompt: Vec<u32>,
    ends: Vec<u32>,
    forced: (u32, Vec<u32>),
    steps: u32,
    spread: Spread,
}

impl Setup {
    fn name(&self) -> String {
        let Self { vocab, rows, kind, rule, sampling, tokens, forced, steps, spread, .. } = self;
        let mut more = String::new();
        if sampling.typical_p != 1.0 {
            more += &format!("/typical={}", sampling.typical_p);
        }
        if sampling.penalties != Penalties::default() {
            let Penalties { repetition, presence, frequency, no_repeat_ngram, last_n, prompt } = sampling.penalties;
            more += &format!(
                "/repetition={repetition}/presence={presence}/frequency={frequency}/ngram={no_repeat_ngram}/last={last_n}/prompt={prompt}"
            );
        }
        if !tokens.is_empty() {
            let TokenRules { scores, banned, allowed } = tokens;
            let allowed = allowed.as_ref().map_or(*vocab, Vec::len);
            more += &format!("/scores={}/banned={}/allowed={allowed}", scores.len(), banned.len());
        }
        if sampling.first_end() != 0 {
            more += &format!("/first_end={}", sampling.first_end());
        }
        if !forced.1.is_empty() {
            more += &format!("/forced={}", forced.1.len());
        }
        if !rule.schedules.is_empty() {
            more += &format!("/schedules={}", rule.schedules.len());
        }
        let filter = rule.filter.map_or("none".to_owned(), |filter| format!("{:?}", filter.kind).replace(' ', ""));
        format!(
            "mixer/vocab={vocab}/rows={rows}/kind={kind:?}/normalize={}/filter={filter}/T={}/k={}/p={}/min_p={}{more}/steps={steps}/{spread:?}",
            rule.normalize, sampling.temperature, sampling.top_k, sampling.top_p, sampling.min_p
        )
    }

    fn logits(&self) -> Vec<Vec<f32>> {
        rows_of(self.vocab, self.rows, self.kind)
    }

    fn said_by_twin(&self, rows: &[Vec<f32>]) -> Vec<Result<Telemetry, MixError>> {
        let rows: Vec<&[f32]> = rows.iter().map(Vec::as_slice).collect();
        let report: Vec<usize> = (0..self.rows).collect();
        let mut said = Vec::new();
        (0..self.steps)
            .map(|step| {
                let forced = step.checked_sub(self.forced.0).and_then(|at| self.forced.1.get(at as usize));
                let reported = Step {
                    report: &report,
                    candidates: 10,
                    prompt: &self.prompt,
                    said: &said,
                    tokens: &self.tokens,
                    ends: &self.ends,
                    forced: forced.copied(),
                    ..Step::new(&self.rule, &self.sampling, step)
                }
                .run(&rows);
                // As `finish`, which says the first token where nothing is left.
                said.push(reported.as_ref().map_or(0, |reported| reported.token));
                reported
            })
            .collect()
    }

    /// Runs the steps and returns the reports and the two decode batches afterwards.
    async fn said_by_gpu(
        &self,
        gpu: &Gpu,
        rows: &[Vec<f32>],
    ) -> crate::Result<(Vec<Result<Telemetry, MixError>>, Vec<u32>)> {
        let logits = gpu.storage_of("logits", &rows.concat())?;
        // Two rows in the first batch and one of another lane, one in the second; all at position 4.
        let mut batches = vec![0u32; 64 + 8];
        batches[..16].copy_from_slice(&[3, 3, 1, 0, 9, 0, 4, LANE, 9, 1, 4, LANE, 9, 2, 4, 0]);
        batches[64..].copy_from_slice(&[1, 1, 1, 0, 9, 0, 4, LANE]);
        let batches = gpu.storage_of("batches", &batches)?;
        let mut mixer = Mixer::spread(
            gpu,
            &MixerPlan {
                vocab: self.vocab as u32,
                vocab_stride: self.vocab as u32,
                logits: &logits,
                rows: self.rows,
                rule: &self.rule,
                sampling: &self.sampling,
                tokens: &self.tokens,
                prompt: &self.prompt,
                ends: &self.ends,
                room: self.prompt.len() as u32 + self.steps,
                report: (0..self.rows).collect(),
                candidates: 10,
                batches: &batches,
                batch_offsets: vec![0, SECOND],
                lane: LANE,
                slots: self.steps,
            },
            self.spread,
        )?;
        mixer.force(gpu, self.forced.0, &self.forced.1)?;
        for _ in 0..self.steps {
            step(gpu, &mixer);
        }
        let bytes = (u64::from(self.steps) * mixer.slot_bytes()) as usize;
        let ring = gpu.read::<u8>(mixer.ring(), bytes).await?;
        let reports = ring.chunks(mixer.slot_bytes() as usize);
        let said = reports.map(|report| Telemetry::decode(report, &mixer.layout())).collect();
        Ok((said, gpu.read(&batches, 72).await?))
    }

    fn case(self) -> Case {
        Case::new(self.name(), move |gpu| {
            let setup = self.clone();
            Box::pin(async move {
                let rows = setup.logits();
                let want = setup.said_by_twin(&rows);
                let (got, batches) = match setup.said_by_gpu(gpu, &rows).await {
                    Ok(said) => said,
                    Err(crate::Error::Gpu(error)) => return Err(error),
                    Err(error) => return Err(GpuError::Invalid { message: error.to_string() }),
                };
                Ok(compare(&got, &want, &batches))
            })
        })
    }
}

/// One step, submitted.
fn step(gpu: &Gpu, mixer: &Mixer) {
    let mut encoder = gpu.encoder();
    record(&mut encoder, mixer.dispatches().map(|dispatch| (dispatch, StepShape::default())), None);
    gpu.submit(encoder);
}

/// What must be equal becomes 1 wanted; log-probs, entropy and KL are compared as they are.
fn compare(got: &[Result<Telemetry, MixError>], want: &[Result<Telemetry, MixError>], batches: &[u32]) -> Comparison {
    let mut pairs = vec![(f32::from(u8::from(got.len() == want.len())), 1.0)];
    let same = |holds: bool, pairs: &mut Vec<(f32, f32)>| pairs.push((f32::from(u8::from(holds)), 1.0));
    // A log-prob far below any that matters says only that it is far below.
    let far = |log_prob: f32| log_prob.max(-1e3);
    for (got, want) in got.iter().zip(want) {
        let (Ok(got), Ok(want)) = (got, want) else {
            same(got == want, &mut pairs);
            continue;
        };
        same(got.step == want.step, &mut pairs);
        same(got.token == want.token, &mut pairs);
        same(got.weights.len() == want.weights.len() && got.temperature == want.temperature, &mut pairs);
        pairs.extend(got.weights.iter().copied().zip(want.weights.iter().copied()));
        same(got.candidates.len() == want.candidates.len(), &mut pairs);
        pairs.push((far(got.mix_log_prob), far(want.mix_log_prob)));
        pairs.push((far(got.sampled_log_prob), far(want.sampled_log_prob)));
        pairs.push((got.base_entropy, want.base_entropy));
        pairs.push((got.kl.min(1e3), want.kl.min(1e3)));
        pairs.extend(got.log_probs.iter().zip(&want.log_probs).map(|(got, want)| (far(*got), far(*want))));
        for (got, want) in got.candidates.iter().zip(&want.candidates) {
            same(got.id == want.id, &mut pairs);
            pairs.push((far(got.mix), far(want.mix)));
            pairs.push((far(got.sampled), far(want.sampled)));
            pairs.extend(got.rows.iter().zip(&want.rows).map(|(got, want)| (far(*got), far(*want))));
        }
    }
    // After a fault the token is whatever could be said; it must be fed to all alike.
    let last = want.last().and_then(|said| said.as_ref().ok()).map_or(batches[4], |said| said.token);
    let position = 4 + want.len() as u32;
    let second = SECOND as usize / 4;
    let fed = [last, 0, position, LANE, last, 1, position, LANE, 9, 2, 4, 0];
    same(batches[4..16] == fed && batches[second + 4..] == fed[..4], &mut pairs);
    let (got, want) = pairs.into_iter().unzip();
    Comparison::close(got, want, 2e-5)
}

/// Weights of both signs over the rows, the base first with weight 1.
fn rule(rows: usize) -> MixRule {
    let weight = |row: usize| [1.0, 0.8, -0.5, 0.25, -1.5, 0.0, 2.0, -0.1][row % 8];
    MixRule { terms: (0..rows).map(|row| Term { row, weight: weight(row) }).collect(), ..MixRule::default() }
}

pub(crate) fn cases() -> Vec<Case> {
    let warm = Sampling { temperature: 0.8, seed: 0x1234_5678_9abc_def0, ..Sampling::default() };
    let plain = |vocab, rows| Setup {
        vocab,
        rows,
        kind: Kind::Random,
        rule: rule(rows),
        sampling: warm,
        tokens: TokenRules::default(),
        prompt: Vec::new(),
        ends: Vec::new(),
        forced: (0, Vec::new()),
        steps: 4,
        spread: Spread::Narrow,
    };
    let mut setups = Vec::new();
    for (vocab, rows) in [(1, 1), (2, 2), (255, 3), (256, 1), (257, 8), (1000, 3), (49_152, 2), (49_152, 8)] {
        setups.push(plain(vocab, rows));
        setups.push(Setup { sampling: Sampling::greedy(), ..plain(vocab, rows) });
        setups.push(Setup { spread: Spread::Wide, ..plain(vocab, rows) });
    }
    let samplings = [
        Sampling { temperature: 0.0, top_k: 5, ..warm },
        Sampling { top_k: 1, ..warm },
        Sampling { top_k: 40, ..warm },
        Sampling { top_p: 0.9, ..warm },
        Sampling { top_p: 0.001, ..warm },
        Sampling { min_p: 0.05, ..warm },
        Sampling { top_k: 40, top_p: 0.7, ..warm },
        Sampling { temperature: 1.7, top_k: 100, top_p: 0.95, min_p: 0.02, ..warm },
    ];
    for kind in [Kind::Random, Kind::Ties, Kind::Equal, Kind::Spread, Kind::Holes] {
        for sampling in samplings {
            setups.push(Setup { kind, sampling, ..plain(1000, 2) });
        }
        setups.push(Setup { kind, sampling: samplings[7], spread: Spread::Wide, ..plain(49_152, 3) });
    }
    let filters = [
        FilterKind::Plausibility { alpha: 0.1 },
        FilterKind::Plausibility { alpha: 1.0 },
        FilterKind::TopK { k: 1 },
        FilterKind::TopK { k: 20 },
        FilterKind::TopP { p: 0.9 },
        FilterKind::TypicalP { p: 0.6 },
    ];
    for kind in [Kind::Random, Kind::Ties, Kind::Holes] {
        for filter in filters {
            let rule = MixRule { filter: Some(RowFilter { row: 1, kind: filter }), normalize: true, ..rule(3) };
            setups.push(Setup { kind, rule: rule.clone(), ..plain(1000, 3) });
            setups.push(Setup { kind, rule, sampling: samplings[7], ..plain(257, 3) });
        }
    }
    // No logit but NaN, and nothing left: both are told, and nothing hangs.
    setups.push(Setup { kind: Kind::Nan, ..plain(1000, 3) });
    setups.push(Setup { kind: Kind::Nan, sampling: samplings[7], ..plain(1000, 3) });
    setups.push(Setup { kind: Kind::Impossible, ..plain(300, 2) });
    setups.push(Setup { kind: Kind::Impossible, sampling: samplings[7], ..plain(300, 2) });
    // Radix totals at their largest: every token as likely as any other, in a vocabulary larger than Gemma's.
    setups.push(Setup {
        kind: Kind::Equal,
        sampling: Sampling { top_p: 0.5, ..warm },
        steps: 1,
        spread: Spread::Wide,
        ..plain(262_208, 1)
    });
    // Long runs: token for token.
    setups.push(Setup { steps: 1000, ..plain(1000, 3) });
    setups.push(Setup { steps: 500, sampling: samplings[7], ..plain(1000, 3) });
    setups.extend(typical_setups(&plain(1000, 2)));
    setups.extend(edited_setups(&plain(1000, 2)));
    setups.extend(scheduled_setups(&plain(257, 3)));
    setups.into_iter().map(Setup::case).collect()
}

/// Typical-p alone and before the other filters.
fn typical_setups(plain: &Setup) -> Vec<Setup> {
    let warm = plain.sampling;
    let samplings = [
        Sampling { typical_p: 0.2, ..warm },
        Sampling { typical_p: 0.9, ..warm },
        Sampling { typical_p: 0.5, top_k: 20, ..warm },
        Sampling { temperature: 1.7, typical_p: 0.8, top_k: 100, top_p: 0.7, min_p: 0.02, ..warm },
        Sampling { typical_p: 0.6, top_p: 0.8, ..warm },
    ];
    let kinds = [Kind::Random, Kind::Ties, Kind::Equal, Kind::Holes];
    let setup = |kind| samplings.map(|sampling| Setup { kind, sampling, ..plain.clone() });
    let mut setups: Vec<Setup> = kinds.into_iter().flat_map(setup).collect();
    setups.push(Setup { sampling: samplings[3], spread: Spread::Wide, vocab: 49_152, ..plain.clone() });
    setups
}

/// Scores, bans, allowed sets, penalties, late ends, forced tokens: each, and all together. Few tokens and many steps, so that
/// tokens are said again.
fn edited_setups(plain: &Setup) -> Vec<Setup> {
    let none = Penalties::default();
    let warm = Sampling { temperature: 0.6, ..plain.sampling };
    let few = Setup { vocab: 40, steps: 40, sampling: warm, prompt: vec![3, 5, 3, 900, 7, 3, 5], ..plain.clone() };
    let mut setups = Vec::new();
    for penalties in [
        Penalties { repetition: 1.3, ..none },
        Penalties { repetition: 0.7, last_n: 5, ..none },
        Penalties { presence: 0.8, prompt: true, ..none },
        Penalties { frequency: 0.4, ..none },
        Penalties { frequency: -0.3, presence: 1.5, repetition: 1.1, last_n: 9, prompt: true, ..none },
        Penalties { no_repeat_ngram: 2, ..none },
        Penalties { no_repeat_ngram: 3, prompt: true, last_n: 30, ..none },
        Penalties { no_repeat_ngram: 2, repetition: 1.2, last_n: 12, ..none },
    ] {
        for temperature in [0.0, 0.6] {
            setups.push(Setup { sampling: Sampling { temperature, penalties, ..warm }, ..few.clone() });
        }
    }
    let scores: std::collections::BTreeMap<u32, f32> = [(0, 3.0), (7, -2.0), (39, 4.5)].into();
    for tokens in [
        TokenRules { scores: scores.clone(), ..TokenRules::default() },
        TokenRules { banned: (0..20).collect(), ..TokenRules::default() },
        TokenRules { allowed: Some(vec![2, 39, 11]), ..TokenRules::default() },
        TokenRules { scores, banned: vec![39], allowed: Some((0..40).step_by(3).collect()) },
    ] {
        setups.push(Setup { tokens: tokens.clone(), ..few.clone() });
        let penalties = Penalties { repetition: 1.2, frequency: 0.2, ..none };
        let filtered = Sampling { top_k: 6, top_p: 0.9, typical_p: 0.95, min_p: 0.01, penalties, ..warm };
        setups.push(Setup { tokens, sampling: filtered, ..few.clone() });
    }
    let ends: Vec<u32> = (0..30).collect();
    setups.push(Setup { ends: ends.clone(), sampling: Sampling { min_tokens: 20, ..warm }, ..few.clone() });
    setups.push(Setup { ends: ends.clone(), sampling: Sampling { ignore_eos: true, ..warm }, ..few.clone() });
    // The forced tokens are banned, are ends, and are ruled out by the rows: they are said all the same.
    let forced = (3, (0..12).collect());
    let tokens = TokenRules { banned: (0..6).collect(), ..TokenRules::default() };
    let penalties = Penalties { no_repeat_ngram: 2, repetition: 1.5, prompt: true, ..none };
    let sampling = Sampling { ignore_eos: true, penalties, top_p: 0.9, ..warm };
    setups.push(Setup { forced: forced.clone(), ..few.clone() });
    setups.push(Setup { kind: Kind::Holes, forced, tokens, sampling, ends, ..few.clone() });
    // Wide, and a vocabulary that takes many workgroups.
    let penalties = Penalties { repetition: 1.4, presence: 0.5, no_repeat_ngram: 2, prompt: true, ..none };
    let sampling = Sampling { top_k: 8, penalties, ..warm };
    let wide = Setup { spread: Spread::Wide, vocab: 49_152, steps: 12, sampling, ..few.clone() };
    setups.push(wide);
    // A mask that meets a filter and leaves nothing is told, and the next step goes on.
    let filter = Some(RowFilter { row: 0, kind: FilterKind::TopK { k: 1 } });
    let tokens = TokenRules { allowed: Some(vec![0]), ..TokenRules::default() };
    setups.push(Setup { tokens, rule: MixRule { filter, ..rule(2) }, ..few });
    setups
}

/// Weights by step, with and without `normalize`, beside constant ones.
fn scheduled_setups(plain: &Setup) -> Vec<Setup> {
    let schedules = vec![
        Schedule { term: 1, points: vec![(2, 0.0), (9, 2.0), (10, -1.0)] },
        Schedule { term: 2, points: vec![(0, 0.0), (12, 1.5)] },
    ];
    let penalties = Penalties { repetition: 1.2, ..Penalties::default() };
    let one = MixRule { schedules: schedules[1..].to_vec(), normalize: true, ..rule(3) };
    vec![
        Setup { steps: 16, rule: MixRule { schedules, ..rule(3) }, ..plain.clone() },
        Setup { steps: 16, rule: one, sampling: Sampling { penalties, ..plain.sampling }, ..plain.clone() },
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Chi-square of 20,000 draws against the exact distribution that a filter leaves.
    #[test]
    fn draws_follow_the_exact_distribution() {
        let rows = rows_of(40, 2, Kind::Random);
        let rows: Vec<&[f32]> = rows.iter().map(Vec::as_slice).collect();
        let rule = rule(2);
        for sampling in [
            Sampling::default(),
            Sampling { temperature: 3.0, top_k: 12, top_p: 0.95, min_p: 0.02, seed: 5, ..Sampling::default() },
        ] {
            let step = |step| Step { report: &[0, 1], candidates: 40, ..Step::new(&rule, &sampling, step) };
            let z = step(0).mixed(&rows);
            let kept = step(0).kept(&z);
            let weights: Vec<f64> = z
                .iter()
                .map(|z| if kept(*z) { (f64::from(*z) / f64::from(sampling.temperature)).exp() } else { 0.0 })
                .collect();
            let sum: f64 = weights.iter().sum();
            let draws = 20_000u32;
            let mut counts = vec![0u32; z.len()];
            for at in 0..draws {
                counts[step(at).run(&rows).expect("it says something").token as usize] += 1;
            }
            let (mut chi, mut degrees) = (0.0, -1.0f64);
            let mut rare = (0.0, 0.0);
            for (count, weight) in counts.iter().zip(&weights) {
                let expected = weight / sum * f64::from(draws);
                assert!(expected > 0.0 || *count == 0, "a token that was left out was drawn");
                if expected < 5.0 {
                    rare = (rare.0 + f64::from(*count), rare.1 + expected);
                } else {
                    chi += (f64::from(*count) - expected).powi(2) / expected;
                    degrees += 1.0;
                }
            }
            if rare.1 > 1.0 {
                chi += (rare.0 - rare.1).powi(2) / rare.1;
                degrees += 1.0;
            }
            // Four standard deviations above the mean of the chi-square distribution.
            assert!(chi < degrees + 4.0 * (2.0 * degrees).sqrt(), "{sampling:?}: {chi} of {degrees}");
        }
    }

    #[test]
    fn a_weight_written_between_steps_acts_from_the_next_step() {
        let gpu =
            pollster::block_on(Gpu::open(&crate::gpu::GpuOptions::default())).expect("a Vulkan driver is installed");
        let setup = Setup {
            vocab: 1000,
            rows: 2,
            kind: Kind::Random,
            rule: rule(2),
            sampling: Sampling::default(),
            tokens: TokenRules::default(),
            prompt: Vec::new(),
            ends: Vec::new(),
            forced: (0, Vec::new()),
            steps: 8,
            spread: Spread::Narrow,
        };
        let rows = setup.logits();
        let logits = gpu.storage_of("logits", &rows.concat()).expect("it fits");
        let batches = gpu.storage_of("batches", &[0u32; 8]).expect("it fits");
        let plan = MixerPlan {
            vocab: 1000,
            vocab_stride: 1000,
            logits: &logits,
            rows: 2,
            rule: &setup.rule,
            sampling: &setup.sampling,
            tokens: &setup.tokens,
            prompt: &[],
            ends: &[],
            room: 8,
            report: vec![0, 1],
            candidates: 10,
            batches: &batches,
            batch_offsets: vec![],
            lane: 0,
            slots: 8,
        };
        let mut mixer = Mixer::new(&gpu, &plan).expect("the plan is sound");
        let refused = mixer.set_weights(&gpu, &[(1, f32::NAN)]).expect_err("NaN is refused");
        assert_eq!(refused.code(), "mix.weight");
        let mut rule = setup.rule.clone();
        let sliced: Vec<&[f32]> = rows.iter().map(Vec::as_slice).collect();
        let mut want = Vec::new();
        for at in 0..8u32 {
            if at == 3 {
                mixer.set_weights(&gpu, &[(1, -2.0)]).expect("a weight of either sign");
                rule.terms[1].weight = -2.0;
            }
            if at == 6 {
                mixer.set_weights(&gpu, &[(1, 0.0)]).expect("zero leaves the row out");
                rule.terms[1].weight = 0.0;
            }
            step(&gpu, &mixer);
            let (rule, sampling) = (&rule, &setup.sampling);
            let said = Step { report: &[0, 1], candidates: 10, ..Step::new(rule, sampling, at) }.run(&sliced);
            want.push(said.expect("it says something"));
        }
        let ring =
            pollster::block_on(gpu.read::<u8>(mixer.ring(), 8 * mixer.slot_bytes() as usize)).expect("it is read");
        for (at, want) in (0u32..).zip(&want) {
            let range = mixer.slot_range(at);
            let report = &ring[range.start as usize..range.end as usize];
            let got = Telemetry::decode(report, &mixer.layout()).expect("a whole report");
            assert_eq!((got.token, &got.weights), (want.token, &want.weights), "step {at}");
        }
        assert!(want[7].kl < 1e-6, "weight 0 is the base alone");
    }
}
