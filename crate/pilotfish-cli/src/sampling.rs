//! How a token is drawn, as flags: over what a mix file says, over the engine's defaults.

use std::str::FromStr;

use clap::Args;
use pilotfish::guidance::{Penalties, Sampling, TokenRules};

/// Flags of the sampler.
#[derive(Debug, Clone, Default, Args)]
pub(crate) struct SamplingArgs {
    /// 0 takes the likeliest token, the lowest id where several are.
    #[arg(long, value_name = "T", allow_negative_numbers = true)]
    temperature: Option<f32>,
    /// Keep the so many likeliest tokens; 0 keeps all.
    #[arg(long, value_name = "N")]
    top_k: Option<u32>,
    /// Keep the likeliest tokens that together have this probability.
    #[arg(long, value_name = "P", allow_negative_numbers = true)]
    top_p: Option<f32>,
    /// Keep tokens with at least this part of the likeliest one's probability.
    #[arg(long, value_name = "P", allow_negative_numbers = true)]
    min_p: Option<f32>,
    /// Keep the most typical tokens that together have this probability.
    #[arg(long, value_name = "P", allow_negative_numbers = true)]
    typical_p: Option<f32>,
    /// Divide the logit of a token that was said, or multiply it where it is negative; 1 is off.
    #[arg(long, value_name = "F", allow_negative_numbers = true)]
    repetition_penalty: Option<f32>,
    /// Subtract this once from a token that was said.
    #[arg(long, value_name = "F", allow_negative_numbers = true)]
    presence_penalty: Option<f32>,
    /// Subtract this for each time that a token was said.
    #[arg(long, value_name = "F", allow_negative_numbers = true)]
    frequency_penalty: Option<f32>,
    /// Say no sequence of so many tokens twice; 0 is off.
    #[arg(long, value_name = "N")]
    no_repeat_ngram: Option<u32>,
    /// Let only the last so many tokens count for penalties; 0 is all.
    #[arg(long, value_name = "N")]
    penalty_last_n: Option<u32>,
    /// Let the prompt count for penalties, too.
    #[arg(long)]
    penalize_prompt: bool,
    /// No end of the text among the first so many tokens.
    #[arg(long, value_name = "N")]
    min_tokens: Option<u32>,
    /// No end of the text at all, but by --max-tokens or --stop.
    #[arg(long)]
    ignore_eos: bool,
    /// The same seed gives the same text.
    #[arg(long, value_name = "N")]
    seed: Option<u64>,
}

impl SamplingArgs {
    /// These over `given`.
    pub(crate) fn over(&self, given: Sampling) -> Sampling {
        let before = given.penalties;
        Sampling {
            temperature: self.temperature.unwrap_or(given.temperature),
            top_k: self.top_k.unwrap_or(given.top_k),
            top_p: self.top_p.unwrap_or(given.top_p),
            min_p: self.min_p.unwrap_or(given.min_p),
            typical_p: self.typical_p.unwrap_or(given.typical_p),
            penalties: Penalties {
                repetition: self.repetition_penalty.unwrap_or(before.repetition),
                presence: self.presence_penalty.unwrap_or(before.presence),
                frequency: self.frequency_penalty.unwrap_or(before.frequency),
                no_repeat_ngram: self.no_repeat_ngram.unwrap_or(before.no_repeat_ngram),
                last_n: self.penalty_last_n.unwrap_or(before.last_n),
                prompt: self.penalize_prompt || before.prompt,
            },
            min_tokens: self.min_tokens.unwrap_or(given.min_tokens),
            ignore_eos: self.ignore_eos || given.ignore_eos,
            seed: self.seed.unwrap_or(given.seed),
        }
    }
}

/// Flags about single tokens.
#[derive(Debug, Clone, Default, Args)]
pub(crate) struct TokenArgs {
    /// Add this to a token's logit. Any number of times.
    #[arg(long = "logit-bias", value_name = "ID=V")]
    scores: Vec<Score>,
    /// Never draw this token. Any number of times.
    #[arg(long = "ban", value_name = "ID")]
    banned: Vec<u32>,
}

impl TokenArgs {
    /// These added to `given`; of two scores for one token, the flag's holds.
    pub(crate) fn over(&self, mut given: TokenRules) -> TokenRules {
        given.scores.extend(self.scores.iter().map(|Score(id, score)| (*id, *score)));
        given.banned.extend(&self.banned);
        given
    }
}

/// `ID=V`.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Score(u32, f32);

impl FromStr for Score {
    type Err = String;

    fn from_str(argument: &str) -> Result<Self, String> {
        let (id, score) = argument.split_once('=').ok_or("expected ID=V, such as 42=-1.5")?;
        Ok(Self(
            id.trim().parse().map_err(|_| format!("`{id}` is not a token id"))?,
            score.trim().parse().map_err(|_| format!("`{score}` is not a number"))?,
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scores_by_id() {
        assert_eq!("42=-1.5".parse(), Ok(Score(42, -1.5)));
        for wrong in ["", "1", "=1", "-1=2", "1=x"] {
            assert!(wrong.parse::<Score>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn flags_are_added_to_what_the_mix_file_says_of_tokens() {
        let given = TokenRules { scores: [(1, 1.0), (2, 2.0)].into(), banned: vec![7], allowed: None };
        let args = TokenArgs { scores: vec![Score(2, -2.0)], banned: vec![8] };
        let rules = args.over(given);
        assert_eq!((rules.scores, rules.banned), ([(1, 1.0), (2, -2.0)].into(), vec![7, 8]));
    }
}
