//! What runs an engine's models: as asked, or as measured on the first of them.

mod common;

use std::cell::Cell;
use std::rc::Rc;

use common::{cpu_with, gpu_with, ids, load, run, wait};
use pilotfish::engine::{
    Backend, Engine, EngineOptions, Host, Models, Precision, Prompt, Session, SessionOptions, each_logits,
};
use pilotfish::guidance::Sampling;
use pilotfish::ops::linear::MatvecShape;

const MODEL: &str = "tiny-llama-q4_1.gguf";

/// Leaves the choice open, and the measuring of it to `now`.
fn auto(now: impl Fn() -> f64 + 'static) -> Engine {
    let options = EngineOptions { matvec: Some(MatvecShape::Rows), ..EngineOptions::default() };
    wait(Engine::open(&options, Host::new(now))).expect("a Vulkan driver (mesa-vulkan-drivers) is installed")
}

fn greedy(max_tokens: u32) -> SessionOptions {
    let prompt = Prompt::Text("The sea was calm".into());
    SessionOptions { max_tokens, sampling: Sampling::greedy(), ..SessionOptions::new(prompt) }
}

#[test]
fn the_first_model_decides_by_what_was_measured() {
    if !gpu_with(false, MatvecShape::Rows).gpu().is_some_and(|gpu| gpu.info().software) {
        eprintln!("skipped: this GPU is one, and is taken unmeasured");
        return;
    }
    // The CPU is timed first: by a clock whose ticks shrink the GPU is the faster, by one that stands still neither.
    let ticks = Cell::new((0.0, 1e9));
    let shrinking = move || {
        let (now, tick) = ticks.get();
        ticks.set((now + tick, tick / 2.0));
        now
    };
    for (engine, expected) in [(auto(shrinking), Backend::Gpu), (auto(|| 0.0), Backend::Cpu)] {
        assert_eq!(engine.info().processor, None, "nothing was loaded yet");
        let model = load(&engine, MODEL);
        let info = engine.info();
        assert_eq!(info.processor, Some(expected));
        let why = info.why.expect("it was measured");
        assert!(why.starts_with("a token takes ") && why.contains(", and the CPU "), "{why}");
        assert!(!ids(&run(&engine, &model, &[], &greedy(4), |_, _| {})).is_empty());
        // What comes later follows.
        let guide = load(&engine, MODEL);
        assert!(
            wait(Session::new(&engine, Models { guides: &[guide], ..Models::only(&model) }, &greedy(1), |_| true))
                .is_ok()
        );
        assert_eq!(engine.info().processor, Some(expected));
    }
}

#[test]
fn both_processors_say_the_same() {
    let (gpu, cpu) = (gpu_with(false, MatvecShape::Rows), cpu_with(Precision::Exact));
    let said = [&gpu, &cpu].map(|engine| {
        let model = load(engine, MODEL);
        let mut options = greedy(24);
        options.sampling = Sampling { temperature: 0.9, top_p: 0.95, seed: 5, ..Sampling::default() };
        ids(&run(engine, &model, &[], &options, |_, _| {}))
    });
    assert_eq!(said[0], said[1], "the same seed draws the same tokens");
}

#[test]
fn a_model_is_run_where_it_was_loaded() {
    let (gpu, cpu) = (gpu_with(false, MatvecShape::Rows), cpu_with(Precision::Fast));
    let (on_gpu, on_cpu) = (load(&gpu, MODEL), load(&cpu, MODEL));
    for (engine, model) in [(&gpu, &on_cpu), (&cpu, &on_gpu)] {
        let session = wait(Session::new(engine, Models::only(model), &greedy(1), |_| true));
        assert_eq!(session.expect_err("it is elsewhere").code(), "engine.other_processor");
        let scored = wait(each_logits(engine, model, &[], &[1, 2], |_, _| {}, |_, _| true));
        assert_eq!(scored.expect_err("it is elsewhere").code(), "engine.other_processor");
    }
}

#[test]
fn an_engine_without_a_model_runs_no_session() {
    let engine = auto(|| 0.0);
    if engine.info().processor.is_some() {
        return;
    }
    let foreign = load(&cpu_with(Precision::Fast), MODEL);
    let session = wait(Session::new(&engine, Models::only(&foreign), &greedy(1), |_| true));
    assert_eq!(session.expect_err("nothing was loaded").code(), "engine.no_model");
}

#[test]
fn a_cpu_tells_how_it_computes() {
    let cpu = cpu_with(Precision::Fast).info();
    assert_eq!((cpu.processor, cpu.precision()), (Some(Backend::Cpu), Some(Precision::Fast)));
    let info = cpu.cpu.expect("there is one");
    assert_eq!(info.threads, 2);
    assert!(!info.instructions.is_empty() && cpu.gpu.is_none());
    let json = serde_json::json!(gpu_with(true, MatvecShape::Workgroup).info());
    assert_eq!((&json["processor"], &json["matvec"]), (&"gpu".into(), &"workgroup".into()));
    assert!(json["cpu"].is_null() && json["name"].is_string());
}

#[test]
fn others_have_a_turn_between_two_steps() {
    let turns = Rc::new(Cell::new(0));
    let counted = Rc::clone(&turns);
    let pause = move || -> pilotfish::engine::Pause {
        counted.set(counted.get() + 1);
        Box::pin(std::future::ready(()))
    };
    let options = EngineOptions { backend: Backend::Cpu, threads: Some(1), ..EngineOptions::default() };
    let engine = wait(Engine::open(&options, Host::new(|| 0.0).with_pause(pause))).expect("a thread starts");
    let model = load(&engine, MODEL);
    let mut session = wait(Session::new(&engine, Models::only(&model), &greedy(5), |_| true)).expect("it starts");
    let after_prefill = turns.get();
    assert!(after_prefill > 0, "a prefill pauses");
    for step in 1..=5 {
        assert!(wait(session.next()).expect("a step").is_some());
        assert_eq!(turns.get(), after_prefill + step);
    }
}
