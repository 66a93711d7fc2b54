//! Matrix-vector products for decoding: all rows of a batch against one read of the weights.
//!
//! Three shapes of one computation ([`MatvecShape`]): `matvec.wgsl` with two ways to sum over a workgroup, and
//! `matvec_rows.wgsl` without barriers. The twin is [`super::linear::linear`].

use super::linear::{Epilogue, Linear, MatvecShape};
use crate::gpu::{Count, Dispatch, Extent, Gpu, GpuError};

/// Batch rows that one dispatch takes.
pub const MOST_ROWS: u32 = 8;

/// Invocations of a workgroup of `matvec.wgsl`.
const SIZE: u32 = 64;
/// Invocations of a workgroup of `matvec_rows.wgsl`: few, so that small matrices still spread over threads.
const ROWS_SIZE: u32 = 8;

/// The dispatch of a layer over `rows` tokens.
pub(super) fn dispatch(linear: &Linear<'_>, gpu: &Gpu, shape: MatvecShape, rows: u32) -> Result<Dispatch, GpuError> {
    if !(1..=MOST_ROWS).contains(&rows) {
        let message = format!("a matrix-vector product over {rows} rows; 1 to {MOST_ROWS} are possible");
        return Err(GpuError::Invalid { message });
    }
    let (kernel, reduce, pairs, size, per_group) = match shape {
        MatvecShape::Workgroup => ("matvec", Some("tree"), 2, SIZE, 1),
        MatvecShape::Subgroup => ("matvec", Some("subgroup"), 2, SIZE, 1),
        MatvecShape::Rows => ("matvec_rows", None, pairs_for(rows), ROWS_SIZE, ROWS_SIZE),
    };
    let mut slots = vec![("format", linear.weight.ty.name())];
    slots.extend(reduce.map(|reduce| ("reduce", reduce)));
    let mut consts = linear.consts().to_vec();
    consts.extend([("ROWS", rows), ("SIZE", size)]);
    if shape == MatvecShape::Rows {
        consts.push(("PAIRS", pairs));
    }
    let per_pair = if linear.epilogue == Epilogue::Store { 2 } else { 1 };
    let groups = linear.outputs().div_ceil(pairs * per_pair * per_group);
    linear.bound(gpu, |bindings| Dispatch::new(gpu, kernel, &slots, &consts, bindings, folded(groups)))
}

/// Pairs of weight rows an invocation of `matvec_rows.wgsl` has: their products with all tokens should fit the registers.
fn pairs_for(rows: u32) -> u32 {
    match rows {
        1 | 2 => 4,
        3 | 4 => 2,
        _ => 1,
    }
}

/// `groups` workgroups or a few more, in x and y, where a dimension has at most 65,535. The kernels pass over the surplus.
pub(super) fn folded(groups: u32) -> Count {
    let y = groups.div_ceil(65_535).max(1);
    [Extent::Fixed(groups.div_ceil(y)), Extent::Fixed(y), Extent::Fixed(1)]
}

#[cfg(any(test, feature = "grid"))]
pub(super) mod cases {
    use super::super::grid::{Case, Comparison, Numbers, run};
    use super::super::linear::{Activation, Epilogue, Linear, MatvecShape, Tokens, linear};
    use super::super::{matrix::random, stride};
    use crate::quant::TensorType;

    const SHAPES: [MatvecShape; 3] = [MatvecShape::Workgroup, MatvecShape::Subgroup, MatvecShape::Rows];

    /// Every format in every shape; every number of batch rows; sizes beside the tiles' and units'; bias, offset, gated units.
    pub(crate) fn cases() -> Vec<Case> {
        let mut cases = Vec::new();
        for shape in SHAPES {
            for ty in TensorType::ALL {
                let k = random::width(ty, 96);
                cases.push(case(shape, ty, 37, k, 1, false, Epilogue::Store));
                cases.push(case(shape, ty, 5, 3 * k, 3, false, Epilogue::Store));
            }
            for tokens in 1..=8 {
                cases.push(case(shape, TensorType::Q4_1, 67, 576, tokens, tokens % 2 == 0, Epilogue::Store));
                cases.push(case(shape, TensorType::Q8_0, 30, 160, tokens, false, Epilogue::Glu(Activation::Silu)));
            }
            for rows in [1, 2, 3, 4, 7] {
                cases.push(case(shape, TensorType::F32, rows, 13, 2, true, Epilogue::Store));
            }
            for (activation, outputs) in [(Activation::Silu, 1), (Activation::GeluTanh, 21), (Activation::GeluTanh, 64)]
            {
                cases.push(case(shape, TensorType::Q4K, 2 * outputs, 512, 1, outputs > 1, Epilogue::Glu(activation)));
            }
            // More workgroups than a dimension has.
            if shape != MatvecShape::Rows {
                cases.push(case(shape, TensorType::Q4_0, 65_536 * 4 + 5, 32, 1, false, Epilogue::Store));
            }
        }
        cases
    }

    fn case(
        shape: MatvecShape,
        ty: TensorType,
        rows: usize,
        k: usize,
        tokens: usize,
        bias: bool,
        epilogue: Epilogue,
    ) -> Case {
        let name = format!("matvec/{shape}/{ty}/rows={rows}/k={k}/tokens={tokens}/bias={bias}/{epilogue:?}");
        let case = Case::new(name, move |gpu| {
            Box::pin(async move {
                let mut numbers = Numbers::new((rows * k + tokens) as u64);
                let (weight, weights) = random::matrix(gpu, &mut numbers, ty, rows, k)?;
                let width = stride(k as u32) as usize;
                let input = numbers.rows(tokens, k, width);
                let biases = numbers.floats(rows);
                let outputs = if epilogue == Epilogue::Store { rows } else { rows / 2 };
                let (offset, out_stride) = (3, outputs + 5);
                // What lies around the outputs must stay as it is.
                let mut want = numbers.floats(tokens * out_stride);
                let buffers = (
                    gpu.storage_of("input", &input)?,
                    gpu.storage_of("output", &want)?,
                    gpu.storage_of("bias", &biases)?,
                );
                let op = Linear {
                    weight: &weight,
                    input: &buffers.0,
                    output: &buffers.1,
                    output_stride: out_stride as u32,
                    output_offset: offset as u32,
                    bias: bias.then_some(&buffers.2),
                    epilogue,
                    tokens: Tokens::Rows(tokens as u32),
                };
                run(gpu, &op.dispatches(gpu, shape)?, tokens as u32);
                let got = gpu.read::<f32>(&buffers.1, want.len()).await?;
                for (token, want) in want.chunks_exact_mut(out_stride).enumerate() {
                    let input = &input[token * width..token * width + k];
                    let one = linear(&weights, input, bias.then_some(&biases[..]), epilogue);
                    want[offset..offset + outputs].copy_from_slice(&one);
                }
                Ok(Comparison::close(got, want, 2e-6))
            })
        });
        if shape == MatvecShape::Subgroup { case.with_subgroups() } else { case }
    }
}
