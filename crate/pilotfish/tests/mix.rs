//! The rules between logits and token, over whole sessions: each against a loop written out on the CPU.

mod common;

use std::collections::BTreeMap;

use std::rc::Rc;

use common::{engine, gpu_with, ids, load, run, wait};
use pilotfish::engine::{
    Engine, Guide, GuideKind, Model, Models, Prompt, Returns, Session, SessionOptions, Step, Stop, each_logits,
};
use pilotfish::guidance::{Penalties, Sampling, TokenRules};
use pilotfish::ops::linear::MatvecShape;

const BASE: &str = "tiny-llama-q4_1.gguf";
const PROMPT: &str = "The sea was calm";

fn options(max_tokens: u32) -> SessionOptions {
    let sampling = Sampling { temperature: 0.0, ..Sampling::default() };
    SessionOptions { max_tokens, sampling, ..SessionOptions::new(Prompt::Text(PROMPT.into())) }
}

fn cheerful(weight: f32, against: Option<&str>) -> Guide {
    let kind = GuideKind::Context { context: "Be cheerful.".into(), against: against.map(str::to_owned) };
    Guide { name: "cheerful".into(), weight, kind }
}

fn text(steps: &[Step]) -> String {
    steps.iter().map(|step| step.text.as_str()).collect()
}

fn stop(steps: &[Step]) -> Option<Stop> {
    steps.last().and_then(|step| step.stop)
}

/// The logits after `ids`.
fn logits_after(engine: &Engine, model: &Rc<Model>, ids: &[u32]) -> Vec<f32> {
    let mut last = Vec::new();
    wait(each_logits(engine, model, &[], ids, |_, logits| last = logits.to_vec(), |_, _| true)).expect("it scores");
    last
}

/// z of the base alone after `prompt` and `made`, as the settings say; -inf where a token is left out.
fn reference(logits: &[f32], options: &SessionOptions, ends: &[u32], prompt: &[u32], made: &[u32]) -> Vec<f32> {
    let Penalties { repetition, presence, frequency, no_repeat_ngram, last_n, prompt: with_prompt } =
        options.sampling.penalties;
    let mut past = if with_prompt { prompt.to_vec() } else { Vec::new() };
    past.extend(made);
    if last_n > 0 {
        past.drain(..past.len().saturating_sub(last_n as usize));
    }
    let n = no_repeat_ngram as usize;
    let repeats = |id: u32| {
        n > 0
            && past.len() >= n
            && past.windows(n).any(|gram| gram[n - 1] == id && gram[..n - 1] == past[past.len() + 1 - n..])
    };
    let mut z = Vec::new();
    for (id, logit) in (0u32..).zip(logits) {
        let mut value = *logit + options.tokens.scores.get(&id).unwrap_or(&0.0);
        let count = past.iter().filter(|said| **said == id).count() as f32;
        if count > 0.0 {
            value = if value > 0.0 { value / repetition } else { value * repetition };
            value -= count * frequency + presence;
        }
        let too_early = options.sampling.ignore_eos || (made.len() as u32) < options.sampling.min_tokens;
        let out = options.tokens.banned.contains(&id)
            || options.tokens.allowed.as_ref().is_some_and(|allowed| !allowed.contains(&id))
            || repeats(id)
            || (too_early && ends.contains(&id));
        z.push(if out { f32::NEG_INFINITY } else { value });
    }
    z
}

#[test]
fn scores_masks_and_penalties_are_those_of_a_loop_on_the_cpu() {
    let engine = engine();
    let model = load(&engine, BASE);
    let prompt = model.encode(&Prompt::Text(PROMPT.into())).expect("it encodes");
    let none = Penalties::default();
    let plain = ids(&run(&engine, &model, &[], &options(16), |_, _| {}));
    let likely = plain[2];
    let penalties = [
        Penalties { repetition: 1.5, ..none },
        Penalties { repetition: 1.2, presence: 0.5, frequency: 0.25, prompt: true, ..none },
        Penalties { frequency: 1.0, last_n: 4, ..none },
        Penalties { no_repeat_ngram: 2, prompt: true, ..none },
    ];
    let mut all: Vec<SessionOptions> = Vec::new();
    for penalties in penalties {
        let mut options = options(16);
        options.sampling.penalties = penalties;
        all.push(options);
    }
    let mut ruled = options(16);
    ruled.tokens =
        TokenRules { scores: [(likely, -2.0), (5, 1.0)].into(), banned: vec![plain[0]], ..TokenRules::default() };
    ruled.sampling.min_tokens = 8;
    all.push(ruled.clone());
    ruled.tokens.allowed = Some((0..100).collect());
    ruled.tokens.banned = vec![7];
    ruled.tokens.scores = BTreeMap::from([(9, 3.0)]);
    ruled.sampling.penalties = Penalties { repetition: 1.3, no_repeat_ngram: 3, last_n: 12, prompt: true, ..none };
    ruled.sampling.ignore_eos = true;
    all.push(ruled);
    let mut different = 0;
    for mut options in all {
        options.returns = Returns::Logits;
        options.in_flight = 3;
        let steps = run(&engine, &model, &[], &options, |_, _| {});
        let made = ids(&steps);
        different += usize::from(made != plain[..made.len()]);
        for (at, step) in steps.iter().enumerate() {
            let logits = logits_after(&engine, &model, &[&prompt[..], &made[..at]].concat());
            let want = reference(&logits, &options, model.tokenizer.ends(), &prompt, &made[..at]);
            let got = step.logits.as_ref().expect("they were asked for");
            assert_eq!(got.len(), want.len());
            for (id, (got, want)) in got.iter().zip(&want).enumerate() {
                let holds = got == want || (got - want).abs() < 5e-3;
                assert!(holds, "{:?}: token {id} at step {at}: {got}, expected {want}", options.sampling.penalties);
            }
            let best = got.iter().copied().fold(f32::NEG_INFINITY, f32::max);
            assert_eq!(got[step.id as usize], best, "the most likely token is taken");
        }
    }
    assert!(different >= 4, "the rules change the text: {different}");
}

