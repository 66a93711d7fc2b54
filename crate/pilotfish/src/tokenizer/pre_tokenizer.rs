//! How byte-level BPE divides a text before merging, as `tokenizer.ggml.pre` names it.
//!
//! The tokenizers publish these as regular expressions with look-ahead. Here they are scanners, so that a run of a million
//! spaces is one pass: backtracking engines give up there (fancy-regex at a stack of 10^6). Tests compare each scanner
//! with its expression on random text.

use super::unicode::Categories;

/// A named way to divide text.
#[derive(Debug, Clone, Copy)]
pub(super) struct PreTokenizer {
    /// Applied one within another.
    stages: &'static [Stage],
    /// Unicode NFC before dividing, where the model's own tokenizer does it.
    pub(super) nfc: bool,
    /// A piece that is a token is taken whole, whatever the merges would make of it.
    pub(super) ignore_merges: bool,
    /// Whether a text begins with BOS where the file does not say.
    pub(super) bos: bool,
}

#[derive(Debug)]
enum Stage {
    /// `\p{N}`: every number by itself.
    EachNumber,
    /// `\p{N}+`
    Numbers,
    /// `[0-9][0-9][0-9]`
    DigitTriples,
    /// `[\p{P}$+<=>^~|]+`
    Punctuation,
    /// An alternation of words, numbers, punctuation and white space.
    Words(Words),
}

