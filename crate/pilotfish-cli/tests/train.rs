//! `train` and `pairs` as they are run: killed and resumed, refused, and what they write used by the engine.

mod common;

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use common::{command, pilotfish};
use serde_json::{Value, json};

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/fixtures/tiny").join(name)
}

/// A folder of this test's own, empty.
fn folder(name: &str) -> PathBuf {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    let _ = fs::remove_dir_all(&folder);
    fs::create_dir_all(&folder).expect("it can be made");
    folder
}

/// A file of pairs that prefer one ending to another, a quarter of them held out.
fn pairs(folder: &Path) -> PathBuf {
    let words = ["hello", "the world", "and in", "on the", "other", "is it", "well", "or"];
    let line = |at: usize| {
        let (one, two) = (words[at % 8], words[(at * 3 + 1) % 8]);
        let split = if at % 4 == 3 { "heldout" } else { "train" };
        json!({ "prompt": format!("{one} {at}"), "chosen": format!(" {two} !"), "rejected": format!(" {two} ?"), "split": split })
    };
    let text = (0..24).map(|at| line(at).to_string()).collect::<Vec<_>>().join("\n");
    let path = folder.join("pairs.jsonl");
    fs::write(&path, text).expect("it is written");
    path
}

fn train(pairs: &Path, out: &Path, more: &[&str]) -> Vec<String> {
    let model = fixture("tiny-llama-q4_1.gguf");
    let mut args: Vec<String> =
        ["train", "arm", "--json", "--quiet", "--lr", "0.01", "--beta", "0.2"].map(str::to_owned).into();
    for (flag, path) in [("--base", model.as_path()), ("--pairs", pairs), ("--out", out)] {
        args.extend([flag.to_owned(), path.display().to_string()]);
    }
    args.extend(more.iter().map(|flag| (*flag).to_owned()));
    args
}

/// The metrics of a run without the times.
fn metrics(out: &Path) -> Vec<Value> {
    let text = fs::read_to_string(out.join("metrics.jsonl")).expect("it is there");
    let line = |line: &str| {
        let mut value: Value = serde_json::from_str(line).expect("a line is JSON");
        value.as_object_mut().map(|object| object.remove("seconds"));
        value
    };
    text.lines().map(line).collect()
}

#[test]
fn a_guide_is_learned_and_the_engine_scores_with_it() {
    let folder = folder("learned");
    let (pairs, out) = (pairs(&folder), folder.join("keen"));
    let report = pilotfish(train(&pairs, &out, &["--steps", "60"])).json();
    assert_eq!((&report["stopped"], &report["pairs"]["train"]), (&json!("finished"), &json!(18)));
    assert_eq!(report["after"]["accuracy"], 1.0, "{report}");
    let card = fs::read_to_string(out.join("README.md")).expect("it is there");
    assert!(card.contains("# keen") && card.contains("| before |"), "{card}");
    let model = fixture("tiny-llama-q4_1.gguf").display().to_string();
    // The same adapter in both formats; the engine keeps its adapters in half precision.
    let score = |adapter: &Path| {
        let ids = "5,6,7,8,9,10";
        let run = pilotfish([
            "score",
            "--json",
            "--model",
            &model,
            "--ids",
            ids,
            "--adapter",
            &adapter.display().to_string(),
        ]);
        run.json()["logprobs"]
            .as_array()
            .expect("a list")
            .iter()
            .map(|value| value.as_f64().expect("a number"))
            .collect::<Vec<_>>()
    };
    for (peft, gguf) in score(&out).iter().zip(score(&out.join("keen.gguf"))) {
        assert!((peft - gguf).abs() < 2e-2, "{peft} {gguf}");
    }
}

