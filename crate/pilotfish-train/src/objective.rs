//! What is minimised: functions of the summed log-probabilities of a pair's two answers.

use candle_core::Tensor;
use serde::{Deserialize, Serialize};

use crate::error::{Result, TrainError};

/// A loss.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(tag = "objective", rename_all = "snake_case")]
pub enum Objective {
    /// An autoregressive reward model, `-log σ(β (Σ log π(y⁺) - Σ log π(y⁻)) - margin)` (GenARM, arXiv 2410.08193, equation 7).
    Arm {
        /// `β_r`. Sums differ by tens of nats; where β times their spread is far above 1 the loss saturates and little is learned.
        beta: f32,
        /// Means over an answer's tokens in place of sums.
        #[serde(default)]
        length_normalised: bool,
        /// The margin by which the chosen one is to win.
        #[serde(default)]
        margin: f32,
        /// Share of pairs that are taken to be labelled wrongly.
        #[serde(default)]
        label_smoothing: f32,
    },
    /// Direct preference optimisation (arXiv 2305.18290): the same on log-ratios to the frozen base.
    Dpo {
        /// β.
        beta: f32,
        /// As in [`Objective::Arm`].
        #[serde(default)]
        label_smoothing: f32,
    },
    /// The chosen answers' mean negative log-probability a token.
    Sft,
}

/// Sums of log-probabilities over an answer's tokens, and how many there are.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct AnswerScore {
    /// Σ log π, in nats.
    pub sum: f64,
    /// Tokens.
    pub tokens: usize,
}

/// A pair's answers: chosen, rejected.
pub type PairScore = [AnswerScore; 2];

impl Objective {
    /// Refuses what means nothing.
    pub fn check(&self) -> Result<()> {
        let refuse = |message: String| Err(TrainError::Options { message });
        let (beta, smoothing, margin) = match *self {
            Self::Arm { beta, margin, label_smoothing, .. } => (beta, label_smoothing, margin),
            Self::Dpo { beta, label_smoothing } => (beta, label_smoothing, 0.0),
            Self::Sft => return Ok(()),
        };
        if !(beta.is_finite() && beta > 0.0) {
            return refuse(format!("beta is {beta}, expected a number above 0"));
        }
        if !(0.0..0.5).contains(&smoothing) {
            return refuse(format!("label smoothing is {smoothing}, expected 0 to below 0.5"));
        }
        if !margin.is_finite() {
            return refuse(format!("the margin is {margin}, expected a number"));
        }
        Ok(())
    }

    /// Whether the base's own scores are part of the loss.
    pub fn needs_reference(&self) -> bool {
        matches!(self, Self::Dpo { .. })
    }

    /// Whether rejected answers are part of the loss.
    pub fn needs_rejected(&self) -> bool {
        !matches!(self, Self::Sft)
    }

    /// The loss of one pair on the tape: `answers` are log-probabilities of chosen and, but for SFT, rejected, `[tokens]` each.
    pub(crate) fn loss(&self, answers: &[Tensor], reference: Option<&PairScore>) -> Result<Tensor> {
        let sums: Vec<Tensor> = answers.iter().map(Tensor::sum_all).collect::<Result<_, _>>()?;
        if let Self::Sft = self {
            return Ok((&sums[0] * (-1.0 / answers[0].elem_count() as f64))?);
        }
        let counts = [answers[0].elem_count(), answers[1].elem_count()];
        let (scale, shift) = self.line(counts, reference);
        let z = ((&sums[0] * scale[0])? - (&sums[1] * scale[1])?)?;
        let z = (z + shift)?;
        let smoothing = self.smoothing();
        // -log σ(z) = softplus(-z); with smoothing, a share of softplus(z) = softplus(-z) + z.
        let loss = softplus(&z.neg()?)?;
        Ok(if smoothing > 0.0 { (loss + (z * smoothing)?)? } else { loss })
    }

    /// The same from sums that are known.
    pub fn value(&self, score: &PairScore, reference: Option<&PairScore>) -> f64 {
        if let Self::Sft = self {
            return -score[0].sum / score[0].tokens as f64;
        }
        let (scale, shift) = self.line([score[0].tokens, score[1].tokens], reference);
        let z = score[0].sum * scale[0] - score[1].sum * scale[1] + shift;
        let softplus = (-z).max(0.0) + (-z.abs()).exp().ln_1p();
        softplus + z * self.smoothing()
    }

    fn smoothing(&self) -> f64 {
        match *self {
            Self::Arm { label_smoothing, .. } | Self::Dpo { label_smoothing, .. } => f64::from(label_smoothing),
            Self::Sft => 0.0,
        }
    }

    /// The loss's argument as `scale[0] * chosen - scale[1] * rejected + shift`.
    fn line(&self, counts: [usize; 2], reference: Option<&PairScore>) -> ([f64; 2], f64) {
        match *self {
            Self::Arm { beta, length_normalised, margin, .. } => {
                let beta = f64::from(beta);
                let scale = |count: usize| if length_normalised { beta / count as f64 } else { beta };
                ([scale(counts[0]), scale(counts[1])], -f64::from(margin))
            }
            Self::Dpo { beta, .. } => {
                let beta = f64::from(beta);
                let base = reference.map_or(0.0, |reference| reference[0].sum - reference[1].sum);
                ([beta; 2], -beta * base)
            }
            Self::Sft => ([0.0; 2], 0.0),
        }
    }
}

/// `ln(1 + e^x)`, without overflow.
fn softplus(x: &Tensor) -> Result<Tensor> {
    Ok((x.relu()? + (x.abs()?.neg()?.exp()? + 1.0)?.log()?)?)
}
