//! Rotary positions: a rotation, whose backward pass turns the other way.

use std::sync::Arc;

use candle_core::{CpuStorage, CustomOp1, Layout, Result, Shape, Tensor};
use pilotfish::arch::RopeStyle;

use super::{shaped, values, view};

/// Turns the first `2 * pairs` values of each head of `x [tokens, heads * head_dim]`.
#[derive(Debug, Clone)]
pub(crate) struct Rotate {
    /// Cosine and sine of `[tokens, pairs]`, times the rope's magnitude.
    pub(crate) turns: Arc<Vec<(f32, f32)>>,
    /// Pairs of a head that turn.
    pub(crate) pairs: usize,
    /// Values of a head.
    pub(crate) head_dim: usize,
    /// Which values are pairs.
    pub(crate) style: RopeStyle,
}

impl Rotate {
    /// Turns forwards (`sign` 1) or back (-1).
    fn turn(&self, values: &mut [f32], sign: f32) {
        let tokens = self.turns.len() / self.pairs.max(1);
        let width = values.len() / tokens.max(1);
        for (token, turns) in values.chunks_exact_mut(width).zip(self.turns.chunks_exact(self.pairs)) {
            for head in token.chunks_exact_mut(self.head_dim) {
                for (pair, (cos, sin)) in turns.iter().enumerate() {
                    let (i, j) = match self.style {
                        RopeStyle::Interleaved => (2 * pair, 2 * pair + 1),
                        RopeStyle::HalfSplit => (pair, pair + self.pairs),
                    };
                    let (x, y, sin) = (head[i], head[j], sin * sign);
                    head[i] = x * cos - y * sin;
                    head[j] = x * sin + y * cos;
                }
            }
        }
    }
}

impl CustomOp1 for Rotate {
    fn name(&self) -> &'static str {
        "rope"
    }

    fn cpu_fwd(&self, x: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        let mut y = values(x, layout)?.to_vec();
        self.turn(&mut y, 1.0);
        Ok((CpuStorage::F32(y), layout.shape().clone()))
    }

    fn bwd(&self, x: &Tensor, _y: &Tensor, grad: &Tensor) -> Result<Option<Tensor>> {
        let grad = grad.contiguous()?;
        let mut grad_x = view(&grad)?.values()?.to_vec();
        self.turn(&mut grad_x, -1.0);
        shaped(grad_x, x).map(Some)
    }
}
