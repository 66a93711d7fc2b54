//! `generate` on tiny models: what guides, seeds, schedules and flags do, and what is refused.

mod common;

use std::io::Read;
use std::process::Stdio;

use common::{Run, command, file, ids, pilotfish, tiny, words};
use serde_json::Value;

const MODEL: &str = "llama-q4_1";

fn generate(prompt: &str, flags: &str, more: &[&str]) -> Run {
    let model = tiny(MODEL);
    let args = ["generate", "--json", "--model", &model, "--prompt", prompt].into_iter();
    pilotfish(args.chain(words(flags)).chain(more.iter().copied()))
}

/// What was made: ids and text.
fn made(report: &Value) -> (Vec<u64>, &str) {
    (ids(&report["ids"]), report["text"].as_str().expect("a text"))
}

const WARM: &str = "--max-tokens 12 --temperature 0.9 --seed 11";
const KIND: [&str; 2] = ["--guide", "kind=context:the end is in the world,weight=2.5"];

#[test]
fn the_report_is_complete_and_consistent() {
    let report = generate("hello the", WARM, &KIND).json();
    let (ids, text) = made(&report);
    let steps = report["steps"].as_array().expect("steps");
    assert_eq!(steps.len(), ids.len());
    assert_eq!(steps.iter().filter_map(|step| step["text"].as_str()).collect::<String>(), text);
    assert_eq!(report["guides"], serde_json::json!(["kind"]));
    assert_eq!(report["session"]["rows"].as_array().map(Vec::len), Some(2), "{}", report["session"]);
    for (at, step) in steps.iter().enumerate() {
        assert_eq!((&step["index"], &step["id"]), (&at.into(), &ids[at].into()));
        assert_eq!(step["weights"], serde_json::json!([2.5]));
        let candidates = step["candidates"].as_array().expect("candidates");
        assert_eq!(candidates.len(), 10);
        let mix: Vec<f64> = candidates.iter().filter_map(|candidate| candidate["mix"].as_f64()).collect();
        assert!(mix.len() == 10 && mix.is_sorted_by(|a, b| a >= b), "{mix:?}");
        assert!(step["kl"].as_f64().is_some_and(|kl| kl >= -1e-5), "{step}");
    }
    assert_eq!(steps.iter().filter(|step| !step["stop"].is_null()).count(), 1);
    assert_eq!(report["stop"], steps[steps.len() - 1]["stop"]);
}

#[test]
fn the_mix_alone_is_reported_when_asked() {
    let full = generate("hello the", WARM, &KIND).json();
    let brief = generate("hello the", WARM, &[&KIND[..], &["--mix-only"]].concat()).json();
    assert_eq!(made(&brief), made(&full));
    for step in brief["steps"].as_array().expect("steps") {
        assert!(step.get("kl").is_none() && step.get("entropy").is_none(), "{step}");
        let log_probs = &step["log_probs"];
        assert!(log_probs["mix"].is_number() && log_probs.get("base").is_none(), "{step}");
    }
}

/// One step's telemetry against the formula: mix = log-softmax(base + w * guide - w * base), and at T before it is drawn from.
#[test]
fn the_mix_is_the_formula_of_its_rows() {
    let report = generate("hello the", "--max-tokens 3 --temperature 0.5 --seed 1", &KIND).json();
    for step in report["steps"].as_array().expect("steps") {
        let candidates = step["candidates"].as_array().expect("candidates");
        let number = |value: &Value| value.as_f64().expect("a number");
        let z: Vec<f64> = candidates
            .iter()
            .map(|c| number(&c["base"]) + 2.5 * number(&c["guides"][0]) - 2.5 * number(&c["base"]))
            .collect();
        // Up to the normaliser, which all candidates share.
        for (candidate, z_of) in candidates.iter().zip(&z) {
            let (ours, exact) = (number(&candidate["mix"]) - number(&candidates[0]["mix"]), z_of - z[0]);
            assert!((ours - exact).abs() < 2e-3, "{ours}, expected {exact}");
            let sampled = number(&candidate["sampled"]) - number(&candidates[0]["sampled"]);
            assert!((sampled - exact / 0.5).abs() < 4e-3, "{sampled}, expected {}", exact / 0.5);
        }
    }
}

