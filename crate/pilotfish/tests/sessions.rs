//! Going on: turns that reuse what is cached, samples side by side, stops and resumes, forks, saved text, a full context.

mod common;

use std::rc::Rc;

use common::{Variant, cpu_with, engine, engines, ids, load, run, wait};
use pilotfish::engine::{
    Engine, Guide, GuideKind, Model, Models, Precision, Prompt, Session, SessionOptions, Step, Stop, WhenFull,
    each_logits,
};
use pilotfish::guidance::{Penalties, Sampling};

const BASE: &str = "tiny-llama-q4_1.gguf";
const PROMPT: [u32; 6] = [40, 7, 99, 260, 3, 81];

fn drawn(seed: u64) -> Sampling {
    Sampling { temperature: 1.0, seed, ignore_eos: true, ..Sampling::default() }
}

/// On ids, with a guide of its own prompt, so that rows differ in length.
fn options(prompt: &[u32], max_tokens: u32) -> SessionOptions {
    let mut options = SessionOptions::new(Prompt::Ids(prompt.to_vec()));
    let own = Some(Prompt::Ids([&[5, 6, 7, 8], prompt].concat()));
    options.guides =
        vec![Guide { name: "other".into(), weight: 0.5, kind: GuideKind::Model { model: 0, prompt: own } }];
    options.max_tokens = max_tokens;
    options.sampling = drawn(3);
    options
}

fn open(engine: &Engine, model: &Rc<Model>, options: &SessionOptions) -> Session {
    let guides = [Rc::clone(model)];
    let models = Models { guides: &guides, ..Models::only(model) };
    wait(Session::new(engine, models, options, |_| true)).expect("the session starts")
}

fn take(session: &mut Session, most: usize) -> Vec<Step> {
    let mut steps = Vec::new();
    while steps.len() < most {
        match wait(session.next()).expect("a step") {
            Some(step) => steps.push(step),
            None => break,
        }
        // Nothing that a test asks for next may mind it.
        session.read_ahead();
    }
    steps
}

fn fresh(engine: &Engine, model: &Rc<Model>, options: &SessionOptions) -> Vec<Step> {
    run(engine, model, &[Rc::clone(model)], options, |_, _| {})
}

/// Equal but for rounding: rows may be computed by other kernels, or in other chunks.
fn same(a: &[Step], b: &[Step]) {
    assert_eq!(ids(a), ids(b));
    for (a, b) in a.iter().zip(b) {
        assert!((a.log_probs.mix - b.log_probs.mix).abs() < 2e-3, "{a:?} and {b:?}");
        assert!((a.log_probs.guides[0] - b.log_probs.guides[0]).abs() < 2e-3, "{a:?} and {b:?}");
    }
}

#[test]
fn a_turn_reuses_the_common_prefix_of_every_row_and_equals_a_new_session() {
    let engine = engine();
    let model = load(&engine, BASE);
    let mut first = options(&PROMPT, 10);
    first.context_length = 64;
    let mut session = open(&engine, &model, &first);
    let said = ids(&take(&mut session, 99));
    assert_eq!(said.len(), 10);
    let next = options(&[&PROMPT[..], &said, &[50, 51]].concat(), 12);
    let reused = wait(session.turn(&next, |_| true)).expect("a turn");
    // The base's six and the guide's ten but for its first four, which the turn's prompt has, too; the last token that was drawn
    // went through no row.
    assert_eq!(reused, (6 + 9) + (10 + 9));
    same(&take(&mut session, 99), &fresh(&engine, &model, &next));
    // A turn that parts early.
    let other = options(&[40, 7, 1, 2, 3], 5);
    assert_eq!(wait(session.turn(&other, |_| true)).expect("a turn"), 2 + 6);
    same(&take(&mut session, 99), &fresh(&engine, &model, &other));
}