#[test]
fn a_schedule_is_what_sliders_at_the_same_steps_are() {
    let engine = engine();
    let model = load(&engine, BASE);
    let points = vec![(2, 0.0), (6, 2.0), (10, 2.0), (11, -1.0)];
    let weight = |step: u32| match step {
        0..=2 => 0.0,
        3..=6 => 0.5 * (step - 2) as f32,
        7..=10 => 2.0,
        _ => -1.0,
    };
    for sampling in [Sampling::greedy(), Sampling { temperature: 0.9, seed: 4, ..Sampling::default() }] {
        let mut options = options(16);
        options.sampling = sampling;
        options.in_flight = 1;
        options.guides = vec![cheerful(7.0, Some("Be gloomy."))];
        let moved = run(&engine, &model, &[], &options, |step, session| {
            session.set_weight(0, weight(step)).expect("a finite weight");
        });
        options.schedules = [("cheerful".to_owned(), points.clone())].into();
        for in_flight in [1, 3, 8] {
            options.in_flight = in_flight;
            let scheduled = run(&engine, &model, &[], &options, |_, _| {});
            assert_eq!(ids(&scheduled), ids(&moved), "{in_flight} in flight");
            for step in &scheduled {
                assert!((step.weights[0] - weight(step.index)).abs() < 1e-6, "{:?} at {}", step.weights, step.index);
            }
        }
        // A slider ends it, and the other way round.
        options.in_flight = 1;
        let taken_over = run(&engine, &model, &[], &options, |step, session| match step {
            4 => session.set_weight(0, 0.25).expect("a finite weight"),
            8 => session.set_schedule(0, &points).expect("a sound schedule"),
            _ => (),
        });
        for step in taken_over {
            let expected = if (4..8).contains(&step.index) { 0.25 } else { weight(step.index) };
            assert!((step.weights[0] - expected).abs() < 1e-6, "{:?} at {}", step.weights, step.index);
        }
    }
}

#[test]
fn a_seed_replays_with_everything_on_and_any_number_of_steps_in_flight() {
    let engine = engine();
    let model = load(&engine, BASE);
    let mut options = options(24);
    options.guides = vec![cheerful(1.0, None)];
    options.schedules = [("cheerful".to_owned(), vec![(0, 0.0), (20, 2.0)])].into();
    options.tokens.banned = vec![9, 10];
    options.forced = vec![11, 12];
    options.sampling = Sampling {
        temperature: 1.1,
        typical_p: 0.9,
        top_k: 50,
        top_p: 0.95,
        min_p: 0.01,
        penalties: Penalties { repetition: 1.2, no_repeat_ngram: 3, prompt: true, ..Penalties::default() },
        min_tokens: 4,
        seed: 21,
        ..Sampling::default()
    };
    options.in_flight = 1;
    let first = ids(&run(&engine, &model, &[], &options, |_, _| {}));
    assert_eq!(first[..2], [11, 12]);
    for in_flight in [3, 8] {
        options.in_flight = in_flight;
        assert_eq!(first, ids(&run(&engine, &model, &[], &options, |_, _| {})), "{in_flight} in flight");
    }
}

