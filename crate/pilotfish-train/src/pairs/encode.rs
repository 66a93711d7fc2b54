//! Pairs as token ids, through the model's own tokenizer and chat template.

use std::collections::HashSet;

use pilotfish::chat::{Message, Role};
use pilotfish::tokenizer::{Bos, Encode, TokenId};
use serde::{Deserialize, Serialize};

use super::{LengthSummary, PairReport, Prompt, Reason, Record, Split};
use crate::base::Base;
use crate::error::Result;
use crate::forest::Tree;

/// How prompts that are plain strings are meant.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Strings {
    /// Texts to continue.
    #[default]
    Text,
    /// What a user says, through the chat template.
    Chat,
}

/// Whether an answer is followed by the token that ends the assistant's turn. A guide that learns it from answers that were cut
/// anywhere learns to stop.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum EndOfTurn {
    /// After answers that are messages or come from transcripts.
    #[default]
    Auto,
    /// After all.
    Always,
    /// After none.
    Never,
}

/// How pairs become ids, and which are kept.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct EncodeOptions {
    /// Prompts that are strings.
    pub strings: Strings,
    /// The end of answers.
    pub end_of_turn: EndOfTurn,
    /// Tokens that prompt and longer answer may have: pairs with more are left out.
    pub max_tokens: usize,
    /// Shortens them instead: first a chat loses its oldest turns, then answers their ends.
    #[serde(default)]
    pub shorten: bool,
    /// Share of the pairs to judge by, where lines do not say: pairs of one prompt stay together.
    pub held_out: f64,
    /// Chooses them.
    pub seed: u64,
    /// The dimension of preference that the pairs speak for.
    #[serde(default)]
    pub dimension: usize,
}

impl Default for EncodeOptions {
    fn default() -> Self {
        let (strings, end_of_turn) = (Strings::default(), EndOfTurn::default());
        Self { strings, end_of_turn, max_tokens: 512, shorten: false, held_out: 0.1, seed: 0, dimension: 0 }
    }
}

/// A pair as ids: answer 0 of its tree is preferred to answer 1.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pair {
    /// The line it came from, from 1.
    pub line: usize,
    /// Prompt, chosen, rejected.
    pub tree: Tree,
    /// The dimension of preference that it speaks for: 0 where there is only one.
    pub dimension: usize,
}

/// Pairs to learn from and pairs to judge by, in the order of the file. `report` may already hold bad lines.
pub fn encode(
    base: &Base,
    records: &[Record],
    options: &EncodeOptions,
    report: &mut PairReport,
) -> Result<(Vec<Pair>, Vec<Pair>)> {
    let (mut train, mut held_out) = (Vec::new(), Vec::new());
    let mut seen: HashSet<(Vec<TokenId>, Vec<TokenId>, Vec<TokenId>)> = HashSet::new();
    report.lines += records.len();
    let most = options.max_tokens.min(base.spec.context_length as usize);
    for record in records {
        let mut tree = encode_one(base, record, options)?;
        let mut longest = length(&tree);
        if longest > most && options.shorten {
            tree = shorten(base, record, tree, most)?;
            report.shortened += usize::from(length(&tree) <= most);
            longest = length(&tree);
        }
        let (chosen, rejected) = (&tree.answers[0], &tree.answers[1]);
        let key = (tree.prompt.clone(), chosen.clone(), rejected.clone());
        let turned = (tree.prompt.clone(), rejected.clone(), chosen.clone());
        let reason = if tree.prompt.is_empty() {
            Some(Reason::NoPrompt)
        } else if chosen.is_empty() || rejected.is_empty() {
            Some(Reason::EmptyAnswer)
        } else if chosen == rejected || record.scores.is_some_and(|(one, other)| one == other) {
            Some(Reason::Tie)
        } else if seen.contains(&key) {
            Some(Reason::Duplicate)
        } else if seen.contains(&turned) {
            Some(Reason::Contradiction)
        } else if longest > most {
            Some(Reason::TooLong)
        } else {
            None
        };
        if let Some(reason) = reason {
            report.drop(reason, record.line);
            continue;
        }
        seen.insert(key);
        report.chosen_longer += usize::from(chosen.len() > rejected.len());
        let into = match record.split {
            Some(Split::HeldOut) => &mut held_out,
            None if share(&tree.prompt, options.seed) < options.held_out => &mut held_out,
            Some(Split::Train) | None => &mut train,
        };
        into.push(Pair { line: record.line, tree, dimension: options.dimension });
    }
    let all = || train.iter().chain(&held_out).map(|pair: &Pair| &pair.tree);
    report.train = train.len();
    report.held_out = held_out.len();
    report.train_tokens = train.iter().map(|pair| pair.tree.tokens()).sum();
    report.prompt_tokens = LengthSummary::of(all().map(|tree| tree.prompt.len()));
    report.answer_tokens = LengthSummary::of(all().flat_map(|tree| tree.answers.iter().map(Vec::len)));
    Ok((train, held_out))
}

