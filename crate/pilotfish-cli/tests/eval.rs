//! `eval` as it is run: what it writes, that it goes on after a kill, and what it refuses.

mod common;

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use common::{Run, command, pilotfish, tiny};
use serde_json::Value;

/// A folder of this test's own, with a specification over the tiny models.
fn folder(name: &str, more: &str) -> PathBuf {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("eval-{name}"));
    let _ = fs::remove_dir_all(&folder);
    fs::create_dir_all(&folder).expect("it can be made");
    let mut prompts: Vec<String> = (0..4).map(|at| format!("{{\"prompt\": \"hello the {at}\"}}\n")).collect();
    prompts.push("{\"prompt\": \"and in\", \"split\": \"train\"}\n".into());
    fs::write(folder.join("prompts.jsonl"), prompts.concat()).expect("it is written");
    let qkv = common::repository("fixtures/tiny-adapters/qkv").display().to_string();
    let spec = format!(
        r#"
        base = {base:?}
        prompts = "prompts.jsonl"
        tokens = 6
        alphas = [1, 2]
        resamples = 200
        guides = [
            {{ name = "up", adapter = {qkv:?}, rule = "sentiment", judges = ["pattern"], instruction = "Be glad." }},
            {{ name = "plain", adapter = {qkv:?}, rule = "-word-length" }},
        ]
        {more}
        "#,
        base = tiny("llama-q4_1"),
    );
    fs::write(folder.join("evaluation.toml"), spec).expect("it is written");
    folder
}

fn eval(folder: &Path, flags: &[&str]) -> Run {
    let (spec, out) = (folder.join("evaluation.toml"), folder.join("out"));
    let args = ["eval", "--json", "--quiet", "--out"].map(str::to_owned).into_iter();
    pilotfish(
        args.chain([out.display().to_string(), spec.display().to_string()])
            .chain(flags.iter().map(|flag| (*flag).to_owned())),
    )
}

fn row<'a>(report: &'a Value, name: &str) -> &'a Value {
    let rows = report["rows"].as_array().expect("there are rows");
    rows.iter().find(|row| row["row"] == name).unwrap_or_else(|| panic!("no row {name}"))
}

fn texts(folder: &Path) -> Vec<String> {
    let log = fs::read_to_string(folder.join("out/texts.jsonl")).unwrap_or_default();
    log.lines().filter(|line| line.contains("\"text\":{")).map(str::to_owned).collect()
}

#[test]
fn a_report_has_every_part_and_its_controls() {
    let folder = folder(
        "whole",
        r#"
        methods = { guide = "up", search_prompts = 2, candidates = 2, rollout = 2, best_of = 3, soup_with = "plain", cards_goal = 1.0,
                    parm = { adapter = "PARM", preference = [0.25, 0.75] } }
        frontier = { guides = ["up", "plain"], steps = 2, prompts = 2, parm = "PARM" }
        weak = { model = "WEAK", guide = "up", prompts = 2 }
        goals = [{ says = "it says something", row = "up/sum/1", of = "tokens", at_least = 1 }]
        "#,
    );
    let spec = folder.join("evaluation.toml");
    let text = fs::read_to_string(&spec).expect("it is there").replace("WEAK", &tiny("llama-f32"));
    let parm = common::repository("fixtures/tiny-adapters/parm").display().to_string();
    let text = text.replace("PARM", &parm);
    fs::write(&spec, text).expect("it is written");
    let report = eval(&folder, &[]).json();
    assert_eq!(report["goals"][0]["met"], true, "{}", report["goals"]);
    let guided = row(&report, "up/sum/1");
    assert_eq!(guided["texts"], 4);
    assert!(
        guided["over_sharpened"]["kl"]["value"].is_number() && guided["over_base"]["kl"]["value"].as_f64() > Some(0.0)
    );
    assert!(row(&report, "base")["figures"]["kl"]["value"].as_f64().expect("it is told").abs() < 1e-6);
    for method in
        ["base", "prompt-only", "genarm-sum", "rewarded-soup", "parm", "args", "transfer-q", "best-of-3", "cards"]
    {
        let row = row(&report, &format!("methods/{method}"));
        assert!(row["seconds_per_128_tokens"].as_f64() > Some(0.0), "{row}");
        assert_eq!(
            row["figures"]["kl"].is_null(),
            ["args", "transfer-q", "best-of-3", "cards"].contains(&method),
            "{row}"
        );
    }
    // A guide without weight is the base, whatever it is; and the base is the base.
    assert_eq!(row(&report, "methods/base")["figures"], row(&report, "base")["figures"]);
    assert_eq!(report["frontier"].as_array().map(Vec::len), Some(4));
    assert!(row(&report, "weak/sum/1")["figures"]["perplexity"]["value"].is_number());
    let page = fs::read_to_string(folder.join("out/README.md")).expect("it is written");
    for part in
        ["## up", "## plain", "sweep-up.svg", "methods.svg", "frontier.svg", "## Weak to strong", "it says something"]
    {
        assert!(page.contains(part), "{part}");
    }
    for plot in ["sweep-up.svg", "sweep-plain.svg", "methods.svg", "frontier.svg"] {
        assert!(fs::read_to_string(folder.join("out").join(plot)).expect("it is there").starts_with("<svg "), "{plot}");
    }
    // Everything is there: a second run makes nothing, and another weight only what it needs.
    let before = texts(&folder).len();
    assert_eq!(eval(&folder, &[]).json()["rows"], report["rows"]);
    assert_eq!(eval(&folder, &["--report-only"]).json()["rows"], report["rows"]);
    assert_eq!(texts(&folder).len(), before);
}

