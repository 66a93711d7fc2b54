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
        ["train", "arm", "--json", "--quiet", "--threads", "1", "--lr", "0.01", "--beta", "0.2"]
            .map(str::to_owned)
            .into();
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

/// `pairs` over three prompts in `folder`, writing `OUT.jsonl`.
fn make_pairs(folder: &Path, out: &str, more: &[&str]) -> Vec<String> {
    let prompts = folder.join("prompts.jsonl");
    fs::write(&prompts, ["hello", "the world", "is it"].map(|text| json!({ "prompt": text }).to_string()).join("\n"))
        .expect("it is written");
    let mut args: Vec<String> =
        ["pairs", "--json", "--quiet", "--samples", "4", "--max-tokens", "8"].map(str::to_owned).into();
    let model = fixture("tiny-llama-q4_1.gguf");
    for (flag, path) in [("--model", &model), ("--prompts", &prompts), ("--out", &folder.join(out))] {
        args.extend([flag.to_owned(), path.display().to_string()]);
    }
    args.extend(more.iter().map(|flag| (*flag).to_owned()));
    args
}

#[test]
fn answers_are_kept_gone_on_with_and_chosen_from_again() {
    let folder = folder("answers");
    let whole = pilotfish(make_pairs(&folder, "whole.jsonl", &["--rule", "length", "--per-prompt", "2"])).json();
    assert_eq!((&whole["answered"], &whole["prompts"]), (&json!(3), &json!(3)));
    let kept = fs::read_to_string(folder.join("whole.answers.jsonl")).expect("it is there");
    assert_eq!(kept.lines().count(), 4, "how they were made, and a line a prompt");
    // What a process leaves that was lost while it wrote its second prompt.
    let second = kept.match_indices('\n').nth(1).expect("it is there").0;
    fs::write(folder.join("parts.answers.jsonl"), &kept.as_bytes()[..second + 20]).expect("it is written");
    pilotfish(make_pairs(&folder, "parts.jsonl", &["--rule", "length", "--per-prompt", "2"])).json();
    let read = |name: &str| fs::read_to_string(folder.join(name)).expect("it is there");
    assert_eq!(read("parts.answers.jsonl"), kept);
    assert_eq!(read("parts.jsonl"), read("whole.jsonl"));
    assert!(read("whole.jsonl").lines().count() as u64 == whole["pairs"].as_u64().expect("a number"));
    // Another rule chooses from the same answers.
    let answers = folder.join("whole.answers.jsonl").display().to_string();
    pilotfish(make_pairs(&folder, "grade.jsonl", &["--rule", "-grade", "--answers", &answers])).json();
    assert_eq!(read("whole.answers.jsonl"), kept);
    let other = pilotfish(make_pairs(&folder, "whole.jsonl", &["--rule", "length", "--seed", "1"]));
    assert!(other.refused(1, "file.content").stderr.contains("made otherwise"), "{}", other.stderr);
}

/// A recipe for the tiny model in `folder`, with this text in place of what it expects.
fn recipe(folder: &Path, expected: &str) -> PathBuf {
    let pairs = pairs(folder);
    let sha256 = |path: &Path| {
        let sums = std::process::Command::new("sha256sum").arg(path).output().expect("it runs");
        String::from_utf8(sums.stdout).expect("text").split(' ').next().expect("a sum").to_owned()
    };
    let text = format!(
        r#"
name = "keen"
description = "Prefers an exclamation."
license = "Apache-2.0"

[base]
name = "nobody/Tiny"
model = "tiny-llama-q4_1"
sha256 = "{}"

[[pairs]]
file = "pairs.jsonl"
sha256 = "{}"
about = "Made for a test."
from = "the test makes it"

[objective]
objective = "arm"
beta = 0.2

[lora]
rank = 4

[optimizer]
learning_rate = 0.01

[run]
batch = 4
steps = 40
seed = 3

[expected]
{expected}
tolerance = 0.0
"#,
        sha256(&fixture("tiny-llama-q4_1.gguf")),
        sha256(&pairs),
    );
    let path = folder.join("keen.toml");
    fs::write(&path, text).expect("it is written");
    path
}