#[test]
fn a_turn_that_cannot_be_leaves_the_session_as_it_was() {
    let engine = engine();
    let model = load(&engine, BASE);
    let first = options(&PROMPT, 10);
    let whole = ids(&fresh(&engine, &model, &first));
    let mut session = open(&engine, &model, &first);
    let mut said = ids(&take(&mut session, 4));
    let long = options(&[9; 60], 4);
    let refused = wait(session.turn(&long, |_| true)).expect_err("it is too long");
    assert_eq!(refused.code(), "session.prompt_too_long");
    let mut other = options(&PROMPT, 4);
    other.stop = vec![String::new()];
    assert_eq!(wait(session.turn(&other, |_| true)).expect_err("no stop string").code(), "session.stop_string");
    other.stop.clear();
    other.forced = vec![u32::MAX];
    assert_eq!(wait(session.turn(&other, |_| true)).expect_err("no such token").code(), "mix.token");
    said.extend(ids(&take(&mut session, 99)));
    assert_eq!(said, whole, "it goes on as if nobody had asked");
    // Aborted in the middle: nothing comes until the next turn, which is right.
    let turn = options(&[1, 2, 3, 4, 5], 4);
    let aborted = wait(session.turn(&turn, |at| at.done == 0)).expect_err("it was aborted");
    assert_eq!(aborted.code(), "aborted");
    assert!(wait(session.next()).expect("no fault").is_none());
    wait(session.turn(&turn, |_| true)).expect("a turn");
    same(&take(&mut session, 99), &fresh(&engine, &model, &turn));
}

#[test]
fn samples_are_what_single_sessions_with_their_seeds_make() {
    // What differs in its last bit between vectors and a matrix may be rounded to another level of 8 bits.
    for Variant { engine, .. } in engines().into_iter().filter(|variant| variant.exact) {
        let model = load(&engine, BASE);
        // Three samples of two rows are multiplied as vectors; nine, eighteen rows, as a matrix.
        for samples in [3, 9] {
            let together = SessionOptions { samples, ..options(&PROMPT, 8) };
            let steps = fresh(&engine, &model, &together);
            for sample in 0..samples {
                let alone = SessionOptions { sampling: drawn(3 + u64::from(sample)), ..options(&PROMPT, 8) };
                let own: Vec<Step> = steps.iter().filter(|step| step.sample == sample).cloned().collect();
                same(&own, &fresh(&engine, &model, &alone));
                assert_eq!(own.last().and_then(|step| step.stop), Some(Stop::Length));
            }
        }
    }
}

#[test]
fn samples_end_one_by_one() {
    let engine = engine();
    let model = load(&engine, BASE);
    let mut together = SessionOptions { samples: 4, ..options(&PROMPT, 40) };
    together.sampling.ignore_eos = false;
    together.tokens.scores.insert(model.tokenizer.ends()[0], 6.0);
    let steps = fresh(&engine, &model, &together);
    let mut lengths: Vec<usize> = Vec::new();
    for sample in 0..4 {
        let own: Vec<&Step> = steps.iter().filter(|step| step.sample == sample).collect();
        assert!(own.iter().rev().skip(1).all(|step| step.stop.is_none()) && own[own.len() - 1].stop.is_some());
        assert!(own.iter().enumerate().all(|(at, step)| step.index as usize == at));
        lengths.push(own.len());
    }
    assert!(lengths.iter().any(|length| *length != lengths[0]), "the seeds should differ: {lengths:?}");
}

