//! Gradients and steps against PyTorch's, and what training is for: that it learns.

use std::path::{Path, PathBuf};

use pilotfish::adapter::Module;
use safetensors::SafeTensors;
use serde::Deserialize;

use crate::batch::{BatchResult, Item, evaluate, gradients};
use crate::lora::Change;
use crate::optimizer::{AdamW, clip};
use crate::{AnswerScore, Base, Lora, LoraOptions, Objective, OptimizerOptions, PairScore, ParmOptions, Tree};

fn fixtures() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/fixtures")
}

fn tiny(name: &str) -> Base {
    Base::read(&fixtures().join("tiny").join(name)).expect("the fixture is a model")
}

/// What `make_tiny_training.py` of the fixtures wrote.
#[derive(Debug, Deserialize)]
struct Case {
    model: String,
    rank: u32,
    alpha: f32,
    objective: Objective,
    pairs: Vec<CasePair>,
    scores: Vec<[f64; 2]>,
    loss: f64,
    optimizer: OptimizerOptions,
}

#[derive(Debug, Deserialize)]
struct CasePair {
    prompt: Vec<u32>,
    answers: Vec<Vec<u32>>,
    reference: [f64; 2],
}

/// A case with its matrices: before, gradients, after.
struct Golden {
    base: Base,
    case: Case,
    lora: Lora,
    gradients: Vec<Vec<f32>>,
    after: Vec<Vec<f32>>,
}

impl Golden {
    fn read(name: &str) -> Self {
        let bytes =
            std::fs::read(fixtures().join("tiny-training").join(format!("{name}.safetensors"))).expect("it is there");
        let (_, metadata) = SafeTensors::read_metadata(&bytes).expect("it is safetensors");
        let case = metadata.metadata().as_ref().and_then(|metadata| metadata.get("case")).expect("it has a case");
        let case: Case = serde_json::from_str(case).expect("the case is JSON");
        let tensors = SafeTensors::deserialize(&bytes).expect("it is safetensors");
        let base = tiny(&case.model);
        let mut lora = Lora {
            rank: case.rank,
            scale: case.alpha / case.rank as f32,
            dropout: 0.0,
            dimensions: 0,
            changes: Vec::new(),
        };
        let (mut gradients, mut after) = (Vec::new(), Vec::new());
        for layer in 0..base.spec.n_layers() {
            for module in Module::ALL {
                let short = module.peft_name().trim_end_matches("_proj");
                let part = |half: &str, what: &str| -> Option<Vec<f32>> {
                    let tensor = tensors.tensor(&format!("{layer}.{short}.{half}.{what}")).ok()?;
                    Some(
                        tensor
                            .data()
                            .chunks_exact(4)
                            .map(|four| f32::from_le_bytes(four.try_into().expect("4")))
                            .collect(),
                    )
                };
                let (Some(a), Some(b)) = (part("a", "before"), part("b", "before")) else { continue };
                lora.changes.push(Change { place: (layer, module), a, b, mixing: None });
                gradients.extend(["a", "b"].map(|half| part(half, "gradient").expect("each has one")));
                after.extend(["a", "b"].map(|half| part(half, "after").expect("each has one")));
            }
        }
        Self { base, case, lora, gradients, after }
    }

    fn found(&self, threads: usize) -> BatchResult {
        let needs_rejected = self.case.objective.needs_rejected();
        let trees: Vec<Tree> = self.case.pairs.iter().map(|pair| tree(pair, needs_rejected)).collect();
        let references: Vec<PairScore> =
            self.case.pairs.iter().map(|pair| pair.reference.map(|sum| AnswerScore { sum, tokens: 1 })).collect();
        let weight = 1.0 / trees.len() as f64;
        let items: Vec<Item<'_>> = trees
            .iter()
            .zip(&references)
            .map(|(tree, reference)| Item { tree, reference: Some(reference), weight })
            .collect();
        gradients(&self.base, (&self.lora, &[]), &items, &self.case.objective, 0, threads).expect("it is computed")
    }
}

fn tree(pair: &CasePair, both: bool) -> Tree {
    let answers = if both { pair.answers.clone() } else { pair.answers[..1].to_vec() };
    Tree { prompt: pair.prompt.clone(), answers }
}

const CASES: [&str; 6] = ["arm-llama", "dpo-llama", "sft-llama", "arm-gemma3", "arm-qwen2", "arm-qwen3"];

#[test]
fn losses_and_gradients_are_those_of_an_independent_autodiff() {
    for name in CASES {
        let golden = Golden::read(name);
        let found = golden.found(2);
        assert!((found.loss - golden.case.loss).abs() < 1e-5, "{name}: loss {} of {}", found.loss, golden.case.loss);
        for (found, expected) in found.scores.iter().zip(&golden.case.scores) {
            for (found, expected) in found.iter().zip(expected) {
                assert!((found.sum - expected).abs() < 1e-4, "{name}: {} of {expected}", found.sum);
            }
        }
        let largest = golden.gradients.iter().flatten().fold(0.0f32, |most, value| most.max(value.abs()));
        for (index, (found, expected)) in found.gradients.iter().zip(&golden.gradients).enumerate() {
            let worst = found.iter().zip(expected).map(|(one, other)| (one - other).abs()).fold(0.0, f32::max);
            assert!(worst < 2e-5 * largest, "{name}: gradient {index} off by {worst}, the largest is {largest}");
        }
    }
}

