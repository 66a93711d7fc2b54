//! The forward pass on the CPU against the logits of an independent implementation: every family and format, rows under
//! adapters, forks that share their beginning, bad batches.
#![cfg(feature = "cpu")]

use std::path::PathBuf;

use pilotfish::Error;
use pilotfish::adapter::Adapter;
use pilotfish::arch::ModelSpec;
use pilotfish::cpu::{Adapters, Cache, Forward, Isa, Precision, Token, Weights, Workers};
use pilotfish::engine::{logsumexp, open};
use pilotfish::model::RowAdapter;

#[derive(serde::Deserialize)]
struct Expected {
    #[serde(default)]
    model: String,
    #[serde(default)]
    preference: Vec<f32>,
    cases: Vec<Case>,
}

#[derive(serde::Deserialize)]
struct Case {
    ids: Vec<u32>,
    logits: Vec<Vec<f32>>,
}

fn fixture(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../tests/fixtures").join(name)
}

fn expected(name: &str) -> Expected {
    let text = std::fs::read_to_string(fixture(name)).expect("the expected logits are in the repository");
    serde_json::from_str(&text).expect("it is JSON of that form")
}

fn load(name: &str) -> Weights {
    let bytes = std::fs::read(fixture(name)).expect("the fixture is in the repository");
    let opened = pollster::block_on(open(&mut bytes.as_slice())).expect("the fixture has a header");
    pollster::block_on(Weights::load(&opened.spec, &mut bytes.as_slice(), |_| true)).expect("the fixture loads")
}

fn two_threads() -> Workers {
    let pool = rayon::ThreadPoolBuilder::new().num_threads(2).build().expect("threads start");
    Workers::pool(std::sync::Arc::new(pool))
}

/// KL(expected || found), in nats.
fn kl(expected: &[f32], found: &[f32]) -> f64 {
    let (a, b) = (logsumexp(expected), logsumexp(found));
    let term = |(e, f): (&f32, &f32)| (f64::from(*e) - a).exp() * (f64::from(*e) - a - f64::from(*f) + b);
    expected.iter().zip(found).map(term).sum()
}

/// Slots that lie anywhere: no two positions are neighbours.
fn scattered(n: usize, slots: u32) -> Vec<u32> {
    (0..n as u32).map(|position| (position * 37 + 11) % slots).collect()
}

/// A prime, so that [`scattered`] never repeats.
const SLOTS: u32 = 211;

/// The logits after each of `ids`, in batches of `chunk` tokens.
fn logits(
    forward: &mut Forward,
    weights: &Weights,
    adapters: Option<&Adapters>,
    ids: &[u32],
    chunk: usize,
) -> Vec<Vec<f32>> {
    let mut cache = Cache::new(weights.spec(), SLOTS);
    let slots = scattered(ids.len(), SLOTS);
    let mut all = Vec::new();
    for (at, ids) in ids.chunks(chunk).enumerate() {
        let token = |(t, id): (usize, &u32)| Token {
            id: *id,
            position: (at * chunk + t) as u32,
            slots: &slots,
            row: 0,
            logits: true,
        };
        let tokens: Vec<Token<'_>> = ids.iter().enumerate().map(token).collect();
        let found = forward.run(weights, &mut cache, adapters, &tokens).expect("the batch is sound");
        all.extend(found.chunks_exact(weights.spec().n_vocab as usize).map(<[f32]>::to_vec));
    }
    all
}

