//! How a `tokenizer.json` divides a text before merging.

use std::borrow::Cow;
use std::ops::Range;

use serde_json::Value;

use super::super::unicode::Categories;
use super::super::{byte_level, pre_tokenizer};
use super::TokenizerError;
use super::fields::Fields;
use super::pattern::Pattern;

/// One step; the next works on each of its pieces.
#[derive(Debug, Clone)]
pub(super) enum Step {
    /// Every piece begins with a space.
    SpaceBefore,
    /// One of the well-known divisions.
    Named(pre_tokenizer::PreTokenizer),
    /// Bytes in GPT-2's alphabet.
    Alphabet,
    /// Numbers, each digit by itself or in runs.
    Digits(Behavior),
    /// ASCII's and Unicode's punctuation.
    Punctuation(Behavior),
    /// What the pattern finds, or what it leaves if inverted.
    Split { pattern: Pattern, behavior: Behavior, invert: bool },
    /// Spaces become another character, before which the text is divided.
    Metaspace { replacement: char, before: Prepend, split: bool },
}

/// What becomes of the matches.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Behavior {
    /// They are dropped.
    Removed,
    /// Each is a piece.
    Isolated,
    /// Each ends the piece before it, but not another match.
    MergedWithPrevious,
    /// Each begins the piece after it, but not another match.
    MergedWithNext,
    /// Matches without anything between them are one piece.
    Contiguous,
}

/// Which pieces get the replaced space before them, if they do not begin with one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Prepend {
    Always,
    /// The one at the beginning of the text.
    First,
    Never,
}

/// A file's steps in order.
pub(super) fn read(value: Option<&Value>) -> Result<Vec<Step>, TokenizerError> {
    let mut steps = Vec::new();
    for fields in Fields::steps(value, "pre-tokenizer", "pretokenizers")? {
        match fields.kind {
            "ByteLevel" => {
                steps.extend(fields.flag("add_prefix_space")?.then_some(Step::SpaceBefore));
                if fields.flag_or("use_regex", true)? {
                    steps.extend(pre_tokenizer::PreTokenizer::named("gpt-2").map(Step::Named));
                }
                steps.push(Step::Alphabet);
            }
            "Digits" => {
                let each = fields.flag("individual_digits")?;
                steps.push(Step::Digits(if each { Behavior::Isolated } else { Behavior::Contiguous }));
            }
            "Punctuation" => steps.push(Step::Punctuation(match fields.value.get("behavior") {
                None => Behavior::Isolated,
                Some(_) => Behavior::read(&fields)?,
            })),
            "Split" => steps.push(Step::Split {
                pattern: Pattern::read(&fields)?,
                behavior: Behavior::read(&fields)?,
                invert: fields.flag("invert")?,
            }),
            "Metaspace" => steps.push(metaspace(&fields)?),
            _ => return Err(fields.unknown()),
        }
    }
    Ok(steps)
}

fn metaspace(fields: &Fields<'_>) -> Result<Step, TokenizerError> {
    let mut replacement = fields.text("replacement")?.chars();
    let (Some(replacement), None) = (replacement.next(), replacement.next()) else {
        return Err(fields.wrong("`replacement` is not one character"));
    };
    let before = match fields.value.get("prepend_scheme").map(Value::as_str) {
        None | Some(Some("always")) => Prepend::Always,
        Some(Some("first")) => Prepend::First,
        Some(Some("never")) => Prepend::Never,
        Some(_) => return Err(fields.wrong("`prepend_scheme` is none of \"always\", \"first\" and \"never\"")),
    };
    if !fields.flag_or("add_prefix_space", true)? && before != Prepend::Never {
        return Err(fields.wrong("`add_prefix_space` and `prepend_scheme` contradict each other"));
    }
    Ok(Step::Metaspace { replacement, before, split: fields.flag_or("split", true)? })
}

impl Behavior {
    fn read(fields: &Fields<'_>) -> Result<Self, TokenizerError> {
        Ok(match fields.text("behavior")? {
            "Removed" => Self::Removed,
            "Isolated" => Self::Isolated,
            "MergedWithPrevious" => Self::MergedWithPrevious,
            "MergedWithNext" => Self::MergedWithNext,
            "Contiguous" => Self::Contiguous,
            other => return Err(fields.wrong(&format!("`behavior` is {other:?}, which is none"))),
        })
    }
}

