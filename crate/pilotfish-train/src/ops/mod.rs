//! What a frozen model computes, each operation with its own backward pass, on candle's tape.
//!
//! candle differentiates a matrix product by both sides. Here one side is a frozen weight, whose gradient would cost as much as
//! all the rest and be thrown away; and attention, norms and the output layer are each one node in place of a dozen.

mod attention;
mod glu;
mod linear;
mod log_probs;
mod matmul;
mod norm;
mod rope;

use std::ops::{Deref, Range};

use candle_core::{CpuStorage, Device, Layout, Result, Storage, Tensor, bail};

pub(crate) use attention::{Attention, Span};
pub(crate) use glu::Glu;
pub(crate) use linear::{Adapted, Linear, Matrix};
pub(crate) use log_probs::LogProbs;
pub(crate) use norm::RmsNorm;
pub(crate) use rope::Rotate;

/// The values of a contiguous argument of a forward pass.
fn values<'a>(storage: &'a CpuStorage, layout: &Layout) -> Result<&'a [f32]> {
    let Some((from, to)) = layout.contiguous_offsets() else { bail!("a contiguous tensor is needed") };
    Ok(&storage.as_slice::<f32>()?[from..to])
}

/// The values of a tensor, borrowed.
struct View<G> {
    storage: G,
    range: Range<usize>,
}

/// Borrows the values of a contiguous tensor.
fn view(tensor: &Tensor) -> Result<View<impl Deref<Target = Storage>>> {
    let (storage, layout) = tensor.storage_and_layout();
    let Some((from, to)) = layout.contiguous_offsets() else { bail!("a contiguous tensor is needed") };
    Ok(View { storage, range: from..to })
}

impl<G: Deref<Target = Storage>> View<G> {
    fn values(&self) -> Result<&[f32]> {
        match &*self.storage {
            Storage::Cpu(storage) => Ok(&storage.as_slice::<f32>()?[self.range.clone()]),
            _ => bail!("a tensor in main memory is needed"),
        }
    }
}

/// A tensor shaped as `like`.
fn shaped(values: Vec<f32>, like: &Tensor) -> Result<Tensor> {
    Tensor::from_vec(values, like.shape(), &Device::Cpu)
}
