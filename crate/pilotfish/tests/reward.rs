//! Reward models with a head of their own: their scores are the reference's, and what texts share is computed once.

mod common;

use std::rc::Rc;

use common::{engine, fixture, load, run, wait};
use pilotfish::chat::{Message, Role};
use pilotfish::engine::{
    Guide, GuideKind, Method, MethodName, Models, Prompt, RewardHead, Scorer, Session, SessionOptions, each_logits,
    open as open_file,
};
use pilotfish::model::twin::{Cache, CpuModel};

const ONE: &str = "../tiny-reward/tiny-llama-classifier-1.gguf";
const TWO: &str = "../tiny-reward/tiny-qwen3-classifier-2.gguf";

#[derive(serde::Deserialize)]
struct Expected {
    cases: Vec<Case>,
}

#[derive(serde::Deserialize)]
struct Case {
    ids: Vec<u32>,
    logits: Vec<Vec<f32>>,
}

fn twin(name: &str) -> CpuModel {
    let bytes = std::fs::read(fixture(name)).expect("the fixture is in the repository");
    let opened = wait(open_file(&mut bytes.as_slice())).expect("it opens");
    wait(CpuModel::read(opened.spec, &mut bytes.as_slice())).expect("it reads")
}

#[test]
fn the_twin_gives_the_reference_scores() {
    for name in [ONE, TWO] {
        let text = std::fs::read_to_string(fixture(name).with_extension("json")).expect("it is in the repository");
        let expected: Expected = serde_json::from_str(&text).expect("it is JSON of that form");
        let model = twin(name);
        for case in expected.cases {
            for (found, expected) in model.logits(&case.ids, Cache::Exact).iter().zip(&case.logits) {
                assert_eq!(found.len(), expected.len());
                for (found, expected) in found.iter().zip(expected) {
                    assert!((found - expected).abs() < 2e-3, "{name}: {found} and {expected}");
                }
            }
        }
    }
}

#[test]
fn texts_are_scored_at_their_last_token_however_they_share() {
    let engine = engine();
    for (name, class) in [(ONE, None), (TWO, None), (TWO, Some("no")), (TWO, Some("0"))] {
        let (model, twin) = (load(&engine, name), twin(name));
        let prompt = "The sea was";
        let score = |text: &String| {
            let ids = model.encode(&Prompt::Text(format!("{prompt}{text}"))).expect("it encodes");
            let scores = twin.logits(&ids, Cache::Half).pop().expect("there is a token");
            match (name, class) {
                (ONE, _) | (_, Some("0")) => scores[0],
                (_, Some(_)) => scores[1],
                (_, None) => scores[0] - scores[1],
            }
        };
        let mut head = RewardHead::new(&engine, &model, &Prompt::Text(prompt.into()), class, 200).expect("it is one");
        let words = ["", " calm", " calm and", " calm and the", " in", " calm", " calm and the wind was in it", "q"];
        let long: Vec<String> = (0..40).map(|n| format!(" calm and {}", "the wind ".repeat(n % 9))).collect();
        let short: Vec<String> = words.map(str::to_owned).to_vec();
        for texts in [&short, &short, &long, &short[2..3].to_vec()] {
            let found = wait(head.score(texts)).expect("it scores");
            assert_eq!(found.len(), texts.len());
            for (found, text) in found.iter().zip(texts) {
                let expected = score(text);
                assert!((found - expected).abs() < 2e-2, "{name} {class:?} {text:?}: {found} and {expected}");
            }
        }
    }
}

#[test]
fn args_takes_the_token_that_the_reward_model_likes() {
    let engine = engine();
    let (base, model) = (load(&engine, "tiny-llama-q4_1.gguf"), load(&engine, ONE));
    let chat = Prompt::Chat(vec![Message { role: Role::User, content: "How is the sea?".into() }]);
    let method = Method { name: MethodName::Args, candidates: 6, weight: 1.5, ..Method::default() };
    let mut options = SessionOptions { method, max_tokens: 8, ..SessionOptions::new(chat.clone()) };
    options.sampling.temperature = 0.0;
    options.sampling.ignore_eos = true;
    let mut session = wait(Session::new(&engine, Models::only(&base), &options, |_| true)).expect("it starts");
    let head = || RewardHead::new(&engine, &model, &chat, None, 0).expect("it is one");
    session.set_scorer(Box::new(head()));
    let (mut said, mut judge) = (Vec::new(), head());
    let prompt = base.encode(&chat).expect("it encodes");
    while let Some(step) = wait(session.next()).expect("a step") {
        let mut last = Vec::new();
        let so_far = [&prompt[..], &said].concat();
        wait(each_logits(&engine, &base, &[], &so_far, |_, logits| last = logits.to_vec(), |_, _| true))
            .expect("scores");
        let likeliest = pilotfish::engine::highest(&last, 6);
        let text = |id: u32| base.tokenizer.decode(&[&said[..], &[id]].concat());
        let texts: Vec<String> = likeliest.iter().map(|(id, _)| text(*id)).collect();
        let rewards = wait(judge.score(&texts)).expect("it scores");
        let score = |at: &usize| likeliest[*at].1 + 1.5 * rewards[*at];
        let best = (0..6).max_by(|a, b| score(a).total_cmp(&score(b))).expect("six are more than none");
        assert_eq!(step.id, likeliest[best].0, "after {said:?}");
        assert!((step.reward.expect("it has one") - rewards[best]).abs() < 2e-2);
        said.push(step.id);
    }
    assert_eq!((said.len(), session.cost().scored), (8, 48));
}

#[test]
fn what_is_no_reward_model_and_what_is_no_language_model_are_told_apart() {
    let engine = engine();
    let (base, one, two) = (load(&engine, "tiny-llama-q4_1.gguf"), load(&engine, ONE), load(&engine, TWO));
    let prompt = Prompt::Text("The".into());
    let code = |model, prompt, class| match RewardHead::new(&engine, model, prompt, class, 0) {
        Ok(_) => "ok",
        Err(error) => error.code(),
    };
    assert_eq!(code(&base, &prompt, None), "reward.class");
    assert_eq!(code(&two, &prompt, Some("maybe")), "reward.class");
    assert_eq!(code(&one, &prompt, Some("1")), "reward.class");
    assert_eq!(code(&one, &Prompt::Ids(vec![1]), None), "reward.needs_text");
    let mut small = RewardHead::new(&engine, &one, &prompt, None, 8).expect("it is one");
    let refused = wait(small.score(&["a long text, far too long".into()])).expect_err("it does not fit");
    assert_eq!(refused.code(), "session.prompt_too_long");
    assert!(wait(small.score(&[" sea".into()])).is_ok(), "and it goes on");
    let as_base = wait(Session::new(&engine, Models::only(&one), &SessionOptions::new(prompt.clone()), |_| true));
    assert_eq!(as_base.expect_err("it makes no text").code(), "session.classifier");
    let mut options = SessionOptions { max_tokens: 2, ..SessionOptions::new(prompt) };
    let guide = GuideKind::Model { model: 0, prompt: None };
    assert_eq!(run(&engine, &base, &[], &options, |_, _| {}).len(), 2);
    options.guides = vec![Guide { name: "judge".into(), weight: 1.0, kind: guide }];
    let models = Models { guides: &[Rc::clone(&one)], ..Models::only(&base) };
    let as_guide = wait(Session::new(&engine, models, &options, |_| true));
    assert_eq!(as_guide.expect_err("it makes no logits").code(), "session.classifier");
}