#[test]
fn a_guide_of_weight_0_changes_nothing() {
    let plain = generate("hello the", WARM, &[]).json();
    for guide in ["kind=context:the end is in the world,weight=0", &format!("same=model:{},weight=0", tiny(MODEL))] {
        assert_eq!(made(&plain), made(&generate("hello the", WARM, &["--guide", guide]).json()), "{guide}");
    }
    assert_ne!(made(&plain).0, made(&generate("hello the", WARM, &KIND).json()).0, "the guide does something");
}

#[test]
fn the_same_seed_gives_the_same_text_and_another_another() {
    let first = generate("hello the", WARM, &[]).json();
    assert_eq!(made(&first), made(&generate("hello the", WARM, &[]).json()));
    let other = generate("hello the", "--max-tokens 12 --temperature 0.9 --seed 12", &[]).json();
    assert_ne!(made(&first).0, made(&other).0);
}

#[test]
fn steps_in_flight_do_not_change_the_text() {
    let one = generate("hello the", &format!("{WARM} --in-flight 1"), &KIND).json();
    for in_flight in [2, 3, 8] {
        assert_eq!(made(&one), made(&generate("hello the", &format!("{WARM} --in-flight {in_flight}"), &KIND).json()));
    }
}

#[test]
fn a_slider_acts_at_its_step_and_not_before() {
    let weights = |report: &Value| -> Vec<f64> {
        report["steps"].as_array().expect("steps").iter().filter_map(|step| step["weights"][0].as_f64()).collect()
    };
    let moved = |in_flight: u32| {
        let flags = format!("{WARM} --in-flight {in_flight} --set 4:kind=-3 --set 7:kind=1");
        generate("hello the", &flags, &KIND).json()
    };
    let slow = moved(1);
    let expected: Vec<f64> = (0..12)
        .map(|step| {
            if step < 4 {
                2.5
            } else if step < 7 {
                -3.0
            } else {
                1.0
            }
        })
        .collect();
    let made_steps = weights(&slow).len();
    assert!(made_steps > 5, "the run goes past the first write");
    assert_eq!(weights(&slow), expected[..made_steps]);
    // The same schedule with steps in flight gives the same text, and the steps before a write are as without it.
    let fast = moved(4);
    assert_eq!((made(&fast), weights(&fast)), (made(&slow), weights(&slow)));
    let by_default = generate("hello the", &format!("{WARM} --set 4:kind=-3 --set 7:kind=1"), &KIND).json();
    assert_eq!((made(&by_default), weights(&by_default)), (made(&slow), weights(&slow)));
    let unmoved = generate("hello the", WARM, &KIND).json();
    assert_eq!(made(&unmoved).0[..4], made(&slow).0[..4]);
    // Moved before the first step is the same as given so.
    let from_start = generate("hello the", WARM, &["--guide", "kind=context:the end is in the world,weight=-3"]).json();
    let moved_at_once = generate("hello the", &format!("{WARM} --set 0:kind=-3"), &KIND).json();
    assert_eq!(made(&from_start), made(&moved_at_once));
}

#[test]
fn a_scheduled_weight_is_that_slider_at_every_step() {
    let by_slider = generate(
        "hello the",
        &format!("{WARM} --in-flight 1 --set 0:kind=0 --set 1:kind=1 --set 2:kind=2 --set 3:kind=3"),
        &KIND,
    )
    .json();
    let guide = "kind=context:the end is in the world,weight=0@0;3@3";
    let by_schedule = generate("hello the", &format!("{WARM} --in-flight 4"), &["--guide", guide]).json();
    assert_eq!(made(&by_slider), made(&by_schedule));
    let mix = file(
        "schedule.json",
        r#"{"guides": [{"name": "kind", "weight": [[0, 0], [3, 3]], "context": "the end is in the world"}]}"#,
    );
    assert_eq!(made(&by_slider), made(&generate("hello the", WARM, &["--mix", &mix]).json()));
    assert_eq!(by_schedule["steps"][2]["weights"], serde_json::json!([2.0]));
}