#[test]
fn a_step_is_that_of_the_reference() {
    for name in CASES {
        let mut golden = Golden::read(name);
        let mut found = golden.found(1);
        let options = golden.case.optimizer;
        clip(&mut found.gradients, options.clip);
        let mut adam = AdamW::new(golden.lora.slices().map(<[f32]>::len));
        adam.step(golden.lora.slices_mut(), &found.gradients, options.learning_rate, &options);
        // A first step of Adam has the size of the rate whatever the gradient's, so where that is all but zero its rounding
        // decides; everywhere else 1e-5.
        for ((found, expected), gradients) in golden.lora.slices().zip(&golden.after).zip(&golden.gradients) {
            let clear = gradients.iter().map(|value| value.abs() > 1e-6);
            for ((found, expected), _) in found.iter().zip(expected).zip(clear).filter(|(_, clear)| *clear) {
                assert!((found - expected).abs() < 1e-5, "{name}: {found} of {expected}");
            }
        }
    }
}

#[test]
fn gradients_are_slopes_of_the_loss() {
    for name in CASES {
        let mut golden = Golden::read(name);
        let found = golden.found(1);
        let start = golden.lora.clone();
        let norm = found.gradients.iter().flatten().map(|value| f64::from(*value).powi(2)).sum::<f64>().sqrt();
        let mut along = |step: f64| {
            for ((slice, start), gradient) in golden.lora.slices_mut().zip(start.slices()).zip(&found.gradients) {
                for ((value, start), gradient) in slice.iter_mut().zip(start).zip(gradient) {
                    *value = start + (step * f64::from(*gradient) / norm) as f32;
                }
            }
            golden.found(1).loss
        };
        let step = 2e-3;
        let slope = (along(step) - along(-step)) / (2.0 * step);
        assert!((slope - norm).abs() < 0.01 * norm, "{name}: slope {slope}, gradient {norm}");
    }
}

#[test]
fn threads_change_nothing() {
    let golden = Golden::read("arm-gemma3");
    let (one, many) = (golden.found(1), golden.found(4));
    assert_eq!(one.gradients, many.gradients);
    assert_eq!(one.loss.to_bits(), many.loss.to_bits());
}

#[test]
fn a_tree_gives_what_separate_sequences_give() {
    let golden = Golden::read("arm-llama");
    let together: Vec<Tree> = golden.case.pairs.iter().map(|pair| tree(pair, true)).collect();
    let apart: Vec<Tree> = together
        .iter()
        .flat_map(|tree| {
            tree.answers.iter().map(|answer| Tree { prompt: tree.prompt.clone(), answers: vec![answer.clone()] })
        })
        .collect();
    let scores = |trees: &[Tree]| {
        let trees: Vec<&Tree> = trees.iter().collect();
        evaluate(&golden.base, Some((&golden.lora, &[])), &trees, 1, &|_| true).expect("it is computed").concat()
    };
    for (together, apart) in scores(&together).iter().zip(scores(&apart)) {
        assert!((together.sum - apart.sum).abs() < 1e-5, "{together:?} {apart:?}");
    }
}

/// A preference-conditioned adapter of two dimensions whose matrices are all away from zero, and the golden pairs, half of each.
fn conditioned(base: &Base) -> Lora {
    let parm = ParmOptions { dimensions: vec!["one".into(), "other".into()], rank: 2 };
    let options = LoraOptions { rank: 3, ..LoraOptions::default() };
    let mut lora = Lora::new(&base.spec, &options, Some(&parm), 5).expect("it is made");
    let mut state = 9u32;
    for value in lora.changes.iter_mut().flat_map(|change| &mut change.b) {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        *value = ((state >> 16) as f32 / 65_536.0 - 0.5) * 0.2;
    }
    lora
}

fn conditioned_loss(golden: &Golden, lora: &Lora, preference: &[f32]) -> BatchResult {
    let trees: Vec<Tree> = golden.case.pairs.iter().map(|pair| tree(pair, true)).collect();
    let half = trees.len() / 2;
    let weight = |at: usize| f64::from(preference[usize::from(at >= half)]) / half as f64;
    let items: Vec<Item<'_>> =
        trees.iter().enumerate().map(|(at, tree)| Item { tree, reference: None, weight: weight(at) }).collect();
    gradients(&golden.base, (lora, preference), &items, &golden.case.objective, 0, 2).expect("it is computed")
}

#[test]
fn gradients_under_a_preference_are_slopes_for_every_kind_of_matrix() {
    let golden = Golden::read("arm-llama");
    let lora = conditioned(&golden.base);
    let preference = [0.3, 0.7];
    let found = conditioned_loss(&golden, &lora, &preference);
    // Slices come in fours: A, B, W1, W2.
    for kind in 0..4 {
        let of_kind = |index: usize| index % 4 == kind;
        let chosen = || found.gradients.iter().enumerate().filter(|(index, _)| of_kind(*index));
        let norm = chosen().flat_map(|(_, slice)| slice).map(|value| f64::from(*value).powi(2)).sum::<f64>().sqrt();
        assert!(norm > 0.0, "kind {kind} learns nothing");
        let along = |step: f64| {
            let mut moved = lora.clone();
            let slices = moved.slices_mut().zip(&found.gradients).enumerate().filter(|(index, _)| of_kind(*index));
            for (value, gradient) in slices.flat_map(|(_, (slice, gradient))| slice.iter_mut().zip(gradient)) {
                *value += (step * f64::from(*gradient) / norm) as f32;
            }
            conditioned_loss(&golden, &moved, &preference).loss
        };
        let step = 1e-2;
        let slope = (along(step) - along(-step)) / (2.0 * step);
        assert!((slope - norm).abs() < 0.02 * norm + 1e-5, "kind {kind}: slope {slope}, gradient {norm}");
    }
}