#[test]
fn a_stopped_session_resumes_as_if_it_had_not_been_stopped() {
    let engine = engine();
    let model = load(&engine, BASE);
    let mut options = SessionOptions { in_flight: 4, ..options(&PROMPT, 20) };
    options.sampling.penalties = Penalties { presence: 0.7, no_repeat_ngram: 2, ..Penalties::default() };
    let whole = fresh(&engine, &model, &options);
    let mut session = open(&engine, &model, &options);
    let mut steps = take(&mut session, 5);
    session.stop();
    let rest = take(&mut session, 99);
    assert_eq!((rest.len(), rest[0].stop), (1, Some(Stop::Stopped)));
    steps.extend(rest);
    wait(session.resume(12)).expect("it goes on");
    let more = take(&mut session, 99);
    assert_eq!(more.last().and_then(|step| step.stop), Some(Stop::Length));
    steps.extend(more);
    assert_eq!(steps.len(), 12);
    wait(session.resume(20)).expect("it goes on");
    steps.extend(take(&mut session, 99));
    same(&steps, &whole);
    assert!(steps.iter().enumerate().all(|(at, step)| step.index as usize == at));
}

#[test]
fn a_fork_goes_its_own_way_from_the_same_place_and_the_first_is_undisturbed() {
    let engine = engine();
    let model = load(&engine, BASE);
    let first = SessionOptions { pool_length: 128, in_flight: 3, ..options(&PROMPT, 16) };
    let whole = fresh(&engine, &model, &first);
    let mut session = open(&engine, &model, &first);
    let mut steps = take(&mut session, 6);
    let mut fork = wait(session.fork()).expect("there is room");
    fork.set_weight(0, -2.0).expect("a weight of either sign");
    let forked = take(&mut fork, 99);
    steps.extend(take(&mut session, 99));
    same(&steps, &whole);
    let mut apart = SessionOptions { continued: vec![ids(&whole[..6])], ..first.clone() };
    apart.guides[0].weight = -2.0;
    same(&forked, &fresh(&engine, &model, &apart));
    assert_ne!(ids(&forked), ids(&whole[6..]), "the weight must change something");
    assert_eq!(fork.cost().prefilled, 0, "a fork computes nothing anew");
    drop(fork);
    // Forks give back what they took.
    for _ in 0..20 {
        let mut again = wait(session.fork()).expect("there is room again");
        assert!(take(&mut again, 1).is_empty(), "it had reached its length");
    }
    let small = SessionOptions { pool_length: 64, ..first };
    let mut session = open(&engine, &model, &small);
    take(&mut session, 16);
    let mut forks: Vec<Session> = Vec::new();
    let full = loop {
        let mut fork = wait(session.fork()).expect("what is shared takes nothing");
        wait(fork.resume(99)).expect("it goes on");
        // Each writes positions of its own.
        let mut full = None;
        while full.is_none() {
            match wait(fork.next()) {
                Ok(Some(_)) => {}
                Ok(None) => break,
                Err(error) => full = Some(error),
            }
        }
        forks.push(fork);
        if let Some(full) = full {
            break full;
        }
    };
    assert_eq!(full.code(), "session.pool_full");
}

#[test]
fn a_fork_has_what_was_made_and_not_given_out() {
    let engine = engine();
    let model = load(&engine, BASE);
    let together = SessionOptions { samples: 3, pool_length: 400, ..options(&PROMPT, 6) };
    let mut session = open(&engine, &model, &together);
    // In the middle of a step: two of its tokens are not given out yet.
    take(&mut session, 4);
    let mut fork = wait(session.fork()).expect("there is room");
    let rest = take(&mut session, 99);
    assert_eq!((rest.len(), rest[0].sample, rest[0].index), (14, 1, 1));
    same(&take(&mut fork, 99), &rest);
}

#[test]
fn saved_text_goes_on_as_the_session_would_have() {
    let engine = engine();
    let model = load(&engine, BASE);
    let mut options = options(&PROMPT, 18);
    options.sampling.penalties.frequency = 0.4;
    let mut session = open(&engine, &model, &options);
    take(&mut session, 3);
    session.set_weight(0, 1.5).expect("a weight");
    let mut sampling = options.sampling;
    sampling.temperature = 0.6;
    session.set_sampling(&sampling).expect("settings");
    take(&mut session, 4);
    let saved = serde_json::to_string(&session.save()).expect("it is JSON");
    let rest = take(&mut session, 99);
    let saved: SessionOptions = serde_json::from_str(&saved).expect("it can be read");
    assert_eq!((saved.continued[0].len(), saved.guides[0].weight, saved.sampling.temperature), (7, 1.5, 0.6));
    let again = fresh(&engine, &model, &saved);
    same(&again, &rest);
    assert_eq!((again[0].index, again.len()), (7, 11));
}

