//! `inspect` needs no GPU and reads no tensors.

mod common;

use common::{Run, file, pilotfish, tiny};

fn inspect(path: &str, flags: &[&str]) -> Run {
    pilotfish(["inspect", path].iter().chain(flags))
}

#[test]
fn a_model_is_described_as_json() {
    let report = inspect(&tiny("gemma3-q4_k"), &["--json", "--context", "10", "--rows", "3"]).json();
    assert_eq!(report["metadata"]["general.architecture"], "gemma3");
    assert_eq!(report["spec"]["family"], "gemma3");
    assert_eq!(report["spec"]["activation"], "gelu_tanh");
    assert_eq!(report["spec"]["layers"].as_array().map(Vec::len), Some(7));
    let tensors = report["tensors"].as_array().expect("tensors");
    let counted: u64 =
        report["formats"].as_object().expect("formats").values().filter_map(|f| f["tensors"].as_u64()).sum();
    assert_eq!(counted, tensors.len() as u64);
    assert!(tensors.iter().any(|tensor| tensor["name"] == "token_embd.weight" && tensor["shape"][0] == 256));
    let memory = &report["memory"];
    assert_eq!((&memory["context_length"], &memory["rows"]), (&10.into(), &3.into()));
    // 7 layers, one head of 16 for keys and one for values, two bytes each; three rows of ten positions.
    assert_eq!(memory["kv_per_position"], 7 * 2 * 16 * 2);
    assert_eq!(memory["kv"], 7 * 2 * 16 * 2 * 3 * 10);
    let vocabulary = &report["metadata"]["tokenizer.ggml.tokens"];
    assert_eq!((&vocabulary["type"], &vocabulary["first"][2]), (&"string".into(), &"<bos>".into()));
    let full = inspect(&tiny("gemma3-q4_k"), &["--json", "--full"]).json();
    assert_eq!(
        full["metadata"]["tokenizer.ggml.tokens"].as_array().map(Vec::len),
        vocabulary["length"].as_u64().map(|n| n as usize)
    );
}

#[test]
fn a_model_is_described_for_people() {
    let run = inspect(&tiny("llama-f32"), &["--tensors"]);
    assert_eq!(run.code, Some(0), "{}", run.stderr);
    for part in ["general.architecture", "blk.1.ffn_down.weight", "5 of 8, 1 for keys and values", "memory: weights"] {
        assert!(run.stdout.contains(part), "`{part}` is not in {}", run.stdout);
    }
}

#[test]
fn what_is_no_model_is_refused_with_a_reason() {
    inspect("no/such/file.gguf", &["--json"]).refused(1, "file.read").says("no/such/file.gguf");
    inspect(&file("text.gguf", "hello, I am a text"), &["--json"]).refused(1, "gguf.not_gguf");
    inspect(&file("empty.gguf", ""), &["--json"]).refused(1, "gguf.truncated");
    let whole = std::fs::read(tiny("llama-q4_0")).expect("the fixture is there");
    for length in [4, 20, 100, 5000] {
        let path = file(&format!("cut-{length}.gguf"), &whole[..length]);
        inspect(&path, &["--json"]).refused(1, "gguf.truncated");
    }
    inspect(&file("cut-tensors.gguf", &whole[..whole.len() - 100]), &[]).refused(1, "gguf.truncated");
}

#[test]
fn a_model_that_cannot_be_run_is_shown_with_the_reason() {
    let mut bytes = std::fs::read(tiny("llama-q4_0")).expect("the fixture is there");
    let key = b"general.architecture";
    let at = bytes.windows(key.len()).position(|window| window == key).expect("it has an architecture");
    // After the key: the type (4 bytes) and the length (8) of the value.
    bytes[at + key.len() + 12..][..5].copy_from_slice(b"mamba");
    let run = inspect(&file("mamba.gguf", bytes), &["--json"]);
    run.refused(1, "arch.unknown").says("gemma3");
    let report = run.json_whatever_the_code();
    assert_eq!(report["metadata"]["general.architecture"], "mamba");
    assert!(report["spec"].is_null() && report["memory"].is_null());
}
