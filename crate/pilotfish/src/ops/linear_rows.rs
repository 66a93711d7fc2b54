//! Linear layers for software adapters, in decoding and prefilling: an invocation computes several weight rows for several tokens
//! by itself. The twin is [`super::linear::linear`].

use super::linear::{Linear, Tokens};
use crate::gpu::{Dispatch, Gpu, GpuError};
use crate::quant::TensorType;

/// Invocations of a workgroup: few, so that small matrices still spread over threads.
const SIZE: u32 = 8;

/// The dispatch of a layer, over `levels` where there are any.
pub(super) fn dispatch(linear: &Linear<'_>, levels: Option<&wgpu::Buffer>, gpu: &Gpu) -> Result<Dispatch, GpuError> {
    // Larger tiles are quicker and longer to compile: docs/measurements/2026-11-29-software-adapters.md.
    let (tokens, pairs) = match linear.tokens {
        Tokens::Rows(rows @ 5..) => (rows.div_ceil(2).min(4), 4),
        Tokens::Rows(rows @ 2..) => (rows, 4),
        Tokens::Rows(_) => (1, 8),
        Tokens::Chunk(_) => (4, 8),
    };
    let (parts, octets) = sub_blocks(linear.weight.ty);
    let consts = [("ROWS", tokens), ("PAIRS", pairs), ("SIZE", SIZE), ("PARTS", parts), ("OCTETS", octets)];
    let groups = linear.blocks(pairs).div_ceil(SIZE);
    let input = if levels.is_some() { "levels" } else { "floats" };
    let z = linear.token_blocks(tokens);
    linear.dispatch(gpu, "linear_rows", Some(("input", input)), levels, &consts, groups, z)
}

/// Sub-blocks of the columns that the kernel takes at a time, and octets of each, as in the formats' shaders.
fn sub_blocks(ty: TensorType) -> (u32, u32) {
    match ty {
        TensorType::F32 | TensorType::F16 | TensorType::BF16 => (1, 1),
        TensorType::Q2K | TensorType::Q3K | TensorType::Q6K => (2, 2),
        _ => (1, 4),
    }
}

#[cfg(any(test, feature = "grid"))]
pub(super) mod cases {
    use super::super::grid::Case;
    use super::super::linear::cases::{Over, Point};
    use super::super::linear::{Activation, Epilogue, MatvecShape};
    use super::super::matrix::random;
    use crate::quant::TensorType;

    /// Both kinds of input: every format; every number of batch rows; chunks; sizes beside the tiles' and units'; bias, gated
    /// units; outputs.
    pub(crate) fn cases() -> Vec<Case> {
        [MatvecShape::Rows, MatvecShape::Packed].into_iter().flat_map(of).collect()
    }

    fn of(shape: MatvecShape) -> Vec<Case> {
        let point = |ty, rows, k, tokens| Point::new(shape, ty, rows, k, tokens);
        let mut cases = Vec::new();
        for ty in TensorType::ALL {
            cases.push(point(ty, 37, random::width(ty, 96), 1).case("linear_rows", Over::Rows));
        }
        // The formats have met the template; the tile for chunks is long to compile.
        for ty in [TensorType::Q4_1, TensorType::Q6K] {
            cases.push(point(ty, 9, random::width(ty, 480), 3).case("linear_rows", Over::Chunk));
        }
        for tokens in 1..=8 {
            let point = Point { bias: tokens % 2 == 0, ..point(TensorType::Q4_1, 67, 576, tokens) };
            cases.push(point.case("linear_rows", Over::Rows));
        }
        for (rows, k, tokens) in [(1, 1, 1), (2, 13, 20), (3, 8, 33), (7, 1000, 5)] {
            cases
                .push(Point { bias: true, ..point(TensorType::F32, rows, k, tokens) }.case("linear_rows", Over::Chunk));
        }
        for (activation, outputs, tokens, over) in [
            (Activation::Silu, 1, 1, Over::Rows),
            (Activation::GeluTanh, 21, 3, Over::Rows),
            (Activation::Silu, 64, 21, Over::Chunk),
        ] {
            let epilogue = Epilogue::Glu(activation);
            let point = Point { bias: outputs > 1, epilogue, ..point(TensorType::Q4K, 2 * outputs, 512, tokens) };
            cases.push(point.case("linear_rows", over));
        }
        cases
    }
}
