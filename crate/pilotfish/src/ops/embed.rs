//! Token embeddings: rows of a table, decoded where the batch's ids point.

use bytemuck::{Pod, Zeroable};

use super::matrix::Matrix;
use super::stride;
use crate::gpu::{Binding, Dispatch, Extent, Gpu, GpuError};

/// Invocations of a workgroup; each decodes eight elements.
const SIZE: u32 = 64;

/// The kernel's uniform.
#[repr(C)]
#[derive(Debug, Clone, Copy, Pod, Zeroable)]
struct Params {
    k: u32,
    units: u32,
    stride: u32,
    first_row: u32,
    table_rows: u32,
    scale: f32,
    pad: [u32; 2],
}

/// `x[t] = table[id of token t] * scale` for every token of the batch whose id lies in the segment. A table in several
/// segments takes one of these for each.
#[derive(Debug, Clone, Copy)]
pub struct Embed<'a> {
    /// A segment of the table, `[rows, k]`.
    pub table: &'a Matrix,
    /// The id of its first row.
    pub first_row: u32,
    /// Multiplied in: 1, or gemma's square root of `k`.
    pub scale: f32,
    /// The batch: header, then a token each.
    pub batch: Binding<'a>,
    /// `[tokens, stride(k)]`; what lies beyond `k` is left alone.
    pub x: &'a wgpu::Buffer,
}

impl Embed<'_> {
    /// The dispatch over all tokens of a batch. [`Embed::batch`]'s binding number is set here.
    pub fn dispatch(&self, gpu: &Gpu) -> Result<Dispatch, GpuError> {
        let params = Params {
            k: self.table.k,
            units: self.table.units(),
            stride: stride(self.table.k),
            first_row: self.first_row,
            table_rows: self.table.rows,
            scale: self.scale,
            pad: [0; 2],
        };
        let params = gpu.uniform_of("embed params", &params)?;
        let bindings = [
            Binding::whole(0, &params),
            Binding::whole(1, &self.table.buffer),
            Binding { at: 2, ..self.batch },
            Binding::whole(3, self.x),
        ];
        let count = [Extent::Fixed(self.table.k.div_ceil(8 * SIZE)), Extent::Tokens(1), Extent::Fixed(1)];
        Dispatch::new(gpu, "embed", &[("format", self.table.ty.name())], &[("SIZE", SIZE)], &bindings, count)
    }
}

/// The twin, for one token: `row` is its decoded row of the table.
pub fn embed(row: &[f32], scale: f32, x: &mut [f32]) {
    for (x, weight) in x.iter_mut().zip(row) {
        *x = weight * scale;
    }
}

#[cfg(any(test, feature = "grid"))]
pub(super) mod cases {
    use super::super::grid::{Case, Comparison, Numbers, run};
    use super::super::matrix::random;
    use super::{Embed, embed, stride};
    use crate::gpu::Binding;
    use crate::quant::TensorType;

    /// Every format, in two segments, with ids of either; exact.
    pub(crate) fn cases() -> Vec<Case> {
        let cases = TensorType::ALL.into_iter().flat_map(|ty| {
            [(random::width(ty, 13), 1.0f32), (random::width(ty, 576), 24.0f32), (random::width(ty, 1100), 0.1)]
                .map(|(k, scale)| case(ty, k, scale))
        });
        cases.collect()
    }

    fn case(ty: TensorType, k: usize, scale: f32) -> Case {
        Case::new(format!("embed/{ty}/k={k}/scale={scale}"), move |gpu| {
            Box::pin(async move {
                let mut numbers = Numbers::new(k as u64);
                let (rows, ids) = ([7, 4], [10u32, 0, 6, 7, 3]);
                let (first, mut weights) = random::matrix(gpu, &mut numbers, ty, rows[0], k)?;
                let (second, more) = random::matrix(gpu, &mut numbers, ty, rows[1], k)?;
                weights.extend(more);
                let mut batch = vec![[ids.len() as u32, 0, 0, 0]];
                batch.extend(ids.map(|id| [id, 0, 0, 0]));
                // A token beyond those the header counts is not written.
                batch.push([1, 0, 0, 0]);
                let width = stride(k as u32) as usize;
                let mut want = numbers.floats(batch.len() * width);
                let x = gpu.storage_of("x", &want)?;
                let batch = gpu.storage_of("batch", &batch)?;
                let segment =
                    |table, first_row| Embed { table, first_row, scale, batch: Binding::whole(0, &batch), x: &x };
                let dispatches = [segment(&first, 0).dispatch(gpu)?, segment(&second, 7).dispatch(gpu)?];
                run(gpu, &dispatches, ids.len() as u32 + 1);
                let got = gpu.read::<f32>(&x, want.len()).await?;
                for (x, id) in want.chunks_exact_mut(width).zip(ids) {
                    embed(&weights[id as usize * k..][..k], scale, x);
                }
                Ok(Comparison::exact(got, want))
            })
        })
    }
}
