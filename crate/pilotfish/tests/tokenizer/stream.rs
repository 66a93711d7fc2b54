//! The streaming decoder against decoding all at once.

use std::sync::Arc;

use pilotfish::tokenizer::{StreamDecoder, Tokenizer};

use super::support::*;

/// Pushes every id and joins what comes; no part may hold a replacement character that the whole has not.
fn stream(tokenizer: &Tokenizer, ids: &[u32]) -> String {
    let mut decoder = tokenizer.stream();
    let mut text = String::new();
    for &id in ids {
        text.push_str(&decoder.push(id));
    }
    text.push_str(&decoder.finish());
    text
}

#[test]
fn streamed_text_is_the_text() {
    for name in ["gpt-2", "llama-spm"] {
        let tokenizer = vocabulary(name);
        let mut random = Random::new(2);
        for _ in 0..300 {
            let text = random.text(25).replace('▁', " ");
            let ids = tokenizer.encode(&text, PLAIN).unwrap();
            let mut decoder = tokenizer.stream();
            let mut shown = String::new();
            for &id in &ids {
                shown.push_str(&decoder.push(id));
                assert!(text.starts_with(&shown), "{name}: {shown:?} is not the beginning of {text:?}");
            }
            assert_eq!(decoder.finish(), "", "{name}: {text:?}");
            assert_eq!(shown, text, "{name}");
        }
    }
}

#[test]
fn any_ids_stream_to_what_they_decode_to() {
    for name in ["gpt-2", "llama-spm", "phi-3", "mpt"] {
        let tokenizer = vocabulary(name);
        let mut random = Random::new(3);
        for _ in 0..300 {
            let len = random.below(20);
            // Few ids: bytes, controls and what lies just beyond the vocabulary come often.
            let ids: Vec<u32> = (0..len)
                .map(|_| match random.below(3) {
                    0 => random.below(300) as u32,
                    1 => tokenizer.n_vocab() - random.below(70) as u32 + 3,
                    _ => random.below(tokenizer.n_vocab() as usize) as u32,
                })
                .collect();
            assert_eq!(stream(&tokenizer, &ids), tokenizer.decode(&ids), "{name}: {ids:?}");
        }
    }
}

#[test]
fn half_a_character_waits_for_the_rest() {
    let llama = vocabulary("llama-spm");
    let byte = |byte: u32| 3 + byte;
    let mut decoder = llama.stream();
    assert_eq!(decoder.push(byte(0xf0)), "");
    assert_eq!(decoder.push(byte(0x9f)), "");
    assert_eq!(decoder.push(byte(0x9a)), "");
    assert_eq!(decoder.push(byte(0x80)), "🚀");
    assert_eq!(decoder.push(byte(0xe2)), "");
    // What follows shows that the character never becomes whole.
    assert_eq!(decoder.push(byte(b'a'.into())), "\u{fffd}a");
    assert_eq!(decoder.push(byte(0xc3)), "");
    assert_eq!(decoder.finish(), "\u{fffd}");
    assert_eq!(decoder.finish(), "");
}

#[test]
fn the_encoders_space_is_dropped_only_where_a_text_begins() {
    let llama = Arc::new(vocabulary("llama-spm"));
    let ids = llama.encode("Hello world", PLAIN).unwrap();
    let mut begins = StreamDecoder::new(Arc::clone(&llama));
    assert_eq!(begins.push(ids[0]), "Hello");
    assert_eq!(begins.push(ids[1]), " world");
    let mut continues = StreamDecoder::continuing(Arc::clone(&llama));
    assert_eq!(continues.push(ids[0]), " Hello");
    assert_eq!(llama.decode(&[1, ids[0]]), "Hello");
}

#[test]
fn control_tokens_show_only_when_asked_for() {
    let llama = vocabulary("llama-spm");
    let mut decoder = llama.stream().with_special();
    assert_eq!(decoder.push(1), "<s>");
    let mut decoder = llama.stream();
    assert_eq!(decoder.push(1), "");
}
