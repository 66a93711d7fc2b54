//! `generate --method`, samples, and a full context: what the flags do, and what is refused.

mod common;

use common::{Run, file, ids, pilotfish, tiny, words};
use serde_json::Value;

const MODEL: &str = "llama-q4_1";

fn generate(flags: &str, more: &[&str]) -> Run {
    let model = tiny(MODEL);
    let args = ["generate", "--json", "--model", &model, "--prompt", "hello the", "--ignore-eos"].into_iter();
    pilotfish(args.chain(words(flags)).chain(more.iter().copied()))
}

fn arm() -> [String; 2] {
    ["--guide".into(), format!("arm=model:{},weight=0", tiny("llama-f32"))]
}

fn rewarded(flags: &str) -> Value {
    let [flag, spec] = arm();
    generate(&format!("{flags} --reward arm"), &[&flag, &spec]).json()
}

fn reward(report: &Value) -> f64 {
    let last = report["steps"].as_array().and_then(|steps| steps.last()).expect("there are steps");
    last["reward"].as_f64().expect("a search tells its reward")
}

fn head(name: &str) -> String {
    format!("head:{}/../../tests/fixtures/tiny-reward/tiny-{name}", env!("CARGO_MANIFEST_DIR"))
}

#[test]
fn a_search_tells_its_reward_and_what_it_cost() {
    let plain = rewarded("--max-tokens 6 --temperature 0");
    assert_eq!(plain["cost"]["decoded"], 12, "two rows, six steps");
    let one = rewarded("--method args --candidates 1 --max-tokens 6 --temperature 0");
    assert_eq!(one["ids"], plain["ids"], "of one candidate there is no choice");
    let args = rewarded("--method args --max-tokens 6 --temperature 0 --reward-weight 4");
    assert!(reward(&args) > reward(&one), "{} and {}", reward(&args), reward(&one));
    let far = rewarded("--method transfer-q --candidates 4 --rollout 2 --max-tokens 6 --temperature 0");
    assert_eq!(far["session"]["samples"], 4);
    let best = rewarded("--method best-of-n --candidates 6 --max-tokens 6 --seed 3");
    let first = rewarded("--method best-of-n --candidates 1 --max-tokens 6 --seed 3");
    assert!(reward(&best) >= reward(&first));
    assert_eq!(best["cost"]["decoded"].as_u64().map(|decoded| decoded / 72), Some(1), "{}", best["cost"]);
    let cards = rewarded("--method cards --candidates 3 --segment 2 --goal -20 --max-tokens 6");
    assert_eq!((ids(&cards["ids"]).len(), cards["stop"].as_str()), (6, Some("length")));
}

#[test]
fn a_reward_model_or_a_program_rewards_too() {
    for what in [head("llama-classifier-1.gguf"), head("qwen3-classifier-2.gguf,class=no")] {
        let report = generate("--method args --candidates 4 --max-tokens 4", &["--reward", &what]).json();
        assert_eq!(report["cost"]["scored"], 16, "{what}");
    }
    let count = "command:python3 -c 'import json,sys; print([t.count(\"e\") for t in json.load(sys.stdin)])'";
    let run = |reward: &str| {
        let flags = "--method args --candidates 20 --reward-weight 99 --max-tokens 6 --temperature 0";
        let report = generate(flags, &["--reward", reward]).json();
        report["text"].as_str().expect("a text").matches('e').count()
    };
    assert!(run(count) > run(&count.replace("count(\"e\")", "count(\"?\")")));
}

#[test]
fn samples_are_told_apart() {
    let report = generate("--samples 3 --max-tokens 5 --seed 8", &[]).json();
    let texts = report["texts"].as_array().expect("texts");
    assert_eq!((texts.len(), report["steps"].as_array().map(Vec::len)), (3, Some(15)));
    for (seed, text) in (8..).zip(texts) {
        assert_eq!(generate(&format!("--max-tokens 5 --seed {seed}"), &[]).json()["text"], *text);
    }
    let model = tiny(MODEL);
    let run =
        pilotfish(["generate", "--quiet", "--model", &model, "--prompt", "a", "--samples", "2", "--max-tokens", "3"]);
    assert!(run.stdout.starts_with("[0] ") && run.stdout.contains("\n[1] "), "{}", run.stdout);
}

#[test]
fn a_full_context_stops_or_shifts() {
    let stopped = generate("--context 12 --max-tokens 30", &[]).json();
    assert_eq!(stopped["stop"], "context");
    let shifted = generate("--context 12 --max-tokens 30 --when-full shift:1", &[]).json();
    assert_eq!((shifted["stop"].as_str(), ids(&shifted["ids"]).len()), (Some("length"), 30));
    assert!(shifted["steps"].as_array().is_some_and(|steps| steps.iter().any(|step| step["shifted"].is_u64())));
}

#[test]
fn a_mix_file_names_a_method_too() {
    let mix = format!(
        r#"{{"guides": [{{"name": "arm", "weight": 0, "model": {:?}}}], "method": {{"name": "args", "reward": "arm", "candidates": 5}},
            "sampling": {{"temperature": 0}}, "max_tokens": 5}}"#,
        tiny("llama-f32")
    );
    let by_file = generate("", &["--mix", &file("method.json", mix)]).json();
    let by_flags = rewarded("--method args --candidates 5 --temperature 0 --max-tokens 5");
    assert_eq!((&by_file["ids"], &by_file["method"]), (&by_flags["ids"], &by_flags["method"]));
}

#[test]
fn what_cannot_choose_is_refused() {
    generate("--method args", &[]).refused(1, "method.no_reward").says("`args`");
    generate("--method args --reward nobody", &[]).refused(1, "method.reward_guide");
    generate("--method best", &[]).refused(2, "usage");
    generate("--method args --reward head:", &[]).refused(2, "usage");
    generate("--method args --reward head:no/such.gguf", &[]).refused(1, "file.read");
    let language = format!("head:{}", tiny(MODEL));
    generate("--method args", &["--reward", &language]).refused(1, "reward.class");
    generate("--method args --max-tokens 2", &["--reward", "command:exit 1"]).refused(1, "method.scorer");
    generate("--method args --max-tokens 2", &["--reward", "command:echo '[1]'"]).refused(1, "method.score");
    let [flag, spec] = arm();
    let with = |flags: &str| generate(&format!("{flags} --reward arm"), &[&flag, &spec]);
    with("--method args --candidates 100000").refused(1, "method.value");
    with("--method transfer-q --candidates 20").refused(1, "session.too_many_rows");
    with("--method cards --beta NaN").refused(1, "method.value");
    with("--method best-of-n --samples 2").refused(1, "method.samples");
    generate("--samples 99", &[]).refused(1, "session.too_many_rows");
    generate("--when-full later", &[]).refused(2, "usage");
}