/// The alternatives in the order in which they are tried; what is left is `\s+(?!\S)|\s+`.
#[derive(Debug)]
struct Words {
    contractions: Contractions,
    letters: Letters,
    numbers: Numbers,
    /// ` ?[^\s\p{L}\p{N}]+[tail]*`, where marks belong to words also without `\p{M}`
    tail: &'static [char],
    /// `\s*[\r\n]+`
    newlines: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Contractions {
    /// `'s|'t|'re|'ve|'m|'ll|'d` as a piece.
    Lower,
    /// The same in any case.
    AnyCase,
    /// In any case, as the end of a word.
    Suffix,
    /// Not treated.
    None,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Letters {
    /// ` ?\p{L}+`
    AfterSpace,
    /// `[^\r\n\p{L}\p{N}]?\p{L}+`
    AfterAny,
    /// `[^\r\n\p{L}\p{N}]?[\p{L}\p{M}]+`
    WithMarks,
    /// `[^\r\n\p{L}\p{N}]?` and upper before lower case, as in `CamelCase`.
    ByCase,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Numbers {
    /// ` ?\p{N}+`
    AfterSpace,
    /// `\p{N}{1,n}`
    UpTo(usize),
}

const GPT2: Stage = Stage::Words(Words {
    contractions: Contractions::Lower,
    letters: Letters::AfterSpace,
    numbers: Numbers::AfterSpace,
    tail: &[],
    newlines: false,
});
const LLAMA3: Stage = words_after_any(Letters::AfterAny, 3);
const QWEN2: Stage = words_after_any(Letters::AfterAny, 1);
const QWEN35: Stage = words_after_any(Letters::WithMarks, 1);
const TEKKEN: Stage = words_by_case(Contractions::None, 1);
const GPT4O: Stage = words_by_case(Contractions::Suffix, 3);

const fn words_after_any(letters: Letters, digits: usize) -> Stage {
    Stage::Words(Words {
        contractions: Contractions::AnyCase,
        letters,
        numbers: Numbers::UpTo(digits),
        tail: &['\r', '\n'],
        newlines: true,
    })
}

const fn words_by_case(contractions: Contractions, digits: usize) -> Stage {
    Stage::Words(Words {
        contractions,
        letters: Letters::ByCase,
        numbers: Numbers::UpTo(digits),
        tail: &['\r', '\n', '/'],
        newlines: true,
    })
}

const fn plain(stages: &'static [Stage]) -> PreTokenizer {
    PreTokenizer { stages, nfc: false, ignore_merges: false, bos: false }
}

const fn nfc(stages: &'static [Stage]) -> PreTokenizer {
    PreTokenizer { nfc: true, ..plain(stages) }
}

const fn whole_tokens_and_bos(stages: &'static [Stage]) -> PreTokenizer {
    PreTokenizer { ignore_merges: true, bos: true, ..plain(stages) }
}

/// Names as llama.cpp's converter writes them. NFC is not llama.cpp's doing: it is what these models' own tokenizers do.
static NAMED: &[(&[&str], PreTokenizer)] = &[
    (&["default"], plain(&[Stage::Punctuation, GPT2, Stage::Numbers, Stage::DigitTriples])),
    (&["gpt-2", "phi-2", "jais", "trillion", "granite-docling", "exaone4"], plain(&[GPT2])),
    (&["mpt", "olmo"], nfc(&[GPT2])),
    (
        &["smollm", "starcoder", "refact", "command-r", "codeshell", "exaone", "minerva-7b"],
        plain(&[Stage::EachNumber, GPT2]),
    ),
    (
        &["llama-bpe", "llama3", "llama-v3", "falcon3", "falcon-h1", "pixtral", "midm-2.0", "lfm2"],
        whole_tokens_and_bos(&[LLAMA3]),
    ),
    (&["dbrx", "smaug-bpe"], plain(&[LLAMA3])),
    (&["qwen2"], nfc(&[QWEN2])),
    (&["deepseek-r1-qwen", "megrez", "stablelm2"], plain(&[QWEN2])),
    (&["qwen35"], nfc(&[QWEN35])),
    (&["tekken"], whole_tokens_and_bos(&[TEKKEN])),
    (&["gpt-4o", "llama4"], plain(&[GPT4O])),
];

/// All names, for messages.
pub(super) fn names() -> String {
    let names: Vec<&str> = NAMED.iter().flat_map(|(names, _)| names.iter().copied()).collect();
    names.join(", ")
}

impl PreTokenizer {
    /// The one of that name.
    pub(super) fn named(name: &str) -> Option<Self> {
        let found = NAMED.iter().find(|(names, _)| names.contains(&name));
        found.map(|&(_, pre_tokenizer)| pre_tokenizer)
    }

    /// Calls `piece` with every piece of `text` in order; together they are the text.
    pub(super) fn split<'t>(&self, text: &'t str, piece: &mut impl FnMut(&'t str)) {
        split(self.stages, text, piece);
    }
}

fn split<'t>(stages: &[Stage], mut text: &'t str, piece: &mut impl FnMut(&'t str)) {
    let Some((stage, inner)) = stages.split_first() else {
        piece(text);
        return;
    };
    while !text.is_empty() {
        let (head, rest) = text.split_at(stage.first_piece(text));
        split(inner, head, piece);
        text = rest;
    }
}

impl Stage {
    /// Bytes of the first piece of a text that is not empty: at least one character.
    fn first_piece(&self, text: &str) -> usize {
        match self {
            Self::EachNumber => match first_len(text, |c| Categories::NUMBER.contain(c)) {
                Some(one) => one,
                None => run(text, |c| !Categories::NUMBER.contain(c)),
            },
            Self::Numbers => either_run(text, |c| Categories::NUMBER.contain(c)),
            Self::Punctuation => either_run(text, |c| Categories::PUNCTUATION.contain(c) || "$+<=>^~|".contains(c)),
            Self::DigitTriples => {
                let digits = run(text, |c| c.is_ascii_digit());
                match digits {
                    3.. => 3,
                    _ => before_triple(text),
                }
            }
            Self::Words(words) => words.first_piece(text),
        }
    }
}

impl Words {
    fn first_piece(&self, text: &str) -> usize {
        let whole_contraction = match self.contractions {
            Contractions::Lower => contraction(text, false),
            Contractions::AnyCase => contraction(text, true),
            Contractions::Suffix | Contractions::None => 0,
        };
        if whole_contraction > 0 {
            return whole_contraction;
        }
        self.word(text)
            .or_else(|| self.number(text))
            .or_else(|| self.punctuation(text))
            .unwrap_or_else(|| self.white_space(text))
    }

    fn word(&self, text: &str) -> Option<usize> {
        let prefix = match self.letters {
            Letters::AfterSpace => first_len(text, |c| c == ' '),
            _ => {
                first_len(text, |c| !matches!(c, '\r' | '\n') && !Categories::LETTER.or(Categories::NUMBER).contain(c))
            }
        };
        let body: fn(&str) -> usize = match self.letters {
            Letters::AfterSpace | Letters::AfterAny => |text| run(text, |c| Categories::LETTER.contain(c)),
            Letters::WithMarks => |text| run(text, |c| Categories::LETTER.or(Categories::MARK).contain(c)),
            Letters::ByCase => return self.word_by_case(text, prefix),
        };
        after_optional(text, prefix, body)
    }

    /// Two alternatives, each with its optional prefix: one that must end in lower case, then one that need not.
    fn word_by_case(&self, text: &str, prefix: Option<usize>) -> Option<usize> {
        let len = after_optional(text, prefix, upper_then_some_lower)
            .or_else(|| after_optional(text, prefix, some_upper_then_lower))?;
        Some(match self.contractions {
            Contractions::Suffix => len + contraction(&text[len..], true),
            _ => len,
        })
    }

    fn number(&self, text: &str) -> Option<usize> {
        let is_number = |c| Categories::NUMBER.contain(c);
        match self.numbers {
            Numbers::AfterSpace => {
                let space = first_len(text, |c| c == ' ');
                after_optional(text, space, |text| run(text, is_number))
            }
            Numbers::UpTo(most) => {
                let numbers = text.chars().take(most).take_while(|&c| is_number(c));
                Some(numbers.map(char::len_utf8).sum()).filter(|&len| len > 0)
            }
        }
    }

    fn punctuation(&self, text: &str) -> Option<usize> {
        let letters_and_numbers = Categories::LETTER.or(Categories::NUMBER);
        let of_words = match self.letters {
            Letters::WithMarks => letters_and_numbers.or(Categories::MARK),
            _ => letters_and_numbers,
        };
        let space = first_len(text, |c| c == ' ');
        let len = after_optional(text, space, |text| run(text, |c| !c.is_whitespace() && !of_words.contain(c)))?;
        Some(len + run(&text[len..], |c| self.tail.contains(&c)))
    }

    /// A run of white space up to its last line break; else all of it but the last character, which goes with the
    /// word that follows; else that one character.
    fn white_space(&self, text: &str) -> usize {
        let all = run(text, char::is_whitespace);
        let last_break = text[..all].rfind(['\r', '\n']);
        if let Some(at) = last_break.filter(|_| self.newlines) {
            return at + 1;
        }
        if all == text.len() {
            return all;
        }
        match text[..all].char_indices().next_back() {
            Some((at @ 1.., _)) => at,
            _ => all.max(first_len(text, |_| true).unwrap_or(text.len())),
        }
    }
}

/// Upper case and caseless, then at least one lower case or caseless: `[U]*[V]+` where caseless characters and marks
/// are in both sets, so the first run gives back down to its last caseless character if nothing lower follows.
fn upper_then_some_lower(text: &str) -> usize {
    let upper = run(text, is_upper_or_caseless);
    let lower = run(&text[upper..], is_lower_or_caseless);
    if lower > 0 {
        return upper + lower;
    }
    let caseless = text[..upper].char_indices().rfind(|&(_, c)| is_lower_or_caseless(c));
    caseless.map_or(0, |(at, c)| at + c.len_utf8())
}

/// `[U]+[V]*`
fn some_upper_then_lower(text: &str) -> usize {
    match run(text, is_upper_or_caseless) {
        0 => 0,
        upper => upper + run(&text[upper..], is_lower_or_caseless),
    }
}

fn is_upper_or_caseless(c: char) -> bool {
    const SET: Categories = Categories::UPPER.or(Categories::CASELESS).or(Categories::MARK);
    SET.contain(c)
}

fn is_lower_or_caseless(c: char) -> bool {
    const SET: Categories = Categories::LOWER.or(Categories::CASELESS).or(Categories::MARK);
    SET.contain(c)
}

/// `prefix` bytes and then a body, or the body alone; `None` where the body is empty both times.
fn after_optional(text: &str, prefix: Option<usize>, body: impl Fn(&str) -> usize) -> Option<usize> {
    let with = prefix.and_then(|prefix| match body(&text[prefix..]) {
        0 => None,
        len => Some(prefix + len),
    });
    with.or_else(|| Some(body(text)).filter(|&len| len > 0))
}

/// Bytes of the contraction at the beginning, or 0. `ſ` is an `s` in any case, as Unicode's case folding has it.
fn contraction(text: &str, any_case: bool) -> usize {
    let Some(rest) = text.strip_prefix('\'') else {
        return 0;
    };
    let fold = |c: char| match c {
        'ſ' if any_case => 's',
        c if any_case => c.to_ascii_lowercase(),
        c => c,
    };
    let mut chars = rest.chars();
    let (Some(first), second) = (chars.next(), chars.next()) else {
        return 0;
    };
    let two = 1 + first.len_utf8();
    match (fold(first), second.map(fold)) {
        ('s' | 't' | 'm' | 'd', _) => two,
        ('r' | 'v', Some('e')) | ('l', Some('l')) => two + 1,
        _ => 0,
    }
}

/// Bytes of the characters at the beginning that are `inside`.
fn run(text: &str, inside: impl Fn(char) -> bool) -> usize {
    text.find(|c| !inside(c)).unwrap_or(text.len())
}

/// Bytes of the first character, if it is `inside`.
fn first_len(text: &str, inside: impl Fn(char) -> bool) -> Option<usize> {
    text.chars().next().filter(|&c| inside(c)).map(char::len_utf8)
}

/// The run of characters that are all inside or all outside.
fn either_run(text: &str, inside: impl Fn(char) -> bool) -> usize {
    match run(text, &inside) {
        0 => run(text, |c| !inside(c)),
        len => len,
    }
}

/// Bytes before the first three digits in a row, or all.
fn before_triple(text: &str) -> usize {
    let is_triple = |three: &[u8]| three.iter().all(u8::is_ascii_digit);
    let found = text.as_bytes().windows(3).position(is_triple);
    found.unwrap_or(text.len())
}
