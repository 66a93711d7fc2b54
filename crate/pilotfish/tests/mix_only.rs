//! Steps that report the mix alone: the tokens and the mix's log-probabilities of steps that report everything, and nothing of rows.

mod common;

use std::rc::Rc;

use common::{engine, fixture, ids, load, run_on, wait};
use pilotfish::adapter::Adapter;
use pilotfish::engine::{
    AdapterUse, Guide, GuideKind, Method, MethodName, Model, Models, NamedFilter, Prompt, Returns, Session,
    SessionOptions, Step,
};
use pilotfish::gguf::{Header, Writer};
use pilotfish::guidance::{FilterKind, Sampling};

const BASE: &str = "tiny-llama-q4_1.gguf";

fn adapter(model: &Model) -> Rc<Adapter> {
    let read = |file: &str| std::fs::read(fixture("../tiny-adapters/qkv").join(file)).expect("the fixture is there");
    let config = String::from_utf8(read("adapter_config.json")).expect("it is text");
    let adapter = Adapter::from_peft(&config, &read("adapter_model.safetensors")).expect("the fixture is an adapter");
    Rc::new(adapter.fitted(&model.spec).expect("it is for this model"))
}

fn adapted(name: &str, weight: f32, relative: bool) -> Guide {
    let kind = GuideKind::Adapter { adapters: vec![AdapterUse::whole(0)], relative, model: None, prompt: None };
    Guide { name: name.into(), weight, kind }
}

fn context(weight: f32) -> Guide {
    let kind = GuideKind::Context { context: "Be cheerful.".into(), against: Some("Be gloomy.".into()) };
    Guide { name: "cheerful".into(), weight, kind }
}

fn options(guides: Vec<Guide>) -> SessionOptions {
    let prompt = Prompt::Text("The sea was calm".into());
    let sampling = Sampling { temperature: 0.9, seed: 7, ..Sampling::default() };
    SessionOptions { guides, sampling, max_tokens: 10, candidates: 5, ..SessionOptions::new(prompt) }
}

/// Tokens and the mix's numbers of `brief` are those of `full`, and of rows `brief` says nothing.
fn same_but_brief(full: &[Step], brief: &[Step], context: &str) {
    assert_eq!(ids(brief), ids(full), "{context}");
    let close = |got: f32, want: f32| assert!((got - want).abs() < 2e-4, "{got}, expected {want}: {context}");
    for (full, brief) in full.iter().zip(brief) {
        assert_eq!((&brief.text, brief.stop, brief.sample), (&full.text, full.stop, full.sample), "{context}");
        assert_eq!((&brief.weights, brief.temperature), (&full.weights, full.temperature), "{context}");
        assert!(brief.entropy.is_nan() && brief.kl.is_nan() && full.kl.is_finite(), "{context}");
        let candidates = brief.candidates.iter().zip(&full.candidates).map(|(b, f)| (&b.log_probs, &f.log_probs));
        for (brief, full) in [(&brief.log_probs, &full.log_probs)].into_iter().chain(candidates) {
            close(brief.mix, full.mix);
            close(brief.sampled, full.sampled);
            assert!(brief.base.is_nan() && brief.guides.is_empty() && full.base.is_finite(), "{context}");
        }
        assert_eq!(brief.candidates.len(), full.candidates.len(), "{context}");
    }
}

#[test]
fn the_tokens_are_those_of_a_full_report() {
    let engine = engine();
    let (model, other) = (load(&engine, BASE), load(&engine, "tiny-llama-f32.gguf"));
    let (adapters, guides) = ([adapter(&model)], [other]);
    let models = Models { base: &model, guides: &guides, adapters: &adapters };
    let on_other = Guide { name: "other".into(), weight: -0.5, kind: GuideKind::Model { model: 0, prompt: None } };
    let all = || vec![adapted("arm", 1.0, false), context(1.5), on_other.clone()];
    let schedule = [("arm".to_owned(), vec![(0, 0.0), (8, 2.0)])].into();
    let filter = |row: &str| Some(NamedFilter { row: row.into(), kind: FilterKind::TopP { p: 0.8 } });
    for (context, options) in [
        ("unguided", options(Vec::new())),
        ("one adapter", options(vec![adapted("arm", 1.0, false)])),
        ("what an adapter changes", options(vec![adapted("arm", 2.0, true)])),
        ("two weight sets", options(all())),
        ("a set without weight", options(vec![Guide { weight: 0.0, ..on_other.clone() }])),
        ("normalised", SessionOptions { normalize: true, ..options(all()) }),
        ("scheduled", SessionOptions { schedules: schedule, ..options(all()) }),
        ("filtered by the base", SessionOptions { filter: filter("base"), ..options(all()) }),
        ("filtered by a guide", SessionOptions { filter: filter("arm"), ..options(all()) }),
        ("three samples", SessionOptions { samples: 3, ..options(all()) }),
        ("forced", SessionOptions { forced: vec![40, 7], ..options(all()) }),
    ] {
        let full = run_on(&engine, models, &options, |_, _| {});
        let brief = run_on(&engine, models, &SessionOptions { returns: Returns::Mix, ..options.clone() }, |_, _| {});
        same_but_brief(&full, &brief, context);
    }
}

