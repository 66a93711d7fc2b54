//! AVX2: eight rows in a register. Bytes are multiplied to 16-bit sums of two, which are added up as long as they fit.

use std::arch::x86_64::*;

use safe_unaligned_simd::x86_64 as memory;

use crate::dispatch;
use crate::inputs::Block;
use crate::panels::{Line, PANEL};

const LANES: usize = 8;
const TILE: usize = 4;
const TOGETHER: usize = TILE;
const UNPACKS: bool = false;
/// As with AVX-512.
const AHEAD: usize = 2048;
const ROWS: usize = 2;
const ACROSS: usize = 2;
pub(super) type Ints = __m256i;
pub(super) type Floats = __m256;

super::driver!(#[target_feature(enable = "avx2,fma,f16c")]);
super::unpacking!(#[target_feature(enable = "avx2,fma,f16c")]);
super::rows::rows!(#[target_feature(enable = "avx2,fma,f16c")]);

/// `start` plus the products of groups `FIRST..FIRST + N` with each token's: exact.
#[target_feature(enable = "avx2,fma,f16c")]
#[inline]
fn dots<const BITS: usize, const T: usize, const FIRST: usize, const N: usize>(
    block: &[Line; BITS],
    lanes: usize,
    x: [&Block; T],
    start: [i32; T],
) -> [Ints; T] {
    let ones = _mm256_set1_epi16(1);
    if BITS == 8 {
        // Bytes are unsigned times signed here, and 255 * 127 * 2 is too large for 16 bits. So the centre comes off the level
        // first, and its sign goes to the activation: 128 * 127 * 2 fits.
        let mut sums = [_mm256_setzero_si256(); T];
        for g in FIRST..FIRST + N {
            let w = _mm256_xor_si256(levels::<BITS>(block, g, lanes), _mm256_set1_epi8(-128));
            let magnitude = _mm256_abs_epi8(w);
            for t in 0..T {
                let x = _mm256_sign_epi8(_mm256_set1_epi32(x[t].words[g]), w);
                let pairs = _mm256_maddubs_epi16(magnitude, x);
                sums[t] = _mm256_add_epi32(sums[t], _mm256_madd_epi16(pairs, ones));
            }
        }
        return sums;
    }
    // Groups whose pairs of products fit 16 bits together: 15 * 127 * 2 * 8, 31 * 127 * 2 * 4, 63 * 127 * 2 * 2.
    let together = match BITS {
        4 => 8,
        5 => 4,
        _ => 2,
    };
    let mut sums = [_mm256_setzero_si256(); T];
    for t in 0..T {
        sums[t] = _mm256_set1_epi32(start[t]);
    }
    let mut pairs = [_mm256_setzero_si256(); T];
    for g in FIRST..FIRST + N {
        let w = levels::<BITS>(block, g, lanes);
        for t in 0..T {
            let product = _mm256_maddubs_epi16(w, _mm256_set1_epi32(x[t].words[g]));
            pairs[t] = if g % together == 0 { product } else { _mm256_add_epi16(pairs[t], product) };
        }
        if g % together == together - 1 || g + 1 == FIRST + N {
            for t in 0..T {
                sums[t] = _mm256_add_epi32(sums[t], _mm256_madd_epi16(pairs[t], ones));
            }
        }
    }
    sums
}

macro_rules! ops {
    ($($(#[$docs:meta])* fn $name:ident($($argument:ident: $ty:ty),*) $(-> $out:ty)? $body:block)*) => {
        $($(#[$docs])* #[target_feature(enable = "avx2,fma,f16c")]
        #[inline]
        pub(super) fn $name($($argument: $ty),*) $(-> $out)? $body)*
    };
}

ops! {
    fn zero() -> Floats { _mm256_setzero_ps() }
    fn splat(x: f32) -> Floats { _mm256_set1_ps(x) }
    fn add(a: Floats, b: Floats) -> Floats { _mm256_add_ps(a, b) }
    fn mul(a: Floats, b: Floats) -> Floats { _mm256_mul_ps(a, b) }
    fn fma(a: Floats, b: Floats, c: Floats) -> Floats { _mm256_fmadd_ps(a, b, c) }
    fn floats(x: Ints) -> Floats { _mm256_cvtepi32_ps(x) }
    fn line(line: &Line, lanes: usize) -> Ints {
        if lanes == 0 {
            dispatch::prefetch::<AHEAD, _>(line);
        }
        memory::_mm256_loadu_si256(&line.0.as_chunks::<32>().0[lanes])
    }
    fn and(x: Ints, mask: i8) -> Ints { _mm256_and_si256(x, _mm256_set1_epi8(mask)) }
    fn or(a: Ints, b: Ints) -> Ints { _mm256_or_si256(a, b) }
    fn shift_right(x: Ints, by: usize) -> Ints { _mm256_srl_epi16(x, _mm_cvtsi32_si128(by as i32)) }
    fn shift_left(x: Ints, by: usize) -> Ints { _mm256_sll_epi16(x, _mm_cvtsi32_si128(by as i32)) }
    fn halves(x: &[u16; PANEL], lanes: usize) -> Floats {
        _mm256_cvtph_ps(memory::_mm_loadu_si128(&x.as_chunks::<8>().0[lanes]))
    }
    fn signed_bytes(x: &[i8; PANEL], lanes: usize) -> Floats {
        let eight = memory::_mm_loadu_si64(&x.as_chunks::<8>().0[lanes]);
        _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(eight))
    }
    fn totals(x: [Floats; 4]) -> [f32; 4] {
        let [a, b, c, d] = x;
        quarters(_mm256_hadd_ps(_mm256_hadd_ps(a, b), _mm256_hadd_ps(c, d)))
    }
    /// Both halves, added up.
    fn quarters(x: Floats) -> [f32; 4] {
        let mut out = [0.0; 4];
        memory::_mm_storeu_ps(&mut out, _mm_add_ps(_mm256_castps256_ps128(x), _mm256_extractf128_ps::<1>(x)));
        out
    }
    fn load(x: &[f32; PANEL], lanes: usize) -> Floats { memory::_mm256_loadu_ps(&x.as_chunks::<8>().0[lanes]) }
    fn store(x: Floats, out: &mut [f32; PANEL], lanes: usize) {
        memory::_mm256_storeu_ps(&mut out.as_chunks_mut::<8>().0[lanes], x);
    }
}
