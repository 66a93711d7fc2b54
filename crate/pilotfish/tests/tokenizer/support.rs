//! Vocabularies, vectors and random texts that the tests share.

#![allow(unreachable_pub, reason = "a test binary has no outside")]

use std::path::{Path, PathBuf};

use pilotfish::gguf::{GgufError, Header, Metadata, Writer};
use pilotfish::tokenizer::{Bos, Encode, TokenId, Tokenizer};

/// Texts as they are: control tokens written in them stay text, nothing is put before them.
pub const PLAIN: Encode = Encode { special: false, bos: Bos::Never };

/// The same with control tokens read.
pub const SPECIAL: Encode = Encode { special: true, bos: Bos::Never };

/// The repository's `tests/tokenizer`.
pub fn vectors_folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/tokenizer")
}

/// A file of the folder that an environment variable names; `None` where it is not set.
pub fn from_env(variable: &str, file: &str) -> Option<PathBuf> {
    let Some(folder) = std::env::var_os(variable) else {
        eprintln!("{variable} is not set: {file} was not tested");
        return None;
    };
    let path = Path::new(&folder).join(file);
    assert!(path.exists(), "{variable} is set, but {} is not there", path.display());
    Some(path)
}

/// The metadata of a GGUF file, read without its tensors.
pub fn read_metadata(path: &Path) -> Metadata {
    use std::io::Read;
    let mut file = std::fs::File::open(path).unwrap();
    let file_len = file.metadata().unwrap().len();
    let mut prefix = Vec::new();
    let mut wanted = 1 << 16;
    loop {
        let more = wanted - prefix.len() as u64;
        file.by_ref().take(more).read_to_end(&mut prefix).unwrap();
        match Header::parse(&prefix, file_len) {
            Err(GgufError::NeedMore { at_least }) => wanted = at_least,
            header => return header.unwrap().metadata,
        }
    }
}

/// What a writer has collected, as metadata.
pub fn metadata_of(writer: &Writer) -> Metadata {
    let file = writer.finish();
    Header::parse(&file, file.len() as u64).unwrap().metadata
}

/// The tokenizer of a vocabulary in `tests/tokenizer`.
pub fn vocabulary(name: &str) -> Tokenizer {
    Tokenizer::from_gguf(&vocabulary_metadata(name)).unwrap()
}

pub fn vocabulary_metadata(name: &str) -> Metadata {
    read_metadata(&vectors_folder().join(format!("{name}.gguf")))
}

/// Texts with the ids expected of `name`.
pub fn vectors(name: &str) -> Vec<(String, Vec<TokenId>)> {
    let read = |file: String| std::fs::read_to_string(vectors_folder().join(file)).unwrap();
    let texts = read("vectors.inp".into());
    let ids = read(format!("{name}.out"));
    let texts = texts.split("\n__ggml_vocab_test__\n").map(str::to_owned);
    let parse = |line: &str| line.split_whitespace().map(|id| id.parse().unwrap()).collect();
    let vectors: Vec<_> = texts.zip(ids.lines().map(parse)).collect();
    assert!(vectors.len() >= 46, "{name}: {} vectors", vectors.len());
    vectors
}

/// Checks every vector, and that decoding gives the text back.
pub fn check_vectors(tokenizer: &Tokenizer, name: &str) {
    for (text, expected) in vectors(name) {
        let ids = tokenizer.encode(&text, PLAIN).unwrap();
        assert_eq!(ids, expected, "{name}: {text:?}");
        assert_eq!(tokenizer.decode(&ids), text, "{name}: {text:?}");
    }
}

/// A small generator of reproducible numbers (xorshift64*).
pub struct Random(u64);

impl Random {
    pub fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    pub fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 11
    }

    pub fn below(&mut self, n: usize) -> usize {
        (self.next() % n.max(1) as u64) as usize
    }

    pub fn pick<'a, T: ?Sized>(&mut self, from: &[&'a T]) -> &'a T {
        from[self.below(from.len())]
    }

    /// A text of up to `most` parts: words, runs of spaces, line breaks, digits, marks, scripts, emoji, any character.
    pub fn text(&mut self, most: usize) -> String {
        let mut text = String::new();
        for _ in 0..self.below(most + 1) {
            match self.below(12) {
                0 => text
                    .push_str(self.pick(&["the", "Hello", "wORLD", "naïve", "I'm", "you'LL", "'S", "'ſ", "e\u{301}"])),
                1 => text.push(' '),
                2 => text.extend(std::iter::repeat_n(' ', self.below(40))),
                3 => text.push_str(self.pick(&["\n", "\r\n", "\t", "\n\n", " \n ", "\u{a0}", "\u{3000}", "\u{85}"])),
                4 => text.push_str(&self.below(100_000).to_string()),
                5 => text.push_str(self.pick(&["½", "٣", "Ⅷ", "²", "१"])),
                6 => {
                    text.push_str(self.pick(&["!", "...", "\"", "(", "//", "'", "_", "<", "<|", "|>", "$+", "▁", "Ġ"]));
                }
                7 => {
                    text.push_str(self.pick(&[
                        "語",
                        "中文字",
                        "ひらがな",
                        "Привет",
                        "ʰA",
                        "ǅz",
                        "ไทย",
                        "عربي",
                        "한국",
                    ]));
                }
                8 => text.push_str(self.pick(&["😁", "👩‍🚀", "🏳️‍🌈", "\u{1f1e9}\u{1f1ea}", "\u{301}", "\u{200d}"])),
                9 => text.push((b'a' + self.below(26) as u8) as char),
                10 => text.push((b'A' + self.below(26) as u8) as char),
                _ => text.extend(char::from_u32(self.below(0x11_0000) as u32)),
            }
        }
        text
    }
}
