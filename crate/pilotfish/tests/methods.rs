//! Searches above the step, token for token against what they say they do, computed on the CPU one text after the other.

mod common;

use std::rc::Rc;

use common::{engine, fixture, ids, load, run, wait};
use pilotfish::Error;
use pilotfish::engine::{
    Engine, Guide, GuideKind, Method, MethodName, Model, Models, Prompt, Scorer, Scoring, Session, SessionOptions,
    Step, Stop, logsumexp, open as open_file,
};
use pilotfish::guidance::Sampling;
use pilotfish::model::twin::{Cache, CpuModel};
use pilotfish::ops::pick::{noise_bits, twin as draw};

const BASE: &str = "tiny-llama-q4_1.gguf";
const ARM: &str = "tiny-llama-f32.gguf";
const PROMPT: [u32; 5] = [40, 7, 99, 260, 3];

/// The reference: two models on the CPU.
struct Cpu {
    base: CpuModel,
    arm: CpuModel,
}

impl Cpu {
    fn new() -> Self {
        let read = |name: &str| {
            let bytes = std::fs::read(fixture(name)).expect("the fixture is in the repository");
            let opened = wait(open_file(&mut bytes.as_slice())).expect("it opens");
            wait(CpuModel::read(opened.spec, &mut bytes.as_slice())).expect("it reads")
        };
        Self { base: read(BASE), arm: read(ARM) }
    }

    /// Log-probabilities of what comes after the prompt and `said`.
    fn after(model: &CpuModel, said: &[u32]) -> Vec<f64> {
        let logits = model.logits(&[&PROMPT[..], said].concat(), Cache::Half).pop().expect("there is a token");
        let normaliser = logsumexp(&logits);
        logits.iter().map(|logit| f64::from(*logit) - normaliser).collect()
    }

    fn base(&self, said: &[u32]) -> Vec<f64> {
        Self::after(&self.base, said)
    }

    /// The reward: `log π_arm` of all that was said.
    fn reward(&self, said: &[u32]) -> f64 {
        (0..said.len()).map(|at| Self::after(&self.arm, &said[..at])[said[at] as usize]).sum()
    }

    /// A token from the base: the likeliest, or a draw.
    fn draw(&self, said: &[u32], drawn: Option<u64>) -> u32 {
        let z: Vec<f32> = self.base(said).iter().map(|p| *p as f32).collect();
        match drawn {
            Some(seed) => draw(&z, 1.0, seed, said.len() as u32, |_| true).expect("something is possible"),
            None => top(&self.base(said), 1)[0],
        }
    }

    /// The ARGS family: each of `k` candidates, rolled out for `rollout` tokens, and the best.
    fn search(&self, tokens: usize, k: usize, weight: f64, rollout: usize) -> Vec<u32> {
        let mut said = Vec::new();
        while said.len() < tokens {
            let base = self.base(&said);
            let score = |candidate: &u32| {
                let mut text = [&said[..], &[*candidate]].concat();
                for _ in 0..rollout.min(tokens - text.len()) {
                    text.push(self.draw(&text, None));
                }
                base[*candidate as usize] + weight * self.reward(&text)
            };
            let best = top(&base, k).into_iter().max_by(|a, b| score(a).total_cmp(&score(b)));
            said.push(best.expect("there are candidates"));
        }
        said
    }

    fn best_of(&self, n: u64, tokens: usize) -> Vec<u32> {
        let whole = |seed| {
            let mut said = Vec::new();
            (0..tokens).for_each(|_| said.push(self.draw(&said, Some(seed))));
            said
        };
        (0..n).map(whole).max_by(|a, b| self.reward(a).total_cmp(&self.reward(b))).expect("there are some")
    }