#[test]
fn every_family_and_format_gives_the_reference_logits() {
    let mut names: Vec<String> = std::fs::read_dir(fixture("tiny"))
        .expect("the fixtures are in the repository")
        .map(|entry| entry.expect("it can be listed").file_name().to_string_lossy().into_owned())
        .filter_map(|name| name.strip_suffix(".gguf").map(str::to_owned))
        .collect();
    names.sort();
    assert!(names.len() >= 14, "{names:?}");
    let workers = two_threads();
    let (mut worst, mut worst_fast) = (0.0f64, 0.0f64);
    for name in names {
        let weights = load(&format!("tiny/{name}.gguf"));
        for Case { ids, logits: reference } in expected(&format!("tiny/{name}.json")).cases {
            for isa in Isa::available() {
                for chunk in [1, 3, 64] {
                    // 8 bits of an activation cost what they cost: the bound on the fast path only finds what is broken.
                    for (precision, bound) in [(Precision::Precise, 1e-4), (Precision::Fast, 2e-2)] {
                        let mut forward = Forward::with(isa, workers.clone(), precision);
                        let found = logits(&mut forward, &weights, None, &ids, chunk);
                        assert_eq!(found.len(), reference.len());
                        for (position, (found, reference)) in found.iter().zip(&reference).enumerate() {
                            let kl = kl(reference, found);
                            assert!(
                                kl < bound,
                                "{name}, {}, {precision:?}, {position} of {chunk}: KL {kl}",
                                isa.name()
                            );
                            let worst = if precision == Precision::Precise { &mut worst } else { &mut worst_fast };
                            *worst = worst.max(kl);
                        }
                    }
                }
            }
        }
    }
    println!("largest KL: {worst:.2e} precise, {worst_fast:.2e} fast");
}

#[test]
fn batches_of_any_size_give_the_same_logits() {
    let weights = load("tiny/tiny-gemma3-q4_k.gguf");
    let Case { ids, .. } = expected("tiny/tiny-gemma3-q4_k.json").cases.remove(0);
    for isa in Isa::available() {
        let alone = logits(&mut Forward::with(isa, Workers::alone(), Precision::Fast), &weights, None, &ids, 1);
        let shared = logits(&mut Forward::with(isa, two_threads(), Precision::Fast), &weights, None, &ids, ids.len());
        // Attention goes through keys in runs that begin at the first key any of its tokens sees.
        for (alone, shared) in alone.iter().zip(&shared) {
            assert!(kl(alone, shared) < 1e-7, "{}", isa.name());
        }
    }
}

fn peft(name: &str) -> Adapter {
    let read = |file: &str| {
        std::fs::read(fixture("tiny-adapters").join(name).join(file)).expect("the fixture is in the repository")
    };
    let config = String::from_utf8(read("adapter_config.json")).expect("it is text");
    Adapter::from_peft(&config, &read("adapter_model.safetensors")).expect("the fixture is an adapter")
}

fn fitted(name: &str, spec: &ModelSpec) -> Adapter {
    peft(name).fitted(spec).expect("it is for this model")
}

#[test]
fn a_row_under_an_adapter_gives_the_reference_logits() {
    for name in ["qkv", "all", "gemma", "parm"] {
        let expected = expected(&format!("tiny-adapters/{name}.json"));
        let weights = load(&format!("tiny/{}", expected.model));
        let adapter = fitted(name, weights.spec());
        let used = RowAdapter { adapter: &adapter, share: 1.0, preference: &expected.preference };
        let adapters = Adapters::new(weights.spec(), &[vec![used]]).expect("it fits");
        for Case { ids, logits: reference } in &expected.cases {
            for chunk in [1, 64] {
                let mut forward = Forward::new(two_threads(), Precision::Precise);
                let found = logits(&mut forward, &weights, Some(&adapters), ids, chunk);
                for (found, reference) in found.iter().zip(reference) {
                    let kl = kl(reference, found);
                    assert!(kl < 1e-4, "{name}: KL {kl}");
                }
            }
        }
    }
}