/// Calls `piece` with every piece that the steps make of `text`, in order; `begins` says whether it is a text's beginning.
pub(super) fn divide(
    steps: &[Step],
    text: &str,
    begins: bool,
    piece: &mut dyn FnMut(&str),
) -> Result<(), TokenizerError> {
    let Some((step, rest)) = steps.split_first() else {
        piece(text);
        return Ok(());
    };
    let (text, parts) = step.divide(text, begins)?;
    for part in parts.into_iter().filter(|part| !part.is_empty()) {
        let begins = begins && part.start == 0;
        divide(rest, &text[part], begins, piece)?;
    }
    Ok(())
}

impl Step {
    /// The text as the step changes it, and its parts; they can be empty.
    fn divide<'t>(&self, text: &'t str, begins: bool) -> Result<(Cow<'t, str>, Vec<Range<usize>>), TokenizerError> {
        let found = match self {
            Self::SpaceBefore if text.starts_with(' ') => return Ok(whole(Cow::Borrowed(text))),
            Self::SpaceBefore => return Ok(whole(Cow::Owned(format!(" {text}")))),
            Self::Alphabet => return Ok(whole(Cow::Owned(byte_level::to_alphabet(text)))),
            Self::Named(named) => {
                let (mut parts, mut after) = (Vec::new(), 0);
                named.split(text, &mut |piece| {
                    parts.push(after..after + piece.len());
                    after += piece.len();
                });
                return Ok((Cow::Borrowed(text), parts));
            }
            Self::Metaspace { replacement, before, split } => {
                let mut text = text.replace(' ', replacement.encode_utf8(&mut [0; 4]));
                let wanted = *before == Prepend::Always || *before == Prepend::First && begins;
                if wanted && !text.starts_with(*replacement) {
                    text.insert(0, *replacement);
                }
                if !split {
                    return Ok(whole(Cow::Owned(text)));
                }
                let found = each(&text, |c| c == *replacement);
                let parts = stretches(text.len(), found, false, Behavior::MergedWithNext);
                return Ok((Cow::Owned(text), parts));
            }
            Self::Digits(behavior) => (each(text, char::is_numeric), false, *behavior),
            Self::Punctuation(behavior) => {
                let is_punctuation = |c: char| c.is_ascii_punctuation() || Categories::PUNCTUATION.contain(c);
                (each(text, is_punctuation), false, *behavior)
            }
            Self::Split { pattern, behavior, invert } => (pattern.matches(text)?, *invert, *behavior),
        };
        let (matches, invert, behavior) = found;
        Ok((Cow::Borrowed(text), stretches(text.len(), matches, invert, behavior)))
    }
}

fn whole(text: Cow<'_, str>) -> (Cow<'_, str>, Vec<Range<usize>>) {
    let all = 0..text.len();
    (text, vec![all])
}

/// Where the characters are that are `inside`.
fn each(text: &str, inside: impl Fn(char) -> bool) -> Vec<Range<usize>> {
    text.char_indices().filter(|&(_, c)| inside(c)).map(|(at, c)| at..at + c.len_utf8()).collect()
}

/// Divides `0..len` at `matches`; if inverted, what lies between them counts as matched.
fn stretches(len: usize, matches: Vec<Range<usize>>, invert: bool, behavior: Behavior) -> Vec<Range<usize>> {
    let mut all = Vec::with_capacity(2 * matches.len() + 1);
    let mut after = 0;
    for found in matches {
        if after < found.start {
            all.push((after..found.start, invert));
        }
        after = found.end;
        all.push((found, !invert));
    }
    if after < len {
        all.push((after..len, invert));
    }
    match behavior {
        Behavior::Removed => all.retain(|&(_, is_match)| !is_match),
        Behavior::Isolated => {}
        Behavior::Contiguous => join(&mut all, |before, is_match| before == is_match),
        Behavior::MergedWithPrevious => join(&mut all, |before, is_match| is_match && !before),
        Behavior::MergedWithNext => join(&mut all, |before, is_match| before && !is_match),
    }
    all.into_iter().map(|(range, _)| range).collect()
}

/// Joins a stretch with the one before it where `joins(the one before is a match, it is one)`.
fn join(all: &mut Vec<(Range<usize>, bool)>, joins: impl Fn(bool, bool) -> bool) {
    all.dedup_by(|later, before| {
        let joined = joins(before.1, later.1);
        if joined {
            // What follows is compared with the last one joined.
            *before = (before.0.start..later.0.end, later.1);
        }
        joined
    });
}