    fn cards(&self, tokens: usize, method: &Method) -> Vec<u32> {
        let mut said: Vec<u32> = Vec::new();
        while said.len() < tokens {
            let mut best: Option<(f64, Vec<u32>)> = None;
            for attempt in 0..u64::from(method.candidates) {
                let mut text = said.clone();
                loop {
                    text.push(self.draw(&text, Some(attempt)));
                    let entropy: f64 = self.base(&text).iter().map(|p| -p.exp() * p).sum();
                    if entropy >= f64::from(method.entropy)
                        || text.len() == tokens
                        || text.len() - said.len() == method.segment as usize
                    {
                        break;
                    }
                }
                let reward = self.reward(&text);
                let short = reward - f64::from(method.goal) * text.len() as f64 / tokens as f64;
                let bits = noise_bits(0, said.len() as u32, u32::MAX - attempt as u32);
                let accepted = (f64::from(bits) + 0.5) / 2f64.powi(32) < (short / f64::from(method.beta)).exp();
                if accepted || best.as_ref().is_none_or(|(most, _)| reward > *most) {
                    best = Some((reward, text));
                }
                if accepted {
                    break;
                }
            }
            said = best.expect("one was drawn").1;
        }
        said
    }
}

/// The `k` likeliest ids, likeliest first.
fn top(log_probs: &[f64], k: usize) -> Vec<u32> {
    let mut order: Vec<u32> = (0..log_probs.len() as u32).collect();
    order.sort_by(|a, b| log_probs[*b as usize].total_cmp(&log_probs[*a as usize]));
    order.truncate(k);
    order
}

fn options(max_tokens: u32, method: Method) -> SessionOptions {
    let mut options = SessionOptions::new(Prompt::Ids(PROMPT.to_vec()));
    options.guides = vec![Guide { name: "arm".into(), weight: 0.0, kind: GuideKind::Model { model: 0, prompt: None } }];
    options.max_tokens = max_tokens;
    options.sampling = Sampling { temperature: 0.0, ignore_eos: true, ..Sampling::default() };
    options.method = method;
    options
}

fn method(name: MethodName) -> Method {
    Method { name, reward: Some("arm".into()), ..Method::default() }
}

fn models(engine: &Engine) -> (Rc<Model>, [Rc<Model>; 1]) {
    (load(engine, BASE), [load(engine, ARM)])
}

/// The rewards that steps tell are the reference's.
fn check(cpu: &Cpu, steps: &[Step], of: impl Fn(usize) -> usize) {
    for (at, step) in steps.iter().enumerate() {
        let expected = cpu.reward(&ids(&steps[..of(at)]));
        let found = f64::from(step.reward.expect("a method gives rewards"));
        assert!((found - expected).abs() < 1e-2 * expected.abs().max(1.0), "at {at}: {found} and {expected}");
    }
    assert_eq!(steps.last().and_then(|step| step.stop), Some(Stop::Length));
}

#[test]
fn args_takes_the_best_of_the_likeliest_tokens() {
    let (engine, cpu) = (engine(), Cpu::new());
    let (base, arm) = models(&engine);
    let mut texts = Vec::new();
    for (candidates, weight) in [(1, 1.0), (5, 1.0), (10, 3.0)] {
        let steps = run(
            &engine,
            &base,
            &arm,
            &options(8, Method { candidates, weight, ..method(MethodName::Args) }),
            |_, _| {},
        );
        assert_eq!(ids(&steps), cpu.search(8, candidates as usize, weight.into(), 0), "k = {candidates}, w = {weight}");
        check(&cpu, &steps, |at| at + 1);
        texts.push(ids(&steps));
    }
    assert_ne!(texts[0], texts[2], "the reward must be able to change the text");
}

#[test]
fn args_draws_where_it_is_warm_and_a_seed_replays() {
    let engine = engine();
    let (base, arm) = models(&engine);
    let with = |seed| {
        let mut options = options(12, Method { candidates: 20, ..method(MethodName::Args) });
        options.sampling = Sampling { temperature: 1.5, seed, ..options.sampling };
        ids(&run(&engine, &base, &arm, &options, |_, _| {}))
    };
    assert_eq!(with(1), with(1));
    assert_ne!(with(1), with(2));
}

