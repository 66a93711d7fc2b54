//! Any vocabulary as a tokenizer: no panic, ids inside the vocabulary, and a stream that says what `decode` says.
//!
//! The input is a byte of switches and four parts divided by 0xff: tokens and merges, a line each; a byte per token
//! for its kind and score; and the text to encode. Metadata is built from them, because a mutated file seldom is one.
#![no_main]

use libfuzzer_sys::fuzz_target;
use pilotfish::gguf::{Array, Header, Writer};
use pilotfish::tokenizer::{Encode, Tokenizer};

const PRE: [&str; 8] = ["default", "gpt-2", "llama-bpe", "qwen2", "smollm", "mpt", "refact", "nobody's"];
const ROLES: [&str; 5] = ["bos", "eos", "eot", "unknown", "padding"];

fuzz_target!(|input: &[u8]| {
    let Some((&switches, rest)) = input.split_first() else {
        return;
    };
    let mut parts = rest.splitn(4, |&byte| byte == 0xff);
    let mut part = || parts.next().unwrap_or_default();
    let tokens = String::from_utf8_lossy(part());
    let merges = String::from_utf8_lossy(part());
    let bytes = part();
    let text = String::from_utf8_lossy(part());

    let is_spm = switches & 1 != 0;
    let mut writer = Writer::new()
        .string("tokenizer.ggml.model", if is_spm { "llama" } else { "gpt2" })
        .string("tokenizer.ggml.pre", PRE[usize::from(switches >> 5)])
        .strings("tokenizer.ggml.tokens", tokens.split('\n'))
        .strings("tokenizer.ggml.merges", merges.split('\n'));
    if switches & 2 != 0 {
        let kinds: Vec<i32> = bytes.iter().map(|byte| i32::from(byte & 7)).collect();
        writer = writer.array("tokenizer.ggml.token_type", Array::from(&kinds[..]));
    }
    if switches & 4 != 0 {
        // Not only numbers: infinities and NaN too.
        let score = |byte: &u8| f32::from_bits(u32::from(byte >> 3) << 27);
        let scores: Vec<f32> = bytes.iter().map(score).collect();
        writer = writer.array("tokenizer.ggml.scores", Array::from(&scores[..]));
    }
    if switches & 8 != 0 {
        for (role, &byte) in ROLES.iter().zip(bytes) {
            writer = writer.u32(&format!("tokenizer.ggml.{role}_token_id"), byte.into());
        }
    }
    if switches & 16 != 0 {
        writer = writer.bool("tokenizer.ggml.add_space_prefix", false).bool("tokenizer.ggml.add_bos_token", true);
    }
    let file = writer.finish();
    let header = Header::parse(&file, file.len() as u64).expect("what was written is read");

    let tokenizer = match Tokenizer::from_gguf(&header.metadata) {
        Ok(tokenizer) => tokenizer,
        Err(error) => {
            assert!(!error.to_string().is_empty() && !error.code().is_empty());
            return;
        }
    };
    for special in [false, true] {
        let Ok(ids) = tokenizer.encode(&text, Encode { special, ..Encode::default() }) else {
            continue;
        };
        assert!(ids.iter().all(|&id| id < tokenizer.n_vocab()));
        let mut stream = tokenizer.stream();
        let mut streamed: String = ids.iter().map(|&id| stream.push(id)).collect();
        streamed.push_str(&stream.finish());
        assert_eq!(streamed, tokenizer.decode(&ids));
        let _ = tokenizer.decode_with_special(&ids);
    }
    for id in 0..=tokenizer.n_vocab() {
        assert_eq!(tokenizer.token_text(id).is_some(), id < tokenizer.n_vocab());
    }
});