#[test]
fn rows_with_different_adapters_and_none_share_a_batch() {
    let weights = load("tiny/tiny-llama-q4_1.gguf");
    let spec = weights.spec();
    let (qkv, parm) = (fitted("qkv", spec), fitted("parm", spec));
    let one = RowAdapter { adapter: &qkv, share: 1.0, preference: &[] };
    let other = RowAdapter { adapter: &parm, share: 0.5, preference: &[0.9, 0.1] };
    let rows = [vec![], vec![one], vec![one, other]];
    let mut adapters = Adapters::new(spec, &rows).expect("they fit");
    let ids = [40, 7, 99, 260, 3];
    for precision in [Precision::Precise, Precision::Fast] {
        let mut forward = Forward::new(Workers::alone(), precision);
        // Each row by itself is the reference of the three together.
        let alone: Vec<Vec<Vec<f32>>> = rows
            .iter()
            .map(|row| {
                let adapters = Adapters::new(spec, std::slice::from_ref(row)).expect("it fits");
                logits(&mut forward, &weights, Some(&adapters), &ids, 1)
            })
            .collect();
        assert!(kl(&alone[0][4], &alone[1][4]) > 1e-3, "an adapter that changes nothing tests nothing");
        let mut cache = Cache::new(spec, SLOTS);
        let slots = scattered(3 * ids.len(), SLOTS);
        let vocab = spec.n_vocab as usize;
        for (position, id) in ids.into_iter().enumerate() {
            let token = |row: usize| {
                let slots = &slots[row * ids.len()..(row + 1) * ids.len()];
                Token { id, position: position as u32, slots, row, logits: true }
            };
            let tokens = [token(0), token(1), token(2)];
            let found = forward.run(&weights, &mut cache, Some(&adapters), &tokens).expect("the batch is sound");
            for (row, found) in found.chunks_exact(vocab).enumerate() {
                assert_eq!(found, alone[row][position], "row {row} at {position}, {precision:?}");
            }
        }
        // A share is live: at zero the row is the base's, whose keys and values up to here it borrows.
        adapters.set_shares(1, 0, &[0.0]);
        let last = ids.len() - 1;
        let token = Token { id: ids[last], position: last as u32, slots: &slots[..ids.len()], row: 1, logits: true };
        let found = forward.run(&weights, &mut cache, Some(&adapters), &[token]).expect("the batch is sound");
        assert_eq!(found, alone[0][last]);
        adapters.set_shares(1, 0, &[1.0]);
    }
}

#[test]
fn tokens_added_up_before_the_output_give_their_logits_added_up() {
    let ids = [40, 7, 99];
    let sums = [vec![(0, 1.0), (1, 1.5), (2, -0.5)], vec![(1, 0.25)], vec![(2, 1.0), (2, 1.0)], vec![]];
    let token = |at: usize| Token { id: ids[at], position: 0, slots: &[[0], [1], [2]][at], row: 0, logits: true };
    let tokens = [token(0), token(1), token(2)];
    for name in ["tiny-llama-q4_1", "tiny-gemma3-q8_0", "tiny-qwen2-q5_1"] {
        let weights = load(&format!("tiny/{name}.gguf"));
        let vocab = weights.spec().n_vocab as usize;
        for (precision, bound) in [(Precision::Precise, 1e-9), (Precision::Fast, 3e-2)] {
            let mut forward = Forward::new(two_threads(), precision);
            let mut cache = Cache::new(weights.spec(), 3);
            let each = forward.run(&weights, &mut cache, None, &tokens).expect("the batch is sound").to_vec();
            let found = forward.run_added(&weights, &mut cache, None, &tokens, &sums).expect("the batch is sound");
            assert_eq!(found.len(), sums.len() * vocab);
            for (at, (sum, found)) in sums.iter().zip(found.chunks_exact(vocab)).enumerate() {
                let of_id =
                    |id: usize| sum.iter().map(|(token, weight)| weight * each[token * vocab + id]).sum::<f32>();
                let expected: Vec<f32> = (0..vocab).map(of_id).collect();
                let kl = kl(&expected, found);
                assert!(kl < bound, "{name}, {precision:?}, sum {at}: KL {kl}");
            }
        }
    }
}

#[test]
fn what_cannot_be_added_up_is_refused() {
    let bytes = std::fs::read(fixture("tiny/tiny-llama-q4_0.gguf")).expect("the fixture is in the repository");
    let mut spec = pollster::block_on(open(&mut bytes.as_slice())).expect("the fixture has a header").spec;
    let added = |spec: &ModelSpec, sum: &[(usize, f32)]| {
        let weights = pollster::block_on(Weights::load(spec, &mut bytes.as_slice(), |_| true)).expect("it loads");
        let token = Token { id: 1, position: 0, slots: &[0], row: 0, logits: true };
        let mut forward = Forward::new(Workers::alone(), Precision::Fast);
        let run = forward.run_added(&weights, &mut Cache::new(spec, 1), None, &[token], &[sum.to_vec()]);
        run.map(<[f32]>::len).map_err(|error| error.code())
    };
    assert_eq!(added(&spec, &[(0, 2.0)]), Ok(spec.n_vocab as usize));
    assert_eq!(added(&spec, &[(0, 1.0), (1, 1.0)]), Err("cpu.token"));
    spec.final_softcap = Some(30.0);
    assert_eq!(added(&spec, &[(0, 2.0)]), Err("cpu.not_linear"));
}

