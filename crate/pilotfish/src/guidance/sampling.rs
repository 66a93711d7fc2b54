//! How a token is drawn from the mix.

use serde::{Deserialize, Serialize};

use super::{MixError, Penalties};

/// The smallest temperature above 0.
const LEAST_TEMPERATURE: f32 = 1e-4;
/// The largest temperature.
const MOST_TEMPERATURE: f32 = 1e4;

/// Sampler settings. The whole way from logits to a token, in this order:
///
/// 1. the filter by a row ([`super::RowFilter`]), on that row's own probabilities;
/// 2. z = Σ weight · logits ([`super::MixRule`]), divided by the sum of weights under `normalize`;
/// 3. scores are added ([`super::TokenRules::scores`]: a logit bias);
/// 4. penalties ([`Penalties`]): repetition, then frequency and presence;
/// 5. masks: banned tokens, all but the allowed ones, tokens that would repeat an n-gram, ends before `min_tokens` or under
///    `ignore_eos`; a forced token stands alone whatever the rest says;
/// 6. p ∝ exp(z / temperature);
/// 7. typical-p over all of p;
/// 8. top-k, of what is left;
/// 9. top-p, on what is left, its probabilities summing to 1 again;
/// 10. min-p, on what is left.
///
/// So it is in Hugging Face and llama.cpp, with two differences: llama.cpp has the temperature last, so that its top-p, min-p
/// and typical-p see temperature 1; and both take typical-p after top-k. Wherever something is cut off, tokens that tie with
/// the last one kept are kept. At temperature 0 steps 7 to 10 change nothing and are left out.
///
/// The default is softmax(z): temperature 1, no filter, no penalty, seed 0.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Sampling {
    /// 0 takes the most likely token, the lowest id on ties; otherwise 0.0001 to 10,000.
    pub temperature: f32,
    /// Keeps so many of the most likely tokens; 0 keeps all.
    pub top_k: u32,
    /// Keeps the most likely tokens until they hold this share of the probability; above 0, 1 keeps all.
    pub top_p: f32,
    /// Keeps tokens with at least this times the probability of the most likely one; below 1, 0 keeps all.
    pub min_p: f32,
    /// Keeps the tokens whose log-probability lies nearest to its mean until they hold this share of the probability (locally
    /// typical sampling, arXiv 2202.00666); above 0, 1 keeps all.
    pub typical_p: f32,
    /// What a token pays for having been said.
    pub penalties: Penalties,
    /// No end of text among the first so many tokens.
    pub min_tokens: u32,
    /// No end of text at all: as llama.cpp's, ends are never drawn.
    pub ignore_eos: bool,
    /// Numbers the noise: the same seed, settings and logits give the same tokens on any device.
    pub seed: u64,
}

impl Default for Sampling {
    fn default() -> Self {
        Self {
            temperature: 1.0,
            top_k: 0,
            top_p: 1.0,
            min_p: 0.0,
            typical_p: 1.0,
            penalties: Penalties::default(),
            min_tokens: 0,
            ignore_eos: false,
            seed: 0,
        }
    }
}

impl Sampling {
    /// Always the most likely token.
    pub fn greedy() -> Self {
        Self { temperature: 0.0, ..Self::default() }
    }

    /// Refuses settings out of range.
    pub fn validate(&self, vocab: u32) -> Result<(), MixError> {
        let warm = (LEAST_TEMPERATURE..=MOST_TEMPERATURE).contains(&self.temperature);
        if self.temperature != 0.0 && !warm {
            let (least, most) = (LEAST_TEMPERATURE, MOST_TEMPERATURE);
            return Err(MixError::Temperature { found: self.temperature, least, most });
        }
        if self.top_k > vocab {
            return Err(MixError::TopK { found: self.top_k, vocab });
        }
        if !(self.top_p > 0.0 && self.top_p <= 1.0) {
            return Err(MixError::TopP { found: self.top_p });
        }
        if !(0.0..1.0).contains(&self.min_p) {
            return Err(MixError::MinP { found: self.min_p });
        }
        if !(self.typical_p > 0.0 && self.typical_p <= 1.0) {
            return Err(MixError::TypicalP { found: self.typical_p });
        }
        self.penalties.validate()
    }

    /// What z is multiplied with: 1 / temperature, and 1 when greedy, so that what is reported stays a distribution.
    pub(super) fn inv_temperature(&self) -> f32 {
        if self.temperature == 0.0 { 1.0 } else { 1.0 / self.temperature }
    }

    /// How far below the largest z min-p lets a token lie: at most 0.
    pub(super) fn min_p_drop(&self) -> f32 {
        if self.min_p == 0.0 { -1e32 } else { self.temperature * self.min_p.ln() }
    }

    /// Whether anything but the temperature shapes the draw.
    pub(super) fn filters(&self) -> bool {
        self.temperature != 0.0 && (self.top_k != 0 || self.top_p != 1.0 || self.min_p != 0.0 || self.typical_p != 1.0)
    }

    /// The first step in which an end may be drawn.
    pub(super) fn first_end(&self) -> u32 {
        if self.ignore_eos { u32::MAX } else { self.min_tokens }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_out_of_range_are_refused() {
        let default = Sampling::default();
        assert!(default.validate(1).is_ok());
        assert!(Sampling::greedy().validate(1).is_ok());
        let code = |sampling: Sampling| sampling.validate(100).expect_err("it is refused").code();
        for temperature in [-1.0, f32::NAN, f32::INFINITY, 1e-9] {
            assert_eq!(code(Sampling { temperature, ..default }), "mix.temperature");
        }
        assert_eq!(code(Sampling { top_k: 101, ..default }), "mix.top_k");
        for top_p in [0.0, -0.5, 1.1, f32::NAN] {
            assert_eq!(code(Sampling { top_p, ..default }), "mix.top_p");
        }
        for typical_p in [0.0, 1.5, f32::NAN] {
            assert_eq!(code(Sampling { typical_p, ..default }), "mix.typical_p");
        }
        for min_p in [-0.1, 1.0, f32::NAN] {
            assert_eq!(code(Sampling { min_p, ..default }), "mix.min_p");
        }
    }

    #[test]
    fn missing_settings_are_the_defaults() {
        let sampling: Sampling = serde_json::from_str(r#"{"temperature":0.5}"#).expect("it parses");
        assert_eq!(sampling, Sampling { temperature: 0.5, ..Default::default() });
        assert!(serde_json::from_str::<Sampling>(r#"{"temprature":0.5}"#).is_err(), "a misspelt setting is refused");
    }
}