fn encode_one(base: &Base, record: &Record, options: &EncodeOptions) -> Result<Tree> {
    let tokenizer = &base.tokenizer;
    let prompt = match (&record.prompt, options.strings) {
        (Prompt::Chat(messages), _) => base.encode_chat(messages)?,
        (Prompt::Text(text), Strings::Chat) => base.encode_chat(&[Message::user(text.clone())])?,
        (Prompt::Text(text), Strings::Text) => {
            tokenizer.encode(text, Encode { special: false, bos: Bos::Auto }).map_err(pilotfish::Error::from)?
        }
    };
    let end = tokenizer.eot().or(tokenizer.eos());
    let mut answers = Vec::with_capacity(2);
    for answer in [&record.chosen, &record.rejected] {
        // By itself, as it is generated: what a tokenizer would make of prompt and answer together no decoder can reach.
        let how = Encode { special: false, bos: Bos::Never };
        let mut ids = tokenizer.encode(&answer.text, how).map_err(pilotfish::Error::from)?;
        let ends = match options.end_of_turn {
            EndOfTurn::Auto => answer.whole,
            EndOfTurn::Always => true,
            EndOfTurn::Never => false,
        };
        if !ids.is_empty() && ends {
            ids.extend(end);
        }
        answers.push(ids);
    }
    Ok(Tree { prompt, answers })
}

/// Tokens of the prompt and the longer answer.
fn length(tree: &Tree) -> usize {
    tree.prompt.len() + tree.answers.iter().map(Vec::len).max().unwrap_or_default()
}

/// Tokens of an answer below which there is nothing to learn from: a prompt that leaves less room stays too long.
const LEAST_ANSWER: usize = 16;

/// Brings a pair to `most` tokens where that can be: without the oldest turns of a chat (what a system says stays, and the first turn
/// left is a user's), then without the ends of answers.
fn shorten(base: &Base, record: &Record, mut tree: Tree, most: usize) -> Result<Tree> {
    if let Prompt::Chat(messages) = &record.prompt {
        let (system, mut turns) =
            messages.split_at(messages.iter().take_while(|message| message.role == Role::System).count());
        while length(&tree) > most {
            let Some(next) = turns.iter().skip(1).position(|message| message.role == Role::User) else { break };
            turns = &turns[next + 1..];
            tree.prompt = base.encode_chat(&[system, turns].concat())?;
        }
    }
    let room = most.saturating_sub(tree.prompt.len());
    if room >= LEAST_ANSWER {
        // What is cut loses the end of the turn with its end, and does not teach to stop there.
        tree.answers.iter_mut().for_each(|answer| answer.truncate(room));
    }
    Ok(tree)
}

/// A number in 0..1 that depends on the prompt and the seed alone.
fn share(prompt: &[TokenId], seed: u64) -> f64 {
    // FNV-1a over the ids, then SplitMix64's finish: the same for ever, which the standard library's hashers are not.
    let mut hash = seed ^ 0xcbf2_9ce4_8422_2325;
    for id in prompt {
        hash = (hash ^ u64::from(*id)).wrapping_mul(0x0100_0000_01b3);
    }
    hash = (hash ^ (hash >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    hash = (hash ^ (hash >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    ((hash ^ (hash >> 31)) >> 11) as f64 / (1u64 << 53) as f64
}
