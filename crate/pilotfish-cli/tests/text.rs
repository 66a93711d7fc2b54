//! `tokenize` and `detokenize` need no GPU and read no tensors.

mod common;

use common::{file, ids, pilotfish, tiny, words};

#[test]
fn text_becomes_ids_and_ids_become_text() {
    for (model, text) in
        [("llama-q4_0", "hello the world"), ("gemma3-q8_0", "hello, the end"), ("qwen2-f16", "Ünï\n\n 12")]
    {
        let model = tiny(model);
        let tokenized = pilotfish(["tokenize", "--json", "--model", &model, "--text", text]).json();
        let ids = ids(&tokenized["ids"]);
        assert!(!ids.is_empty() && ids.len() <= text.len() + 1, "{text}: {ids:?}");
        let path = file(&format!("ids-{}.json", text.len()), tokenized["ids"].to_string());
        let again = pilotfish(["detokenize", "--json", "--model", &model, "--ids-file", &path]).json();
        assert_eq!(again["text"], text);
        let list: Vec<String> = ids.iter().map(u64::to_string).collect();
        let plain = pilotfish(["detokenize", "--model", &model, "--ids", &list.join(",")]);
        assert_eq!(plain.stdout, format!("{text}\n"));
    }
}

#[test]
fn a_beginning_and_control_tokens_are_as_asked() {
    let gemma = tiny("gemma3-q8_0");
    let tokenize = |flags: &str| {
        let args =
            ["tokenize", "--json", "--model", &gemma, "--text", "<start_of_turn>"].into_iter().chain(words(flags));
        ids(&pilotfish(args).json()["ids"])
    };
    // Special tokens of the fixture: 2 is the beginning, 4 begins a turn.
    assert_eq!(tokenize("--special"), [2, 4]);
    assert_eq!(tokenize("--special --no-bos"), [4]);
    let as_text = tokenize("");
    assert!(as_text[0] == 2 && as_text.len() > 3 && !as_text.contains(&4), "{as_text:?}");
    let detokenize = |flags: &str| {
        let args = ["detokenize", "--json", "--model", &gemma, "--ids", "2,4"].into_iter().chain(words(flags));
        pilotfish(args).json()["text"].clone()
    };
    assert_eq!(detokenize(""), "");
    assert_eq!(detokenize("--special"), "<bos><start_of_turn>");
}

#[test]
fn a_text_can_come_from_a_file() {
    let path = file("text.txt", "hello the world");
    let by_file = pilotfish(["tokenize", "--json", "--model", &tiny("llama-q4_0"), "--file", &path]).json();
    let by_flag = pilotfish(["tokenize", "--json", "--model", &tiny("llama-q4_0"), "--text", "hello the world"]).json();
    assert_eq!(by_file, by_flag);
    let table = pilotfish(["tokenize", "--model", &tiny("llama-q4_0"), "--text", "hello\nthe"]);
    assert!(table.stdout.contains("hello") && table.stdout.contains("\\n"), "{}", table.stdout);
}

#[test]
fn bad_input_is_refused() {
    let model = tiny("llama-q4_0");
    pilotfish(["tokenize", "--json", "--model", &model, "--file", "no/such"]).refused(1, "file.read");
    let path = file("latin1.txt", b"caf\xe9");
    pilotfish(["tokenize", "--json", "--model", &model, "--file", &path]).refused(1, "file.content").says("byte 3");
    pilotfish(["tokenize", "--json", "--model", &model]).refused(2, "usage");
    pilotfish(["detokenize", "--json", "--model", &model]).refused(2, "usage").says("--ids");
    pilotfish(["detokenize", "--json", "--model", &model, "--ids", "1,2,three"]).refused(2, "usage").says("three");
    pilotfish(["detokenize", "--json", "--model", &model, "--ids", "1,99999"])
        .refused(1, "session.token_id")
        .says("99999");
    for (name, content) in
        [("not.json", "1,2,3"), ("texts.json", "[\"a\"]"), ("negative.json", "[-1]"), ("object.json", "{}")]
    {
        let path = file(name, content);
        pilotfish(["detokenize", "--json", "--model", &model, "--ids-file", &path])
            .refused(1, "file.content")
            .says(name);
    }
}
