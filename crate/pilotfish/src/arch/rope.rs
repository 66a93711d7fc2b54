//! Rotary position embedding: which elements turn together, and how fast.
//!
//! Pair `i` of a head turns by `position * inverse_frequency[i]`; its cosine and sine are multiplied by `magnitude`.

use serde::Serialize;

use super::TensorIndex;

/// Which elements of a head form pair `i`, of `dims / 2` pairs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum RopeStyle {
    /// `(2i, 2i + 1)`: llama, whose converter permutes q and k for it.
    Interleaved,
    /// `(i, i + dims / 2)`: gemma and qwen.
    HalfSplit,
}

/// How one layer's positions turn.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Rope {
    /// Pair `i` turns by `base^(-2i / dims)` radians a position, before scaling.
    pub base: f32,
    /// Leading elements of each head that turn; even.
    pub dims: u32,
    /// Stretching for contexts longer than trained.
    pub scaling: RopeScaling,
    /// A tensor of `dims / 2` numbers that divide the frequencies (Llama 3.x).
    pub factors: Option<TensorIndex>,
}

/// How frequencies are stretched.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
#[serde(rename_all = "snake_case", tag = "type")]
pub enum RopeScaling {
    /// Not at all.
    None,
    /// All divided by `factor`.
    Linear {
        /// At least 1 in practice, greater than 0 always.
        factor: f32,
    },
    /// Slow pairs divided by `factor`, fast ones left alone, a ramp between: arXiv 2309.00071.
    Yarn {
        /// Greater than 0.
        factor: f32,
        /// Positions the model was trained for.
        original_context: u32,
        /// Multiplies the magnitude.
        attention_factor: f32,
        /// Pairs that turn more often than this over the original context are fast.
        beta_fast: f32,
        /// Pairs that turn less often than this are slow.
        beta_slow: f32,
    },
}

impl Rope {
    /// Radians a position for each of the `dims / 2` pairs; `factors` are the values of the tensor of that name.
    ///
    /// Computed in double precision: the result is the nearest `f32`.
    pub fn inverse_frequencies(&self, factors: Option<&[f32]>) -> Vec<f32> {
        let dims = f64::from(self.dims);
        let ramp = self.ramp();
        (0..self.dims / 2)
            .map(|i| {
                let factor = factors.and_then(|f| f.get(i as usize)).map_or(1.0, |&f| f.into());
                let plain = f64::from(self.base).powf(-2.0 * f64::from(i) / dims) / factor;
                let stretched = match self.scaling {
                    RopeScaling::None => plain,
                    RopeScaling::Linear { factor } => plain / f64::from(factor),
                    RopeScaling::Yarn { factor, .. } => {
                        let slow = ((f64::from(i) - ramp.0) / ramp.1).clamp(0.0, 1.0);
                        plain / f64::from(factor) * slow + plain * (1.0 - slow)
                    }
                };
                stretched as f32
            })
            .collect()
    }

    /// What cosines and sines are multiplied by; 1 except with `YaRN`, which sharpens attention over long contexts.
    pub fn magnitude(&self) -> f32 {
        match self.scaling {
            RopeScaling::Yarn { factor, attention_factor, .. } => attention_factor * (1.0 + 0.1 * factor.max(1.0).ln()),
            _ => 1.0,
        }
    }

    /// `YaRN`'s ramp: the pair where it begins, and its length.
    fn ramp(&self) -> (f64, f64) {
        let RopeScaling::Yarn { original_context, beta_fast, beta_slow, .. } = self.scaling else {
            return (0.0, 1.0);
        };
        let dims = f64::from(self.dims);
        // The pair that turns `turns` times over the original context.
        let pair = |turns: f32| {
            let ratio = f64::from(original_context) / (f64::from(turns) * std::f64::consts::TAU);
            dims * ratio.ln() / (2.0 * f64::from(self.base).ln())
        };
        let first = pair(beta_fast).floor().max(0.0);
        let last = pair(beta_slow).ceil().min(dims - 1.0);
        (first, (last - first).max(0.001))
    }
}
