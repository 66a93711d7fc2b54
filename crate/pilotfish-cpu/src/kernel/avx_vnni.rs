//! AVX-VNNI, for processors that have the 8-bit dot product without AVX-512: AVX2 with other `dots`.

use std::arch::x86_64::*;

use super::avx2::{
    Floats, Ints, add, and, floats, fma, halves, line, load, mul, or, shift_left, shift_right, signed_bytes, splat,
    store, zero,
};
pub(crate) use super::avx2::{add_halves, dot_halves};
use crate::inputs::Block;
use crate::panels::Line;

const LANES: usize = 8;
const TILE: usize = 4;
const TOGETHER: usize = TILE;
const UNPACKS: bool = false;

super::driver!(#[target_feature(enable = "avxvnni,avx2,fma,f16c")]);
super::unpacking!(#[target_feature(enable = "avxvnni,avx2,fma,f16c")]);

/// `start` plus the products of groups `FIRST..FIRST + N` with each token's: exact.
#[target_feature(enable = "avxvnni,avx2,fma,f16c")]
#[inline]
fn dots<const BITS: usize, const T: usize, const FIRST: usize, const N: usize>(
    block: &[Line; BITS],
    lanes: usize,
    x: [&Block; T],
    start: [i32; T],
) -> [Ints; T] {
    let mut sums = [_mm256_setzero_si256(); T];
    for t in 0..T {
        sums[t] = _mm256_set1_epi32(start[t]);
    }
    for g in FIRST..FIRST + N {
        let w = levels::<BITS>(block, g, lanes);
        for t in 0..T {
            sums[t] = _mm256_dpbusd_avx_epi32(sums[t], w, _mm256_set1_epi32(x[t].words[g]));
        }
    }
    sums
}