#[test]
fn a_killed_run_goes_on_as_if_it_had_not_been() {
    let folder = folder("killed");
    let pairs = pairs(&folder);
    let flags = ["--steps", "400", "--save-every", "5", "--eval-every", "50", "--dropout", "0.1"];
    let (whole, parts) = (folder.join("whole"), folder.join("parts"));
    pilotfish(train(&pairs, &whole, &flags)).json();
    let mut child =
        command().args(train(&pairs, &parts, &flags)).stdout(std::process::Stdio::null()).spawn().expect("it starts");
    let started = Instant::now();
    // In the middle: beyond some checkpoints, far from the end.
    let steps = || fs::read_to_string(parts.join("metrics.jsonl")).map_or(0, |text| text.lines().count());
    while steps() < 23 && started.elapsed() < Duration::from_secs(60) {
        std::thread::sleep(Duration::from_millis(2));
    }
    child.kill().expect("it runs");
    child.wait().expect("it ended");
    let reached = steps();
    assert!((20..400).contains(&reached), "killed after {reached} lines");
    pilotfish(train(&pairs, &parts, &[&flags[..], &["--resume"]].concat())).json();
    assert_eq!(metrics(&parts), metrics(&whole));
    let weights = |out: &Path| fs::read(out.join("adapter_model.safetensors")).expect("it is there");
    assert!(weights(&parts) == weights(&whole), "the adapters are the same");
}

#[test]
fn what_cannot_be_trained_is_refused() {
    let folder = folder("refused");
    let good = pairs(&folder);
    let file = |name: &str, text: &str| {
        let path = folder.join(name);
        fs::write(&path, text).expect("it is written");
        path
    };
    let bad = file("bad.jsonl", "{\"prompt\":\"a\",\"chosen\":\" b\",\"rejected\":\" c\"}\n\nnonsense\n");
    let out = folder.join("out");
    let run = pilotfish(train(&bad, &out, &[]));
    assert!(run.refused(1, "pairs.line").stderr.contains("line 3:"), "{}", run.stderr);
    pilotfish(train(&file("empty.jsonl", ""), &out, &[])).refused(1, "pairs.none");
    pilotfish(train(&folder.join("nowhere.jsonl"), &out, &[])).refused(1, "file.read");
    pilotfish(train(&good, &out, &["--rank", "0"])).refused(1, "train.options");
    pilotfish(train(&good, &out, &["--targets", "q,nose"])).refused(2, "usage");
    pilotfish(train(&good, &out, &["--resume"])).refused(1, "train.checkpoint");
    let skipped = pilotfish(train(&bad, &out, &["--skip-bad-lines", "--held-out", "0", "--steps", "1"])).json();
    assert_eq!(skipped["pairs"]["dropped"]["bad"], json!({ "count": 1, "lines": [3] }));
}

#[test]
fn pairs_are_the_best_and_the_worst_by_a_rule() {
    let folder = folder("pairs");
    let prompts = folder.join("prompts.jsonl");
    let chat = json!({ "prompt": [{ "role": "user", "content": "hello" }] });
    fs::write(&prompts, format!("{}\n{chat}\n", json!({ "prompt": "hello", "split": "train" })))
        .expect("it is written");
    let model = fixture("tiny-llama-q4_1.gguf").display().to_string();
    let make = |out: &str, rule: &str| {
        let (prompts, out) = (prompts.display().to_string(), folder.join(out));
        let args = [
            "pairs",
            "--json",
            "--model",
            &model,
            "--prompts",
            &prompts,
            "--samples",
            "3",
            "--max-tokens",
            "12",
            "--rule",
            rule,
        ];
        let run = pilotfish(args.into_iter().map(str::to_owned).chain(["--out".to_owned(), out.display().to_string()]));
        (run, out)
    };
    let (run, out) = make("a.jsonl", "regex:[a-z]");
    assert_eq!(run.json()["prompts"], 2);
    let text = fs::read_to_string(&out).expect("it is there");
    for line in text.lines() {
        let pair: Value = serde_json::from_str(line).expect("JSON");
        let letters =
            |key: &str| pair[key].as_str().expect("text").chars().filter(char::is_ascii_lowercase).count() as f64;
        assert_eq!(pair["score_chosen"].as_f64(), Some(letters("chosen")), "{pair}");
        assert!(letters("chosen") > letters("rejected"), "{pair}");
    }
    assert!(text.lines().count() > 0);
    let (_, again) = make("b.jsonl", "regex:[a-z]");
    assert_eq!(fs::read_to_string(again).expect("it is there"), text, "the seed decides");
    make("c.jsonl", "beauty").0.refused(1, "train.options");
}
