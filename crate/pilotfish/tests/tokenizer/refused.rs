//! What is no vocabulary: typed errors with stable codes, and never a panic.

use pilotfish::gguf::{Array, Metadata, Scalar, StringArray, Value, Writer};
use pilotfish::tokenizer::{Bos, Encode, Tokenizer, TokenizerError};

use super::support::*;

fn refused(writer: &Writer) -> TokenizerError {
    Tokenizer::from_gguf(&metadata_of(writer)).unwrap_err()
}

fn byte_level() -> Writer {
    Writer::new().string("tokenizer.ggml.model", "gpt2")
}

fn spm() -> Writer {
    Writer::new().string("tokenizer.ggml.model", "llama")
}

const TOKENS: &str = "tokenizer.ggml.tokens";
const TYPES: &str = "tokenizer.ggml.token_type";
const SCORES: &str = "tokenizer.ggml.scores";
const MERGES: &str = "tokenizer.ggml.merges";

#[test]
fn damaged_metadata_is_refused_with_its_own_code() {
    let abc = ["a", "b", "ab"];
    let none: [&str; 0] = [];
    for (code, writer) in [
        ("gguf.missing_key", Writer::new()),
        ("gguf.wrong_type", Writer::new().u32("tokenizer.ggml.model", 1)),
        ("tokenizer.model", Writer::new().string("tokenizer.ggml.model", "t5")),
        ("gguf.missing_key", byte_level()),
        ("gguf.wrong_type", byte_level().string(TOKENS, "abc")),
        ("tokenizer.empty", byte_level().strings(TOKENS, none)),
        ("gguf.missing_key", byte_level().strings(TOKENS, abc)),
        ("tokenizer.pre_tokenizer", byte_level().strings(TOKENS, abc).string("tokenizer.ggml.pre", "no-such")),
        ("tokenizer.length", byte_level().strings(TOKENS, abc).array(TYPES, [1, 1].as_slice().into())),
        ("tokenizer.kind", byte_level().strings(TOKENS, abc).array(TYPES, [1, 1, 7].as_slice().into())),
        ("tokenizer.kind", byte_level().strings(TOKENS, abc).array(TYPES, [1, -1, 1].as_slice().into())),
        ("tokenizer.merge", byte_level().strings(TOKENS, abc).strings(MERGES, ["ab"])),
        ("tokenizer.merge", byte_level().strings(TOKENS, abc).strings(MERGES, [""])),
        ("tokenizer.merge", byte_level().strings(TOKENS, abc).strings(MERGES, [" "])),
        ("tokenizer.merge", byte_level().strings(TOKENS, abc).strings(MERGES, ["a c"])),
        ("tokenizer.merge", byte_level().strings(TOKENS, abc).strings(MERGES, ["c b"])),
        ("tokenizer.merge", byte_level().strings(TOKENS, abc).strings(MERGES, ["b a"])),
        ("tokenizer.id", byte_level().strings(TOKENS, abc).u32("tokenizer.ggml.bos_token_id", 3)),
        ("tokenizer.id", byte_level().strings(TOKENS, abc).u32("tokenizer.ggml.eot_token_id", 1 << 31)),
        ("gguf.wrong_type", byte_level().strings(TOKENS, abc).string("tokenizer.ggml.eos_token_id", "2")),
        ("gguf.missing_key", spm().strings(TOKENS, abc)),
        ("tokenizer.length", spm().strings(TOKENS, abc).array(SCORES, [0.0_f32; 4].as_slice().into())),
        ("tokenizer.score", spm().strings(TOKENS, abc).array(SCORES, [0.0, f32::NAN, 0.0].as_slice().into())),
    ] {
        let error = refused(&writer);
        assert_eq!(error.code(), code, "{error}");
        assert!(error.to_string().len() > 20, "{error}");
    }
}

#[test]
fn minus_one_means_that_there_is_no_such_token() {
    let writer = byte_level()
        .strings(TOKENS, ["a", "b", "ab"])
        .strings(MERGES, ["a b"])
        .u32("tokenizer.ggml.bos_token_id", u32::MAX);
    let tokenizer = Tokenizer::from_gguf(&metadata_of(&writer)).unwrap();
    assert_eq!(tokenizer.bos(), None);
}

#[test]
fn a_character_that_nothing_can_stand_for_is_named() {
    let writer = spm().strings(TOKENS, ["a", "▁"]).array(SCORES, [0.0_f32, 0.0].as_slice().into());
    let tokenizer = Tokenizer::from_gguf(&metadata_of(&writer)).unwrap();
    assert_eq!(tokenizer.encode("a", PLAIN).unwrap(), [1, 0]);
    let error = tokenizer.encode("aé", PLAIN).unwrap_err();
    assert_eq!(error, TokenizerError::Unencodable { character: 'é' });
    assert_eq!(error.code(), "tokenizer.unencodable");
}

