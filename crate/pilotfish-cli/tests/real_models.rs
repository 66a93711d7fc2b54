//! The real models against their golden files, and guided runs of them. Only where `PILOTFISH_MODELS` names a folder that
//! holds them; on a software adapter these take minutes.

mod common;

use std::path::Path;

use common::{ids, repository};
use serde_json::Value;

const SMOLLM2: &str = "smollm2-135m-instruct-q4_1.gguf";
const GEMMA3: &str = "gemma-3-270m-q4_k_m.gguf";

/// The path of a model, or `None` (and a word about it) where the environment names no folder.
fn model(name: &str) -> Option<String> {
    let Some(folder) = std::env::var_os("PILOTFISH_MODELS") else {
        eprintln!("skipped: PILOTFISH_MODELS is not set");
        return None;
    };
    let path = Path::new(&folder).join(name);
    assert!(path.exists(), "PILOTFISH_MODELS has no {name}");
    Some(path.to_str().expect("the path is UTF-8").to_owned())
}

/// The reward models (`GenARM`) that the reference was computed with.
const GUIDES: [&str; 4] =
    ["--adapter", "upbeat=tests/golden/adapters/upbeat.gguf", "--adapter", "plain=tests/golden/adapters/plain.gguf"];

/// Compares all of a golden file, or some of its cases.
fn golden(name: &str, golden: &str, cases: &[&str], more: &[&str]) {
    let Some(model) = model(name) else { return };
    let golden = repository("golden").join(golden);
    let golden = golden.to_str().expect("the path is UTF-8");
    // Not the shape that the other tests fix: what a user gets.
    let output = std::process::Command::new(env!("CARGO_BIN_EXE_pilotfish"))
        .args(["golden", "--json", "--model", &model, "--golden", golden, "--backend", &common::backend()])
        .args(more)
        .args(cases.iter().flat_map(|case| ["--cases", case]))
        .current_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("../.."))
        .output()
        .expect("it starts");
    let report = String::from_utf8(output.stdout).expect("output is UTF-8");
    let stderr = String::from_utf8_lossy(&output.stderr);
    let report: Value = serde_json::from_str(&report).unwrap_or_else(|error| panic!("{error}: {report} {stderr}"));
    assert_eq!(report["failures"], serde_json::json!([]), "{report}");
    let compared = report["cases"].as_array().map_or(0, Vec::len);
    if cases.is_empty() {
        assert_eq!(report["skipped"], serde_json::json!([]), "all of the file is compared");
    } else {
        assert_eq!(compared, cases.len());
    }
    assert_eq!(output.status.code(), Some(0));
}

/// In f32 a CPU decodes every weight for every token, so that it takes minutes for what a GPU, or it in 8 bits, takes seconds for.
fn in_f32<'a>(cases: &'a [&'a str]) -> &'a [&'a str] {
    if common::backend() == "cpu" { cases } else { &[] }
}

#[test]
fn smollm2_is_as_the_reference_under_adapters_and_guided_by_them_too() {
    golden(
        SMOLLM2,
        "smollm2-135m-q4_1.json",
        in_f32(&["raw_5", "chatml_nosys"]),
        &[&GUIDES[..], &["--precise"]].concat(),
    );
}

#[test]
fn gemma3_is_as_the_reference() {
    golden(GEMMA3, "gemma3-270m-q4_k_m.json", in_f32(&["english"]), &["--precise"]);
}

#[test]
fn activations_of_8_bits_stay_near_the_reference() {
    if common::backend() == "cpu" {
        golden(SMOLLM2, "smollm2-135m-q4_1.json", &[], &GUIDES);
        golden(GEMMA3, "gemma3-270m-q4_k_m.json", &[], &[]);
    }
}

#[test]
fn an_adapter_steers_the_text_and_weight_0_leaves_it() {
    let Some(model) = model(SMOLLM2) else { return };
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../models/guides/upbeat.gguf");
    let guide = |weight: &str| format!("upbeat=adapter:{},weight={weight}", path.display());
    let (plain, _) = generate(&model, &["--temperature", "0"]);
    let (still, report) = generate(&model, &["--temperature", "0", "--guide", &guide("0")]);
    assert_eq!(plain, still);
    assert_eq!(report["session"]["rows"][1]["adapters"], serde_json::json!([0]));
    assert_ne!(plain, generate(&model, &["--temperature", "0", "--guide", &guide("2")]).0);
}

const PROMPT: [&str; 2] = ["--chat", "Name one good thing about rainy days."];
const GUIDE: &str = "cheerful=context:You are relentlessly cheerful.,against:You are gloomy.";

fn generate(model: &str, flags: &[&str]) -> (Vec<u64>, Value) {
    let args = ["generate", "--json", "--model", model, "--max-tokens", "12"];
    let report = common::pilotfish(args.iter().chain(&PROMPT).chain(flags)).json();
    (ids(&report["ids"]), report)
}

#[test]
fn a_guide_of_weight_0_reproduces_the_unguided_text() {
    let Some(model) = model(SMOLLM2) else { return };
    for sampling in [&["--temperature", "0"][..], &["--temperature", "0.8", "--top-p", "0.9", "--seed", "3"]] {
        let (plain, _) = generate(&model, sampling);
        let guide = format!("{GUIDE},weight=0");
        let (guided, report) = generate(&model, &[sampling, &["--guide", &guide]].concat());
        assert_eq!(report["session"]["rows"].as_array().map(Vec::len), Some(3));
        assert_eq!(plain, guided);
    }
}

#[test]
fn the_same_seed_gives_the_same_guided_text() {
    let Some(model) = model(SMOLLM2) else { return };
    let guide = format!("{GUIDE},weight=1.5");
    let flags = ["--temperature", "0.8", "--seed", "3", "--guide", &guide];
    assert_eq!(generate(&model, &flags).0, generate(&model, &flags).0);
}

#[test]
fn a_slider_schedule_gives_one_text_however_many_steps_are_in_flight() {
    let Some(model) = model(SMOLLM2) else { return };
    let guide = format!("{GUIDE},weight=1.5");
    let run = |in_flight: &str| {
        let flags = ["--temperature", "0.8", "--seed", "3", "--guide", &guide, "--in-flight", in_flight];
        generate(&model, &[&flags[..], &["--set", "4:cheerful=-1", "--set", "8:cheerful=0"]].concat())
    };
    let ((slow, slow_report), (fast, fast_report)) = (run("1"), run("4"));
    assert_eq!(slow, fast);
    for report in [slow_report, fast_report] {
        for (at, step) in report["steps"].as_array().expect("steps").iter().enumerate() {
            let expected = if at < 4 {
                1.5
            } else if at < 8 {
                -1.0
            } else {
                0.0
            };
            assert_eq!(step["weights"][0], expected, "step {at}");
        }
    }
}