#[test]
fn transfer_q_looks_where_a_token_leads() {
    let (engine, cpu) = (engine(), Cpu::new());
    let (base, arm) = models(&engine);
    for (candidates, rollout) in [(4, 3), (3, 1)] {
        let method = Method { candidates, rollout, weight: 2.0, ..method(MethodName::TransferQ) };
        let steps = run(&engine, &base, &arm, &options(7, method), |_, _| {});
        assert_eq!(ids(&steps), cpu.search(7, candidates as usize, 2.0, rollout as usize), "{candidates}, {rollout}");
        assert_eq!(steps.last().and_then(|step| step.stop), Some(Stop::Length));
    }
}

#[test]
fn transfer_q_computes_nothing_twice() {
    let engine = engine();
    let (base, arm) = models(&engine);
    let method = Method { candidates: 4, rollout: 3, ..method(MethodName::TransferQ) };
    let guides = arm.clone();
    let models = Models { guides: &guides, ..Models::only(&base) };
    let mut session = wait(Session::new(&engine, models, &options(20, method), |_| true)).expect("it starts");
    let prompt = session.cost().prefilled;
    for _ in 0..10 {
        wait(session.next()).expect("a step").expect("there are more");
    }
    let cost = session.cost();
    // One step to begin with, then three for each token; eight rows in each. Every fork shares what came before.
    assert_eq!((cost.steps, cost.decoded, cost.prefilled), (31, 31 * 8, prompt));
    assert_eq!(prompt, 2 * (PROMPT.len() as u64 - 1), "one prompt for four lanes");
}

#[test]
fn best_of_n_is_the_best_of_n() {
    let (engine, cpu) = (engine(), Cpu::new());
    let (base, arm) = models(&engine);
    // Forty are more than there are lanes for two rows: they come in groups.
    for n in [1, 5, 40] {
        let mut options = options(6, Method { candidates: n, ..method(MethodName::BestOfN) });
        options.sampling.temperature = 1.0;
        let steps = run(&engine, &base, &arm, &options, |_, _| {});
        assert_eq!(ids(&steps), cpu.best_of(n.into(), 6), "of {n}");
        check(&cpu, &steps, |_| 6);
    }
}

#[test]
fn cards_accepts_segments_for_their_reward() {
    let (engine, cpu) = (engine(), Cpu::new());
    let (base, arm) = models(&engine);
    // The fixtures' entropies lie around 5.
    for (entropy, goal, beta) in [(5.3, -30.0, 2.0), (5.4, -60.0, 1.0), (100.0, 0.0, 0.5)] {
        let method = Method { candidates: 4, entropy, goal, beta, segment: 4, ..method(MethodName::Cards) };
        let mut options = options(10, method.clone());
        options.sampling.temperature = 1.0;
        let steps = run(&engine, &base, &arm, &options, |_, _| {});
        assert_eq!(ids(&steps), cpu.cards(10, &method), "entropy {entropy}, goal {goal}, beta {beta}");
        assert_eq!(steps.last().and_then(|step| step.stop), Some(Stop::Length));
    }
}

/// Rewards by a function of the text.
#[derive(Debug)]
struct ByText(fn(&[String]) -> Result<Vec<f32>, Error>);

impl Scorer for ByText {
    fn score<'a>(&'a mut self, texts: &'a [String]) -> Scoring<'a> {
        Box::pin(async move { (self.0)(texts) })
    }
}

#[expect(clippy::unnecessary_wraps, reason = "a scorer may fail")]
fn letters(texts: &[String]) -> Result<Vec<f32>, Error> {
    Ok(texts.iter().map(|text| text.matches(['a', 'e']).count() as f32).collect())
}

