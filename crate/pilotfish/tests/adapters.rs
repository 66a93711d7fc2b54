//! Rows under adapters: what they compute is the reference's, in one batch with others, in soups, live.

mod common;

use std::path::PathBuf;
use std::rc::Rc;

use common::{Variant, engine, engines, fixture, ids, load, run_on, wait};
use pilotfish::Error;
use pilotfish::adapter::Adapter;
use pilotfish::arch::ModelSpec;
use pilotfish::engine::{
    AdapterUse, Engine, Guide, GuideKind, Model, Models, Prompt, Session, SessionOptions, each_logits, logsumexp,
};
use pilotfish::guidance::Sampling;
use pilotfish::model::{RowAdapter, merge};

#[derive(serde::Deserialize)]
struct Expected {
    model: String,
    preference: Vec<f32>,
    cases: Vec<Case>,
}

#[derive(serde::Deserialize)]
struct Case {
    ids: Vec<u32>,
    logits: Vec<Vec<f32>>,
}

fn folder(name: &str) -> PathBuf {
    fixture("../tiny-adapters").join(name)
}

fn peft(name: &str) -> Adapter {
    let read = |file: &str| std::fs::read(folder(name).join(file)).expect("the fixture is in the repository");
    let config = String::from_utf8(read("adapter_config.json")).expect("it is text");
    Adapter::from_peft(&config, &read("adapter_model.safetensors")).expect("the fixture is an adapter")
}

fn adapter(name: &str, model: &Model) -> Rc<Adapter> {
    Rc::new(peft(name).fitted(&model.spec).expect("it is for this model"))
}

fn expected(name: &str) -> Expected {
    let text = std::fs::read_to_string(folder(name).with_extension("json")).expect("it is in the repository");
    serde_json::from_str(&text).expect("it is JSON of that form")
}

