//! `score` and `golden` against the exact logits that come with the tiny models.

mod common;

use common::{file, pilotfish, repository, tiny};
use serde_json::{Value, json};

/// Keys and values are kept in half precision, which moves the logits of these random models by so much.
const TOLERANCE: f64 = 1e-2;

/// The longest case of a fixture: its ids and its logits, `[ids, vocabulary]`.
fn expected(name: &str) -> (Vec<u64>, Vec<Vec<f64>>) {
    let path = repository("fixtures/tiny").join(format!("tiny-{name}.json"));
    let text = std::fs::read_to_string(path).expect("the fixture is there");
    let fixture: Value = serde_json::from_str(&text).expect("it is JSON");
    let cases = fixture["cases"].as_array().expect("cases");
    let longest = cases.iter().max_by_key(|case| case["ids"].as_array().map(Vec::len)).expect("a case");
    let logits = longest["logits"].as_array().expect("logits").iter();
    let floats =
        |row: &Value| row.as_array().expect("a row").iter().map(|logit| logit.as_f64().expect("a number")).collect();
    (common::ids(&longest["ids"]), logits.map(floats).collect())
}

fn logsumexp(logits: &[f64]) -> f64 {
    logits.iter().map(|logit| logit.exp()).sum::<f64>().ln()
}

/// Ids from the highest logit down.
fn order(logits: &[f64]) -> Vec<usize> {
    let mut order: Vec<usize> = (0..logits.len()).collect();
    order.sort_by(|a, b| logits[*b].total_cmp(&logits[*a]));
    order
}

fn list(ids: &[u64]) -> String {
    ids.iter().map(u64::to_string).collect::<Vec<_>>().join(",")
}

#[test]
fn scores_are_those_of_an_exact_forward_pass() {
    for name in ["llama-f32", "qwen3-q6_k", "gemma3-q8_0"] {
        let (ids, logits) = expected(name);
        let scores = pilotfish(["score", "--json", "--model", &tiny(name), "--top", "5", "--ids", &list(&ids)]).json();
        let logprobs = scores["logprobs"].as_array().expect("logprobs");
        assert_eq!(logprobs.len(), ids.len() - 1);
        for (at, logprob) in logprobs.iter().enumerate() {
            let exact = logits[at][ids[at + 1] as usize] - logsumexp(&logits[at]);
            let found = logprob.as_f64().expect("a number");
            assert!((found - exact).abs() < TOLERANCE, "{name}, position {at}: {found}, expected {exact}");
        }
        let last = logits.last().expect("a position");
        assert!((scores["logsumexp"].as_f64().expect("a number") - logsumexp(last)).abs() < TOLERANCE, "{name}");
        let top = scores["top"].as_array().expect("top");
        assert_eq!(top.len(), 5);
        for ((found, id), rank) in top.iter().zip(order(last)).zip(0..) {
            // Where two logits are closer than the tolerance, either may come first.
            let token = found[0].as_u64().expect("an id") as usize;
            assert!((last[token] - last[id]).abs() < TOLERANCE, "{name}, rank {rank}: token {token} for {id}");
            assert!((found[1].as_f64().expect("a logit") - last[token]).abs() < TOLERANCE, "{name}, rank {rank}");
        }
    }
}

#[test]
fn scores_of_a_text_are_those_of_its_ids() {
    let model = tiny("gemma3-q8_0");
    let by_text = pilotfish(["score", "--json", "--model", &model, "--text", "hello, the end"]).json();
    let by_ids =
        pilotfish(["score", "--json", "--model", &model, "--ids", &list(&common::ids(&by_text["ids"]))]).json();
    assert_eq!(by_text, by_ids);
    let table = pilotfish(["score", "--model", &model, "--text", "hello, the end"]);
    assert!(table.stdout.contains("perplexity") && table.stdout.contains("the"), "{}", table.stdout);
}