#[test]
fn a_full_context_stops_or_keeps_the_first_tokens_and_goes_on() {
    let engine = engine();
    let model = load(&engine, BASE);
    let mut options = SessionOptions { context_length: 24, ..options(&PROMPT, 40) };
    let stopped = fresh(&engine, &model, &options);
    assert_eq!(stopped.last().and_then(|step| step.stop), Some(Stop::Context));
    // The guide's prompt has ten tokens; the last one drawn needs no place.
    assert_eq!(stopped.len(), 15);
    for keep in [None, Some(2)] {
        options.when_full = WhenFull::Shift { keep };
        let steps = fresh(&engine, &model, &options);
        // A text that has stopped for it goes on when it may.
        let mut session = open(&engine, &model, &SessionOptions { when_full: WhenFull::Stop, ..options.clone() });
        let mut late = take(&mut session, 99);
        assert_eq!(wait(session.resume(40)).expect_err("there is no room").code(), "session.prompt_too_long");
        session.set_when_full(options.when_full);
        wait(session.resume(40)).expect("there is room now");
        late.extend(take(&mut session, 99));
        same(&late, &steps);
        assert_eq!(late[15].shifted, steps[15].shifted);
        assert_eq!((steps.len(), steps[39].stop), (40, Some(Stop::Length)));
        same(&steps[..15], &stopped);
        let moved: Vec<(usize, u32)> = steps
            .iter()
            .enumerate()
            .filter(|(_, step)| step.shifted > 0)
            .map(|(at, step)| (at, step.shifted))
            .collect();
        assert!(moved.len() >= 2, "{moved:?}");
        // Every step is what a model that sees only what is left would say.
        let said = ids(&steps);
        let (first, dropped) = moved[0];
        let kept = keep.map_or(PROMPT.len(), |keep| keep as usize);
        for at in first..moved[1].0 {
            let mut left = [&PROMPT[..], &said[..at]].concat();
            left.drain(kept..kept + dropped as usize);
            let mut last = Vec::new();
            wait(each_logits(&engine, &model, &[], &left, |_, logits| last = logits.to_vec(), |_, _| true))
                .expect("it scores");
            let normaliser = pilotfish::engine::logsumexp(&last) as f32;
            let expected = last[said[at] as usize] - normaliser;
            assert!((expected - steps[at].log_probs.base).abs() < 5e-3, "at {at} with {keep:?}");
        }
    }
}

#[test]
fn a_step_that_was_read_ahead_is_the_one_that_would_have_come() {
    let engine = cpu_with(Precision::Fast);
    let model = load(&engine, BASE);
    let options = options(&PROMPT, 8);
    let mut session = open(&engine, &model, &options);
    session.read_ahead();
    session.read_ahead();
    assert_eq!(session.cost().steps, 1, "one, however often");
    let mut steps = take(&mut session, 3);
    assert_eq!(session.cost().steps, 4);
    session.set_weight(0, -2.0).expect("a weight");
    steps.extend(take(&mut session, 99));
    assert_eq!(session.cost().steps, 8, "none beyond the last");
    let weights: Vec<f32> = steps.iter().map(|step| step.weights[0]).collect();
    assert_eq!(weights, [0.5, 0.5, 0.5, 0.5, -2.0, -2.0, -2.0, -2.0], "the fourth was computed when the weight came");
    let slid = run(&engine, &model, &[Rc::clone(&model)], &options, |at, session| {
        if at == 4 {
            session.set_weight(0, -2.0).expect("a weight");
        }
    });
    same(&steps, &slid);
}
