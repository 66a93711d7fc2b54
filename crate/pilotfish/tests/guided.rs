//! Guided generation: what is drawn is what the formula says, weights act when they should, seeds replay.

mod common;

use std::rc::Rc;

use common::{engine, ids, load, run, wait};
use pilotfish::engine::{Engine, Guide, GuideKind, Model, NamedFilter, Prompt, SessionOptions, each_logits, logsumexp};
use pilotfish::guidance::{FilterKind, Sampling};

const BASE: &str = "tiny-llama-q4_1.gguf";
const PROMPT: &str = "The sea was calm";

fn options(max_tokens: u32) -> SessionOptions {
    SessionOptions { max_tokens, ..SessionOptions::new(Prompt::Text(PROMPT.into())) }
}

fn context_guide(weight: f32, against: Option<&str>) -> Guide {
    let kind = GuideKind::Context { context: "Be cheerful.".into(), against: against.map(str::to_owned) };
    Guide { name: "cheerful".into(), weight, kind }
}

fn greedy() -> Sampling {
    Sampling { temperature: 0.0, ..Sampling::default() }
}

/// The logits after `ids`.
fn logits_after(engine: &Engine, model: &Rc<Model>, ids: &[u32]) -> Vec<f32> {
    let mut last = Vec::new();
    wait(each_logits(engine, model, &[], ids, |_, logits| last = logits.to_vec(), |_, _| true)).expect("it scores");
    last
}

fn log_softmax(logits: &[f32]) -> Vec<f32> {
    let normaliser = logsumexp(logits);
    logits.iter().map(|logit| (f64::from(*logit) - normaliser) as f32).collect()
}

#[test]
fn the_mix_is_the_weighted_sum_of_the_rows() {
    let engine = engine();
    let model = load(&engine, BASE);
    for (normalize, temperature) in [(false, 0.8), (true, 1.0), (false, 0.0)] {
        let mut options = options(6);
        options.guides = vec![
            context_guide(1.5, Some("Be gloomy.")),
            Guide { name: "other".into(), weight: -0.5, kind: GuideKind::Model { model: 0, prompt: None } },
        ];
        options.normalize = normalize;
        options.sampling = Sampling { temperature, seed: 7, ..Sampling::default() };
        let other = load(&engine, "tiny-llama-f32.gguf");
        let steps = run(&engine, &model, &[Rc::clone(&other)], &options, |_, _| {});
        let prompts = [PROMPT.to_owned(), format!("Be cheerful.\n\n{PROMPT}"), format!("Be gloomy.\n\n{PROMPT}")];
        let rows = prompts.map(|text| model.encode(&Prompt::Text(text)).expect("it encodes"));
        for (at, step) in steps.iter().enumerate() {
            let made = ids(&steps[..at]);
            let after = |model: &Rc<Model>, prompt: &[u32]| logits_after(&engine, model, &[prompt, &made].concat());
            let [base, with, against] = rows.clone().map(|row| after(&model, &row));
            let model_row = after(&other, &rows[0]);
            let scale = if normalize { 1.0 + 1.5 - 1.5 - 0.5 } else { 1.0 };
            let heat = if temperature > 0.0 { temperature } else { 1.0 };
            let mixed: Vec<f32> = (0..base.len())
                .map(|v| (base[v] + 1.5 * (with[v] - against[v]) - 0.5 * model_row[v]) / scale)
                .collect();
            let sampled = log_softmax(&mixed.iter().map(|z| z / heat).collect::<Vec<_>>());
            let (mix, base, with, model_row) =
                (log_softmax(&mixed), log_softmax(&base), log_softmax(&with), log_softmax(&model_row));
            let close = |a: f32, b: f32, what: &str| assert!((a - b).abs() < 5e-3, "{what} at {at}: {a} and {b}");
            let check = |id: u32, found: &pilotfish::engine::LogProbs| {
                let v = id as usize;
                close(found.base, base[v], "base");
                close(found.mix, mix[v], "mix");
                close(found.sampled, sampled[v], "mix at its temperature");
                close(found.guides[0], with[v], "context guide");
                close(found.guides[1], model_row[v], "model guide");
            };
            check(step.id, &step.log_probs);
            step.candidates.iter().for_each(|candidate| check(candidate.id, &candidate.log_probs));
            let entropy: f32 = base.iter().map(|p| -p.exp() * p).sum();
            let kl: f32 = mix.iter().zip(&base).map(|(m, b)| m.exp() * (m - b)).sum();
            close(step.entropy, entropy, "entropy");
            close(step.kl, kl, "KL");
            let best = mix.iter().copied().fold(f32::NEG_INFINITY, f32::max);
            if temperature == 0.0 {
                close(mix[step.id as usize], best, "greedy choice");
            }
            close(step.candidates[0].log_probs.mix, best, "first candidate");
        }
    }
}

