//! The scanners and the merging against the `tokenizers` crate's regular expressions and its BPE, on random text.

use tokenizers::pre_tokenizers::split::{Split, SplitPattern};
use tokenizers::{OffsetReferential, OffsetType, PreTokenizedString, PreTokenizer as _, SplitDelimiterBehavior};

use super::pre_tokenizer::PreTokenizer;

const GPT2: &str = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+";
const LLAMA3: &str = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";
const QWEN2: &str =
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";
const QWEN35: &str = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?[\p{L}\p{M}]+|\p{N}| ?[^\s\p{L}\p{M}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";
const TEKKEN: &str = r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+";
const GPT4O: &str = r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+(?i:'s|'t|'re|'ve|'m|'ll|'d)?|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*(?i:'s|'t|'re|'ve|'m|'ll|'d)?|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+";

/// The expressions of a pre-tokenizer, as the models' own tokenizers give them, applied one within another.
const EXPRESSIONS: [(&str, &[&str]); 9] = [
    ("gpt-2", &[GPT2]),
    ("mpt", &[GPT2]),
    ("smollm", &[r"\p{N}", GPT2]),
    ("default", &[r"[\p{P}\$\+<=>\^~\|]+", GPT2, r"\p{N}+", "[0-9][0-9][0-9]"]),
    ("llama-bpe", &[LLAMA3]),
    ("qwen2", &[QWEN2]),
    ("qwen35", &[QWEN35]),
    ("tekken", &[TEKKEN]),
    ("gpt-4o", &[GPT4O]),
];

fn split_by_expressions(splits: &[Split], text: &str) -> Vec<String> {
    let mut pieces = PreTokenizedString::from(text);
    for split in splits {
        split.pre_tokenize(&mut pieces).unwrap();
    }
    let pieces = pieces.get_splits(OffsetReferential::Normalized, OffsetType::None);
    pieces.into_iter().map(|(piece, ..)| piece.to_owned()).collect()
}

/// Characters at which the expressions' alternatives begin and end.
const PARTS: [&str; 46] = [
    "a", "b", "s", "t", "re", "ll", "'", "'s", "'LL", "'ſ", "'rE", "A", "BC", "ʰ", "ǅ", "語", "ß", "é", "e\u{301}",
    "\u{301}", "1", "23", "4567", "½", "٣", " ", "  ", "      ", "\n", "\r", "\r\n", "\t", "\u{a0}", "\u{85}",
    "\u{2028}", "\u{3000}", ".", ",", "!?", "/", "$", "+", "=<", "😁", "_", "\u{200d}",
];

fn random_text(state: &mut u64) -> String {
    let mut next = |n: usize| {
        *state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (*state >> 33) as usize % n
    };
    let mut text = String::new();
    for _ in 0..next(14) {
        match next(12) {
            0 => text.extend(char::from_u32(next(0x11_0000) as u32)),
            _ => text.push_str(PARTS[next(PARTS.len())]),
        }
    }
    text
}

#[test]
fn scanners_divide_as_the_expressions_do() {
    for (name, expressions) in EXPRESSIONS {
        let isolated = |expression: &&str| {
            let pattern = SplitPattern::Regex((*expression).to_owned());
            Split::new(pattern, SplitDelimiterBehavior::Isolated, false).unwrap()
        };
        let splits: Vec<Split> = expressions.iter().map(isolated).collect();
        let scanner = PreTokenizer::named(name).unwrap();
        let mut state = 1;
        for _ in 0..20_000 {
            let text = random_text(&mut state);
            let mut pieces = Vec::new();
            scanner.split(&text, &mut |piece| pieces.push(piece.to_owned()));
            assert_eq!(pieces, split_by_expressions(&splits, &text), "{name}: {text:?}");
        }
    }
}
