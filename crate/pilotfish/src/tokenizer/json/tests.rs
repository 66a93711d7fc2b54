//! Steps and added tokens against the `tokenizers` crate, on random files and texts.

use std::collections::HashSet;

use serde_json::{Value, json};
use tokenizers::models::wordlevel::WordLevelBuilder;
use tokenizers::normalizers::NormalizerWrapper;
use tokenizers::pre_tokenizers::PreTokenizerWrapper;
use tokenizers::{AddedToken, AddedVocabulary, OffsetReferential, OffsetType, PreTokenizer as _};

use super::added::AddedTokens;
use super::{Added, Piece, TokenId, distinct, normalizer, pre_tokenizer};

/// A piece of text, or a token.
type Found = (String, Option<TokenId>);

struct Random(u64);

impl Random {
    fn below(&mut self, n: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) as usize % n
    }

    fn flag(&mut self) -> bool {
        self.below(2) == 0
    }

    fn pick<'t>(&mut self, from: &[&'t str]) -> &'t str {
        from[self.below(from.len())]
    }

    fn text(&mut self, most: usize) -> String {
        const PARTS: [&str; 32] = [
            "a", "b", "ab", "A", "É", "e\u{301}", "ﬁ", "ß", "İ", "Σ", "1", "23", "½", "٣", " ", "  ", "\n", "\u{a0}",
            "\u{3000}", ".", ",", "!?", "$", "。", "▁", "▁▁", "語", "<s>", "<t>", "'s", "_", "x",
        ];
        (0..self.below(most + 1)).map(|_| self.pick(&PARTS)).collect()
    }

    /// With an empty match the crate's offsets go astray in replacing, so only `Split` gets those.
    fn pattern(&mut self, may_be_empty: bool) -> Value {
        const REGEXES: [&str; 15] = [
            r"\s+(?!\S)|\s+",
            r"\p{L}+",
            r"[^\s\p{L}\p{N}]+",
            "(?i:ab)",
            r"\d{1,2}",
            "^a",
            r"(?<=a)b",
            r"(a)\1",
            "b",
            "a*",
            "(?=a)",
            r"\b",
            "a|",
            "$",
            r"\s*(?=\S)",
        ];
        const TEXTS: [&str; 6] = ["a", " ", "▁", "ab", ".", ""];
        if self.flag() {
            json!({"Regex": self.pick(&REGEXES[..if may_be_empty { 15 } else { 9 }])})
        } else {
            json!({"String": self.pick(&TEXTS[..if may_be_empty { 6 } else { 5 }])})
        }
    }

    fn behavior(&mut self) -> &'static str {
        self.pick(&["Removed", "Isolated", "MergedWithPrevious", "MergedWithNext", "Contiguous"])
    }

    fn normalizer(&mut self) -> Value {
        match self.below(8) {
            0 => json!({"type": "Prepend", "prepend": self.pick(&["▁", "ab", " "])}),
            1 => json!({"type": "Strip", "strip_left": self.flag(), "strip_right": self.flag()}),
            2 | 3 => {
                json!({"type": "Replace", "pattern": self.pattern(false), "content": self.pick(&["▁", "", "b", "a "])})
            }
            _ => json!({"type": self.pick(&["NFC", "NFD", "NFKC", "NFKD", "Lowercase"])}),
        }
    }

    /// With `only_divides` one that leaves the text as it is.
    fn pre_tokenizer(&mut self, only_divides: bool) -> Value {
        match self.below(7) {
            0 if !only_divides => {
                json!({"type": "ByteLevel", "add_prefix_space": self.flag(), "trim_offsets": true, "use_regex": self.flag()})
            }
            1 => json!({"type": "Digits", "individual_digits": self.flag()}),
            2 => json!({"type": "Punctuation", "behavior": self.behavior()}),
            3 => json!({"type": "Punctuation"}),
            4 if !only_divides => self.metaspace(&["always", "never"]),
            _ => {
                json!({"type": "Split", "pattern": self.pattern(true), "behavior": self.behavior(), "invert": self.flag()})
            }
        }
    }

    fn metaspace(&mut self, schemes: &[&str]) -> Value {
        json!({"type": "Metaspace", "replacement": "▁", "prepend_scheme": self.pick(schemes), "split": self.flag()})
    }

    /// Null, a step or a sequence of them.
    fn steps(&mut self, list: &str, mut step: impl FnMut(&mut Self) -> Value) -> Value {
        match self.below(4) {
            0 => Value::Null,
            1 => step(self),
            _ => {
                let steps: Vec<Value> = (0..self.below(4)).map(|_| step(self)).collect();
                json!({"type": "Sequence", list: steps})
            }
        }
    }

    fn added(&mut self) -> Value {
        let texts = ["<s>", "<t>", "ab", " a", "A", "<s><t>", "▁", "\n", "É", "1"];
        let tokens = (0..self.below(5)).map(|id| {
            json!({"id": 100 + id, "content": self.pick(&texts), "single_word": self.flag(), "lstrip": self.flag(),
                "rstrip": self.flag(), "normalized": self.flag(), "special": self.flag()})
        });
        tokens.collect()
    }
}

