//! What a token pays for having been said.

use serde::{Deserialize, Serialize};

use super::MixError;

/// The largest repetition penalty; its inverse is the smallest.
const MOST_REPETITION: f32 = 100.0;
/// The largest magnitude of the additive penalties.
const MOST_ADDED: f32 = 100.0;
/// The longest n-gram that is looked for.
const MOST_NGRAM: u32 = 64;

/// Penalties over the tokens so far, applied to z before the temperature (see [`super::Sampling`] for the whole order). The
/// past is on the GPU, where `finish` appends each drawn token, so they hold for steps in flight.
///
/// Which tokens are the past: those drawn, after the base's prompt if `prompt` says so; of these the last `last_n`.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Penalties {
    /// Divides the z of a token of the past by this if it is positive, and multiplies it otherwise (CTRL, arXiv 1909.05858,
    /// section 4.1, by sign as in Hugging Face and llama.cpp): 1 is off, above 1 discourages, 0.01 to 100. It is the one
    /// rule that depends on where z has its zero: z is made of raw logits.
    pub repetition: f32,
    /// Subtracted once from a token of the past (as `OpenAI`'s): 0 is off, -100 to 100.
    pub presence: f32,
    /// Subtracted for each time the past holds the token: 0 is off, -100 to 100.
    pub frequency: f32,
    /// Leaves out each token that would end an n-gram of this length for the second time: 0 is off, 2 to 64.
    pub no_repeat_ngram: u32,
    /// How many of the last tokens count; 0 is all.
    pub last_n: u32,
    /// Whether the base's prompt counts, as for Hugging Face's repetition penalty; `OpenAI`'s count what was generated.
    pub prompt: bool,
}

impl Default for Penalties {
    fn default() -> Self {
        Self { repetition: 1.0, presence: 0.0, frequency: 0.0, no_repeat_ngram: 0, last_n: 0, prompt: false }
    }
}

impl Penalties {
    /// Refuses settings out of range.
    pub fn validate(&self) -> Result<(), MixError> {
        // NaN fails these, too.
        let range = |what, found: f32, expected, holds: bool| {
            if holds { Ok(()) } else { Err(MixError::Penalty { what, found, expected }) }
        };
        let repetition = (1.0 / MOST_REPETITION..=MOST_REPETITION).contains(&self.repetition);
        range("repetition penalty", self.repetition, "0.01 to 100, where 1 is none", repetition)?;
        for (what, found) in [("presence penalty", self.presence), ("frequency penalty", self.frequency)] {
            range(what, found, "-100 to 100, where 0 is none", found.abs() <= MOST_ADDED)?;
        }
        let n = self.no_repeat_ngram;
        let expected = "0 (off) or 2 to 64: of length 1 it would ban every token that was said";
        range("length of n-grams not to repeat", n as f32, expected, n != 1 && n <= MOST_NGRAM)
    }

    /// Whether a token pays for having been said.
    pub(super) fn charge(&self) -> bool {
        self.repetition != 1.0 || self.presence != 0.0 || self.frequency != 0.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn penalties_out_of_range_are_refused() {
        let none = Penalties::default();
        assert!(none.validate().is_ok() && !none.charge());
        let code = |penalties: Penalties| penalties.validate().expect_err("it is refused").code();
        for repetition in [0.0, -1.1, 0.001, 101.0, f32::NAN, f32::INFINITY] {
            assert_eq!(code(Penalties { repetition, ..none }), "mix.penalty");
        }
        for added in [f32::NAN, f32::NEG_INFINITY, 101.0] {
            assert_eq!(code(Penalties { presence: added, ..none }), "mix.penalty");
            assert_eq!(code(Penalties { frequency: added, ..none }), "mix.penalty");
        }
        for no_repeat_ngram in [1, 65] {
            assert_eq!(code(Penalties { no_repeat_ngram, ..none }), "mix.penalty");
        }
    }
}
