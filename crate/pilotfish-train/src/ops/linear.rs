//! Frozen matrices, and frozen matrices with a low-rank change that is trained.

use std::sync::Arc;

use candle_core::{CpuStorage, CustomOp1, CustomOp3, Layout, Result, Shape, Tensor};

use super::matmul::{Mat, matmul, product};
use super::{shaped, values, view};

/// A frozen matrix `[outputs, inputs]`, row by row.
#[derive(Debug, Clone)]
pub(crate) struct Matrix {
    /// Its rows.
    pub(crate) outputs: usize,
    /// Its columns.
    pub(crate) inputs: usize,
    /// Its elements.
    pub(crate) values: Arc<Vec<f32>>,
}

impl Matrix {
    fn mat(&self) -> Mat<'_> {
        Mat::dense(&self.values, self.outputs, self.inputs)
    }
}

/// `y = x Wᵀ + bias`, `x [tokens, inputs]`.
#[derive(Debug, Clone)]
pub(crate) struct Linear {
    /// `W`.
    pub(crate) weight: Matrix,
    /// `[outputs]`
    pub(crate) bias: Option<Arc<Vec<f32>>>,
}

impl Linear {
    fn forward(&self, x: &[f32]) -> Vec<f32> {
        let (inputs, outputs) = (self.weight.inputs, self.weight.outputs);
        let mut y = product(Mat::dense(x, x.len() / inputs, inputs), self.weight.mat().transposed());
        if let Some(bias) = &self.bias {
            for row in y.chunks_exact_mut(outputs) {
                row.iter_mut().zip(bias.iter()).for_each(|(y, bias)| *y += bias);
            }
        }
        y
    }

    /// The gradient of `x`.
    fn backward(&self, grad: &[f32]) -> Vec<f32> {
        let outputs = self.weight.outputs;
        product(Mat::dense(grad, grad.len() / outputs, outputs), self.weight.mat())
    }
}

impl CustomOp1 for Linear {
    fn name(&self) -> &'static str {
        "linear"
    }

    fn cpu_fwd(&self, x: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        let y = self.forward(values(x, layout)?);
        let tokens = y.len() / self.weight.outputs;
        Ok((CpuStorage::F32(y), (tokens, self.weight.outputs).into()))
    }

    fn bwd(&self, x: &Tensor, _y: &Tensor, grad: &Tensor) -> Result<Option<Tensor>> {
        let grad = grad.contiguous()?;
        let grad = view(&grad)?;
        shaped(self.backward(grad.values()?), x).map(Some)
    }
}

/// `y = x Wᵀ + bias + scale ((x ∘ kept) Aᵀ) Bᵀ`: LoRA (arXiv 2106.09685), with its dropout on what goes into A.
///
/// Arguments: `x [tokens, inputs]`, `A [rank, inputs]`, `B [outputs, rank]`.
#[derive(Debug, Clone)]
pub(crate) struct Adapted {
    /// The frozen part.
    pub(crate) linear: Linear,
    /// Alpha over rank.
    pub(crate) scale: f32,
    /// `[tokens, inputs]`: 0 where an input is dropped, `1 / (1 - dropout)` elsewhere. Without dropout, nothing.
    pub(crate) kept: Option<Vec<f32>>,
}

impl Adapted {
    fn dropped<'a>(&self, x: &'a [f32]) -> std::borrow::Cow<'a, [f32]> {
        match &self.kept {
            None => x.into(),
            Some(kept) => x.iter().zip(kept).map(|(x, kept)| x * kept).collect::<Vec<_>>().into(),
        }
    }
}

impl CustomOp3 for Adapted {
    fn name(&self) -> &'static str {
        "adapted linear"
    }

    fn cpu_fwd(
        &self,
        x: &CpuStorage,
        x_layout: &Layout,
        a: &CpuStorage,
        a_layout: &Layout,
        b: &CpuStorage,
        b_layout: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        let (x, a, b) = (values(x, x_layout)?, values(a, a_layout)?, values(b, b_layout)?);
        let (inputs, outputs) = (self.linear.weight.inputs, self.linear.weight.outputs);
        let (tokens, rank) = (x.len() / inputs, a.len() / inputs);
        let mut y = self.linear.forward(x);
        let low = product(Mat::dense(&self.dropped(x), tokens, inputs), Mat::dense(a, rank, inputs).transposed());
        let (low, b) = (Mat::dense(&low, tokens, rank), Mat::dense(b, outputs, rank));
        matmul(&mut y, outputs, 1.0, self.scale, low, b.transposed());
        Ok((CpuStorage::F32(y), (tokens, outputs).into()))
    }

    fn bwd(
        &self,
        x: &Tensor,
        a: &Tensor,
        b: &Tensor,
        _y: &Tensor,
        grad: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>, Option<Tensor>)> {
        let grad = grad.contiguous()?;
        let views = (view(x)?, view(a)?, view(b)?, view(&grad)?);
        let (x_values, a_values, b_values, grad) =
            (views.0.values()?, views.1.values()?, views.2.values()?, views.3.values()?);
        let (inputs, outputs) = (self.linear.weight.inputs, self.linear.weight.outputs);
        let (tokens, rank) = (x_values.len() / inputs, a_values.len() / inputs);
        let mut grad_x = self.linear.backward(grad);
        let dropped = self.dropped(x_values);
        let (x_mat, a_mat, b_mat) = (
            Mat::dense(&dropped, tokens, inputs),
            Mat::dense(a_values, rank, inputs),
            Mat::dense(b_values, outputs, rank),
        );
        let grad_mat = Mat::dense(grad, tokens, outputs);
        let low = product(x_mat, a_mat.transposed());
        let mut grad_b = vec![0.0; outputs * rank];
        matmul(&mut grad_b, rank, 0.0, self.scale, grad_mat.transposed(), Mat::dense(&low, tokens, rank));
        let mut grad_low = vec![0.0; tokens * rank];
        matmul(&mut grad_low, rank, 0.0, self.scale, grad_mat, b_mat);
        let grad_low = Mat::dense(&grad_low, tokens, rank);
        let grad_a = product(grad_low.transposed(), x_mat);
        match &self.kept {
            None => matmul(&mut grad_x, inputs, 1.0, 1.0, grad_low, a_mat),
            Some(kept) => {
                let through = product(grad_low, a_mat);
                for ((grad, through), kept) in grad_x.iter_mut().zip(through).zip(kept) {
                    *grad += through * kept;
                }
            }
        }
        Ok((Some(shaped(grad_x, x)?), Some(shaped(grad_a, a)?), Some(shaped(grad_b, b)?)))
    }
}