#[test]
fn flags_reach_the_sampler_and_the_mix() {
    let flags = "--repetition-penalty 1.3 --presence-penalty 0.5 --frequency-penalty -0.25 --no-repeat-ngram 3 \
                 --penalty-last-n 20 --penalize-prompt --min-tokens 2 --ignore-eos --typical-p 0.9";
    let report = generate("hello the", &format!("{WARM} {flags}"), &[]).json();
    let sampling = &report["sampling"];
    let expected = serde_json::json!({"repetition": 1.3, "presence": 0.5, "frequency": -0.25, "no_repeat_ngram": 3,
                                      "last_n": 20, "prompt": true});
    for (name, value) in expected.as_object().expect("an object") {
        let found = &sampling["penalties"][name];
        let close = found.as_f64().zip(value.as_f64()).is_some_and(|(a, b)| (a - b).abs() < 1e-6);
        assert!(found == value || close, "{name}: {found}");
    }
    assert_eq!((&sampling["min_tokens"], &sampling["ignore_eos"]), (&2.into(), &true.into()));
    assert_eq!(report["stop"], "length");
    let biased = generate("hello the", "--max-tokens 3 --temperature 0 --logit-bias 9=1000 --ignore-eos", &[]).json();
    assert_eq!(made(&biased).0, [9, 9, 9]);
    let banned = generate("hello the", "--max-tokens 3 --temperature 0 --logit-bias 9=1000 --ban 9", &[]).json();
    assert!(!made(&banned).0.contains(&9));
}