#[test]
fn a_stop_string_across_tokens_ends_the_text_before_it() {
    let engine = engine();
    let model = load(&engine, BASE);
    let mut options = options(24);
    options.sampling = Sampling { seed: 3, ..Sampling::default() };
    options.forced = model.encode(&Prompt::Text(" and then the wind came up at last".into())).expect("it encodes");
    let plain = run(&engine, &model, &[], &options, |_, _| {});
    let whole = text(&plain);
    // From inside one token to inside the one after the next.
    let border = |at: usize| text(&plain[..at]).len();
    let middle = (3..options.forced.len()).find(|at| border(*at) >= 8).expect("enough text");
    let needle = &whole[border(middle) - 2..=border(middle + 1)];
    let at = whole.find(needle).expect("it is a part");
    for in_flight in [1, 4] {
        options.in_flight = in_flight;
        options.stop = vec!["never said".into(), needle.into()];
        let steps = run(&engine, &model, &[], &options, |_, _| {});
        assert_eq!(text(&steps), whole[..at]);
        assert_eq!(
            (stop(&steps), steps.last().and_then(|step| step.stop_string.as_deref())),
            (Some(Stop::StopString), Some(needle))
        );
        assert!(steps.len() < plain.len() && ids(&steps) == ids(&plain)[..steps.len()], "what follows is dropped");
    }
    // What only begins like a stop string is said in full.
    options.stop = vec![format!("{whole} and more")];
    let steps = run(&engine, &model, &[], &options, |_, _| {});
    assert_eq!((text(&steps), stop(&steps)), (whole.clone(), stop(&plain)));
    // If the reader leaves meanwhile, the rest can be had.
    options.in_flight = 1;
    let mut session = wait(Session::new(&engine, Models::only(&model), &options, |_| true)).expect("it starts");
    let first = wait(session.next()).expect("a step").expect("a first one");
    assert_eq!(first.text, "", "it is held back");
    assert_eq!(session.rest(), text(&plain[..1]));
}

#[test]
fn ends_are_not_drawn_before_their_time() {
    let engine = engine();
    let model = load(&engine, BASE);
    let end = model.tokenizer.ends()[0];
    let mut options = options(12);
    options.tokens.scores = [(end, 100.0)].into();
    let at_once = run(&engine, &model, &[], &options, |_, _| {});
    assert_eq!((at_once.len(), stop(&at_once)), (1, Some(Stop::End)));
    options.sampling.min_tokens = 5;
    let later = run(&engine, &model, &[], &options, |_, _| {});
    assert_eq!((later.len(), stop(&later)), (6, Some(Stop::End)));
    options.sampling.ignore_eos = true;
    let never = run(&engine, &model, &[], &options, |_, _| {});
    assert_eq!((never.len(), stop(&never)), (12, Some(Stop::Length)));
}

#[test]
fn tokens_are_forced_and_masked_from_the_next_submitted_step_on() {
    let engine = engine();
    let model = load(&engine, BASE);
    let mut options = options(14);
    options.in_flight = 1;
    options.sampling = Sampling { seed: 8, ignore_eos: true, ..Sampling::default() };
    let allowed = vec![20, 21, 22];
    let steps = run(&engine, &model, &[], &options, |step, session| match step {
        3 => session.force(&[7, 7, 8]).expect("they are tokens"),
        8 => session
            .set_tokens(&TokenRules { allowed: Some(allowed.clone()), ..TokenRules::default() })
            .expect("it leaves some"),
        12 => session.set_tokens(&TokenRules::default()).expect("nothing is said"),
        _ => (),
    });
    let made = ids(&steps);
    assert_eq!(made[3..6], [7, 7, 8]);
    assert!(steps[3].log_probs.mix == 0.0 && (steps[3].kl + steps[3].log_probs.base).abs() < 1e-3, "{:?}", steps[3]);
    assert!(made[8..12].iter().all(|id| allowed.contains(id)), "{made:?}");
    let unruled = ids(&run(&engine, &model, &[], &options, |_, _| {}));
    assert_eq!(made[..3], unruled[..3]);
}

#[test]
fn what_is_reported_does_not_depend_on_the_temperature() {
    let engine = engine();
    let model = load(&engine, BASE);
    let mut options = options(1);
    options.guides = vec![cheerful(80.0, None)];
    let first = |temperature| {
        let options = SessionOptions { sampling: Sampling { temperature, ..Sampling::default() }, ..options.clone() };
        run(&engine, &model, &[], &options, |_, _| {}).remove(0)
    };
    let one = first(1.0);
    assert!(one.kl > 1e-3, "the guide does something: {}", one.kl);
    assert_eq!(one.log_probs.sampled, one.log_probs.mix);
    for temperature in [0.0, 0.3, 3.0] {
        let other = first(temperature);
        assert!((other.kl - one.kl).abs() < 1e-4, "{} and {}", other.kl, one.kl);
        for (a, b) in other.candidates.iter().zip(&one.candidates) {
            assert!(a.id == b.id && (a.log_probs.mix - b.log_probs.mix).abs() < 1e-4);
        }
        // The temperature sharpens or flattens: the most likely token's share moves with it.
        let share = other.candidates[0].log_probs.clone();
        match temperature {
            0.0 => assert_eq!(share.sampled, share.mix),
            t if t < 1.0 => assert!(share.sampled > share.mix),
            _ => assert!(share.sampled < share.mix),
        }
    }
}

