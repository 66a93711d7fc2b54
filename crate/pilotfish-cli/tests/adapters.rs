//! Adapters on the command line: as guides, in soups, on the base; converted, merged, compared; refused.

mod common;

use common::{pilotfish, repository, tiny};
use serde_json::Value;

fn peft(name: &str) -> String {
    repository("fixtures/tiny-adapters").join(name).to_str().expect("the path is UTF-8").to_owned()
}

fn out(name: &str) -> String {
    std::path::Path::new(env!("CARGO_TARGET_TMPDIR")).join(name).to_str().expect("the path is UTF-8").to_owned()
}

/// The `top` of a score, as `(id, logit)`.
fn top(score: &Value, path: &str) -> Vec<(u64, f64)> {
    let pair = |entry: &Value| (entry[0].as_u64().expect("an id"), entry[1].as_f64().expect("a number"));
    score.pointer(path).and_then(Value::as_array).expect("a list").iter().map(pair).collect()
}

#[track_caller]
fn close(one: &[(u64, f64)], other: &[(u64, f64)], bound: f64) {
    assert_eq!(one.len(), other.len());
    for ((id, value), (other_id, other_value)) in one.iter().zip(other) {
        assert_eq!(id, other_id);
        assert!((value - other_value).abs() < bound, "{id}: {value} and {other_value}");
    }
}

fn score(model: &str, flags: &[&str]) -> Value {
    score_top("8", model, flags)
}

fn score_top(top: &str, model: &str, flags: &[&str]) -> Value {
    let args = ["score", "--json", "--ids", "40,7,99,260", "--top", top, "--model", model];
    pilotfish(args.iter().chain(flags)).json()
}

#[test]
fn a_peft_directory_its_gguf_and_its_merged_model_score_alike() {
    let model = tiny("llama-q4_1");
    let adapted = score(&model, &["--adapter", &peft("qkv")]);
    assert_ne!(adapted["top"], score(&model, &[])["top"]);
    for (name, fitted) in [("loose.gguf", false), ("fitted.gguf", true)] {
        let gguf = out(name);
        let fit = if fitted { &["--model", &model][..] } else { &[] };
        let report =
            pilotfish(["convert-adapter", "--json", &peft("qkv"), &gguf].iter().copied().chain(fit.iter().copied()))
                .json();
        assert_eq!(report["adapter"]["rank"], 4);
        close(&top(&adapted, "/top"), &top(&score(&model, &["--adapter", &gguf]), "/top"), 2e-3);
    }
    let merged = out("merged.gguf");
    pilotfish(["merge", "--json", "--model", &model, "--adapter", &peft("qkv"), &merged]).json();
    close(&top(&adapted, "/top"), &top(&score(&merged, &[]), "/top"), 2e-2);
}

#[test]
fn a_model_of_all_layers_is_the_model_and_one_of_some_is_a_guide() {
    let model = tiny("llama-q4_1");
    let prune = |keep: &str, to: &str| pilotfish(["prune", "--json", "--model", &model, "--keep", keep, to]);
    let (whole, first) = (out("whole.gguf"), out("first.gguf"));
    assert_eq!(prune("0-1", &whole).json()["layers"], 2);
    assert_eq!(score(&whole, &[])["top"], score(&model, &[])["top"]);
    assert_eq!(prune("0", &first).json()["layers"], 1);
    assert_ne!(score(&first, &[])["top"], score(&model, &[])["top"]);
    let mixed_with = |guide: &str| score(&model, &["--guide", &format!("small=model:{guide}")])["mix"]["top"].clone();
    assert!(mixed_with(&whole).is_array());
    assert_eq!(mixed_with(&whole), mixed_with(&model));
    assert_ne!(mixed_with(&whole), mixed_with(&first));
    prune("1-2", &out("none.gguf")).refused(2, "usage");
    // Each sixth of Gemma's layers sees the whole text.
    let gemma = tiny("gemma3-q8_0");
    pilotfish(["prune", "--json", "--model", &gemma, "--keep", "0-4,6", &out("none.gguf")]).refused(2, "usage");
}

