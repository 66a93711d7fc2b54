//! Whole steps on the GPU against their twin: the same token, the same report, step after step.

use super::twin::Step;
use super::{FilterKind, MixError, MixRule, Mixer, MixerPlan, RowFilter, Sampling, Telemetry, Term};
use crate::gpu::{Gpu, GpuError, StepShape, record};
use crate::ops::grid::{Case, Comparison};
use crate::ops::mixing::Spread;
use crate::ops::mixing::lab::{Kind, rows_of};

/// Where a second decode batch begins, in bytes.
const SECOND: u64 = 256;

/// One point of the grid.
#[derive(Debug, Clone)]
struct Setup {
    vocab: usize,
    rows: usize,
    kind: Kind,
    rule: MixRule,
    sampling: Sampling,
    steps: u32,
    spread: Spread,
}

impl Setup {
    fn name(&self) -> String {
        let Self { vocab, rows, kind, rule, sampling, steps, spread } = self;
        let filter = rule.filter.map_or("none".to_owned(), |filter| format!("{:?}", filter.kind).replace(' ', ""));
        format!(
            "mixer/vocab={vocab}/rows={rows}/kind={kind:?}/normalize={}/filter={filter}/T={}/k={}/p={}/min_p={}/steps={steps}/{spread:?}",
            rule.normalize, sampling.temperature, sampling.top_k, sampling.top_p, sampling.min_p
        )
    }

    fn logits(&self) -> Vec<Vec<f32>> {
        rows_of(self.vocab, self.rows, self.kind)
    }

    fn said_by_twin(&self, rows: &[Vec<f32>]) -> Vec<Result<Telemetry, MixError>> {
        let rows: Vec<&[f32]> = rows.iter().map(Vec::as_slice).collect();
        let report: Vec<usize> = (0..self.rows).collect();
        (0..self.steps)
            .map(|step| {
                let (rule, sampling) = (&self.rule, &self.sampling);
                Step { rule, sampling, report: &report, candidates: 10, step }.run(&rows)
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
        // Two rows in the first batch, one in the second; all at position 4.
        let mut batches = vec![0u32; 64 + 8];
        batches[..12].copy_from_slice(&[2, 2, 1, 0, 9, 0, 4, 0, 9, 1, 4, 0]);
        batches[64..].copy_from_slice(&[1, 1, 1, 0, 9, 0, 4, 0]);
        let batches = gpu.storage_of("batches", &batches)?;
        let mixer = Mixer::spread(
            gpu,
            &MixerPlan {
                vocab: self.vocab as u32,
                vocab_stride: self.vocab as u32,
                logits: &logits,
                rows: self.rows,
                rule: &self.rule,
                sampling: &self.sampling,
                report: (0..self.rows).collect(),
                candidates: 10,
                batches: &batches,
                batch_offsets: vec![0, SECOND],
                slots: self.steps,
            },
            self.spread,
        )?;
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
        same(got.weights == want.weights && got.temperature == want.temperature, &mut pairs);
        same(got.candidates.len() == want.candidates.len(), &mut pairs);
        pairs.push((far(got.mix_log_prob), far(want.mix_log_prob)));
        pairs.push((got.base_entropy, want.base_entropy));
        pairs.push((got.kl.min(1e3), want.kl.min(1e3)));
        pairs.extend(got.log_probs.iter().zip(&want.log_probs).map(|(got, want)| (far(*got), far(*want))));
        for (got, want) in got.candidates.iter().zip(&want.candidates) {
            same(got.id == want.id, &mut pairs);
            pairs.push((far(got.mix), far(want.mix)));
            pairs.extend(got.rows.iter().zip(&want.rows).map(|(got, want)| (far(*got), far(*want))));
        }
    }
    // After a fault the token is whatever could be said; it must be fed to all alike.
    let last = want.last().and_then(|said| said.as_ref().ok()).map_or(batches[4], |said| said.token);
    let position = 4 + want.len() as u32;
    let second = SECOND as usize / 4;
    let fed = [last, 0, position, 0, last, 1, position, 0];
    same(batches[4..12] == fed && batches[second + 4..] == fed[..4], &mut pairs);
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
    setups.into_iter().map(Setup::case).collect()
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
        for sampling in
            [Sampling::default(), Sampling { temperature: 3.0, top_k: 12, top_p: 0.95, min_p: 0.02, seed: 5 }]
        {
            let step = |step| Step { rule: &rule, sampling: &sampling, report: &[0, 1], candidates: 40, step };
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
            report: vec![0, 1],
            candidates: 10,
            batches: &batches,
            batch_offsets: vec![],
            slots: 8,
        };
        let mut mixer = Mixer::new(&gpu, &plan).expect("the plan is sound");
        let refused = mixer.set_weight(&gpu, 1, f32::NAN).expect_err("NaN is refused");
        assert_eq!(refused.code(), "mix.weight");
        let mut rule = setup.rule.clone();
        let sliced: Vec<&[f32]> = rows.iter().map(Vec::as_slice).collect();
        let mut want = Vec::new();
        for at in 0..8u32 {
            if at == 3 {
                mixer.set_weight(&gpu, 1, -2.0).expect("a weight of either sign");
                rule.terms[1].weight = -2.0;
            }
            if at == 6 {
                mixer.set_weight(&gpu, 1, 0.0).expect("zero leaves the row out");
                rule.terms[1].weight = 0.0;
            }
            step(&gpu, &mixer);
            let (rule, sampling) = (&rule, &setup.sampling);
            let said = Step { rule, sampling, report: &[0, 1], candidates: 10, step: at }.run(&sliced);
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