#[test]
fn what_cannot_be_scored_is_refused() {
    let model = tiny("llama-q4_0");
    pilotfish(["score", "--json", "--model", &model]).refused(2, "usage");
    pilotfish(["score", "--json", "--model", &model, "--text", ""]).refused(1, "session.empty_prompt");
    pilotfish(["score", "--json", "--model", &model, "--ids", "1,99999"]).refused(1, "session.token_id");
    let long = file("long.json", json!(vec![1; 100_000]).to_string());
    pilotfish(["score", "--json", "--model", &model, "--ids-file", &long]).refused(1, "session.prompt_too_long");
}

/// A golden file of one case, from a fixture's logits.
fn golden(name: &str, logits_of_last: &[f64], ids: &[u64], logprobs: &[f64]) -> Value {
    let order = order(logits_of_last);
    let top: Vec<Value> = order.iter().take(20).map(|id| json!([id, logits_of_last[*id]])).collect();
    json!({ "model": name, "reference": "numpy", "cases": [{
        "name": "one", "text": null, "ids": ids, "top": top, "logsumexp": logsumexp(logits_of_last), "logprobs": logprobs,
        "greedy": [order[0]], "margins": [logits_of_last[order[0]] - logits_of_last[order[1]]],
        "mixes": { "later": {
            "weights": { "base": 1, "other": 2 }, "sum": [], "normalised": [], "greedy": { "ids": [], "gap": [] },
        } },
    }] })
}

#[test]
fn a_golden_file_passes_and_a_wrong_one_does_not() {
    let name = "llama-f32";
    let (ids, logits) = expected(name);
    let logprobs: Vec<f64> =
        (1..ids.len()).map(|at| logits[at - 1][ids[at] as usize] - logsumexp(&logits[at - 1])).collect();
    let last = logits.last().expect("a position");
    let compare = |file_name: &str, golden: &Value| {
        let path = file(file_name, golden.to_string());
        pilotfish(["golden", "--json", "--model", &tiny(name), "--golden", &path])
    };
    let right = golden(name, last, &ids, &logprobs);
    let report = compare("right.json", &right).json();
    assert_eq!((&report["passed"], &report["skipped"]), (&true.into(), &json!(["one: mix later"])), "{report}");
    assert!(report["mean_kl"].as_f64().is_some_and(|kl| kl < 1e-5), "{report}");
    assert!(report["cases"][0]["max_logprob_difference"].as_f64().is_some_and(|most| most < TOLERANCE), "{report}");
    assert_eq!(report["cases"][0]["greedy"]["same"], 1);

    // Logits of another position: another distribution, another likeliest token.
    let other = logits.iter().rev().find(|row| order(row)[0] != order(last)[0]).expect("one differs");
    let run = compare("wrong.json", &golden(name, other, &ids, &logprobs));
    assert_eq!(run.code, Some(1), "{}", run.stderr);
    let report = run.json_whatever_the_code();
    assert_eq!(report["passed"], false);
    let failures = report["failures"].to_string();
    assert!(
        failures.contains("mean KL") && failures.contains("top-1") && failures.contains("parts at token 0"),
        "{failures}"
    );

    let mut wrong_text = right.clone();
    wrong_text["cases"][0]["text"] = "hello".into();
    wrong_text["tokenize"] = json!([["hello", [0, 0]]]);
    let failures = compare("text.json", &wrong_text).json_whatever_the_code()["failures"].to_string();
    assert!(failures.contains("other ids") && failures.contains("tokenization"), "{failures}");
}

#[test]
fn a_golden_file_that_says_nothing_is_refused() {
    let model = tiny("llama-f32");
    let golden_file = |content: &str| {
        let path = file("odd.json", content);
        pilotfish(["golden", "--json", "--model", &model, "--golden", &path])
    };
    golden_file("[]").refused(1, "file.content");
    golden_file(r#"{"cases": [{"name": "a", "ids": [], "top": [[1, 1.0]], "logsumexp": 1}]}"#)
        .refused(1, "file.content")
        .says("has no ids");
    golden_file(r#"{"cases": [{"name": "a", "ids": [99999], "top": [[1, 1.0]], "logsumexp": 1}]}"#)
        .refused(1, "file.content")
        .says("99999");
    let path = file("named.json", r#"{"cases": []}"#);
    pilotfish(["golden", "--json", "--model", &model, "--golden", &path, "--cases", "b"])
        .refused(2, "usage")
        .says("`b`");
}