#[test]
fn sliders_act_and_sessions_go_on() {
    let engine = engine();
    let model = load(&engine, BASE);
    let adapters = [adapter(&model)];
    let models = Models { adapters: &adapters, ..Models::only(&model) };
    let mut options = SessionOptions { in_flight: 1, ..options(vec![adapted("arm", 0.0, false), context(0.5)]) };
    let slid = |options: &SessionOptions| {
        run_on(&engine, models, options, |step, session| match step {
            3 => session.set_weight(0, 3.0).expect("a finite weight"),
            6 => session.set_share(Some(0), 0, 0.25).expect("a finite share"),
            _ => (),
        })
    };
    let full = slid(&options);
    options.returns = Returns::Mix;
    same_but_brief(&full, &slid(&options), "sliders");
    // Forked, saved and gone on with, it is brief still.
    options.pool_length = 400;
    let mut session = wait(Session::new(&engine, models, &options, |_| true)).expect("it starts");
    let next = |session: &mut Session| wait(session.next()).expect("a step").expect("it has not ended");
    for _ in 0..3 {
        next(&mut session);
    }
    let mut fork = wait(session.fork()).expect("it forks");
    let saved = session.save();
    assert_eq!(saved.returns, Returns::Mix);
    let mut again = wait(Session::new(&engine, models, &saved, |_| true)).expect("it goes on");
    let steps = [next(&mut session), next(&mut fork), next(&mut again)];
    assert!(steps.iter().all(|step| step.id == steps[0].id && step.kl.is_nan()), "{steps:?}");
}

/// Their logits are no weighted sums of what the output matrix reads, so each row's are computed.
#[test]
fn models_with_a_soft_cap_are_brief_too() {
    let engine = engine();
    let bytes = std::fs::read(fixture("tiny-gemma3-q8_0.gguf")).expect("the fixture is in the repository");
    let header = Header::parse(&bytes, bytes.len() as u64).expect("it is a GGUF");
    let mut writer = Writer::new();
    // The writer has an alignment of its own.
    for (key, value) in header.metadata.iter().filter(|(key, _)| *key != "general.alignment") {
        writer = writer.value(key, value.clone());
    }
    writer = writer.f32("gemma3.final_logit_softcapping", 2.0);
    for tensor in &header.tensors {
        let range = tensor.offset as usize..(tensor.offset + tensor.bytes) as usize;
        writer = writer.tensor(&tensor.name, &tensor.shape, tensor.ty, bytes[range].to_vec()).expect("it fits");
    }
    let capped = writer.finish();
    let model = Rc::new(wait(engine.load(&mut capped.as_slice(), |_| true)).expect("it loads"));
    assert_eq!(model.spec.final_softcap, Some(2.0));
    let options = options(vec![context(1.5)]);
    let full = run_on(&engine, Models::only(&model), &options, |_, _| {});
    let brief = SessionOptions { returns: Returns::Mix, ..options };
    same_but_brief(&full, &run_on(&engine, Models::only(&model), &brief, |_, _| {}), "capped");
}

#[test]
fn a_search_reports_as_ever_and_json_leaves_out_what_is_not_there() {
    let engine = engine();
    let model = load(&engine, BASE);
    let adapters = [adapter(&model)];
    let models = Models { adapters: &adapters, ..Models::only(&model) };
    let mut options = SessionOptions { returns: Returns::Mix, ..options(vec![adapted("arm", 1.0, false)]) };
    let brief = &run_on(&engine, models, &options, |_, _| {})[0];
    let json = serde_json::to_value(brief).expect("it is JSON");
    assert!(json.get("kl").is_none() && json.get("entropy").is_none() && json["log_probs"].get("base").is_none());
    assert!(json["log_probs"]["mix"].is_number() && json["weights"][0] == 1.0);
    options.method = Method { name: MethodName::Args, reward: Some("arm".into()), candidates: 3, ..Method::default() };
    let searched = run_on(&engine, models, &options, |_, _| {});
    assert!(
        searched.iter().all(|step| step.kl.is_finite() && step.log_probs.guides.len() == 1 && step.reward.is_some())
    );
}