#[test]
fn forks_share_their_beginning() {
    let weights = load("tiny/tiny-qwen3-q6_k.gguf");
    let (vocab, begin) = (weights.spec().n_vocab as usize, [5, 9, 200, 31]);
    let mut forward = Forward::new(Workers::alone(), Precision::Fast);
    let mut cache = Cache::new(weights.spec(), SLOTS);
    let table = scattered(begin.len(), SLOTS);
    let prompt = |(t, id): (usize, &u32)| Token { id: *id, position: t as u32, slots: &table, row: 0, logits: false };
    let tokens: Vec<Token<'_>> = begin.iter().enumerate().map(prompt).collect();
    let none = forward.run(&weights, &mut cache, None, &tokens).expect("the batch is sound");
    assert!(none.is_empty());
    // Two forks that write on in slots of their own.
    let tables = [[&table[..], &[0, 1]].concat(), [&table[..], &[2, 3]].concat()];
    let says = [[17, 4], [18, 77]];
    for step in 0..2 {
        let token = |fork: usize| {
            let position = (begin.len() + step) as u32;
            Token { id: says[fork][step], position, slots: &tables[fork], row: 0, logits: true }
        };
        let found = forward.run(&weights, &mut cache, None, &[token(0), token(1)]).expect("sound").to_vec();
        for (fork, found) in found.chunks_exact(vocab).enumerate() {
            let text = [&begin[..], &says[fork][..=step]].concat();
            let alone = logits(&mut Forward::new(Workers::alone(), Precision::Fast), &weights, None, &text, 1);
            assert_eq!(found, alone[text.len() - 1], "fork {fork}, step {step}");
        }
    }
}

#[test]
fn a_batch_that_reaches_outside_is_refused_and_the_next_one_runs() {
    let weights = load("tiny/tiny-llama-q4_0.gguf");
    let spec = weights.spec();
    let mut cache = Cache::new(spec, 4);
    let adapters = Adapters::new(spec, &[vec![]]).expect("nothing fits");
    let mut forward = Forward::new(Workers::alone(), Precision::Fast);
    let sound = Token { id: 1, position: 1, slots: &[0, 3], row: 0, logits: true };
    for (bad, code) in [
        (Token { id: spec.n_vocab, ..sound }, "cpu.id"),
        (Token { position: 2, ..sound }, "cpu.slots"),
        (Token { slots: &[0, 4], ..sound }, "cpu.slot"),
        (Token { row: 1, ..sound }, "cpu.row"),
    ] {
        let error = forward.run(&weights, &mut cache, Some(&adapters), &[sound, bad]).expect_err("it is refused");
        assert_eq!(error.code(), code, "{error}");
    }
    let other = load("tiny/tiny-gemma3-q8_0.gguf");
    let error = forward.run(&other, &mut cache, None, &[sound]).expect_err("it is refused");
    assert_eq!(error.code(), "cpu.model", "{error}");
    let found = forward.run(&weights, &mut cache, Some(&adapters), &[sound]).expect("the batch is sound");
    assert!(found.iter().all(|logit| logit.is_finite()));
    assert!(forward.run(&weights, &mut cache, None, &[]).expect("nothing is sound").is_empty());
}

#[test]
fn a_load_stops_when_asked() {
    let bytes = std::fs::read(fixture("tiny/tiny-llama-q4_0.gguf")).expect("the fixture is in the repository");
    let opened = pollster::block_on(open(&mut bytes.as_slice())).expect("the fixture has a header");
    let stopped =
        pollster::block_on(Weights::load(&opened.spec, &mut bytes.as_slice(), |progress| progress.done < 9000));
    assert!(matches!(stopped, Err(Error::Aborted)), "{stopped:?}");
}
