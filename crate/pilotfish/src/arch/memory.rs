//! What a model will take on the GPU, before anything is allocated.

use serde::Serialize;

use super::ModelSpec;
use crate::gguf::TensorInfo;
use crate::quant::{unit_len, unit_words};

/// Bytes a model takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Memory {
    /// Packed weights: matrices in their format, vectors as F32.
    pub weight_bytes: u64,
    /// Keys and values of all layers for one position of one row, as F16.
    pub kv_bytes_per_position: u64,
}

impl ModelSpec {
    /// What the model takes on the GPU.
    pub fn memory(&self) -> Memory {
        let per_layer = 2 * 2 * u64::from(self.n_kv_heads) * u64::from(self.head_dim);
        Memory {
            weight_bytes: sum(self.tensors.iter().map(packed_bytes)),
            kv_bytes_per_position: per_layer * self.layers.len() as u64,
        }
    }
}

/// Sums that stop at the top: a file whose length nobody knows may claim anything.
fn sum(terms: impl Iterator<Item = u64>) -> u64 {
    terms.fold(0, u64::saturating_add)
}

fn packed_bytes(tensor: &TensorInfo) -> u64 {
    if tensor.shape.len() == 1 {
        return tensor.row_len().saturating_mul(4);
    }
    let units = tensor.row_len().div_ceil(unit_len(tensor.ty) as u64);
    let row_bytes = units.saturating_mul(unit_words(tensor.ty) as u64 * 4);
    row_bytes.saturating_mul(tensor.rows())
}