#[test]
fn a_scorer_of_ones_own_decides() {
    let engine = engine();
    let (base, _) = models(&engine);
    for name in [MethodName::Args, MethodName::TransferQ, MethodName::BestOfN, MethodName::Cards] {
        let make = |scored: bool| {
            let method = Method { reward: None, candidates: 6, weight: 50.0, rollout: 2, goal: 3.0, ..method(name) };
            let mut options = SessionOptions { guides: Vec::new(), ..options(16, method) };
            options.sampling.temperature = if name == MethodName::BestOfN { 1.0 } else { 0.0 };
            let mut session = wait(Session::new(&engine, Models::only(&base), &options, |_| true)).expect("it starts");
            session.set_scorer(Box::new(ByText(if scored { letters } else { |texts| Ok(vec![0.0; texts.len()]) })));
            let mut text = String::new();
            let mut reward = 0.0;
            while let Some(step) = wait(session.next()).expect("a step") {
                text += &step.text;
                reward = step.reward.expect("a method gives rewards");
            }
            if scored {
                assert_eq!(reward as usize, text.matches(['a', 'e']).count(), "{name:?}: {text:?}");
            }
            text.matches(['a', 'e']).count()
        };
        let (with, without) = (make(true), make(false));
        // A greedy CARDS draws the same segment every time; the first of six texts may happen to be the best.
        let may_be_equal = matches!(name, MethodName::Cards | MethodName::BestOfN);
        assert!(with > without || may_be_equal && with == without, "{name:?}: {with} and {without}");
    }
}

#[test]
fn what_cannot_choose_is_refused_and_the_engine_goes_on() {
    let engine = engine();
    let (base, arm) = models(&engine);
    let models = Models { guides: &arm, ..Models::only(&base) };
    let code = |options: &SessionOptions| match wait(Session::new(&engine, models, options, |_| true)) {
        Ok(_) => "ok",
        Err(error) => error.code(),
    };
    let with = |change: fn(&mut Method)| {
        let mut method = method(MethodName::Args);
        change(&mut method);
        code(&options(4, method))
    };
    assert_eq!(with(|_| {}), "ok");
    assert_eq!(with(|m| m.reward = Some("nobody".into())), "method.reward_guide");
    assert_eq!(with(|m| m.candidates = 65), "method.value");
    assert_eq!(with(|m| m.weight = f32::NAN), "method.value");
    assert_eq!(with(|m| (m.name, m.rollout) = (MethodName::TransferQ, 0)), "method.value");
    assert_eq!(with(|m| (m.name, m.candidates) = (MethodName::TransferQ, 17)), "session.too_many_rows");
    assert_eq!(with(|m| (m.name, m.beta) = (MethodName::Cards, 0.0)), "method.value");
    let mut many = options(4, method(MethodName::BestOfN));
    many.samples = 2;
    assert_eq!(code(&many), "method.samples");
    // Without a guide and without a scorer it fails at the first token, and still does when asked again.
    let mut none = options(4, Method { reward: None, ..method(MethodName::BestOfN) });
    none.sampling.temperature = 1.0;
    let mut session = wait(Session::new(&engine, models, &none, |_| true)).expect("a scorer may come later");
    for _ in 0..2 {
        assert_eq!(wait(session.next()).expect_err("there is no reward").code(), "method.no_reward");
    }
    for (scorer, expected) in [
        ((|_| Ok(vec![1.0])) as fn(&[String]) -> _, "method.score"),
        (|texts| Ok(vec![f32::NAN; texts.len()]), "method.score"),
        (|_| Err(Error::Scorer { message: "no".into() }), "method.scorer"),
    ] {
        session.set_scorer(Box::new(ByText(scorer)));
        assert_eq!(wait(session.next()).expect_err("the scorer is of no use").code(), expected);
    }
    session.set_scorer(Box::new(ByText(letters)));
    assert!(wait(session.next()).expect("it goes on").is_some());
}

#[test]
fn a_stop_between_two_tokens_ends_a_search() {
    let engine = engine();
    let (base, arm) = models(&engine);
    let models = Models { guides: &arm, ..Models::only(&base) };
    let method = Method { candidates: 3, rollout: 2, ..method(MethodName::TransferQ) };
    let whole = ids(&run(&engine, &base, &arm, &options(9, method.clone()), |_, _| {}));
    let mut session = wait(Session::new(&engine, models, &options(9, method), |_| true)).expect("it starts");
    let mut said = Vec::new();
    for _ in 0..4 {
        said.push(wait(session.next()).expect("a step").expect("there are more").id);
    }
    session.stop();
    assert!(wait(session.next()).expect("no fault").is_none());
    wait(session.resume(9)).expect("it goes on");
    while let Some(step) = wait(session.next()).expect("a step") {
        said.push(step.id);
    }
    assert_eq!(said, whole);
    assert_eq!(session.save().continued[0], whole);
}

