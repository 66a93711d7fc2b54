//! Bad input gets a typed error, and the engine stays usable.

mod common;

use std::rc::Rc;

use common::{engine, fixture, gpu_with, ids, load, run, wait};
use pilotfish::Error;
use pilotfish::engine::{
    Engine, Guide, GuideKind, Model, Models, NamedFilter, Prompt, Session, SessionOptions, SessionPlan, score,
};
use pilotfish::guidance::{FilterKind, Sampling};
use pilotfish::ops::linear::MatvecShape;

const BASE: &str = "tiny-llama-q4_1.gguf";

fn code(result: Result<impl Sized, Error>) -> &'static str {
    match result {
        Ok(_) => "ok",
        Err(error) => {
            assert!(!error.to_string().is_empty());
            error.code()
        }
    }
}

fn start(engine: &Engine, model: &Rc<Model>, models: &[Rc<Model>], options: &SessionOptions) -> &'static str {
    code(wait(Session::new(engine, Models { guides: models, ..Models::only(model) }, options, |_| true)))
}

fn text(text: &str) -> SessionOptions {
    SessionOptions { max_tokens: 4, ..SessionOptions::new(Prompt::Text(text.into())) }
}

fn context(name: &str, weight: f32) -> Guide {
    Guide { name: name.into(), weight, kind: GuideKind::Context { context: "Be brief.".into(), against: None } }
}

#[test]
fn a_session_refuses_what_it_cannot_do_and_the_engine_goes_on() {
    let engine = engine();
    let model = load(&engine, BASE);
    let before = ids(&run(&engine, &model, &[], &text("One"), |_, _| {}));
    let with = |change: &dyn Fn(&mut SessionOptions)| {
        let mut options = text("One");
        change(&mut options);
        start(&engine, &model, &[], &options)
    };
    assert_eq!(with(&|_| ()), "ok");
    assert_eq!(with(&|o| o.prompt = Prompt::Ids(vec![])), "session.empty_prompt");
    assert_eq!(with(&|o| o.prompt = Prompt::Ids(vec![1_000_000])), "session.token_id");
    assert_eq!(with(&|o| o.prompt = Prompt::Text("word ".repeat(20_000))), "session.prompt_too_long");
    assert_eq!(with(&|o| o.context_length = 1), "session.prompt_too_long");
    assert_eq!(with(&|o| o.sampling.temperature = -1.0), "mix.temperature");
    assert_eq!(with(&|o| o.sampling.temperature = f32::NAN), "mix.temperature");
    assert_eq!(with(&|o| o.sampling.top_p = 0.0), "mix.top_p");
    assert_eq!(with(&|o| o.sampling.min_p = 2.0), "mix.min_p");
    assert_eq!(with(&|o| o.sampling.top_k = u32::MAX), "mix.top_k");
    for weight in [f32::NAN, f32::INFINITY] {
        assert_eq!(with(&|o| o.guides = vec![context("a", weight)]), "mix.weight");
    }
    assert_eq!(with(&|o| o.guides = vec![context("a", 1.0), context("a", 1.0)]), "session.guide_name");
    assert_eq!(with(&|o| o.guides = vec![context("base", 1.0)]), "session.guide_name");
    let missing = Guide { name: "m".into(), weight: 1.0, kind: GuideKind::Model { model: 0, prompt: None } };
    assert_eq!(with(&|o| o.guides = vec![missing.clone()]), "session.guide_model");
    let filter = NamedFilter { row: "nobody".into(), kind: FilterKind::Plausibility { alpha: 0.1 } };
    assert_eq!(with(&|o| o.filter = Some(filter.clone())), "session.unknown_row");
    assert_eq!(
        with(&|o| {
            o.prompt = Prompt::Ids(vec![1]);
            o.guides = vec![context("a", 1.0)];
        }),
        "session.context_needs_text"
    );
    let many: Vec<Guide> = (0..9)
        .map(|i| Guide {
            name: format!("g{i}"),
            weight: 0.1,
            kind: GuideKind::Context { context: format!("Number {i}."), against: None },
        })
        .collect();
    assert_eq!(with(&|o| o.guides.clone_from(&many)), "mix.terms");
    assert_eq!(with(&|o| o.samples = 33), "session.too_many_rows");
    assert_eq!(with(&|o| o.samples = 0), "session.too_many_rows");
    let small_pool = |o: &mut SessionOptions| {
        o.prompt = Prompt::Ids(vec![1; 9]);
        o.pool_length = 2;
    };
    assert_eq!(with(&small_pool), "session.pool_full");
    assert_eq!(with(&|o| o.continued = vec![vec![1], vec![2]]), "session.continued");
    assert_eq!(with(&|o| o.continued = vec![vec![u32::MAX]]), "session.token_id");
    assert_eq!(before, ids(&run(&engine, &model, &[], &text("One"), |_, _| {})), "the engine is as it was");
}

