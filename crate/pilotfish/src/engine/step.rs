//! What a step tells: the token, and what it was made of.

use serde::Serialize;

use crate::tokenizer::TokenId;

/// Why a generation ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Stop {
    /// The model ended its turn.
    End,
    /// `max_tokens` were made.
    Length,
    /// The context is full.
    Context,
    /// The caller stopped it.
    Stopped,
    /// A stop string appeared: [`Step::stop_string`] says which.
    StopString,
}

/// One token and what it was made of. Log-probabilities are natural.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Step {
    /// Counts from 0, in each sample.
    pub index: u32,
    /// Which sample it belongs to.
    pub sample: u32,
    /// The token.
    pub id: TokenId,
    /// What it adds to the text; empty while a character is unfinished, while the text may be the beginning of a stop string,
    /// or for a token that is no text.
    pub text: String,
    /// Set on the last step.
    pub stop: Option<Stop>,
    /// The stop string that ended the text.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stop_string: Option<String>,
    /// Tokens that were dropped before this one because the context was full; 0 nearly always.
    #[serde(skip_serializing_if = "is_zero")]
    pub shifted: u32,
    /// What the text up to here, of a method that decides for whole texts or segments that text, is rewarded with.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reward: Option<f32>,
    /// Of the token, under each.
    pub log_probs: LogProbs,
    /// Of the base's distribution, in nats; NaN (in JSON absent) with [`super::Returns::Mix`].
    #[serde(skip_serializing_if = "is_nan")]
    pub entropy: f32,
    /// KL(mix || base), in nats, both at temperature 1: what guides, scores, penalties and masks did, without the temperature.
    /// NaN (in JSON absent) with [`super::Returns::Mix`].
    #[serde(skip_serializing_if = "is_nan")]
    pub kl: f32,
    /// The guides' weights that this token was made with, as their schedules had them.
    pub weights: Vec<f32>,
    /// The temperature that it was made with.
    pub temperature: f32,
    /// The likeliest tokens under the mix.
    pub candidates: Vec<Candidate>,
    /// z of every token that is mixed, -inf (in JSON null) where it was left out; only if [`super::Returns::Logits`] was
    /// asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub logits: Option<Vec<f32>>,
}

// As `serde` asks for it.
#[allow(clippy::trivially_copy_pass_by_ref)]
fn is_zero(n: &u32) -> bool {
    *n == 0
}

#[allow(clippy::trivially_copy_pass_by_ref)]
fn is_nan(x: &f32) -> bool {
    x.is_nan()
}

/// The log-probability of one token under each distribution.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct LogProbs {
    /// The base alone; NaN (in JSON absent) with [`super::Returns::Mix`].
    #[serde(skip_serializing_if = "is_nan")]
    pub base: f32,
    /// The mix at temperature 1, like the others: `mix - base` is what guides, scores and penalties did.
    pub mix: f32,
    /// The mix at its temperature, which is what was drawn from, before typical-p, top-k, top-p and min-p. At temperature 0,
    /// where nothing is drawn, the same as `mix`.
    pub sampled: f32,
    /// Each guide alone (a context guide: the base under its context); none with [`super::Returns::Mix`].
    pub guides: Vec<f32>,
}

/// A token that might have been.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Candidate {
    /// The token.
    pub id: TokenId,
    /// Its text, damaged bytes shown as U+FFFD.
    pub text: String,
    /// Its log-probabilities.
    #[serde(flatten)]
    pub log_probs: LogProbs,
}
