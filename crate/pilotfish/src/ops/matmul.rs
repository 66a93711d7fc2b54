//! Matrix products for prefilling on GPUs: register tiles, weights decoded once a tile. The twin is [`super::linear::linear`].

use super::linear::Linear;
use crate::gpu::{Dispatch, Gpu, GpuError};

/// Invocations of a workgroup.
const SIZE: u32 = 128;
/// Pairs of weight rows and tokens of a workgroup's tile, as in the shader.
const PAIRS: u32 = 32;
const TOKENS: u32 = 64;

/// The dispatch of a layer over the tokens or outputs of a chunk.
pub(super) fn dispatch(linear: &Linear<'_>, gpu: &Gpu) -> Result<Dispatch, GpuError> {
    let consts = [("SIZE", SIZE)];
    linear.dispatch(gpu, "matmul", None, None, &consts, linear.blocks(PAIRS), linear.token_blocks(TOKENS))
}

#[cfg(any(test, feature = "grid"))]
pub(super) mod cases {
    use super::super::grid::Case;
    use super::super::linear::cases::{Over, Point};
    use super::super::linear::{Activation, Epilogue, MatvecShape};
    use super::super::matrix::random;
    use crate::quant::TensorType;

    /// Every format; tokens and rows beside the tiles'; bias and gated units; outputs.
    pub(crate) fn cases() -> Vec<Case> {
        let point = |ty, rows, k, tokens| Point::new(MatvecShape::Workgroup, ty, rows, k, tokens);
        let mut cases = Vec::new();
        for ty in TensorType::ALL {
            cases.push(point(ty, 70, random::width(ty, 96), 67).case("matmul", Over::Chunk));
        }
        for (rows, k, tokens) in [(1, 8, 1), (64, 13, 64), (129, 200, 130), (2, 24, 3)] {
            cases.push(Point { bias: true, ..point(TensorType::F32, rows, k, tokens) }.case("matmul", Over::Chunk));
        }
        for (activation, outputs) in [(Activation::Silu, 45), (Activation::GeluTanh, 1)] {
            let epilogue = Epilogue::Glu(activation);
            let point = Point { bias: true, epilogue, ..point(TensorType::Q4_1, 2 * outputs, 576, 20) };
            cases.push(point.case("matmul", Over::Chunk));
        }
        cases
    }
}
