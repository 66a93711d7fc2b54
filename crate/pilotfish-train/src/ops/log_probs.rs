//! The output layer and the log-probabilities of given tokens, without ever holding all logits.

use std::sync::{Arc, Mutex, PoisonError};

use candle_core::{CpuStorage, CustomOp1, Layout, Result, Shape, Tensor, bail};

use super::matmul::{Mat, matmul, product};
use super::{Matrix, shaped, values, view};

/// Logits held at a time.
const MOST_LOGITS: usize = 16 << 20;

/// `y[i] = log softmax(cap(x[i] Wᵀ))[targets[i]]`, `x [tokens, hidden]`.
///
/// Each `y[i]` depends on `x[i]` alone, so its gradient by `x[i]` is made while the logits are at hand (two products, no third
/// later) and kept: `W[target] - softmax · W`.
#[derive(Debug)]
pub(crate) struct LogProbs {
    weight: Matrix,
    soft_cap: Option<f32>,
    targets: Arc<Vec<u32>>,
    /// `[tokens, hidden]`, where gradients are wanted.
    gradient: Option<Mutex<Vec<f32>>>,
}

impl LogProbs {
    /// `weight` is `[vocabulary, hidden]`; without `differentiate` half of the work is left out.
    pub(crate) fn new(weight: Matrix, soft_cap: Option<f32>, targets: Arc<Vec<u32>>, differentiate: bool) -> Self {
        Self { weight, soft_cap, targets, gradient: differentiate.then(Mutex::default) }
    }

    /// The log-probabilities of `x`'s targets; into `gradients` what each changes by with `x`.
    fn chunk(&self, x: &[f32], targets: &[u32], gradients: Option<&mut Vec<f32>>) -> Vec<f32> {
        let (vocab, hidden) = (self.weight.outputs, self.weight.inputs);
        let weight = Mat::dense(&self.weight.values, vocab, hidden);
        let mut logits = product(Mat::dense(x, targets.len(), hidden), weight.transposed());
        let mut log_probs = Vec::with_capacity(targets.len());
        for (logits, target) in logits.chunks_exact_mut(vocab).zip(targets) {
            if let Some(cap) = self.soft_cap {
                for logit in logits.iter_mut() {
                    *logit = cap * (*logit / cap).tanh();
                }
            }
            let at_target = logits[*target as usize];
            let largest = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
            let mut total = 0.0f64;
            // From here on the row holds minus its derivative by the logits, but for the target's 1.
            let cap = self.soft_cap;
            for block in logits.chunks_mut(1024) {
                let mut sum = 0.0f32;
                for logit in block {
                    let slope = cap.map_or(1.0, |cap| 1.0 - (*logit / cap) * (*logit / cap));
                    let exp = (*logit - largest).exp();
                    sum += exp;
                    *logit = exp * slope;
                }
                total += f64::from(sum);
            }
            log_probs.push((f64::from(at_target - largest) - total.ln()) as f32);
            if gradients.is_some() {
                let share = -(1.0 / total) as f32;
                for logit in logits.iter_mut() {
                    *logit *= share;
                }
                logits[*target as usize] += cap.map_or(1.0, |cap| 1.0 - (at_target / cap) * (at_target / cap));
            }
        }
        if let Some(gradients) = gradients {
            let at = gradients.len();
            gradients.resize(at + x.len(), 0.0);
            matmul(&mut gradients[at..], hidden, 0.0, 1.0, Mat::dense(&logits, targets.len(), vocab), weight);
        }
        log_probs
    }
}

impl CustomOp1 for LogProbs {
    fn name(&self) -> &'static str {
        "log-probabilities"
    }

    fn cpu_fwd(&self, x: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        let x = values(x, layout)?;
        let rows = (MOST_LOGITS / self.weight.outputs).max(1);
        let mut log_probs = Vec::with_capacity(self.targets.len());
        let mut gradients = self.gradient.as_ref().map(|_| Vec::with_capacity(x.len()));
        for (x, targets) in x.chunks(rows * self.weight.inputs).zip(self.targets.chunks(rows)) {
            log_probs.extend(self.chunk(x, targets, gradients.as_mut()));
        }
        if let (Some(kept), Some(gradients)) = (&self.gradient, gradients) {
            *kept.lock().unwrap_or_else(PoisonError::into_inner) = gradients;
        }
        let count = log_probs.len();
        Ok((CpuStorage::F32(log_probs), count.into()))
    }

    fn bwd(&self, x: &Tensor, _y: &Tensor, grad: &Tensor) -> Result<Option<Tensor>> {
        let Some(gradient) = &self.gradient else {
            bail!("these log-probabilities were not made to be differentiated")
        };
        let mut grad_x = std::mem::take(&mut *gradient.lock().unwrap_or_else(PoisonError::into_inner));
        let grad = grad.contiguous()?;
        let grad = view(&grad)?;
        for (row, grad) in grad_x.chunks_exact_mut(self.weight.inputs).zip(grad.values()?) {
            for value in row {
                *value *= grad;
            }
        }
        shaped(grad_x, x).map(Some)
    }
}
