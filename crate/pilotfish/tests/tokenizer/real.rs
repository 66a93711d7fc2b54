//! Real models and real `tokenizer.json` files, where environment variables say where they are.

use std::path::Path;

use pilotfish::chat::{ChatTemplate, KnownTemplate, Message};
use pilotfish::tokenizer::{Encode, TokenId, Tokenizer};
use serde_json::Value;

use super::support::*;

const SMOLLM2: &str = "smollm2-135m-instruct-q4_1.gguf";
const GEMMA3: &str = "gemma-3-270m-q4_k_m.gguf";

fn real_model(file: &str) -> Option<Tokenizer> {
    let path = from_env("PILOTFISH_MODELS", file)?;
    Some(Tokenizer::from_gguf(&read_metadata(&path)).unwrap())
}

fn golden(file: &str) -> Value {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/golden").join(file);
    serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap()
}

fn ids(value: &Value) -> Vec<TokenId> {
    serde_json::from_value(value.clone()).unwrap()
}

/// Every golden case with a text has the ids that the model's own tokenizer gives it.
fn check_golden(tokenizer: &Tokenizer, golden: &Value) {
    let cases = golden["cases"].as_array().unwrap();
    let with_text: Vec<_> = cases.iter().filter(|case| case["text"].is_string()).collect();
    assert!(!with_text.is_empty());
    for case in with_text {
        let text = case["text"].as_str().unwrap();
        let how = Encode { special: true, ..Encode::default() };
        let expected = ids(&case["ids"]);
        assert_eq!(tokenizer.encode(text, how).unwrap(), expected, "{}", case["name"]);
        let shown = tokenizer.decode_with_special(&expected);
        assert!(shown.ends_with(text), "{}: {shown:?}", case["name"]);
    }
}

#[test]
fn real_model_smollm2_gives_the_golden_ids() {
    let Some(tokenizer) = real_model(SMOLLM2) else {
        return;
    };
    let golden = golden("smollm2-135m-q4_1.json");
    check_golden(&tokenizer, &golden);
    let list = golden["tokenize"].as_array().unwrap();
    assert!(list.len() >= 30);
    for pair in list {
        let text = pair[0].as_str().unwrap();
        let found = tokenizer.encode(text, Encode::default()).unwrap();
        assert_eq!(found, ids(&pair[1]), "{text:?}");
        assert_eq!(tokenizer.decode(&found), text);
    }
}

#[test]
fn real_model_gemma3_gives_the_golden_ids() {
    let Some(tokenizer) = real_model(GEMMA3) else {
        return;
    };
    check_golden(&tokenizer, &golden("gemma3-270m-q4_k_m.json"));
    assert_eq!(tokenizer.ends(), [1, 106]);
    assert_eq!(tokenizer.token_text(106).as_deref(), Some("<end_of_turn>"));
}

#[test]
fn real_model_any_text_survives_the_way_there_and_back() {
    for file in [SMOLLM2, GEMMA3] {
        let Some(tokenizer) = real_model(file) else {
            return;
        };
        let mut random = Random::new(4);
        for _ in 0..300 {
            // ▁ is how Gemma's vocabulary writes a space; SmolLM2's has no token for some control characters and for
            // the first bytes of characters nobody has been assigned, which leave no trace.
            let mut text = random.text(30).replace('▁', "_");
            text.retain(|c| c < '\u{30000}' && (c >= ' ' || "\t\r\n".contains(c)));
            let found = tokenizer.encode(&text, PLAIN).unwrap();
            assert_eq!(tokenizer.decode(&found), text, "{file}");
        }
    }
}

#[test]
fn real_model_smollm2_brings_its_template() {
    let Some(tokenizer) = real_model(SMOLLM2) else { return };
    let path = from_env("PILOTFISH_MODELS", SMOLLM2).unwrap();
    let template = ChatTemplate::from_gguf(&read_metadata(&path), &tokenizer).unwrap();
    assert!(template.supports_system() && template.known_template().is_none());
    let golden = golden("smollm2-135m-q4_1.json");
    let cases = golden["cases"].as_array().unwrap();
    let multi = cases.iter().find(|case| case["name"] == "chatml_multi").unwrap();
    let messages = [
        Message::user("I had a long day and nothing went right."),
        Message::assistant("I am sorry to hear that. Do you want to tell me about it?"),
        Message::user("My train was late, the meeting was moved twice, and I forgot my lunch on the kitchen table."),
        Message::assistant("That sounds tiring. It is frustrating when small things pile up like that."),
        Message::user("What should I do with the rest of the evening?"),
    ];
    assert_eq!(template.render(&messages, true).unwrap(), multi["text"].as_str().unwrap());
}

#[test]
fn real_model_gemma3_without_a_template_speaks_as_gemma() {
    let Some(tokenizer) = real_model(GEMMA3) else { return };
    let path = from_env("PILOTFISH_MODELS", GEMMA3).unwrap();
    let template = ChatTemplate::from_gguf(&read_metadata(&path), &tokenizer).unwrap();
    assert_eq!(template.known_template(), Some(KnownTemplate::Gemma));
    let text = template.render(&[Message::user("Hi")], true).unwrap();
    let how = Encode { special: true, ..Encode::default() };
    // <bos><start_of_turn>user\nHi<end_of_turn>\n<start_of_turn>model\n
    assert_eq!(tokenizer.encode(&text, how).unwrap(), [2, 105, 2364, 107, 10979, 106, 107, 105, 4368, 107]);
}