#[test]
fn only_what_is_used_costs_dispatches() {
    let engine = gpu_with(false, MatvecShape::Rows);
    let model = load(&engine, BASE);
    let count = |options: &SessionOptions| {
        let session = wait(Session::new(&engine, Models::only(&model), options, |_| true)).expect("it starts");
        session.info().dispatches_per_step
    };
    let mut options = options(1);
    options.sampling.temperature = 1.0;
    let plain = count(&options);
    options.tokens.banned = vec![3];
    options.forced = vec![4];
    options.stop = vec!["x".into()];
    options.sampling.min_tokens = 1;
    options.returns = Returns::Logits;
    assert_eq!(count(&options), plain, "scores, masks, ends and stop strings are part of the mix");
    options.sampling.penalties.repetition = 1.1;
    assert_eq!(count(&options), plain + 1, "penalties count the past");
    options.sampling.typical_p = 0.9;
    assert_eq!(count(&options), plain + 1 + 5, "four levels of a selection, and the draw");
}

#[test]
fn rules_that_cannot_be_are_refused_and_the_engine_goes_on() {
    let engine = engine();
    let model = load(&engine, BASE);
    let vocab = model.vocab();
    let code = |change: &dyn Fn(&mut SessionOptions)| {
        let mut options = options(4);
        options.guides = vec![cheerful(1.0, None)];
        change(&mut options);
        match wait(Session::new(&engine, Models::only(&model), &options, |_| true)) {
            Ok(_) => "ok",
            Err(error) => {
                assert!(!error.to_string().is_empty());
                error.code()
            }
        }
    };
    let schedule = |points: &[(u32, f32)]| [("cheerful".to_owned(), points.to_vec())].into();
    let before = ids(&run(&engine, &model, &[], &options(4), |_, _| {}));
    assert_eq!(code(&|_| ()), "ok");
    for weight in [f32::NAN, f32::INFINITY] {
        assert_eq!(code(&|o| o.guides[0].weight = weight), "mix.weight");
        assert_eq!(code(&|o| o.schedules = schedule(&[(0, weight)])), "mix.weight");
    }
    assert_eq!(code(&|o| o.schedules = schedule(&[])), "mix.schedule");
    assert_eq!(code(&|o| o.schedules = [("nobody".to_owned(), vec![(0, 1.0)])].into()), "session.schedule_guide");
    assert_eq!(code(&|o| o.sampling.top_k = vocab + 1), "mix.top_k");
    assert_eq!(code(&|o| o.sampling.typical_p = 0.0), "mix.typical_p");
    assert_eq!(code(&|o| o.sampling.penalties.repetition = 0.0), "mix.penalty");
    assert_eq!(code(&|o| o.sampling.penalties.no_repeat_ngram = 1), "mix.penalty");
    assert_eq!(code(&|o| o.tokens.banned = vec![vocab]), "mix.token");
    assert_eq!(code(&|o| o.forced = vec![vocab]), "mix.token");
    assert_eq!(code(&|o| o.forced = vec![1; 257]), "mix.forced");
    assert_eq!(code(&|o| o.tokens.scores = [(1, f32::NAN)].into()), "mix.score");
    assert_eq!(code(&|o| o.tokens.allowed = Some(Vec::new())), "mix.mask");
    assert_eq!(code(&|o| o.stop = vec![String::new()]), "session.stop_string");
    // A mask that meets the ends leaves nothing only when it is tried: the step says so, and the engine goes on.
    let mut empty = options(4);
    empty.tokens.allowed = Some(vec![model.tokenizer.ends()[0]]);
    empty.sampling.ignore_eos = true;
    let mut session = wait(Session::new(&engine, Models::only(&model), &empty, |_| true)).expect("it starts");
    assert_eq!(wait(session.next()).expect_err("nothing is left").code(), "mix.empty");
    // A context guide whose weights only cancel half-way is set in one piece.
    let mut normalized = options(4);
    normalized.normalize = true;
    normalized.guides = vec![cheerful(1.0, Some("Be gloomy."))];
    let mut session = wait(Session::new(&engine, Models::only(&model), &normalized, |_| true)).expect("it starts");
    session.set_weight(0, -1.0).expect("the sum is 1 throughout");
    session.set_weight(0, 2.0).expect("the sum is 1 throughout");
    assert_eq!(session.force(&[vocab]).expect_err("it is outside").code(), "mix.token");
    assert!(wait(session.next()).expect("it goes on").is_some());
    assert_eq!(before, ids(&run(&engine, &model, &[], &options(4), |_, _| {})), "the engine is as it was");
}
