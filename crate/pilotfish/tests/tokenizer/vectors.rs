//! Ids that the models' own tokenizers give; from llama.cpp's tests.

use pilotfish::tokenizer::{Bos, Encode, Tokenizer, TokenizerError, vocabulary_difference};

use super::support::*;

#[test]
fn gpt_2_gives_its_own_ids() {
    check_vectors(&vocabulary("gpt-2"), "gpt-2");
}

#[test]
fn mpt_gives_its_own_ids() {
    check_vectors(&vocabulary("mpt"), "mpt");
}

#[test]
fn llama_spm_gives_its_own_ids() {
    check_vectors(&vocabulary("llama-spm"), "llama-spm");
}

#[test]
fn phi_3_gives_its_own_ids() {
    check_vectors(&vocabulary("phi-3"), "phi-3");
}

#[test]
fn any_text_survives_the_way_there_and_back() {
    for name in ["gpt-2", "llama-spm", "phi-3"] {
        let tokenizer = vocabulary(name);
        let mut random = Random::new(1);
        for _ in 0..400 {
            let text = random.text(30);
            let ids = tokenizer.encode(&text, PLAIN).unwrap();
            // SentencePiece writes spaces as ▁, so a ▁ of the text comes back as a space.
            let expected = match name {
                "gpt-2" => text.clone(),
                _ => text.replace('▁', " "),
            };
            assert_eq!(tokenizer.decode(&ids), expected, "{name}: {text:?}");
        }
    }
}

#[test]
fn a_control_token_in_the_text_counts_only_where_allowed() {
    let phi = vocabulary("phi-3");
    let end = phi.token_id("<|end|>").unwrap();
    let text = "Hi<|end|>\n there";
    let plain = phi.encode(text, PLAIN).unwrap();
    assert!(!plain.contains(&end));
    assert_eq!(phi.decode(&plain), text);

    let special = phi.encode(text, SPECIAL).unwrap();
    assert_eq!(special.iter().filter(|&&id| id == end).count(), 1);
    // phi-3 drops the white space after its control tokens, then begins the next stretch with a space.
    assert_eq!(phi.decode(&special), "Hi there");
    assert_eq!(phi.decode_with_special(&special), "Hi<|end|> there");
}

#[test]
fn bos_is_added_as_the_file_says_and_never_twice() {
    let llama = vocabulary("llama-spm");
    assert_eq!(llama.bos(), Some(1));
    let encode = |text, special, bos| llama.encode(text, Encode { special, bos }).unwrap();
    assert_eq!(encode("", false, Bos::Auto), [1]);
    assert_eq!(encode("Hello", false, Bos::Auto), [1, 15043]);
    assert_eq!(encode("Hello", false, Bos::Never), [15043]);
    assert_eq!(encode("<s>Hello", true, Bos::Auto), [1, 15043]);
    assert_eq!(encode("<s>Hello", true, Bos::Always), [1, 15043]);
    assert_eq!(encode("<s>Hello", true, Bos::Never), [1, 15043]);

    let gpt2 = vocabulary("gpt-2");
    assert!(!gpt2.adds_bos());
    let always = Encode { special: false, bos: Bos::Always };
    assert_eq!(gpt2.encode("Hello", Encode::default()).unwrap(), [15496]);
    assert_eq!(gpt2.encode("Hello", always).unwrap(), [50256, 15496]);
}

#[test]
fn roles_come_from_the_metadata_and_the_names() {
    let phi = vocabulary("phi-3");
    assert_eq!(phi.n_vocab(), 32064);
    assert_eq!(phi.eos(), Some(32000));
    assert_eq!(phi.pad(), Some(32000));
    assert_eq!(phi.unk(), Some(0));
    assert_eq!(phi.eot(), phi.token_id("<|end|>"));
    assert_eq!(phi.ends(), [32000, 32007]);
    assert!(phi.is_end(32000) && phi.is_end(32007) && !phi.is_end(15043));
    assert!(phi.is_special(32001) && phi.is_special(32063) && !phi.is_special(15043));
}

#[test]
fn tokens_show_as_text_and_give_their_bytes() {
    let llama = vocabulary("llama-spm");
    assert_eq!(llama.token_text(3186).as_deref(), Some(" world"));
    assert_eq!(llama.token_name(3186), Some("▁world"));
    assert_eq!(llama.token_bytes(3 + 0xf0).unwrap().as_ref(), [0xf0]);
    assert_eq!(llama.token_text(3 + 0xf0).as_deref(), Some("\u{fffd}"));
    assert_eq!(llama.token_bytes(32000), None);

    let gpt2 = vocabulary("gpt-2");
    assert_eq!(gpt2.token_text(995).as_deref(), Some(" world"));
    assert_eq!(gpt2.token_name(995), Some("Ġworld"));
    assert_eq!(gpt2.decode(&[995, 99_999]), " world\u{fffd}");
}

#[test]
fn vocabularies_differ_at_the_first_id_that_means_something_else() {
    let (llama, phi, gpt2) = (vocabulary("llama-spm"), vocabulary("phi-3"), vocabulary("gpt-2"));
    // phi-3 is Llama 2's vocabulary with 64 tokens more.
    assert_eq!(vocabulary_difference(&llama, &phi), None);
    assert_eq!(vocabulary_difference(&phi, &llama), None);
    let difference = vocabulary_difference(&llama, &gpt2).unwrap();
    assert_eq!(difference.id, 0);
    assert_eq!((difference.left.as_str(), difference.right.as_str()), ("<unk>", "!"));
}

/// A quarter of a megabyte would take minutes if any step were quadratic.
#[test]
fn long_runs_take_no_longer_than_text() {
    let runs = ["a", " ", "\n", "'", "0", "語", "🚀", "<", " a", "\u{301}"];
    for name in ["gpt-2", "llama-spm", "phi-3"] {
        let tokenizer = vocabulary(name);
        for run in runs {
            let text = run.repeat((1 << 18) / run.len());
            let started = std::time::Instant::now();
            let ids = tokenizer.encode(&text, PLAIN).unwrap();
            assert!(tokenizer.decode(&ids) == text, "{name}: {run:?}");
            let seconds = started.elapsed().as_secs_f32();
            assert!(seconds < 20.0, "{name}: 256 KiB of {run:?} took {seconds} s");
        }
    }
}

#[test]
fn bos_where_there_is_none_is_an_error() {
    let writer = pilotfish::gguf::Writer::new()
        .string("tokenizer.ggml.model", "gpt2")
        .string("tokenizer.ggml.pre", "gpt-2")
        .strings("tokenizer.ggml.tokens", ["a", "b", "ab"])
        .strings("tokenizer.ggml.merges", ["a b"]);
    let tokenizer = Tokenizer::from_gguf(&metadata_of(&writer)).unwrap();
    assert_eq!(tokenizer.encode("abba", Encode::default()).unwrap(), [2, 1, 0]);
    let always = Encode { special: false, bos: Bos::Always };
    let error = tokenizer.encode("abba", always).unwrap_err();
    assert_eq!(error, TokenizerError::NoBos);
    assert_eq!(error.code(), "tokenizer.no_bos");
}