#[test]
fn a_mix_is_the_softmax_of_the_weighted_sum() {
    let model = tiny("llama-q4_1");
    let guide = format!("arm=adapter:{},weight=2", peft("qkv"));
    let base = score(&model, &[]);
    for normalize in [false, true] {
        let mut flags = vec!["--guide", &guide];
        if normalize {
            flags.push("--normalize");
        }
        let mixed = score(&model, &flags);
        assert_eq!(mixed["top"], base["top"], "the base itself stays what it is");
        let probabilities = top(&mixed, "/mix/top");
        assert_eq!(probabilities.len(), 8);
        let plain = score_top("300", &model, &[]);
        let adapted = top(&score_top("300", &model, &["--adapter", &peft("qkv")]), "/top");
        // Of two tokens that both list, the odds are those of the weighted sum.
        let z: Vec<(u64, f64)> = top(&plain, "/top")
            .into_iter()
            .filter_map(|(id, logit)| {
                let (_, other) = adapted.iter().find(|(known, _)| *known == id)?;
                Some((id, (logit + 2.0 * other) / if normalize { 3.0 } else { 1.0 }))
            })
            .collect();
        let known: Vec<(f64, f64)> = probabilities
            .iter()
            .filter_map(|(id, probability)| Some((z.iter().find(|(known, _)| known == id)?.1, *probability)))
            .collect();
        assert!(known.len() >= 3, "{known:?}");
        for pair in known.windows(2) {
            let odds = (pair[0].1 / pair[1].1).ln();
            assert!((odds - (pair[0].0 - pair[1].0)).abs() < 2e-2, "{odds} for {pair:?}");
        }
    }
}

#[test]
fn soups_and_preferences_go_by_their_shares() {
    let model = tiny("llama-q4_1");
    let generate = |guide: &str| {
        let args = ["generate", "--json", "--ids", "40,7,99", "--max-tokens", "12", "--temperature", "0"];
        pilotfish(args.iter().chain(&["--model", &model, "--guide", guide])).json()["ids"].clone()
    };
    let (a, b) = (peft("qkv"), peft("parm"));
    let single = generate(&format!("g=adapter:{a},weight=3"));
    let corner = generate(&format!("g=adapter:{a},share=1,adapter:{b},share=0,preference=1;0,weight=3"));
    assert_eq!(single, corner);
    let first = generate(&format!("g=adapter:{b},preference=1;0,weight=3"));
    assert_ne!(first, generate(&format!("g=adapter:{b},preference=0;1,weight=3")));
}

#[test]
fn adapters_that_do_not_fit_are_refused() {
    let run = |model: &str, guide: &str| {
        pilotfish([
            "generate",
            "--json",
            "--prompt",
            "x",
            "--max-tokens",
            "1",
            "--model",
            &tiny(model),
            "--guide",
            guide,
        ])
    };
    run("gemma3-q8_0", &format!("a=adapter:{}", peft("qkv"))).refused(1, "adapter.shape");
    run("llama-q4_1", &format!("a=adapter:{}", tiny("llama-q4_1"))).refused(1, "adapter.not_an_adapter");
    run("llama-q4_1", &format!("a=adapter:{}", peft("parm"))).refused(1, "adapter.preference");
    run("llama-q4_1", "a=adapter:/nothing/here.gguf").refused(1, "file.read");
    run("llama-q4_1", &format!("a=adapter:{},share=nan", peft("qkv"))).refused(1, "adapter.share");
    pilotfish(["convert-adapter", &peft("qkv"), &out("x.gguf"), "--model", &tiny("gemma3-q8_0")])
        .refused(1, "adapter.shape");
}

#[test]
fn a_comparison_counts_rows_and_ratios() {
    let args = ["bench", "--json", "--compare", "--prompt-tokens", "4", "--gen", "3", "--runs", "1", "--model"];
    let model = tiny("llama-q4_1");
    let report = pilotfish(args.iter().copied().chain([model.as_str()])).json();
    let compared = report["cases"][0]["compared"].as_array().expect("a list");
    let rows: Vec<_> = compared.iter().map(|one| one["rows"].as_u64()).collect();
    assert_eq!(rows, [Some(1), Some(2), Some(3), Some(4)]);
    assert_eq!(compared[0]["adapter_bytes"], 0);
    assert!(compared[1]["adapter_bytes"].as_u64() > Some(0));
    assert!(compared[3]["step_over_unguided"]["median"].as_f64() > Some(0.0));
}
