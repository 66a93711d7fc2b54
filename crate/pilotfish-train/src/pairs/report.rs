//! What was read, what is used, and what was left out.

use std::collections::BTreeMap;

use serde::Serialize;

/// Why a line is not used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Reason {
    /// It cannot be understood, and bad lines are to be passed over.
    Bad,
    /// The prompt has no token.
    NoPrompt,
    /// An answer has no token.
    EmptyAnswer,
    /// Both answers are the same, or have the same score.
    Tie,
    /// The same pair as on an earlier line.
    Duplicate,
    /// An earlier line prefers the other of the same two answers.
    Contradiction,
    /// Longer than allowed.
    TooLong,
}

impl Reason {
    /// For people.
    pub fn text(self) -> &'static str {
        match self {
            Self::Bad => "cannot be read",
            Self::NoPrompt => "have an empty prompt",
            Self::EmptyAnswer => "have an empty answer",
            Self::Tie => "are ties",
            Self::Duplicate => "are duplicates",
            Self::Contradiction => "contradict an earlier line",
            Self::TooLong => "are too long",
        }
    }
}

/// Lines that are not used for one reason.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Dropped {
    /// How many.
    pub count: usize,
    /// The first of them, by number.
    pub lines: Vec<usize>,
}

/// Lengths in tokens.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct LengthSummary {
    /// Half are at most this long.
    pub median: usize,
    /// The longest.
    pub longest: usize,
}

impl LengthSummary {
    /// Of these lengths.
    pub fn of(lengths: impl Iterator<Item = usize>) -> Self {
        let mut lengths: Vec<usize> = lengths.collect();
        lengths.sort_unstable();
        let at = |index: usize| lengths.get(index).copied().unwrap_or_default();
        Self { median: at(lengths.len().saturating_sub(1) / 2), longest: at(lengths.len().saturating_sub(1)) }
    }
}

/// What became of a file of pairs.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct PairReport {
    /// Lines that are not empty.
    pub lines: usize,
    /// Pairs to learn from.
    pub train: usize,
    /// Pairs to judge by.
    pub held_out: usize,
    /// Tokens that a pass over the pairs to learn from reads.
    pub train_tokens: usize,
    /// Prompts.
    pub prompt_tokens: LengthSummary,
    /// Answers, of both kinds.
    pub answer_tokens: LengthSummary,
    /// Pairs whose chosen answer is the longer one: where that is most of them, length may be what is learned.
    pub chosen_longer: usize,
    /// Pairs that lost old turns or the ends of answers, to be short enough.
    pub shortened: usize,
    /// What is not used.
    pub dropped: BTreeMap<Reason, Dropped>,
}

/// Lines that a reason names.
const NAMED: usize = 8;

impl PairReport {
    /// Notes a line that is not used.
    pub fn drop(&mut self, reason: Reason, line: usize) {
        let dropped = self.dropped.entry(reason).or_default();
        dropped.count += 1;
        if dropped.lines.len() < NAMED {
            dropped.lines.push(line);
        }
    }

    /// Sentences for people.
    pub fn sentences(&self) -> Vec<String> {
        let (prompt, answer) = (self.prompt_tokens, self.answer_tokens);
        let mut lines = vec![format!(
            "{} lines: {} pairs to learn from, {} to judge by; prompts of {} tokens (longest {}), answers of {} (longest {}); the chosen one is longer in {} of {}",
            self.lines,
            self.train,
            self.held_out,
            prompt.median,
            prompt.longest,
            answer.median,
            answer.longest,
            self.chosen_longer,
            self.train + self.held_out,
        )];
        if self.shortened > 0 {
            lines.push(format!("{} shortened to fit", self.shortened));
        }
        for (reason, Dropped { count, lines: named }) in &self.dropped {
            let mut list = named.iter().map(usize::to_string).collect::<Vec<_>>().join(", ");
            if *count > named.len() {
                list += ", ...";
            }
            lines.push(format!("{count} {} and left out (line {list})", reason.text()));
        }
        lines
    }
}