fn cook(recipe: &Path, out: &Path) -> common::Run {
    let model = fixture("tiny-llama-q4_1.gguf");
    let paths = [recipe.to_owned(), "--out".into(), out.to_owned(), "--base".into(), model];
    let flags = ["train", "recipe", "--json", "--quiet"].map(str::to_owned);
    pilotfish(flags.into_iter().chain(paths.iter().map(|path| path.display().to_string())))
}

#[test]
fn a_recipe_makes_the_same_guide_again() {
    let folder = folder("recipe");
    let recipe = recipe(&folder, "accuracy = 1.0\naccuracy_over_base = 1.0");
    let report = cook(&recipe, &folder.join("one")).json();
    assert_eq!((&report["stopped"], &report["step"]), (&json!("finished"), &json!(40)));
    cook(&recipe, &folder.join("two")).json();
    let read = |out: &str, name: &str| fs::read(folder.join(out).join(name)).expect("it is there");
    assert!(read("one", "keen.gguf") == read("two", "keen.gguf"), "the guides are the same");
    let card = String::from_utf8(read("one", "README.md")).expect("text");
    for part in ["# keen", "nobody/Tiny", "Made for a test.", "Prefers an exclamation."] {
        assert!(card.contains(part), "{part}: {card}");
    }
}

#[test]
fn a_recipe_whose_ingredients_are_missing_or_others_says_so() {
    let folder = folder("recipe-refused");
    let recipe_path = recipe(&folder, "accuracy = 0.0\naccuracy_over_base = 0.0");
    let out = folder.join("out");
    let unexpected = cook(&recipe_path, &out);
    assert!(
        unexpected.refused(1, "recipe.unexpected").stderr.contains("the guide is written"),
        "{}",
        unexpected.stderr
    );
    assert!(out.join("keen.gguf").is_file());
    fs::write(folder.join("pairs.jsonl"), "other").expect("it is written");
    cook(&recipe_path, &out).refused(1, "recipe.ingredient");
    fs::remove_file(folder.join("pairs.jsonl")).expect("it was there");
    let missing = cook(&recipe_path, &out);
    assert!(missing.refused(1, "recipe.ingredient").stderr.contains("the test makes it"), "{}", missing.stderr);
    fs::write(&recipe_path, "name = 3").expect("it is written");
    cook(&recipe_path, &out).refused(1, "recipe.content");
    cook(&folder.join("nowhere.toml"), &out).refused(1, "file.read");
}

#[test]
fn a_preference_aware_guide_is_learned_from_two_files() {
    let folder = folder("parm");
    let keen = pairs(&folder);
    let text = fs::read_to_string(&keen).expect("it is there");
    let asking = folder.join("asking.jsonl");
    let turned = text.replace("chosen", "x").replace("rejected", "chosen").replace("\"x\"", "\"rejected\"");
    fs::write(&asking, turned).expect("it is written");
    let model = fixture("tiny-llama-q4_1.gguf").display().to_string();
    let out = folder.join("both").display().to_string();
    let named = |name: &str, path: &Path| format!("{name}={}", path.display());
    let (keen, asking) = (named("keen", &keen), named("asking", &asking));
    let flags =
        ["train", "parm", "--json", "--quiet", "--base", &model, "--out", &out, "--lr", "0.01", "--beta", "0.2"];
    let more = ["--pairs", &keen, "--pairs", &asking, "--steps", "120", "--rank", "4"];
    let report = pilotfish(flags.into_iter().chain(more).map(str::to_owned)).json();
    for name in ["keen", "asking"] {
        assert_eq!(report["dimensions"][name]["after"]["accuracy"], 1.0, "{report}");
        assert_eq!(report["pairs"][name]["train"], 18);
    }
    // The engine sets it by its vector.
    let score = |preference: &str| {
        let adapter = format!("{out}/both.gguf,preference={preference}");
        let args = ["score", "--json", "--model", &model, "--ids", "5,6,7,8", "--adapter", &adapter];
        pilotfish(args.map(str::to_owned)).json()["logprobs"].to_string()
    };
    assert_ne!(score("1;0"), score("0;1"));
    let one = ["--pairs", &keen, "--steps", "1"];
    pilotfish(flags.into_iter().chain(one).map(str::to_owned)).refused(1, "train.options");
}