/// Asks for a stop when it is asked for the `n`th time.
#[derive(Debug)]
struct Stops {
    remote: Option<pilotfish::engine::Remote>,
    calls: usize,
}

impl Scorer for Stops {
    fn score<'a>(&'a mut self, texts: &'a [String]) -> Scoring<'a> {
        self.calls += 1;
        if let Some(remote) = self.remote.as_ref().filter(|_| self.calls == 3) {
            remote.stop();
        }
        Box::pin(async { letters(texts) })
    }
}

#[test]
fn a_stop_in_the_middle_of_a_token_ends_a_search_at_its_next_step() {
    let engine = engine();
    let (base, _) = models(&engine);
    for name in [MethodName::Args, MethodName::TransferQ, MethodName::Cards] {
        let method = Method { reward: None, candidates: 4, rollout: 3, segment: 2, entropy: 99.0, ..method(name) };
        let options = SessionOptions { guides: Vec::new(), ..options(12, method) };
        let start = |stops: bool| {
            let mut session = wait(Session::new(&engine, Models::only(&base), &options, |_| true)).expect("it starts");
            let remote = stops.then(|| session.remote());
            session.set_scorer(Box::new(Stops { remote, calls: 0 }));
            session
        };
        let rest = |session: &mut Session| {
            let mut said = Vec::new();
            while let Some(step) = wait(session.next()).expect("a step") {
                said.push(step.id);
            }
            said
        };
        let whole = rest(&mut start(false));
        let mut session = start(true);
        // What was decided when the stop came is given out; then nothing more is tried.
        let mut said = rest(&mut session);
        let most = if name == MethodName::Cards { 6 } else { 3 };
        assert_eq!(said.len(), most, "{name:?}");
        wait(session.resume(12)).expect("it goes on");
        said.extend(rest(&mut session));
        assert_eq!(said, whole, "{name:?}");
    }
}

#[test]
fn the_difference_of_two_rows_is_a_reward_too() {
    let (engine, cpu) = (engine(), Cpu::new());
    let base = load(&engine, BASE);
    let text = "The sea was calm";
    let context = |against: Option<&str>| GuideKind::Context {
        context: "Be cheerful.".into(),
        against: against.map(str::to_owned),
    };
    for against in [None, Some("Be gloomy.")] {
        let mut options = options(6, Method { candidates: 8, weight: 2.0, ..method(MethodName::Args) });
        options.prompt = Prompt::Text(text.into());
        options.guides = vec![Guide { name: "arm".into(), weight: 0.0, kind: context(against) }];
        let steps = run(&engine, &base, &[], &options, |_, _| {});
        let after = |prompt: &str, said: &[u32]| {
            let ids = base.encode(&Prompt::Text(prompt.into())).expect("it encodes");
            let logits = cpu.base.logits(&[&ids[..], said].concat(), Cache::Half).pop().expect("there is a token");
            let normaliser = logsumexp(&logits);
            logits.iter().map(|logit| f64::from(*logit) - normaliser).collect::<Vec<f64>>()
        };
        let against = against.map_or(text.to_owned(), |against| format!("{against}\n\n{text}"));
        let (mut said, mut sum) = (Vec::new(), 0.0);
        for step in &steps {
            let plain = after(text, &said);
            let (with, without) = (after(&format!("Be cheerful.\n\n{text}"), &said), after(&against, &said));
            let reward = |id: u32| with[id as usize] - without[id as usize];
            let score = |id: &u32| plain[*id as usize] + 2.0 * (sum + reward(*id));
            let best = top(&plain, 8).into_iter().max_by(|a, b| score(a).total_cmp(&score(b))).expect("some");
            assert_eq!(step.id, best, "after {said:?}");
            sum += reward(best);
            assert!((f64::from(step.reward.expect("it has one")) - sum).abs() < 1e-2);
            said.push(best);
        }
    }
}