/// One metadata value of any kind, often a fitting one.
fn random_value(random: &mut Random, key: &str, n: usize) -> Value {
    let names = [
        "a",
        "b",
        "ab",
        "▁",
        "Ġ",
        "<0x41>",
        "<s>",
        "</s>",
        "<unk>",
        "<|im_end|>",
        "",
        "é",
        "aa",
        "\u{301}",
        "<0xFF>",
        "  ",
    ];
    let len = match random.below(12) {
        0 => random.below(20),
        _ => n,
    };
    let choice = match (random.below(20), key) {
        (0, _) => random.below(9),
        (_, TOKENS) => 0,
        (_, MERGES) => 1,
        (_, TYPES) => 2,
        (_, SCORES) => 3,
        (_, key) if key.ends_with("_id") => 4,
        (_, key) if key.contains("add_") => 5,
        (_, "tokenizer.ggml.model") => 6,
        _ => 7,
    };
    let any = random.next();
    match choice {
        0 => Value::Strings(
            (0..len)
                .map(|at| match random.below(16) {
                    0 => random.text(2),
                    _ => names[(at + usize::from(any.is_multiple_of(4))) % names.len()].to_owned(),
                })
                .collect::<StringArray>(),
        ),
        1 => Value::Strings(
            (0..random.below(4))
                .map(|_| match random.below(6) {
                    0 => format!("{}{}{}", random.pick(&names), random.pick(&["", " ", "  "]), random.pick(&names)),
                    1..4 => "a b".to_owned(),
                    _ => "a a".to_owned(),
                })
                .collect::<StringArray>(),
        ),
        2 => Value::Array(Array::from(
            (0..len)
                .map(|_| match random.below(200) {
                    0 => 7,
                    1 => -1,
                    kind => kind as i32 % 7,
                })
                .collect::<Vec<_>>()
                .as_slice(),
        )),
        3 => Value::Array(Array::from(
            (0..len)
                .map(|_| *random.pick(&[&0.0_f32, &-1.0, &5.0, &f32::INFINITY, &f32::NEG_INFINITY, &-0.0]))
                .collect::<Vec<_>>()
                .as_slice(),
        )),
        4 => Value::Scalar(Scalar::U32(random.below(n + 2) as u32)),
        5 => Value::Scalar(Scalar::Bool(any & 1 == 0)),
        6 => Value::String(random.pick(&["gpt2", "llama", "llama", "gpt2", "bert"]).to_owned()),
        7 => Value::String(
            random
                .pick(&["gpt-2", "default", "smollm", "llama-bpe", "qwen2", "tekken", "gpt-4o", "qwen35", "mpt", "x"])
                .to_owned(),
        ),
        _ => Value::Scalar(Scalar::F64(f64::from_bits(any))),
    }
}

/// Metadata that a vandal wrote.
fn random_metadata(random: &mut Random) -> Metadata {
    let keys = [
        "model",
        "tokens",
        "token_type",
        "scores",
        "merges",
        "pre",
        "bos_token_id",
        "eos_token_id",
        "unknown_token_id",
        "eot_token_id",
        "add_bos_token",
        "add_space_prefix",
    ];
    let n = 1 + random.below(30);
    let mut writer = Writer::new();
    if random.below(5) == 0 {
        writer = writer.string("general.architecture", "phi3");
    }
    for key in keys {
        let key = format!("tokenizer.ggml.{key}");
        let needed = key == TOKENS || key == MERGES || key == SCORES || key.ends_with("model");
        if random.below(if needed { 20 } else { 2 }) != 0 || !needed && random.below(2) == 0 {
            let value = random_value(random, &key, n);
            writer = writer.value(&key, value);
        }
    }
    metadata_of(&writer)
}

/// Whatever the metadata, there is an error or a tokenizer, and a tokenizer takes any text and any ids.
#[test]
fn random_metadata_never_panics() {
    let mut random = Random::new(12);
    let (mut made, mut refused) = (0, 0);
    for _ in 0..20_000 {
        let metadata = random_metadata(&mut random);
        let Ok(tokenizer) = Tokenizer::from_gguf(&metadata) else {
            refused += 1;
            continue;
        };
        made += 1;
        for special in [false, true] {
            let text = random.text(12) + random.pick(&["", "<s>", "ab", "<|im_end|>a", "<0x41>"]);
            let bos = [Bos::Auto, Bos::Never, Bos::Always][random.below(3)];
            if let Ok(ids) = tokenizer.encode(&text, Encode { special, bos }) {
                assert!(ids.iter().all(|&id| id < tokenizer.n_vocab()));
                tokenizer.decode(&ids);
            }
        }
        let ids: Vec<u32> = (0..10).map(|_| random.below(40) as u32).collect();
        let mut stream = tokenizer.stream();
        let mut text: String = ids.iter().map(|&id| stream.push(id)).collect();
        text += &stream.finish();
        assert_eq!(text, tokenizer.decode(&ids));
        assert!(tokenizer.ends().iter().all(|&id| id < tokenizer.n_vocab()));
    }
    // The generator is worth something only while both happen often.
    assert!(made > 1000 && refused > 1000, "{made} made, {refused} refused");
}