struct Case {
    normalizer: Value,
    pre_tokenizer: Value,
    added: Value,
}

impl Case {
    fn random(random: &mut Random) -> Self {
        // Where a step has changed the beginning, the crate goes by what was there, and this one by what is.
        let first = random.below(4) == 0;
        let normalizer = if first { Value::Null } else { random.steps("normalizers", Random::normalizer) };
        let mut pre_tokenizer = random.steps("pretokenizers", |random| random.pre_tokenizer(first));
        if first {
            let first = random.metaspace(&["first"]);
            pre_tokenizer = match pre_tokenizer {
                Value::Null => first,
                step => json!({"type": "Sequence", "pretokenizers": [step, first]}),
            };
        }
        Self { normalizer, pre_tokenizer, added: random.added() }
    }

    /// Whether the normalizers leave nothing of an added token, which the crate then finds everywhere, or make two the same,
    /// of which it takes any.
    fn is_odd(&self) -> bool {
        let normalizers = normalizer::read(Some(&self.normalizer).filter(|value| !value.is_null())).unwrap();
        let tokens: Vec<Added> = serde_json::from_value(self.added.clone()).unwrap();
        let mut seen = HashSet::from([String::new()]);
        let normalized = tokens.iter().filter(|token| token.normalized);
        !normalized
            .map(|token| normalizer::normalize(&normalizers, &token.content).unwrap())
            .all(|text| seen.insert(text))
    }

    /// What the crate makes of it; `None` where it refuses the file.
    fn by_the_crate(&self, text: &str, special: bool) -> Option<Vec<Found>> {
        let normalizer: Option<NormalizerWrapper> = serde_json::from_value(self.normalizer.clone()).unwrap();
        let steps: Option<PreTokenizerWrapper> = serde_json::from_value(self.pre_tokenizer.clone()).unwrap();
        let tokens = distinct(serde_json::from_value(self.added.clone()).unwrap());
        let ids = tokens.iter().map(|added: &Added| (added.content.clone(), added.id)).collect();
        let model = WordLevelBuilder::new().vocab(ids).build().unwrap();
        let mut added = AddedVocabulary::new();
        let tokens = tokens.iter().map(|added| AddedToken {
            content: added.content.clone(),
            single_word: added.single_word,
            lstrip: added.lstrip,
            rstrip: added.rstrip,
            normalized: added.normalized,
            special: added.special,
        });
        added.add_tokens(tokens, &model, normalizer.as_ref()).ok()?;
        added.set_encode_special_tokens(!special);
        let mut pieces = added.extract_and_normalize(normalizer.as_ref(), text);
        if let Some(steps) = steps {
            steps.pre_tokenize(&mut pieces).unwrap();
        }
        let pieces = pieces.get_splits(OffsetReferential::Normalized, OffsetType::None);
        let found = pieces.into_iter().map(|(text, _, tokens)| match tokens {
            Some(tokens) => (String::new(), Some(tokens[0].id)),
            None => (text.to_owned(), None),
        });
        Some(found.collect())
    }

    fn by_this(&self, text: &str, special: bool) -> Vec<Found> {
        let steps = |value: &Value| Some(value.clone()).filter(|value| !value.is_null());
        let normalizers = normalizer::read(steps(&self.normalizer).as_ref()).unwrap();
        let pre_tokenizers = pre_tokenizer::read(steps(&self.pre_tokenizer).as_ref()).unwrap();
        let tokens = distinct(serde_json::from_value(self.added.clone()).unwrap());
        let added = AddedTokens::new(&tokens, &normalizers).unwrap();
        let mut found = Vec::new();
        added
            .split(&normalizers, text, special, &mut |piece, begins| match piece {
                Piece::Token(id) => {
                    found.push((String::new(), Some(id)));
                    Ok(())
                }
                Piece::Text(text) => pre_tokenizer::divide(&pre_tokenizers, text, begins, &mut |piece| {
                    found.push((piece.to_owned(), None));
                }),
            })
            .unwrap();
        found
    }
}

#[test]
fn steps_and_added_tokens_do_what_the_crate_does() {
    let mut random = Random(1);
    let (mut compared, mut refused) = (0, 0);
    for _ in 0..4000 {
        let case = Case::random(&mut random);
        if case.is_odd() {
            continue;
        }
        for _ in 0..8 {
            let (text, special) = (random.text(12), random.flag());
            // The crate's offsets of characters can panic.
            let by_the_crate = std::panic::AssertUnwindSafe(|| case.by_the_crate(&text, special));
            let Ok(Some(expected)) = std::panic::catch_unwind(by_the_crate) else {
                refused += 1;
                continue;
            };
            let Case { normalizer, pre_tokenizer, added } = &case;
            assert_eq!(
                case.by_this(&text, special),
                expected,
                "{text:?}, special {special}\n{normalizer}\n{pre_tokenizer}\n{added}"
            );
            compared += 1;
        }
    }
    assert!(compared > 20_000 && refused < 4000, "{compared} compared, {refused} refused");
}