fn logits(engine: &Engine, model: &Rc<Model>, used: &[RowAdapter<'_>], ids: &[u32]) -> Vec<Vec<f32>> {
    let mut all = Vec::new();
    wait(each_logits(engine, model, used, ids, |_, logits| all.push(logits.to_vec()), |_, _| true)).expect("it scores");
    all
}

fn log_softmax(logits: &[f32]) -> Vec<f32> {
    let normaliser = logsumexp(logits);
    logits.iter().map(|logit| (f64::from(*logit) - normaliser) as f32).collect()
}

/// KL(expected || found), in nats.
fn kl(expected: &[f32], found: &[f32]) -> f64 {
    let (expected, found) = (log_softmax(expected), log_softmax(found));
    expected.iter().zip(&found).map(|(e, f)| f64::from(e.exp() * (e - f))).sum()
}

fn guide(name: &str, weight: f32, adapters: Vec<AdapterUse>) -> Guide {
    Guide {
        name: name.into(),
        weight,
        kind: GuideKind::Adapter { adapters, relative: false, model: None, prompt: None },
    }
}

fn options(ids: &[u32], max_tokens: u32) -> SessionOptions {
    SessionOptions { max_tokens, sampling: Sampling::greedy(), ..SessionOptions::new(Prompt::Ids(ids.to_vec())) }
}

const PROMPT: [u32; 5] = [40, 7, 99, 260, 3];

#[test]
fn a_row_under_an_adapter_gives_the_reference_logits() {
    for Variant { name: shape, engine, most_kl } in engines() {
        // The most that a candidate's log-probability may be off.
        let most_of_one = if most_kl > 1e-3 { 2e-1 } else { 2e-2 };
        for name in ["qkv", "all", "gemma", "parm"] {
            let expected = expected(name);
            let model = load(&engine, &expected.model);
            let adapters = [adapter(name, &model)];
            let models = Models { adapters: &adapters, ..Models::only(&model) };
            let used = AdapterUse { preference: expected.preference.clone(), ..AdapterUse::whole(0) };
            for Case { ids, logits: reference } in &expected.cases {
                let found = logits(&engine, &model, &[models.used(&used)], ids);
                assert_eq!(found.len(), reference.len());
                for (position, (found, reference)) in found.iter().zip(reference).enumerate() {
                    let kl = kl(reference, found);
                    assert!(kl < most_kl, "{name}, {shape}, scored at {position}: KL {kl}");
                }
                // Decoding takes other kernels than scoring; the base's own row may carry the adapter.
                let options = SessionOptions { adapters: vec![used.clone()], candidates: 64, ..options(ids, 1) };
                let steps = run_on(&engine, models, &options, |_, _| {});
                let last = log_softmax(&reference[ids.len() - 1]);
                for candidate in &steps[0].candidates {
                    let off = (candidate.log_probs.base - last[candidate.id as usize]).abs();
                    assert!(off < most_of_one, "{name}, {shape}, decoded: token {} is off by {off}", candidate.id);
                }
            }
        }
    }
}

/// Base, two adapters of different ranks on different matrices, and a context row: one batch on one weight set.
#[test]
fn rows_with_different_adapters_and_none_share_a_batch() {
    let engine = engine();
    let model = load(&engine, "tiny-llama-q4_1.gguf");
    let adapters = [adapter("qkv", &model), adapter("parm", &model)];
    let models = Models { adapters: &adapters, ..Models::only(&model) };
    let one = AdapterUse::whole(0);
    let other = AdapterUse { share: 0.5, preference: vec![0.9, 0.1], ..AdapterUse::whole(1) };
    let options = SessionOptions {
        guides: vec![guide("one", 1.5, vec![one.clone()]), guide("other", -0.5, vec![other.clone()])],
        ..options(&PROMPT, 6)
    };
    let steps = run_on(&engine, models, &options, |_, _| {});
    assert_eq!(steps.len(), 6);
    for (at, step) in steps.iter().enumerate() {
        let text = [&PROMPT[..], &ids(&steps[..at])].concat();
        let after = |used: &[RowAdapter<'_>]| logits(&engine, &model, used, &text).pop().expect("there is a last");
        let rows = [after(&[]), after(&[models.used(&one)]), after(&[models.used(&other)])];
        let mixed: Vec<f32> = (0..rows[0].len()).map(|v| rows[0][v] + 1.5 * rows[1][v] - 0.5 * rows[2][v]).collect();
        let [mix, base, one, other] = [&mixed, &rows[0], &rows[1], &rows[2]].map(|row| log_softmax(row));
        let v = step.id as usize;
        for (what, found, want) in [
            ("mix", step.log_probs.mix, mix[v]),
            ("base", step.log_probs.base, base[v]),
            ("one", step.log_probs.guides[0], one[v]),
            ("other", step.log_probs.guides[1], other[v]),
        ] {
            assert!((found - want).abs() < 1e-2, "{what} at {at}: {found} and {want}");
        }
    }
}

#[test]
fn a_soup_at_its_corners_is_the_single_adapter() {
    let engine = engine();
    let model = load(&engine, "tiny-llama-q4_1.gguf");
    let mut second = peft("qkv").fitted(&model.spec).expect("it is for this model");
    second.fixed.pairs.values_mut().for_each(|pair| pair.b.iter_mut().for_each(|b| *b *= -0.7));
    let adapters = [adapter("qkv", &model), Rc::new(second)];
    let models = Models { adapters: &adapters, ..Models::only(&model) };
    let run = |adapters: Vec<AdapterUse>| {
        let options = SessionOptions { guides: vec![guide("soup", 2.0, adapters)], ..options(&PROMPT, 12) };
        run_on(&engine, models, &options, |_, _| {})
    };
    let share = |adapter, share| AdapterUse { share, ..AdapterUse::whole(adapter) };
    let one = run(vec![share(0, 1.0)]);
    let other = run(vec![share(1, 1.0)]);
    assert_ne!(ids(&one), ids(&other), "the two must differ for this to show anything");
    let corner = run(vec![share(0, 1.0), share(1, 0.0)]);
    let other_corner = run(vec![share(0, 0.0), share(1, 1.0)]);
    for (single, soup) in one.iter().zip(&corner).chain(other.iter().zip(&other_corner)) {
        assert_eq!(single.id, soup.id);
        assert!((single.log_probs.guides[0] - soup.log_probs.guides[0]).abs() < 1e-4);
    }
    // In between, weights are averaged, not texts: W + 0.4 A + 0.6 B.
    let mut averaged = (*adapters[0]).clone();
    for (place, pair) in &mut averaged.fixed.pairs {
        let other = &adapters[1].fixed.pairs[place];
        pair.b.iter_mut().zip(&other.b).for_each(|(b, other)| *b = 0.4 * *b + 0.6 * other);
    }
    let used = [RowAdapter { adapter: &averaged, share: 1.0, preference: &[] }];
    let want = logits(&engine, &model, &used, &PROMPT).pop().expect("there is a last");
    let both = [share(0, 0.4), share(1, 0.6)];
    let found = logits(&engine, &model, &both.each_ref().map(|used| models.used(used)), &PROMPT).pop();
    assert!(kl(&want, &found.expect("there is a last")) < 1e-5);
}

#[test]
fn shares_and_preferences_are_live() {
    let engine = engine();
    let model = load(&engine, "tiny-llama-q4_1.gguf");
    let adapters = [adapter("parm", &model)];
    let models = Models { adapters: &adapters, ..Models::only(&model) };
    let used = |share, preference: &[f32]| AdapterUse { adapter: 0, share, preference: preference.to_vec() };
    let start = |used: AdapterUse| SessionOptions {
        guides: vec![guide("arm", 3.0, vec![used])],
        in_flight: 1,
        ..options(&PROMPT, 16)
    };
    let run = |used, change: &dyn Fn(&mut Session)| {
        run_on(&engine, models, &start(used), |token, session| {
            if token == 4 {
                change(session);
            }
        })
    };
    let still = run(used(1.0, &[1.0, 0.0]), &|_| {});
    let moved = run(used(1.0, &[1.0, 0.0]), &|session| {
        session.set_preference(Some(0), 0, &[0.0, -2.0]).expect("it has two preferences");
    });
    let faded = run(used(1.0, &[1.0, 0.0]), &|session| session.set_share(Some(0), 0, -1.5).expect("a finite share"));
    for other in [&moved, &faded] {
        assert_eq!(ids(&still)[..4], ids(other)[..4], "what was made before stays");
        let differs = |at: usize| (still[at].log_probs.guides[0] - other[at].log_probs.guides[0]).abs() > 1e-3;
        assert!(differs(4), "the very next token feels it");
    }
    let mut session = wait(Session::new(&engine, models, &start(used(1.0, &[1.0, 0.0])), |_| true)).expect("it starts");
    let code = |result: Result<(), Error>| result.expect_err("it is refused").code();
    assert_eq!(code(session.set_preference(Some(0), 0, &[1.0])), "adapter.preference");
    assert_eq!(code(session.set_preference(Some(0), 0, &[1.0, f32::NAN])), "adapter.share");
    assert_eq!(code(session.set_share(Some(0), 0, f32::INFINITY)), "adapter.share");
    assert_eq!(code(session.set_share(Some(0), 1, 1.0)), "session.share");
    assert_eq!(code(session.set_share(None, 0, 1.0)), "session.share", "the base has none");
    assert_eq!(code(session.set_share(Some(1), 0, 1.0)), "session.guide");
    let first = wait(session.next()).expect("it goes on").expect("a step");
    assert_eq!(first.id, still[0].id, "what was refused changed nothing");
}

#[test]
fn merged_weights_compute_what_the_adapter_does() {
    let engine = engine();
    for name in ["all", "parm"] {
        let expected = expected(name);
        let model = load(&engine, &expected.model);
        let adapter = adapter(name, &model);
        let used = RowAdapter { adapter: &adapter, share: 0.75, preference: &expected.preference };
        let bytes = std::fs::read(fixture(&expected.model)).expect("the fixture is in the repository");
        let merged = merge(&bytes, &model.spec, &used).expect("it merges");
        let merged = Rc::new(wait(engine.load(&mut merged.as_slice(), |_| true)).expect("it is a model"));
        let ids = &expected.cases[0].ids;
        let (plain, adapted) = (logits(&engine, &merged, &[], ids), logits(&engine, &model, &[used], ids));
        for (plain, adapted) in plain.iter().zip(&adapted) {
            // The GPU keeps the adapter in half precision.
            let kl = kl(plain, adapted);
            assert!(kl < 1e-4, "{name}: KL {kl}");
        }
    }
}

#[test]
fn an_adapter_steers_from_another_model_too() {
    let engine = engine();
    let base = load(&engine, "tiny-llama-f32.gguf");
    let small = [load(&engine, "tiny-llama-q4_1.gguf")];
    let adapters = [adapter("qkv", &small[0])];
    let models = Models { base: &base, guides: &small, adapters: &adapters };
    let kind =
        GuideKind::Adapter { adapters: vec![AdapterUse::whole(0)], relative: false, model: Some(0), prompt: None };
    let options =
        SessionOptions { guides: vec![Guide { name: "arm".into(), weight: 1.0, kind }], ..options(&PROMPT, 1) };
    let steps = run_on(&engine, models, &options, |_, _| {});
    let used = [RowAdapter { adapter: &adapters[0], share: 1.0, preference: &[] }];
    let want = log_softmax(&logits(&engine, &small[0], &used, &PROMPT)[PROMPT.len() - 1]);
    let found = steps[0].log_probs.guides[0];
    assert!((found - want[steps[0].id as usize]).abs() < 1e-2);
}

/// base + 1 * (adapted - base) is the adapted model itself, and costs no third row.
#[test]
fn a_relative_guide_adds_what_its_adapter_changes() {
    let engine = engine();
    let model = load(&engine, "tiny-llama-q4_1.gguf");
    let adapters = [adapter("qkv", &model)];
    let models = Models { adapters: &adapters, ..Models::only(&model) };
    let kind =
        |relative| GuideKind::Adapter { adapters: vec![AdapterUse::whole(0)], relative, model: None, prompt: None };
    let run = |weight, relative| {
        let guides = vec![Guide { name: "arm".into(), weight, kind: kind(relative) }];
        run_on(&engine, models, &SessionOptions { guides, ..options(&PROMPT, 8) }, |_, _| {})
    };
    let steps = run(1.0, true);
    for step in &steps {
        assert!((step.log_probs.mix - step.log_probs.guides[0]).abs() < 1e-4, "the mix is the guide's row");
        assert_eq!(step.log_probs.guides.len(), 1);
    }
    let alone = SessionOptions { adapters: vec![AdapterUse::whole(0)], ..options(&PROMPT, 8) };
    assert_eq!(ids(&steps), ids(&run_on(&engine, models, &alone, |_, _| {})), "as the adapted base speaks");
    assert_ne!(ids(&steps), ids(&run(3.0, true)));
}

#[test]
fn adapters_that_cannot_be_used_are_refused() {
    let engine = engine();
    let model = load(&engine, "tiny-llama-q4_1.gguf");
    let spec: &ModelSpec = &model.spec;
    let code = |result: Result<Adapter, pilotfish::adapter::AdapterError>| result.expect_err("it is refused").code();
    assert_eq!(code(peft("all").fitted(spec)), "adapter.shape");
    let mut deeper = peft("qkv");
    deeper.fixed.pairs =
        deeper.fixed.pairs.into_iter().map(|((layer, module), pair)| ((layer + 1, module), pair)).collect();
    assert_eq!(code(deeper.fitted(spec)), "adapter.layer");
    let named = Adapter { architecture: Some("gemma3".into()), ..peft("qkv") };
    assert_eq!(code(named.fitted(spec)), "adapter.architecture");

    let adapters = [adapter("qkv", &model), adapter("parm", &model)];
    let models = Models { adapters: &adapters, ..Models::only(&model) };
    let start = |adapters: Vec<AdapterUse>| {
        let options = SessionOptions { guides: vec![guide("arm", 1.0, adapters)], ..options(&PROMPT, 1) };
        wait(Session::new(&engine, models, &options, |_| true)).map(|_| ()).map_err(|error| error.code())
    };
    let parm = |preference: Vec<f32>| AdapterUse { preference, ..AdapterUse::whole(1) };
    assert_eq!(start(vec![]), Err("session.adapter"));
    assert_eq!(start(vec![AdapterUse::whole(2)]), Err("session.adapter"));
    assert_eq!(start(vec![AdapterUse::whole(1)]), Err("adapter.preference"));
    assert_eq!(start(vec![parm(vec![1.0; 3])]), Err("adapter.preference"));
    assert_eq!(start(vec![parm(vec![f32::INFINITY, 0.0])]), Err("adapter.share"));
    assert_eq!(start(vec![AdapterUse { share: f32::NAN, ..AdapterUse::whole(0) }]), Err("adapter.share"));
    assert_eq!(start(vec![AdapterUse::whole(0); 17]), Err("session.too_many_adapters"));
    assert_eq!(start(vec![AdapterUse::whole(0)]), Ok(()), "the engine goes on");
}

#[test]
fn adapters_are_swapped_and_dropped_inside_a_session_and_only_their_rows_are_computed_anew() {
    let engine = engine();
    let model = load(&engine, "tiny-llama-q4_1.gguf");
    let mut second = peft("qkv").fitted(&model.spec).expect("it is for this model");
    second.fixed.pairs.values_mut().for_each(|pair| pair.b.iter_mut().for_each(|b| *b *= -1.5));
    let both = [adapter("qkv", &model), Rc::new(second)];
    let models = Models { adapters: &both[..1], ..Models::only(&model) };
    let with = |adapter: usize| {
        let mut options = options(&PROMPT, 12);
        options.guides = vec![guide("arm", 1.0, vec![AdapterUse::whole(adapter)])];
        options
    };
    let mut session = wait(Session::new(&engine, models, &with(0), |_| true)).expect("it starts");
    let mut said = Vec::new();
    while said.len() < 5 {
        said.push(wait(session.next()).expect("a step").expect("there are more").id);
    }
    let foreign = Rc::new(peft("gemma"));
    let refused =
        wait(session.set_adapters(Some(0), &[foreign], &[AdapterUse::whole(0)])).expect_err("another model's");
    assert!(refused.code().starts_with("adapter."), "{}", refused.code());
    let before = session.cost();
    wait(session.set_adapters(Some(0), &both, &[AdapterUse::whole(1)])).expect("it fits");
    let after = session.cost();
    // The arm's row alone: all it had but the next step's input.
    let row = PROMPT.len() + said.len() - 1;
    assert_eq!(((after.prefilled - before.prefilled) as usize, (after.reused - before.reused) as usize), (row, row));
    let mut rest = Vec::new();
    while let Some(step) = wait(session.next()).expect("a step") {
        rest.push(step);
    }
    let fresh = SessionOptions { continued: vec![said.clone()], ..with(1) };
    let models = Models { adapters: &both, ..Models::only(&model) };
    let expected = run_on(&engine, models, &fresh, |_, _| {});
    assert_eq!(ids(&rest), ids(&expected));
    for (found, expected) in rest.iter().zip(&expected) {
        assert!((found.log_probs.guides[0] - expected.log_probs.guides[0]).abs() < 2e-3);
    }
    // None at all: the row is the base's.
    wait(session.set_adapters(Some(0), &both, &[])).expect("none is fine");
    wait(session.resume(20)).expect("it goes on");
    let plain = wait(session.next()).expect("a step").expect("there are more");
    assert!((plain.log_probs.guides[0] - plain.log_probs.base).abs() < 1e-3);
}