#[test]
fn weight_zero_reproduces_the_unguided_text() {
    let engine = engine();
    let model = load(&engine, BASE);
    let other = [load(&engine, "tiny-llama-f32.gguf")];
    for temperature in [0.0, 1.0] {
        let mut options = options(24);
        options.sampling = Sampling { temperature, seed: 3, ..Sampling::default() };
        let alone = ids(&run(&engine, &model, &[], &options, |_, _| {}));
        let other_model =
            Guide { name: "other".into(), weight: 0.0, kind: GuideKind::Model { model: 0, prompt: None } };
        options.guides = vec![context_guide(0.0, Some("Be gloomy.")), other_model];
        assert_eq!(alone, ids(&run(&engine, &model, &other, &options, |_, _| {})));
        options.guides[1].weight = 5.0;
        assert_ne!(
            alone,
            ids(&run(&engine, &model, &other, &options, |_, _| {})),
            "a guide must be able to change the text"
        );
    }
}

#[test]
fn a_seed_replays_and_another_seed_differs() {
    let engine = engine();
    let model = load(&engine, BASE);
    let mut options = options(24);
    options.guides = vec![context_guide(1.0, None)];
    options.sampling = Sampling { seed: 11, ..Sampling::default() };
    let first = ids(&run(&engine, &model, &[], &options, |_, _| {}));
    for in_flight in [1, 2, 8] {
        options.in_flight = in_flight;
        assert_eq!(first, ids(&run(&engine, &model, &[], &options, |_, _| {})), "{in_flight} steps in flight");
    }
    options.sampling.seed = 12;
    assert_ne!(first, ids(&run(&engine, &model, &[], &options, |_, _| {})));
}

#[test]
fn a_slider_acts_within_the_steps_in_flight_and_equals_that_schedule_from_the_start() {
    let engine = engine();
    let model = load(&engine, BASE);
    let mut options = options(20);
    options.guides = vec![context_guide(0.5, Some("Be gloomy."))];
    options.sampling = greedy();
    options.in_flight = 3;
    let moved = run(&engine, &model, &[], &options, |token, session| {
        if token == 6 {
            session.set_weight(0, 2.5).expect("a finite weight");
        }
    });
    let changed = moved.iter().position(|step| step.weights == [2.5]).expect("the weight acts");
    assert!((6..=9).contains(&changed), "acted at token {changed}");
    assert!(moved[..changed].iter().all(|step| step.weights == [0.5]));
    assert!(moved[changed..].iter().all(|step| step.weights == [2.5]));
    // One step in flight: the write before token `changed` acts on exactly that token.
    options.in_flight = 1;
    let scheduled = run(&engine, &model, &[], &options, |token, session| {
        if token == changed as u32 {
            session.set_weight(0, 2.5).expect("a finite weight");
        }
    });
    assert_eq!(ids(&moved), ids(&scheduled));
}

#[test]
fn equal_rows_are_one_row() {
    let engine = engine();
    let model = load(&engine, BASE);
    let mut options = options(1);
    options.guides = vec![context_guide(1.0, None)];
    let session =
        wait(pilotfish::engine::Session::new(&engine, pilotfish::engine::Models::only(&model), &options, |_| true))
            .expect("it starts");
    assert_eq!(session.info().rows.len(), 2, "the row against is the base's own");
    assert_eq!(session.info().weight_bytes_per_step, model.weights.bytes(), "weights are read once");
}

#[test]
fn filters_keep_what_they_should() {
    let engine = engine();
    let model = load(&engine, BASE);
    let mut options = options(12);
    let greedy_ids = {
        options.sampling = greedy();
        ids(&run(&engine, &model, &[], &options, |_, _| {}))
    };
    options.sampling = Sampling { top_k: 1, seed: 5, ..Sampling::default() };
    assert_eq!(greedy_ids, ids(&run(&engine, &model, &[], &options, |_, _| {})), "top-k 1 is greedy");
    options.sampling = Sampling { top_k: 4, seed: 5, ..Sampling::default() };
    for step in run(&engine, &model, &[], &options, |_, _| {}) {
        assert!(
            step.candidates[..4].iter().any(|candidate| candidate.id == step.id),
            "token {} is not in the top 4",
            step.id
        );
    }
    options.sampling = Sampling { top_p: 0.2, seed: 5, ..Sampling::default() };
    for step in run(&engine, &model, &[], &options, |_, _| {}) {
        let above: f32 =
            step.candidates.iter().map(|c| c.log_probs.mix).filter(|p| *p > step.log_probs.mix).map(f32::exp).sum();
        assert!(above < 0.2 + 1e-3, "{above} of the mass lies above token {}", step.id);
    }
    options.sampling = Sampling { min_p: 0.5, seed: 5, ..Sampling::default() };
    for step in run(&engine, &model, &[], &options, |_, _| {}) {
        assert!(step.log_probs.mix >= step.candidates[0].log_probs.mix + 0.5f32.ln() - 1e-3);
    }
    options.sampling = Sampling { seed: 5, ..Sampling::default() };
    options.filter = Some(NamedFilter { row: "base".into(), kind: FilterKind::Plausibility { alpha: 0.9 } });
    options.guides = vec![context_guide(-3.0, Some("Be gloomy."))];
    for step in run(&engine, &model, &[], &options, |_, _| {}) {
        let best = step.candidates.iter().map(|candidate| candidate.log_probs.base).fold(f32::NEG_INFINITY, f32::max);
        assert!(step.log_probs.base >= best + 0.9f32.ln() - 1e-3, "token {} is implausible under the base", step.id);
    }
}
