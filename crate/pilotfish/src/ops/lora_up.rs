//! The second half of an adapter, where the matrix kernel does not add it by itself: on software adapters, whose matrix
//! kernels are unrolled so far that the sum in each output would take seconds to compile.

use bytemuck::{Pod, Zeroable};

use super::linear::Linear;
use super::lora::{Change, Lora};
use crate::gpu::{Binding, Dispatch, Extent, Gpu, GpuError};

/// Invocations of a workgroup.
const SIZE: u32 = 64;

/// What an adapter adds to a linear layer's outputs.
#[derive(Debug, Clone, Copy)]
pub struct Delta<'a> {
    /// The changes of the layer, which may be computed by several matrices.
    pub lora: &'a Lora,
    /// `[tokens, t_stride]` in vectors of four floats, from [`super::lora_down`].
    pub t: &'a wgpu::Buffer,
    /// Vectors from one token's to the next's.
    pub t_stride: u32,
    /// The tokens. The binding's `at` is not looked at.
    pub batch: Binding<'a>,
    /// The output of the layer that the matrix's first row gives.
    pub column: u32,
}

#[repr(C)]
#[derive(Debug, Clone, Copy, Pod, Zeroable)]
struct Params {
    outputs: u32,
    out_stride: u32,
    t_stride: u32,
    column: u32,
    bounds: [u32; 2],
    out_offset: u32,
    pad: u32,
}

/// The dispatch that adds `delta` to what `linear` has stored.
pub(super) fn dispatch(linear: &Linear<'_>, delta: &Delta<'_>, gpu: &Gpu) -> Result<Dispatch, GpuError> {
    let Delta { lora, t, t_stride, batch, column } = *delta;
    let outputs = linear.weight.rows;
    let params = Params {
        outputs,
        out_stride: linear.output_stride,
        t_stride,
        column,
        bounds: lora.shape.bounds(),
        out_offset: linear.output_offset,
        pad: 0,
    };
    let params = gpu.uniform_of("adapter params", &params)?;
    let bindings = [
        Binding::whole(0, &params),
        Binding::whole(1, linear.output),
        Binding { at: 5, ..batch },
        Binding::whole(6, &lora.pool),
        Binding::whole(7, t),
    ];
    let count = [Extent::Fixed(outputs.div_ceil(SIZE)), Extent::Tokens(1), Extent::Fixed(1)];
    Dispatch::new(gpu, "lora_up", &[], &[("SIZE", SIZE)], &bindings, count)
}

/// The twin, for one change and one token: what is added to the outputs of the change's part.
pub fn lora_up(change: &Change<'_>, t: &[f64]) -> Vec<f64> {
    let dot = |row: &[f32]| row.iter().zip(t).map(|(b, t)| f64::from(*b) * t).sum();
    change.b.chunks_exact(change.rank).map(dot).collect()
}

#[cfg(any(test, feature = "grid"))]
pub(super) mod cases {
    use super::super::grid::{Case, Comparison, Numbers, run};
    use super::super::linear::{Activation, Epilogue, Linear, MatvecShape, Tokens};
    use super::super::lora::{Lora, Shape, random};
    use super::super::lora_down::{Down, SEGMENTS, lora_down};
    use super::super::{glu::glu, matrix, stride};
    use super::{Delta, lora_up};
    use crate::gpu::Binding;
    use crate::quant::TensorType;

    /// `(part, rank)` of the changes of each row: several, none, odd ranks, two that add up, parts left out.
    const ROWS: [&[(usize, usize)]; 4] = [&[], &[(0, 8), (1, 8), (2, 8)], &[(2, 3)], &[(0, 5), (0, 16), (1, 1)]];

    /// Every way to multiply and sum, in decoding and prefilling, gated and not, over rows with and without adapters.
    pub(crate) fn cases() -> Vec<Case> {
        let shapes = [MatvecShape::Rows, MatvecShape::Workgroup, MatvecShape::Subgroup];
        let mut cases = Vec::new();
        for shape in shapes {
            for chunk in [None, Some(37)] {
                for epilogue in [Epilogue::Store, Epilogue::Glu(Activation::Silu)] {
                    // Software adapters store gate and up, and gate them after the adapter.
                    if shape != MatvecShape::Rows || epilogue == Epilogue::Store {
                        cases.push(case(shape, chunk, epilogue));
                    }
                }
            }
        }
        cases
    }

