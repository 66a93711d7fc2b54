//! How tokens are chosen: by the mix alone, or by a search above it that a reward decides.

use serde::{Deserialize, Serialize};

use super::limits::{MAX_IN_FLIGHT, MAX_ROWS};
use crate::{Error, Result};

/// The ways of choosing.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum MethodName {
    /// Every token is drawn from the mix (`GenARM`, arXiv 2410.08193, and all that is a weighted sum): one step a token.
    #[default]
    Genarm,
    /// ARGS (arXiv 2402.01694): of the `candidates` likeliest tokens, the one with the highest log-probability plus `weight` times the
    /// reward of the text that ends with it.
    Args,
    /// Transfer-Q (arXiv 2405.20495): as ARGS, but the reward is that of the text after `rollout` tokens more, which the mix draws.
    TransferQ,
    /// Best of N: `candidates` whole texts drawn from the mix; the one with the highest reward.
    BestOfN,
    /// CARDS (arXiv 2406.16306): segments, cut where the base is uncertain of the next token, drawn until one is accepted for its
    /// reward; of `candidates` that were refused, the best.
    Cards,
}

impl MethodName {
    /// As in options.
    pub fn name(self) -> &'static str {
        match self {
            Self::Genarm => "genarm",
            Self::Args => "args",
            Self::TransferQ => "transfer-q",
            Self::BestOfN => "best-of-n",
            Self::Cards => "cards",
        }
    }
}

/// A method and its numbers. What the method does not name is not looked at. The log-probabilities that it starts from are the
/// mix's, the base's where no guide has weight.
///
/// ARGS and Transfer-Q take the best token at temperature 0, and draw from softmax(score / T) of the candidates otherwise. A text's
/// trials end at the model's ends; stop strings cut what is given out, not what is rewarded. A guide's reward counts from where the
/// session began: of text that was [`super::SessionOptions::continued`] it knows nothing.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Method {
    /// Which.
    pub name: MethodName,
    /// The guide that rewards: a text's reward is the sum of its tokens' log-probabilities under the guide's row, of a relative or
    /// context guide the difference of its two rows'. Where it is not said, a scorer must be given to the session.
    pub reward: Option<String>,
    /// ARGS, Transfer-Q: tokens that are tried. Best of N: texts. CARDS: segments that are drawn at most. 0 is the method's usual
    /// number: 10, 10, 16, 8.
    pub candidates: u32,
    /// What a reward is multiplied with before it is added to a log-probability.
    pub weight: f32,
    /// Transfer-Q: tokens of a roll-out.
    pub rollout: u32,
    /// CARDS: a segment ends before a token whose distribution under the base has at least this entropy, in nats.
    pub entropy: f32,
    /// CARDS: tokens of a segment at most.
    pub segment: u32,
    /// CARDS: the reward that a text of `max_tokens` tokens should reach. A segment that ends after t of n tokens is measured against
    /// t / n of it.
    pub goal: f32,
    /// CARDS: a segment whose reward is r below that is accepted with probability exp(-r / beta).
    pub beta: f32,
}

impl Default for Method {
    fn default() -> Self {
        Self {
            name: MethodName::Genarm,
            reward: None,
            candidates: 0,
            weight: 1.0,
            rollout: 16,
            entropy: 2.0,
            segment: 32,
            goal: 0.0,
            beta: 1.0,
        }
    }
}

impl Method {
    /// How many tokens, texts or segments are tried.
    pub fn tries(&self) -> u32 {
        match (self.candidates, self.name) {
            (0, MethodName::Genarm) => 0,
            (0, MethodName::Args | MethodName::TransferQ) => 10,
            (0, MethodName::BestOfN) => 16,
            (0, MethodName::Cards) => 8,
            (asked, _) => asked,
        }
    }

    /// Refuses numbers that are out of range. `vocab` is the number of ids that are mixed.
    pub fn validate(&self, vocab: u32) -> Result<()> {
        let check = |what: &'static str, found: f64, least: f64, most: f64| {
            // NaN fails this too.
            if found >= least && found <= most { Ok(()) } else { Err(Error::Method { what, found, least, most }) }
        };
        let tries = f64::from(self.tries());
        match self.name {
            MethodName::Genarm => return Ok(()),
            // As many as a step lists.
            MethodName::Args => check("candidates", tries, 1.0, f64::from(vocab.min(64)))?,
            MethodName::TransferQ => check("candidates", tries, 1.0, f64::from(vocab.min(MAX_ROWS as u32)))?,
            MethodName::BestOfN | MethodName::Cards => check("candidates", tries, 1.0, 256.0)?,
        }
        check("weight", self.weight.into(), -1e4, 1e4)?;
        check("rollout", self.rollout.into(), 1.0, 4096.0)?;
        check("segment", self.segment.into(), 1.0, 4096.0)?;
        check("entropy", self.entropy.into(), 0.0, 100.0)?;
        check("goal", self.goal.into(), -1e6, 1e6)?;
        check("beta", self.beta.into(), 1e-6, 1e6)
    }

    /// The lanes that this runs in, if a lane has so many rows.
    pub(super) fn lanes(&self, rows: usize) -> usize {
        let most = (MAX_ROWS / rows.max(1)).max(1);
        match self.name {
            MethodName::Genarm | MethodName::Args => 1,
            // Every candidate needs its lane.
            MethodName::TransferQ => self.tries() as usize,
            MethodName::BestOfN | MethodName::Cards => (self.tries() as usize).min(most),
        }
    }

    /// By how many positions lanes may part from what they have in common; `None` is without limit.
    pub(super) fn parts_by(&self) -> Option<u32> {
        let ahead = MAX_IN_FLIGHT + 64;
        match self.name {
            MethodName::Genarm | MethodName::BestOfN => None,
            MethodName::Args => Some(ahead),
            MethodName::TransferQ => Some(self.rollout + ahead),
            MethodName::Cards => Some(2 * self.segment + ahead),
        }
    }
}