#[test]
fn live_changes_are_checked_too() {
    let engine = engine();
    let model = load(&engine, BASE);
    let mut options = text("One");
    options.guides = vec![context("a", 1.0)];
    let mut session = wait(Session::new(&engine, Models::only(&model), &options, |_| true)).expect("it starts");
    assert_eq!(code(session.set_weight(0, f32::NAN)), "mix.weight");
    assert_eq!(code(session.set_weight(1, 1.0)), "session.guide");
    assert_eq!(code(session.set_sampling(&Sampling { temperature: -1.0, ..Sampling::default() })), "mix.temperature");
    assert!(wait(session.next()).expect("it goes on").is_some());
}

#[test]
fn damaged_files_are_refused_wherever_they_are_cut() {
    let engine = engine();
    let bytes = std::fs::read(fixture(BASE)).expect("the fixture is in the repository");
    let load = |mut bytes: &[u8]| code(wait(engine.load(&mut bytes, |_| true)));
    assert_eq!(load(&bytes), "ok");
    for cut in (0..bytes.len()).step_by(1 + bytes.len() / 97) {
        let found = load(&bytes[..cut]);
        assert!(found.starts_with("gguf."), "cut at {cut}: {found}");
    }
    assert!(load(b"PK\x03\x04 this is not a model").starts_with("gguf."));
    let mut changed = bytes.clone();
    let at = bytes.windows(5).position(|window| window == b"llama").expect("the architecture is named");
    changed[at..at + 5].copy_from_slice(b"mamba");
    assert_eq!(load(&changed), "arch.unknown");
    assert_eq!(load(&bytes), "ok");
}

#[test]
fn a_guide_with_another_vocabulary_is_refused() {
    let engine = engine();
    let base = load(&engine, BASE);
    let other = load(&engine, "tiny-gemma3-q8_0.gguf");
    let mut options = text("One");
    options.guides =
        vec![Guide { name: "other".into(), weight: 1.0, kind: GuideKind::Model { model: 0, prompt: None } }];
    assert_eq!(start(&engine, &base, &[other], &options), "session.vocabulary");
}

#[test]
fn loading_and_prefilling_stop_when_asked() {
    let engine = engine();
    let bytes = std::fs::read(fixture(BASE)).expect("the fixture is in the repository");
    assert_eq!(code(wait(engine.load(&mut bytes.as_slice(), |_| false))), "aborted");
    let model = load(&engine, BASE);
    assert_eq!(code(wait(Session::new(&engine, Models::only(&model), &text("One two three"), |_| false))), "aborted");
    assert_eq!(code(wait(score(&engine, &model, &[], &[1, 2, 3], 1, |_, _| false))), "aborted");
    assert_eq!(code(wait(score(&engine, &model, &[], &[], 1, |_, _| true))), "session.empty_prompt");
}

#[test]
fn stopping_ends_a_generation_and_says_so() {
    let engine = engine();
    let model = load(&engine, BASE);
    let mut options = text("One");
    options.max_tokens = 40;
    options.in_flight = 3;
    options.sampling.temperature = 1.0;
    let steps = run(&engine, &model, &[], &options, |token, session| {
        if token == 5 {
            session.stop();
        }
    });
    assert!((5..=9).contains(&steps.len()), "{} steps", steps.len());
    let last = steps.last().and_then(|step| step.stop);
    assert!(last.is_some(), "the last step says why");
}

#[test]
fn a_full_context_ends_a_generation() {
    let engine = engine();
    let model = load(&engine, BASE);
    let mut options = text("One");
    options.context_length = 8;
    options.max_tokens = 100;
    let steps = run(&engine, &model, &[], &options, |_, _| {});
    let prompt = model.encode(&options.prompt).expect("it encodes").len();
    let stop = steps.last().and_then(|step| step.stop);
    if stop == Some(pilotfish::engine::Stop::Context) {
        assert_eq!(prompt + steps.len(), 8 + 1, "every position was used");
    } else {
        assert_eq!(stop, Some(pilotfish::engine::Stop::End));
    }
}

#[test]
fn a_lost_device_is_an_error_not_a_hang() {
    let engine = gpu_with(false, MatvecShape::Rows);
    let model = load(&engine, BASE);
    let mut session = wait(Session::new(&engine, Models::only(&model), &text("One"), |_| true)).expect("it starts");
    assert!(wait(session.next()).expect("the device is there").is_some());
    engine.gpu().expect("it is a GPU").close();
    let mut codes = Vec::new();
    for _ in 0..10 {
        match wait(session.next()) {
            Ok(Some(_)) => {}
            other => {
                codes.push(code(other.map(|_| ())));
                break;
            }
        }
    }
    assert_eq!(codes, ["gpu.lost"]);
    assert_eq!(start(&engine, &model, &[], &text("One")), "gpu.lost");
}

#[test]
fn a_session_tells_its_memory_before_it_allocates() {
    let engine = engine();
    let model = load(&engine, BASE);
    let mut options = text("One");
    options.guides = vec![context("a", 1.0)];
    let plan = SessionPlan::new(&engine, Models::only(&model), &options).expect("it can be planned");
    let session = wait(Session::new(&engine, Models::only(&model), &options, |_| true)).expect("it starts");
    assert_eq!(plan.memory, session.info().memory);
    let position = model.spec.memory().kv_bytes_per_position;
    assert_eq!(plan.memory.kv, position * u64::from(plan.context) * 2);
}