    /// `chunk`: so many tokens of a prefill, the rows in turn; otherwise one token of each row.
    fn case(shape: MatvecShape, chunk: Option<usize>, epilogue: Epilogue) -> Case {
        let case = Case::new(format!("lora/{shape}/chunk={chunk:?}/{epilogue:?}"), move |gpu| {
            Box::pin(async move {
                let mut numbers = Numbers::new(5);
                let k = 77usize;
                let parts = if epilogue == Epilogue::Store { [40, 13, 22] } else { [21, 21, 0] };
                let layer = Shape { k: k as u32, parts };
                let rows: Vec<&[(usize, usize)]> =
                    if epilogue == Epilogue::Store { ROWS.to_vec() } else { vec![ROWS[0], &ROWS[1][..2], ROWS[3]] };
                let owned = random::changes(&mut numbers, layer, &rows);
                let changes: Vec<Vec<_>> =
                    owned.iter().map(|row| row.iter().map(random::Owned::change).collect()).collect();
                let lora = Lora::new(gpu, layer, &changes)?;
                let tokens = chunk.unwrap_or(rows.len());
                let row_of = |token: usize| token % rows.len();
                let batch: Vec<u32> = std::iter::once([tokens as u32, 0, 0, 0])
                    .chain((0..tokens).map(|token| [7, row_of(token) as u32, 3, 0]))
                    .flatten()
                    .collect();
                let all = layer.outputs() as usize;
                let (weight, weights) = matrix::random::matrix(gpu, &mut numbers, TensorType::F32, all, k)?;
                let width = stride(k as u32) as usize;
                let input = numbers.rows(tokens, k, width);
                let shares = numbers.floats(rows.len() * SEGMENTS as usize);
                let outputs = if epilogue == Epilogue::Store { all } else { all / 2 };
                let (offset, out_stride) = (3, outputs + 5);
                let mut want = numbers.floats((tokens + 1) * out_stride);
                let t_stride = lora.groups + 1;
                let buffers = (
                    gpu.storage_of("input", &input)?,
                    gpu.storage_of("output", &want)?,
                    gpu.storage_of("shares", &shares)?,
                    gpu.storage_of("t", &vec![0.0f32; tokens * t_stride as usize * 4])?,
                    gpu.storage_of("batch", &batch)?,
                );
                let batch = Binding::whole(0, &buffers.4);
                let down = Down { lora: &lora, input: &buffers.0, shares: &buffers.2, t: &buffers.3, t_stride, batch };
                let linear = Linear {
                    weight: &weight,
                    input: &buffers.0,
                    levels: None,
                    output: &buffers.1,
                    output_stride: out_stride as u32,
                    output_offset: offset as u32,
                    bias: None,
                    delta: Some(Delta { lora: &lora, t: &buffers.3, t_stride, batch, column: 0 }),
                    epilogue,
                    tokens: if chunk.is_some() { Tokens::Chunk(batch) } else { Tokens::Rows(tokens as u32) },
                };
                let mut dispatches = vec![down.dispatch(gpu, shape)?];
                dispatches.extend(linear.dispatches(gpu, shape)?);
                run(gpu, &dispatches, tokens as u32);
                let got = gpu.read::<f32>(&buffers.1, want.len()).await?;
                for (token, want) in want.chunks_exact_mut(out_stride).take(tokens).enumerate() {
                    let x = &input[token * width..][..k];
                    let row = row_of(token);
                    let dot = |w: &[f32]| w.iter().zip(x).map(|(w, x)| f64::from(*w) * f64::from(*x)).sum();
                    let mut sums: Vec<f64> = weights.chunks_exact(k).map(dot).collect();
                    for change in &changes[row] {
                        let share = shares[row * SEGMENTS as usize + change.segment as usize];
                        let begin: u32 = parts[..change.part].iter().sum();
                        let added = lora_up(change, &lora_down(change, share, x));
                        sums[begin as usize..].iter_mut().zip(added).for_each(|(sum, added)| *sum += added);
                    }
                    let products: Vec<f32> = sums.iter().map(|sum| *sum as f32).collect();
                    let one = match epilogue {
                        Epilogue::Store => products,
                        Epilogue::Glu(activation) => glu(&products, activation),
                    };
                    want[offset..offset + outputs].copy_from_slice(&one);
                }
                Ok(Comparison::close(got, want, 4e-6))
            })
        });
        if shape == MatvecShape::Subgroup { case.with_subgroups() } else { case }
    }
}
