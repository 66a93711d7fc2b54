//! RMS norm over rows.

use std::sync::Arc;

use candle_core::{CpuStorage, CustomOp1, Layout, Result, Shape, Tensor};

use super::{shaped, values, view};

/// `y = x / sqrt(mean(x²) + eps) * gain`, over every `gain.len()` values: a token's, or a head's.
#[derive(Debug, Clone)]
pub(crate) struct RmsNorm {
    /// What the normed values are multiplied with.
    pub(crate) gain: Arc<Vec<f32>>,
    /// Added to the mean square.
    pub(crate) eps: f32,
}

impl RmsNorm {
    fn factor(&self, x: &[f32]) -> f32 {
        let squares: f32 = x.iter().map(|x| x * x).sum();
        (squares / x.len() as f32 + self.eps).sqrt().recip()
    }
}

impl CustomOp1 for RmsNorm {
    fn name(&self) -> &'static str {
        "rms norm"
    }

    fn cpu_fwd(&self, x: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        let x = values(x, layout)?;
        let mut y = Vec::with_capacity(x.len());
        for x in x.chunks_exact(self.gain.len()) {
            let factor = self.factor(x);
            y.extend(x.iter().zip(self.gain.iter()).map(|(x, gain)| x * factor * gain));
        }
        Ok((CpuStorage::F32(y), layout.shape().clone()))
    }

    fn bwd(&self, x: &Tensor, _y: &Tensor, grad: &Tensor) -> Result<Option<Tensor>> {
        let grad = grad.contiguous()?;
        let views = (view(x)?, view(&grad)?);
        let (x_values, grad) = (views.0.values()?, views.1.values()?);
        let n = self.gain.len();
        let mut grad_x = Vec::with_capacity(x_values.len());
        for (x, grad) in x_values.chunks_exact(n).zip(grad.chunks_exact(n)) {
            let factor = self.factor(x);
            let dot: f32 = x.iter().zip(grad).zip(self.gain.iter()).map(|((x, grad), gain)| x * grad * gain).sum();
            let pull = dot * factor * factor * factor / n as f32;
            let terms = x.iter().zip(grad).zip(self.gain.iter());
            grad_x.extend(terms.map(|((x, grad), gain)| grad * gain * factor - x * pull));
        }
        shaped(grad_x, x).map(Some)
    }
}
