//! Matrix-vector products for decoding on GPUs: all rows of a batch against one read of the weights.
//!
//! `matvec.wgsl` in two ways to sum over a workgroup. The twin is [`super::linear::linear`].

use super::linear::{Linear, MatvecShape};
use crate::gpu::{Dispatch, Extent, Gpu, GpuError};

/// Batch rows that one dispatch takes: their sums must fit in workgroup memory.
pub const MOST_ROWS: u32 = 8;

/// Invocations of a workgroup.
const SIZE: u32 = 64;
/// Pairs of weight rows a workgroup computes.
const PAIRS: u32 = 2;

/// The dispatch of a layer over `rows` tokens.
pub(super) fn dispatch(linear: &Linear<'_>, gpu: &Gpu, shape: MatvecShape, rows: u32) -> Result<Dispatch, GpuError> {
    if !(1..=MOST_ROWS).contains(&rows) {
        let message = format!("a matrix-vector product over {rows} rows; 1 to {MOST_ROWS} are possible");
        return Err(GpuError::Invalid { message });
    }
    let reduce = if shape == MatvecShape::Subgroup { "subgroup" } else { "tree" };
    let consts = [("ROWS", rows), ("SIZE", SIZE)];
    let reduce = Some(("reduce", reduce));
    linear.dispatch(gpu, "matvec", reduce, None, &consts, linear.blocks(PAIRS), Extent::Fixed(1))
}

#[cfg(any(test, feature = "grid"))]
pub(super) mod cases {
    use super::super::grid::Case;
    use super::super::linear::cases::{Over, Point};
    use super::super::linear::{Activation, Epilogue, MatvecShape};
    use super::super::matrix::random;
    use crate::quant::TensorType;

    /// Every format; every number of batch rows; sizes beside the tiles' and units'; bias, offset, gated units; more workgroups
    /// than a dimension has.
    pub(crate) fn cases() -> Vec<Case> {
        let mut points = Vec::new();
        for shape in [MatvecShape::Workgroup, MatvecShape::Subgroup] {
            let point = |ty, rows, k, tokens| Point::new(shape, ty, rows, k, tokens);
            for ty in TensorType::ALL {
                points.push(point(ty, 37, random::width(ty, 96), 1));
                points.push(point(ty, 5, random::width(ty, 480), 3));
            }
            for tokens in 1..=8 {
                points.push(Point { bias: tokens % 2 == 0, ..point(TensorType::Q4_1, 67, 576, tokens) });
            }
            for (rows, k) in [(1, 1), (2, 13), (3, 8), (4, 40), (7, 1000)] {
                points.push(Point { bias: true, ..point(TensorType::F32, rows, k, 2) });
            }
            for (activation, outputs, tokens) in
                [(Activation::Silu, 1, 1), (Activation::GeluTanh, 21, 3), (Activation::Silu, 64, 8)]
            {
                let epilogue = Epilogue::Glu(activation);
                points.push(Point { bias: outputs > 1, epilogue, ..point(TensorType::Q4K, 2 * outputs, 512, tokens) });
            }
        }
        points.push(Point::new(MatvecShape::Workgroup, TensorType::Q4_0, 65_535 * 4 + 5, 32, 1));
        points.into_iter().map(|point| point.case("matvec", Over::Rows)).collect()
    }
}
