//! Weights on the GPU: rows of one format, packed as `quant` packs them.

use crate::gpu::{Gpu, GpuError, Usage};
use crate::quant::{TensorType, row_words, unit_len};

/// `rows` x `k` weights; row `r` begins at word `r * row_words`. A layer computes one output a row.
///
/// A tensor that is larger than a binding is several of these, split by rows.
#[derive(Debug)]
pub struct Matrix {
    /// The format.
    pub ty: TensorType,
    /// Rows: outputs of the layer, or ids of an embedding table.
    pub rows: u32,
    /// Elements in a row: inputs of the layer.
    pub k: u32,
    /// The packed words.
    pub buffer: wgpu::Buffer,
}

impl Matrix {
    /// A matrix of zero words, to be written with [`Gpu::write`]. `label` appears in errors.
    pub fn new(gpu: &Gpu, label: &str, ty: TensorType, rows: u32, k: u32) -> Result<Self, GpuError> {
        let bytes = u64::from(rows) * row_words(ty, k as usize) as u64 * 4;
        Ok(Self { ty, rows, k, buffer: gpu.buffer(label, bytes, Usage::Storage)? })
    }

    /// Words of a packed row.
    pub fn row_words(&self) -> u32 {
        row_words(self.ty, self.k as usize) as u32
    }

    /// Units of a packed row.
    pub(super) fn units(&self) -> u32 {
        self.k.div_ceil(unit_len(self.ty) as u32)
    }

    /// The most rows that one matrix can have on this GPU; even, so that halves of a split stay pairs.
    pub fn most_rows(gpu: &Gpu, ty: TensorType, k: u32) -> u32 {
        let most = gpu.info().max_buffer.min(gpu.info().max_binding);
        let rows = most / (row_words(ty, k as usize) as u64 * 4).max(1);
        (rows.min(u64::from(u32::MAX / 2)) as u32) & !1
    }
}

/// Rows of random weights for tests: every bit pattern of the quants and scales that a file can hold, with the factors of a block
/// near 2^-4, and now and then subnormal in half precision.
#[cfg(any(test, feature = "grid"))]
pub(super) mod random {
    use super::super::grid::Numbers;
    use super::Matrix;
    use crate::gpu::{Gpu, GpuError};
    use crate::quant::{TensorType, dequantize_packed, row_words, unit_words};

    pub(crate) fn words(numbers: &mut Numbers, ty: TensorType, rows: usize, k: usize) -> Vec<u32> {
        let per_unit = unit_words(ty);
        let mut words: Vec<u32> = (0..rows * row_words(ty, k)).map(|_| numbers.bits() as u32).collect();
        for unit in words.chunks_exact_mut(per_unit) {
            let mut half = || match numbers.bits() % 8 {
                0 => (numbers.bits() & 0x83ff) as u32,
                _ => u32::from(half::f16::from_f32(numbers.float() / 16.0).to_bits()),
            };
            match ty {
                TensorType::F32 => unit.iter_mut().for_each(|word| *word = numbers.float().to_bits()),
                TensorType::F16 => unit.iter_mut().for_each(|word| *word = half() | half() << 16),
                TensorType::BF16 => unit.iter_mut().for_each(|word| {
                    *word = (numbers.float().to_bits() >> 16) | (numbers.float().to_bits() & 0xffff_0000);
                }),
                TensorType::Q3K | TensorType::Q6K => unit[0] = half(),
                _ => unit[0] = half() | half() << 16,
            }
            if matches!(ty, TensorType::Q4K | TensorType::Q5K) {
                unit[1..5].iter_mut().for_each(|word| *word &= 0x3f3f_3f3f);
            }
        }
        words
    }

    /// Such a matrix, and its weights as floats.
    pub(crate) fn matrix(
        gpu: &Gpu,
        numbers: &mut Numbers,
        ty: TensorType,
        rows: usize,
        k: usize,
    ) -> Result<(Matrix, Vec<f32>), GpuError> {
        let words = words(numbers, ty, rows, k);
        let mut weights = vec![0.0; rows * k];
        dequantize_packed(ty, k, &words, &mut weights)
            .map_err(|error| GpuError::Invalid { message: error.to_string() })?;
        let matrix = Matrix::new(gpu, "weights", ty, rows as u32, k as u32)?;
        gpu.write(&matrix.buffer, 0, &words);
        Ok((matrix, weights))
    }

    /// A width near `near` that a row of this format can have.
    pub(crate) fn width(ty: TensorType, near: usize) -> usize {
        near.next_multiple_of(ty.block_len())
    }
}
