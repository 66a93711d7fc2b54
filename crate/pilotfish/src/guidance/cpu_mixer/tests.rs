//! The mix on the CPU against its twin: from rows, from rows that were added up before, in pieces.

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
                        mix_only: false,
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
                        let (got, want) = (mixer.step(&Workers::alone(), &rows), twin.run(&rows));
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
        mix_only: false,
    };
    let refused = CpuMixer::new(&plan).expect("it is sound").step(&Workers::alone(), &[&nan]);
    assert_eq!(refused, Err(MixError::Logits { step: 0, rows: vec![0] }));
}

/// What pieces say of a vocabulary comes together, the lowest ids first where they tie.
#[test]
fn a_step_in_pieces_is_the_twins() {
    let (vocab, workers) = (3 * PIECE + 17, Workers::start(Some(2)).expect("it starts"));
    let guided = MixRule { normalize: true, ..rule(&[1.0, 0.5]) };
    for kind in [Kind::Random, Kind::Equal, Kind::Ties, Kind::Holes] {
        let logits = rows_of(vocab, 2, kind);
        let rows: Vec<&[f32]> = logits.iter().map(Vec::as_slice).collect();
        for rule in [&rule(&[1.0]), &guided] {
            for sampling in [Sampling::greedy(), Sampling { temperature: 0.7, seed: 5, ..Sampling::default() }] {
                let plan = CpuMixerPlan {
                    vocab: vocab as u32,
                    rows: 2,
                    rule,
                    sampling: &sampling,
                    tokens: &TokenRules::default(),
                    prompt: &[],
                    ends: &[],
                    report: &[0, 1],
                    candidates: 9,
                    mix_only: false,
                };
                let mut mixer = CpuMixer::new(&plan).expect("it is sound");
                let got = mixer.step(&workers, &rows).expect("it draws");
                let twin = Step { report: &[0, 1], candidates: 9, ..Step::new(rule, &sampling, 0) };
                alike(&got, &twin.run(&rows).expect("it draws"), &format!("{kind:?}, {rule:?}, {sampling:?}"));
            }
        }
    }
}

#[test]
fn a_draw_from_all_is_the_twins() {
    let (rule, sampling) = (rule(&[1.0]), Sampling { temperature: 0.8, seed: 9, ..Sampling::default() });
    let workers = Workers::start(Some(2)).expect("it starts");
    for vocab in [1, 255, 256, PIECE + 5000] {
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
            mix_only: false,
        };
        let mut mixer = CpuMixer::new(&plan).expect("it is sound");
        for step in 0..200 {
            let drawn = mixer.step(&workers, &[&logits[0]]).expect("it draws").token;
            assert_eq!(Some(drawn), pick::twin(&logits[0], 1.0 / 0.8, 9, step, |_| true));
        }
    }
}

/// What is drawn from sums, in as many parts as there are weight sets, is what is drawn from the rows.
#[test]
fn a_step_of_sums_is_the_twins_without_its_rows() {
    let rules = [
        rule(&[1.0]),
        rule(&[1.0, 1.5, -0.5]),
        MixRule { normalize: true, ..rule(&[1.0, 2.0, 0.5]) },
        MixRule { schedules: vec![Schedule { term: 1, points: vec![(0, 0.0), (3, 2.0)] }], ..rule(&[1.0, 1.0]) },
    ];
    let samplings = [
        Sampling { temperature: 0.7, seed: 3, ..Sampling::default() },
        Sampling { top_k: 20, min_tokens: 2, seed: 4, ..Sampling::default() },
    ];
    let tokens = TokenRules { banned: vec![5], ..TokenRules::default() };
    for rule in &rules {
        for sampling in &samplings {
            let logits = rows_of(VOCAB, 3, Kind::Random);
            let rows: Vec<&[f32]> = logits.iter().map(Vec::as_slice).collect();
            let plan = CpuMixerPlan {
                vocab: VOCAB as u32,
                rows: 3,
                rule,
                sampling,
                tokens: &tokens,
                prompt: &[1, 2],
                ends: &[9],
                report: &[0],
                candidates: 7,
                mix_only: true,
            };
            let mut mixer = CpuMixer::new(&plan).expect("it is sound");
            assert!(mixer.adds_up());
            let mut past = Vec::new();
            for step in 0..4 {
                let twin = Step {
                    candidates: 7,
                    prompt: &[1, 2],
                    said: &past,
                    tokens: &tokens,
                    ends: &[9],
                    ..Step::new(rule, sampling, step)
                };
                let want = twin.run(&rows).expect("it draws");
                // Two sets: the base alone, and the other rows.
                let mut sums = [vec![0.0; VOCAB], vec![0.0; VOCAB]];
                for (row, share) in mixer.shares() {
                    sums[row.min(1)].iter_mut().zip(rows[row]).for_each(|(sum, l)| *sum += share * l);
                }
                let got = mixer.step_of_sums(&Workers::alone(), &[&sums[0], &sums[1]]).expect("it draws");
                assert!(got.base_entropy.is_nan() && got.kl.is_nan() && got.log_probs.is_empty());
                assert!(got.candidates.iter().all(|candidate| candidate.rows.is_empty()));
                let (base_entropy, kl) = (want.base_entropy, want.kl);
                alike(&Telemetry { base_entropy, kl, ..got }, &want, &format!("{rule:?}, {sampling:?}, step {step}"));
                past.push(want.token);
            }
        }
    }
    let with = |rule: &MixRule| {
        let plan = CpuMixerPlan {
            vocab: 2,
            rows: 2,
            rule,
            sampling: &samplings[0],
            tokens: &TokenRules::default(),
            prompt: &[],
            ends: &[],
            report: &[0],
            candidates: 1,
            mix_only: true,
        };
        CpuMixer::new(&plan).expect("it is sound")
    };
    // Any of the rows may have done it.
    let refused = with(&rule(&[1.0, 1.0])).step_of_sums(&Workers::alone(), &[&[0.0, f32::NAN]]);
    assert_eq!(refused, Err(MixError::Logits { step: 0, rows: vec![0, 1] }));
    // A row that filters is looked at by itself, and not reported either.
    let filter = Some(RowFilter { row: 1, kind: FilterKind::TopK { k: 1 } });
    let mut mixer = with(&MixRule { filter, ..rule(&[1.0, 0.5]) });
    assert!(!mixer.adds_up());
    let filtered = mixer.step(&Workers::alone(), &[&[9.0, 1.0], &[0.0, 1.0]]).expect("it draws");
    assert_eq!((filtered.token, filtered.mix_log_prob, filtered.log_probs.len()), (1, 0.0, 0));
    assert!(filtered.kl.is_nan());
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
