//! Every family and format against logits that an independent implementation computed (tests/fixtures/reference.py).

mod common;

use std::rc::Rc;

use common::{Variant, engines, fixture, gpu_with, ids, load, on_cpu, run, wait};
use pilotfish::engine::{Prompt, SessionOptions, each_logits, highest, logsumexp};
use pilotfish::guidance::Sampling;
use pilotfish::ops::linear::MatvecShape;

#[derive(serde::Deserialize)]
struct Expected {
    cases: Vec<Case>,
}

#[derive(serde::Deserialize)]
struct Case {
    name: String,
    ids: Vec<u32>,
    logits: Vec<Vec<f32>>,
}

/// KL(expected || found), in nats.
fn kl(expected: &[f32], found: &[f32]) -> f64 {
    let (a, b) = (logsumexp(expected), logsumexp(found));
    let term = |(e, f): (&f32, &f32)| (f64::from(*e) - a).exp() * (f64::from(*e) - a - f64::from(*f) + b);
    expected.iter().zip(found).map(term).sum()
}

/// `most` is the largest KL from the reference at any position.
fn check(engine: &pilotfish::engine::Engine, name: &str, most: f64) {
    let model = load(engine, name);
    let text = std::fs::read_to_string(fixture(name).with_extension("json"))
        .expect("the expected logits are in the repository");
    let expected: Expected = serde_json::from_str(&text).expect("it is JSON of that form");
    assert!(!expected.cases.is_empty());
    for case in &expected.cases {
        let mut found = Vec::new();
        wait(each_logits(engine, &model, &[], &case.ids, |_, logits| found.push(logits.to_vec()), |_, _| true))
            .expect("it scores");
        assert_eq!(found.len(), case.logits.len());
        for (position, (found, expected)) in found.iter().zip(&case.logits).enumerate() {
            let kl = kl(expected, found);
            assert!(kl < most, "{name}/{} at {position}: KL {kl}", case.name);
        }
        // Decoding takes other kernels than scoring: its greedy tokens must be the scored argmax.
        let mut options = SessionOptions::new(Prompt::Ids(case.ids.clone()));
        options.sampling = Sampling { temperature: 0.0, ..Sampling::default() };
        options.max_tokens = 6.min(model.spec.context_length - case.ids.len() as u32);
        let steps = run(engine, &model, &[], &options, |_, _| {});
        let made = ids(&steps);
        let mut scored = Vec::new();
        let text = [&case.ids[..], &made].concat();
        wait(each_logits(engine, &model, &[], &text, |_, logits| scored.push(logits.to_vec()), |_, _| true))
            .expect("it scores");
        for (at, step) in steps.iter().enumerate() {
            // The mix runs over tokens; padded rows of the embedding are none.
            let logits = &scored[case.ids.len() - 1 + at][..model.vocab() as usize];
            let top = highest(logits, 2);
            if top[0].1 - top[1].1 > 0.02 {
                assert_eq!(step.id, top[0].0, "{name}/{}: greedy token {at}", case.name);
            }
            let log_prob = (f64::from(logits[step.id as usize]) - logsumexp(logits)) as f32;
            assert!(
                (log_prob - step.log_probs.base).abs() < 5e-3,
                "{name}: {log_prob} scored, {} decoded",
                step.log_probs.base
            );
        }
    }
}

#[test]
fn every_family_and_format_gives_the_reference_logits() {
    let mut names: Vec<String> = std::fs::read_dir(fixture(""))
        .expect("the fixtures are in the repository")
        .map(|entry| entry.expect("it can be listed").file_name().to_string_lossy().into_owned())
        .filter_map(|name| name.strip_suffix(".gguf").map(|stem| format!("{stem}.gguf")))
        .collect();
    names.sort();
    assert!(names.len() >= 14, "{names:?}");
    for Variant { engine, most_kl, .. } in engines() {
        for name in &names {
            check(&engine, name, most_kl);
        }
    }
}

#[derive(serde::Deserialize)]
struct Golden {
    cases: Vec<Text>,
}

#[derive(serde::Deserialize)]
struct Text {
    ids: Vec<u32>,
}

/// Where `PILOTFISH_MODELS` names a folder that holds the models.
#[test]
fn activations_of_8_bits_leave_real_models_their_words() {
    if on_cpu() {
        return;
    }
    let Some(folder) = std::env::var_os("PILOTFISH_MODELS").map(std::path::PathBuf::from) else {
        eprintln!("skipped: PILOTFISH_MODELS is not set");
        return;
    };
    // All of the texts would take a software adapter minutes.
    for (model, golden, most) in [
        ("smollm2-135m-instruct-q4_1.gguf", "smollm2-135m-q4_1.json", 220),
        ("gemma-3-270m-q4_k_m.gguf", "gemma3-270m-q4_k_m.json", 60),
    ] {
        let golden = fixture("").join("../../golden").join(golden);
        let golden = std::fs::read_to_string(golden).expect("the golden files are in the repository");
        let golden: Golden = serde_json::from_str(&golden).expect("it is JSON of that form");
        let logits = [MatvecShape::Rows, MatvecShape::Packed].map(|shape| {
            let engine = gpu_with(false, shape);
            let mut file = std::fs::File::open(folder.join(model)).expect("the folder holds the model");
            let model = Rc::new(wait(engine.load(&mut file, |_| true)).expect("the model loads"));
            let (mut all, mut left) = (Vec::new(), most);
            for text in &golden.cases {
                let ids = &text.ids[..text.ids.len().min(left)];
                left -= ids.len();
                if !ids.is_empty() {
                    wait(each_logits(&engine, &model, &[], ids, |_, logits| all.push(logits.to_vec()), |_, _| true))
                        .expect("it scores");
                }
            }
            all
        });
        let n = logits[0].len() as f64;
        let pairs = || logits[0].iter().zip(&logits[1]);
        let mean = pairs().map(|(exact, rounded)| kl(exact, rounded)).sum::<f64>() / n;
        let largest = pairs().map(|(exact, rounded)| kl(exact, rounded)).fold(0.0, f64::max);
        let same = pairs().filter(|(exact, rounded)| highest(exact, 1)[0].0 == highest(rounded, 1)[0].0).count() as f64;
        println!(
            "{model}, {n} positions: mean KL {mean:.2e}, largest {largest:.2e}, {:.1} % the same",
            100.0 * same / n
        );
        assert!(mean > 0.0 && mean < 5e-3, "{model}: mean KL {mean}");
        assert!(same / n >= 0.97, "{model}: {same} of {n} positions have the same likeliest token");
    }
}