#[test]
fn a_stop_string_ends_the_text_and_logits_come_when_asked() {
    let prompt = file("forced.json", r#"{"forced": [40, 41, 42, 43, 44, 45, 46, 47]}"#);
    let report = generate("hello the", "--max-tokens 9 --temperature 0 --logits", &["--mix", &prompt]).json();
    let whole = made(&report).1.to_owned();
    let logits = report["steps"][0]["logits"].as_array().expect("logits");
    assert_eq!(logits.iter().filter(|z| !z.is_null()).count(), 1, "a forced token is the only one");
    let needle: String = whole.chars().skip(3).take(4).collect();
    let at = whole.find(&needle).expect("it is a part");
    let flags = ["--mix", prompt.as_str(), "--stop", needle.as_str()];
    let stopped = generate("hello the", "--max-tokens 9 --temperature 0", &flags).json();
    assert_eq!((made(&stopped).1, stopped["stop"].as_str()), (&whole[..at], Some("stop_string")));
    let last = stopped["steps"].as_array().and_then(|steps| steps.last()).expect("a step");
    assert_eq!((last["stop_string"].as_str(), last.get("logits")), (Some(needle.as_str()), None));
}

#[test]
fn greedy_takes_the_likeliest_candidate() {
    let report = generate("hello the", "--max-tokens 8 --temperature 0", &KIND).json();
    for step in report["steps"].as_array().expect("steps") {
        assert_eq!(step["id"], step["candidates"][0]["id"]);
    }
    let top_k = generate("hello the", "--max-tokens 8 --temperature 1 --top-k 1", &KIND).json();
    assert_eq!(made(&report).0, made(&top_k).0, "the one likeliest token is the likeliest token");
}

#[test]
fn a_mix_file_says_what_flags_say() {
    let by_flags = generate("hello the", WARM, &KIND).json();
    let mix = file(
        "mix.json",
        r#"{"guides": [{"name": "kind", "weight": 2.5, "context": "the end is in the world"}],
            "sampling": {"temperature": 0.9, "seed": 11}, "max_tokens": 12, "prompt": {"text": "hello the"}}"#,
    );
    let by_file = pilotfish(["generate", "--json", "--model", &tiny(MODEL), "--mix", &mix]).json();
    assert_eq!(made(&by_flags), made(&by_file));
    for (name, content) in [("typo.json", r#"{"guidse": []}"#), ("both.json", r#"{"guides": [{"name": "a"}]}"#)] {
        generate("hello", "", &["--mix", &file(name, content)]).refused(1, "file.content").says(name);
    }
}

#[test]
fn a_prompt_can_be_a_chat_or_ids() {
    let model = tiny(MODEL);
    let of = |flags: &[&str]| {
        let args = ["generate", "--json", "--model", &model, "--max-tokens", "4", "--temperature", "0"];
        pilotfish(args.iter().chain(flags)).json()
    };
    let prompt_tokens = |report: &Value| report["session"]["rows"][0]["prompt_tokens"].as_u64().expect("a number");
    let text = of(&["--prompt", "hello the world"]);
    let tokenized = pilotfish(["tokenize", "--json", "--model", &model, "--text", "hello the world"]).json();
    let list: Vec<String> = ids(&tokenized["ids"]).iter().map(u64::to_string).collect();
    assert_eq!(made(&text), made(&of(&["--ids", &list.join(",")])));
    let chat = of(&["--chat", "hello the world"]);
    let with_system = of(&["--chat", "hello the world", "--system", "hello"]);
    assert!(prompt_tokens(&text) < prompt_tokens(&chat) && prompt_tokens(&chat) < prompt_tokens(&with_system));
}

#[test]
fn what_makes_no_sense_is_refused_with_its_code() {
    generate("hello", "--temperature -1", &[]).refused(1, "mix.temperature");
    generate("hello", "--temperature NaN", &[]).refused(1, "mix.temperature");
    generate("hello", "--top-p 1.5", &[]).refused(1, "mix.top_p");
    generate("hello", "--min-p -0.1", &[]).refused(1, "mix.min_p");
    generate("hello", "--top-k 100000", &[]).refused(1, "mix.top_k");
    generate("hello", "--typical-p 0", &[]).refused(1, "mix.typical_p");
    generate("hello", "--repetition-penalty -1", &[]).refused(1, "mix.penalty");
    generate("hello", "--presence-penalty NaN", &[]).refused(1, "mix.penalty");
    generate("hello", "--no-repeat-ngram 1", &[]).refused(1, "mix.penalty");
    generate("hello", "--ban 100000", &[]).refused(1, "mix.token");
    generate("hello", "--logit-bias 1=inf", &[]).refused(1, "mix.score");
    generate("hello", "--logit-bias 1", &[]).refused(2, "usage");
    generate("hello", "", &["--stop", ""]).refused(1, "session.stop_string");
    generate("hello", "", &["--guide", "a=context:x,weight=1@5;2@5"]).refused(1, "mix.schedule");
    generate("hello", "", &["--mix", &file("outside.json", r#"{"forced": [99999]}"#)]).refused(1, "mix.token");
    generate("hello", "", &["--mix", &file("none.json", r#"{"tokens": {"allowed": []}}"#)]).refused(1, "mix.mask");
    let model = tiny(MODEL);
    pilotfish(["generate", "--model", &model, "--prompt", "a", "--logits"]).refused(2, "usage");
    let both = ["generate", "--json", "--model", &model, "--prompt", "a", "--logits", "--mix-only"];
    assert_eq!(pilotfish(both).code, Some(2));
    for weight in ["NaN", "inf", "-1e9"] {
        generate("hello", "", &["--guide", &format!("a=context:x,weight={weight}")]).refused(1, "mix.weight");
    }
    generate("hello", "--set 1:a=NaN --max-tokens 3", &["--guide", "a=context:x"]).refused(1, "mix.weight");
    generate("", "", &[]).refused(1, "session.empty_prompt");
    generate("hello the world", "--context 2", &[]).refused(1, "session.prompt_too_long");
    generate("hello", "", &["--guide", "base=context:x"]).refused(1, "session.guide_name");
    generate("hello", "", &["--guide", "a=context:x", "--guide", "a=context:y"]).refused(1, "session.guide_name");
    generate("hello", "--set 1:b=1", &["--guide", "a=context:x"]).refused(2, "usage").says("`b`");
    generate("hello", "", &["--guide", "a=contxt:x"]).refused(2, "usage").says("contxt");
    generate("hello", "--colour", &[]).refused(2, "usage");
    let other = format!("a=model:{}", tiny("gemma3-q8_0"));
    generate("hello", "", &["--guide", &other]).refused(1, "session.vocabulary").says("`a`");
    generate("hello", "", &["--guide", "a=model:no/such.gguf"]).refused(1, "file.read");
    let model = tiny(MODEL);
    pilotfish(["generate", "--json", "--model", &model]).refused(2, "usage").says("--prompt");
    let with_ids = ["generate", "--json", "--model", &model, "--ids", "1,2", "--guide", "a=context:x"];
    pilotfish(with_ids).refused(1, "session.context_needs_text");
    let long = file("long-prompt.json", serde_json::json!(vec![1; 100_000]).to_string());
    pilotfish(["generate", "--json", "--model", &model, "--ids-file", &long]).refused(1, "session.prompt_too_long");
    pilotfish(["generate", "--json", "--model", &model, "--ids", "1,99999"]).refused(1, "session.token_id");
    pilotfish(["generate", "--json", "--model", "no/such.gguf", "--prompt", "a"]).refused(1, "file.read");
}

#[test]
fn a_file_with_its_end_cut_off_is_refused_before_anything_is_loaded() {
    let whole = std::fs::read(tiny(MODEL)).expect("the fixture is there");
    let path = file("cut.gguf", &whole[..whole.len() - 1]);
    pilotfish(["generate", "--json", "--model", &path, "--prompt", "a"]).refused(1, "gguf.truncated");
}

#[test]
fn text_is_streamed_and_coloured_only_when_asked() {
    let model = tiny(MODEL);
    let run = |flags: &str| {
        let args = ["generate", "--model", &model, "--prompt", "hello the"].into_iter().chain(words(WARM));
        pilotfish(args.chain(words(flags)).chain(KIND))
    };
    let report = generate("hello the", WARM, &KIND).json();
    let text = format!("{}\n", made(&report).1);
    let plain = run("");
    assert_eq!((plain.stdout.as_str(), plain.code), (text.as_str(), Some(0)));
    assert!(plain.stderr.contains("tokens"), "a summary: {}", plain.stderr);
    assert_eq!(run("--quiet").stderr, "");
    // stdout is no terminal here.
    assert_eq!(run("--color").stdout, text);
    let coloured = run("--color=always").stdout;
    assert!(coloured.contains("\x1b[38;5;255;48;5;"), "{coloured}");
    let uncoloured = coloured.split('\x1b').enumerate().map(|(at, part)| match at {
        0 => part,
        _ => part.split_once('m').map_or("", |(_, text)| text),
    });
    assert_eq!(uncoloured.collect::<String>(), text);
}

#[test]
fn a_reader_that_leaves_early_is_no_error() {
    let mut child = command()
        .args(["generate", "--quiet", "--model", &tiny(MODEL), "--prompt", "hello the", "--max-tokens", "40"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("it starts");
    // Closed before the first token.
    drop(child.stdout.take());
    let status = child.wait().expect("it ends");
    let mut stderr = String::new();
    child.stderr.take().expect("it is piped").read_to_string(&mut stderr).expect("it is text");
    assert_eq!((status.code(), stderr.as_str()), (Some(0), ""));
}

/// Ctrl-C, as a terminal sends it.
#[cfg(unix)]
#[test]
fn an_interrupt_stops_cleanly_with_what_was_made() {
    let mut child = command()
        .args([
            "generate",
            "--model",
            &tiny(MODEL),
            "--prompt",
            "hello the",
            "--max-tokens",
            "4000",
            "--temperature",
            "1",
        ])
        .args(["--mix", &file("no-end.json", "{}")])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("it starts");
    let mut stdout = child.stdout.take().expect("it is piped");
    // Bytes: a first one may be a part of a character.
    let mut text = vec![0];
    stdout.read_exact(&mut text).expect("a first byte");
    let kill =
        std::process::Command::new("kill").args(["-INT", &child.id().to_string()]).status().expect("kill is there");
    assert!(kill.success());
    stdout.read_to_end(&mut text).expect("the rest can be read");
    let status = child.wait().expect("it ends");
    let mut stderr = String::new();
    child.stderr.take().expect("it is piped").read_to_string(&mut stderr).expect("it is text");
    assert_eq!(status.code(), Some(0), "{stderr}");
    let text = String::from_utf8(text).expect("no character is cut");
    assert!(text.ends_with('\n') && stderr.contains("; stopped"), "{text:?} {stderr}");
}
