//! Ends a step: the token goes to every decode batch, positions advance, and the report goes to the ring.
//!
//! A ring slot is words: step, token, rows with NaN (a bit each), 1 if nothing was left to say, temperature, entropy of the
//! base, KL(mix || base), log-prob of the token in the mix, and what makes log softmax(z / T) of it: that is (log-prob in the
//! mix) / T plus this; then the weights; then the token's log-prob in each reported row; then the candidates, most likely
//! first: id (or `NO_ID`), log-prob in the mix, log-prob in each reported row. The mix is softmax(z), at temperature 1 like
//! the rows it is compared with.

use super::mixing::{Mixing, Stage};
use crate::gpu::{Dispatch, Gpu, GpuError};

/// Words of a slot before the weights.
pub const HEADER: u32 = 9;
/// Where a candidate's id would be, when fewer tokens than candidates are possible.
pub const NO_ID: u32 = u32::MAX;

/// The dispatch: one workgroup.
pub fn finish(gpu: &Gpu, mixing: &Mixing<'_>) -> Result<Dispatch, GpuError> {
    let consts = [mixing.report(), ("CANDIDATES", mixing.shape.candidates.max(1)), ("SIZE", mixing.shape.finish_lanes)];
    mixing.dispatch(gpu, "finish", Stage::default(), &[1, 2, 3, 4, 5, 6, 7], &consts, 1)
}