#[test]
fn the_mix_is_what_its_name_says() {
    let folder =
        folder("names", r#"methods = { guide = "up", search_prompts = 1, candidates = 1, rollout = 1, best_of = 1 }"#);
    let report = eval(&folder, &[]).json();
    // Perplexity is that of `score`, over the text's own tokens.
    let entropy = |row: &Value| row["figures"]["perplexity"]["value"].as_f64().expect("it is told");
    assert!(
        entropy(row(&report, "sharp/2")) < entropy(row(&report, "base")),
        "a sharper base is likelier under itself"
    );
    let kl = |name: &str| row(&report, name)["figures"]["kl"]["value"].as_f64().expect("it is told");
    assert!(kl("up/sum/2") > kl("up/normalized/2"), "dividing by the weights keeps nearer to the base");
    // The adapter alone, written as the base and what it changes, is the adapter on the base.
    let alone = texts(&folder);
    let args =
        ["generate", "--json", "--quiet", "--prompt", "hello the 0", "--max-tokens", "6", "--model"].map(str::to_owned);
    let qkv = common::repository("fixtures/tiny-adapters/qkv").display().to_string();
    let direct =
        pilotfish(args.into_iter().chain([tiny("llama-q4_1"), "--adapter".into(), qkv, "--seed".into(), "0".into()]))
            .json();
    let text = direct["text"].as_str().expect("a text");
    let found = |line: &String| serde_json::from_str::<Value>(line).is_ok_and(|line| line["text"]["text"] == text);
    assert!(alone.iter().any(found), "{text:?} is not among what was written");
}

#[test]
fn a_run_that_was_killed_goes_on_to_the_same_report() {
    let whole = folder("at-once", "");
    let expected = eval(&whole, &[]).json();
    let killed = folder("killed", "");
    let log = killed.join("out/texts.jsonl");
    let mut child = command()
        .args(["eval", "--quiet", "--out"])
        .args([killed.join("out"), killed.join("evaluation.toml")])
        .spawn()
        .expect("it starts");
    let started = Instant::now();
    while fs::read_to_string(&log).unwrap_or_default().lines().count() < 5
        && started.elapsed() < Duration::from_secs(120)
    {
        std::thread::sleep(Duration::from_millis(5));
    }
    let _ = child.kill();
    let _ = child.wait();
    // As if it had been killed in the middle of a line.
    let part = fs::read_to_string(&log).expect("it has begun") + "{\"text\":{\"key\":\"";
    fs::write(&log, part).expect("it is written");
    assert_eq!(eval(&killed, &[]).json()["rows"], expected["rows"]);
    assert_eq!(texts(&killed).len(), texts(&whole).len());
}

#[test]
fn parts_and_fewer_prompts_are_made_when_asked_for() {
    let folder = folder("parts", r#"frontier = { guides = ["up", "plain"], steps = 1 }"#);
    let report = eval(&folder, &["--only", "frontier", "--prompts", "2", "--tokens", "3"]).json();
    assert_eq!(row(&report, "base")["texts"], 2);
    let rows = report["rows"].as_array().expect("rows");
    assert!(rows.iter().all(|row| !row["row"].as_str().is_some_and(|name| name.starts_with("up/"))));
    assert!(row(&report, "frontier/genarm/1.000")["figures"]["tokens"]["value"].as_f64() <= Some(3.0));
}

#[test]
fn what_cannot_be_evaluated_is_refused() {
    let good = folder("bad", "");
    let changed = |from: &str, to: &str| {
        let text = fs::read_to_string(good.join("evaluation.toml")).expect("it is there");
        assert!(text.contains(from));
        fs::write(good.join("changed.toml"), text.replace(from, to)).expect("it is written");
        pilotfish(
            ["eval", "--json", "--out"]
                .into_iter()
                .map(str::to_owned)
                .chain([good.join("out").display().to_string(), good.join("changed.toml").display().to_string()]),
        )
    };
    changed("tiny-adapters/qkv", "tiny-adapters/none").refused(1, "file.read").says("none");
    changed("tiny-llama", "no-llama").refused(1, "file.read");
    changed("prompts.jsonl", "nowhere.jsonl").refused(1, "file.read").says("nowhere.jsonl");
    changed("tokens = 6", "tokens = 0").refused(1, "file.content").says("`tokens`");
    changed("\"sentiment\"", "\"beauty\"").refused(1, "file.content").says("beauty");
    changed("tiny-adapters/qkv", "tiny-adapters/all").refused(1, "adapter.shape");
    fs::write(good.join("empty.jsonl"), "\n").expect("it is written");
    changed("prompts.jsonl", "empty.jsonl").refused(1, "file.content").says("no prompt is held out");
    let spec = good.join("evaluation.toml").display().to_string();
    // A file is where the folder should be.
    pilotfish(["eval", "--out", &good.join("prompts.jsonl").display().to_string(), &spec]).refused(1, "file.write");
    pilotfish(["eval", "--out", "x", &good.join("no.toml").display().to_string()]).refused(1, "file.read");
    pilotfish(["eval", "--json", &spec]).refused(2, "usage");
}
