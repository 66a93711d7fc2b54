//! AdamW (arXiv 1711.05101), a cosine schedule with warm-up, and clipping by the global norm.

use serde::{Deserialize, Serialize};

use crate::error::{Result, TrainError};

/// Settings of the optimiser; the defaults but for the rate are PyTorch's.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct OptimizerOptions {
    /// The highest learning rate.
    pub learning_rate: f64,
    /// Share of the steps over which the rate rises from 0.
    pub warmup: f64,
    /// The rate at the end, as a share of the highest.
    pub floor: f64,
    /// Decay of the first moment.
    pub beta1: f64,
    /// Decay of the second moment.
    pub beta2: f64,
    /// Added to the root of the second moment.
    pub eps: f64,
    /// Decoupled weight decay.
    pub weight_decay: f64,
    /// Gradients whose norm is above this are scaled down to it; 0 leaves them.
    pub clip: f64,
}

impl Default for OptimizerOptions {
    /// 2e-3 suits rank 8 and batches of 4 to 16 pairs; 5e-4 barely moves a run of 50 steps (measured on SmolLM2).
    fn default() -> Self {
        Self {
            learning_rate: 2e-3,
            warmup: 0.1,
            floor: 0.0,
            beta1: 0.9,
            beta2: 0.999,
            eps: 1e-8,
            weight_decay: 0.0,
            clip: 1.0,
        }
    }
}

impl OptimizerOptions {
    /// Refuses what cannot be used.
    pub fn check(&self) -> Result<()> {
        let shares = [("warmup", self.warmup), ("floor", self.floor), ("beta1", self.beta1), ("beta2", self.beta2)];
        let bad_share = shares.into_iter().find(|(_, value)| !(0.0..=1.0).contains(value));
        let others = [
            ("learning rate", self.learning_rate),
            ("eps", self.eps),
            ("weight decay", self.weight_decay),
            ("clip", self.clip),
        ];
        let bad = others.into_iter().find(|(_, value)| !(value.is_finite() && *value >= 0.0));
        let (name, value, expected) = match (bad_share, bad) {
            (Some((name, value)), _) => (name, value, "0 to 1"),
            (_, Some((name, value))) => (name, value, "a number, 0 or above"),
            _ => return Ok(()),
        };
        Err(TrainError::Options { message: format!("{name} is {value}, expected {expected}") })
    }

    /// The learning rate of step `step` (from 0) of `total`.
    pub fn rate(&self, step: usize, total: usize) -> f64 {
        let warm = (self.warmup * total as f64).round();
        let at = step as f64 + 1.0;
        if at <= warm {
            return self.learning_rate * at / warm;
        }
        let done = ((at - 1.0 - warm) / (total as f64 - warm).max(1.0)).clamp(0.0, 1.0);
        let cosine = 0.5 * (1.0 + (std::f64::consts::PI * done).cos());
        self.learning_rate * (self.floor + (1.0 - self.floor) * cosine)
    }
}

/// The optimiser's memory: the moments of every trained number.
#[derive(Debug, Clone, PartialEq)]
pub struct AdamW {
    /// Steps taken.
    pub steps: u64,
    /// First moments, one list a slice.
    pub first: Vec<Vec<f32>>,
    /// Second moments.
    pub second: Vec<Vec<f32>>,
}

impl AdamW {
    /// For slices of these lengths.
    pub fn new(lengths: impl Iterator<Item = usize>) -> Self {
        let first: Vec<Vec<f32>> = lengths.map(|length| vec![0.0; length]).collect();
        Self { steps: 0, second: first.clone(), first }
    }

    /// Takes a step at `rate`, as `torch.optim.AdamW` does.
    pub fn step<'p>(
        &mut self,
        parameters: impl Iterator<Item = &'p mut [f32]>,
        gradients: &[Vec<f32>],
        rate: f64,
        options: &OptimizerOptions,
    ) {
        self.steps += 1;
        let corrections = [options.beta1, options.beta2].map(|beta| 1.0 - beta.powf(self.steps as f64));
        let decay = (1.0 - rate * options.weight_decay) as f32;
        let (beta1, beta2) = (options.beta1 as f32, options.beta2 as f32);
        let (size, root, eps) = ((rate / corrections[0]) as f32, corrections[1].sqrt() as f32, options.eps as f32);
        let moments = self.first.iter_mut().zip(&mut self.second);
        for ((parameters, gradients), (first, second)) in parameters.zip(gradients).zip(moments) {
            let values = parameters.iter_mut().zip(gradients).zip(first.iter_mut().zip(second));
            for ((parameter, gradient), (first, second)) in values {
                *first = beta1 * *first + (1.0 - beta1) * gradient;
                *second = beta2 * *second + (1.0 - beta2) * gradient * gradient;
                *parameter = *parameter * decay - size * *first / (second.sqrt() / root + eps);
            }
        }
    }
}

/// Scales `gradients` down to a global norm of `most`, if that is above 0; the norm before.
pub fn clip(gradients: &mut [Vec<f32>], most: f64) -> f64 {
    let squares = |values: &Vec<f32>| values.iter().map(|value| f64::from(*value) * f64::from(*value)).sum::<f64>();
    let norm = gradients.iter().map(squares).sum::<f64>().sqrt();
    if most > 0.0 && norm > most && norm.is_finite() {
        let scale = (most / (norm + 1e-6)) as f32;
        gradients.iter_mut().flatten().for_each(|value| *value *= scale);
    }
    norm
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rate_rises_and_falls() {
        let options = OptimizerOptions { learning_rate: 1.0, warmup: 0.2, floor: 0.1, ..OptimizerOptions::default() };
        let rates: Vec<f64> = (0..10).map(|step| options.rate(step, 10)).collect();
        assert_eq!(rates[..3], [0.5, 1.0, 1.0]);
        assert!(rates.windows(2).skip(2).all(|two| two[1] < two[0]));
        assert!(rates[9] > 0.1 && rates[9] < 0.15, "{}", rates[9]);
    }

    #[test]
    fn a_step_is_that_of_the_definition() {
        // By hand: the first step of Adam moves every number by the rate, against its gradient's sign.
        let options = OptimizerOptions { weight_decay: 0.1, ..OptimizerOptions::default() };
        let mut values = [1.0f32, -2.0];
        let mut adam = AdamW::new([2].into_iter());
        adam.step(std::iter::once(&mut values[..]), &[vec![0.5, -3.0]], 0.01, &options);
        assert!((values[0] - (1.0 * 0.999 - 0.01)).abs() < 1e-6 && (values[1] - (-2.0 * 0.999 + 0.01)).abs() < 1e-6);
    }

    #[test]
    fn long_gradients_are_shortened_and_short_ones_left() {
        let mut gradients = vec![vec![3.0f32], vec![4.0]];
        assert_eq!(clip(&mut gradients, 10.0), 5.0);
        assert_eq!(gradients, [[3.0], [4.0]]);
        assert_eq!(clip(&mut gradients, 1.0), 5.0);
        assert!((gradients[0][0] - 0.6).abs() < 1e-5 && (gradients[1][0] - 0.8).abs() < 1e-5);
    }
}
