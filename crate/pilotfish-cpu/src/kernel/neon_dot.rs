//! NEON with the dot product of ARMv8.2 (`dotprod`): four products a lane and instruction.

use std::arch::aarch64::*;

use super::arm;
use super::neon::{
    Floats, Ints, add, and, centred, floats, fma, halves, line, load, mul, or, shift_left, shift_right, signed_bytes,
    splat, store, zero,
};
pub(crate) use super::neon::{add_halves, dot_halves};
use crate::inputs::Block;
use crate::panels::Line;

const LANES: usize = 4;
const TILE: usize = 4;
const TOGETHER: usize = TILE;
const UNPACKS: bool = false;

super::driver!(#[target_feature(enable = "neon,dotprod")]);
super::unpacking!(#[target_feature(enable = "neon,dotprod")]);

/// `start` plus the products of groups `FIRST..FIRST + N` with each token's: exact.
///
/// `i8mm` would multiply unsigned levels as they lie, which saves one `eor` a line of 8-bit levels and nothing else.
#[target_feature(enable = "neon,dotprod")]
#[inline]
fn dots<const BITS: usize, const T: usize, const FIRST: usize, const N: usize>(
    block: &[Line; BITS],
    lanes: usize,
    x: [&Block; T],
    start: [i32; T],
) -> [int32x4_t; T] {
    let mut sums = [vdupq_n_s32(0); T];
    if BITS < 8 {
        for t in 0..T {
            sums[t] = vdupq_n_s32(start[t]);
        }
    }
    for g in FIRST..FIRST + N {
        let w = levels::<BITS>(block, g, lanes);
        let w = if BITS == 8 { centred(w) } else { w };
        for t in 0..T {
            sums[t] = arm::dot(sums[t], w, vreinterpretq_s8_s32(vdupq_n_s32(x[t].words[g])));
        }
    }
    sums
}
