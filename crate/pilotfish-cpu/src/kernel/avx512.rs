//! AVX-512 with VNNI: sixteen rows in a register, four products a lane and instruction.

use std::arch::x86_64::*;

use safe_unaligned_simd::x86_64 as memory;

use super::avx2;
use crate::dispatch;
use crate::inputs::Block;
use crate::panels::{Line, PANEL};

const LANES: usize = 16;
pub(crate) const TILE: usize = 8;
const TOGETHER: usize = TILE;
const UNPACKS: bool = false;
/// How far ahead weights are asked for, in bytes: one token reads them once and computes less than memory takes to answer.
const AHEAD: usize = 2048;
const ROWS: usize = 4;
const ACROSS: usize = 4;
type Ints = __m512i;
type Floats = __m512;

super::driver!(#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni,avx2,fma,f16c")]);
super::unpacking!(#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni,avx2,fma,f16c")]);
super::rows::rows!(#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni,avx2,fma,f16c")]);

/// `start` plus the products of groups `FIRST..FIRST + N` with each token's: exact.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni,avx2,fma,f16c")]
#[inline]
fn dots<const BITS: usize, const T: usize, const FIRST: usize, const N: usize>(
    block: &[Line; BITS],
    lanes: usize,
    x: [&Block; T],
    start: [i32; T],
) -> [Ints; T] {
    let mut sums = [_mm512_setzero_si512(); T];
    for t in 0..T {
        sums[t] = _mm512_set1_epi32(start[t]);
    }
    for g in FIRST..FIRST + N {
        let w = levels::<BITS>(block, g, lanes);
        for t in 0..T {
            sums[t] = _mm512_dpbusd_epi32(sums[t], w, _mm512_set1_epi32(x[t].words[g]));
        }
    }
    sums
}

macro_rules! ops {
    ($($(#[$docs:meta])* fn $name:ident($($argument:ident: $ty:ty),*) $(-> $out:ty)? $body:block)*) => {
        $($(#[$docs])* #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni,avx2,fma,f16c")]
        #[inline]
        fn $name($($argument: $ty),*) $(-> $out)? $body)*
    };
}

ops! {
    fn zero() -> Floats { _mm512_setzero_ps() }
    fn splat(x: f32) -> Floats { _mm512_set1_ps(x) }
    fn add(a: Floats, b: Floats) -> Floats { _mm512_add_ps(a, b) }
    fn mul(a: Floats, b: Floats) -> Floats { _mm512_mul_ps(a, b) }
    fn fma(a: Floats, b: Floats, c: Floats) -> Floats { _mm512_fmadd_ps(a, b, c) }
    fn floats(x: Ints) -> Floats { _mm512_cvtepi32_ps(x) }
    fn line(line: &Line, _lanes: usize) -> Ints {
        dispatch::prefetch::<AHEAD, _>(line);
        memory::_mm512_loadu_epi8(&line.0)
    }
    fn and(x: Ints, mask: i8) -> Ints { _mm512_and_si512(x, _mm512_set1_epi8(mask)) }
    fn or(a: Ints, b: Ints) -> Ints { _mm512_or_si512(a, b) }
    fn shift_right(x: Ints, by: usize) -> Ints { _mm512_srl_epi16(x, _mm_cvtsi32_si128(by as i32)) }
    fn shift_left(x: Ints, by: usize) -> Ints { _mm512_sll_epi16(x, _mm_cvtsi32_si128(by as i32)) }
    fn halves(x: &[u16; PANEL], _lanes: usize) -> Floats {
        dispatch::prefetch::<{ AHEAD / 4 }, _>(x);
        _mm512_cvtph_ps(memory::_mm256_loadu_si256(x))
    }
    fn signed_bytes(x: &[i8; PANEL], _lanes: usize) -> Floats {
        _mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(memory::_mm_loadu_si128(x)))
    }
    fn load(x: &[f32; PANEL], _lanes: usize) -> Floats { memory::_mm512_loadu_ps(x) }
    fn totals(x: [Floats; 4]) -> [f32; 4] {
        let [a, b, c, d] = x;
        let ab = _mm512_add_ps(_mm512_unpacklo_ps(a, b), _mm512_unpackhi_ps(a, b));
        let cd = _mm512_add_ps(_mm512_unpacklo_ps(c, d), _mm512_unpackhi_ps(c, d));
        let four = _mm512_add_ps(_mm512_shuffle_ps::<0x44>(ab, cd), _mm512_shuffle_ps::<0xee>(ab, cd));
        let upper = _mm256_castpd_ps(_mm512_extractf64x4_pd::<1>(_mm512_castps_pd(four)));
        avx2::quarters(_mm256_add_ps(_mm512_castps512_ps256(four), upper))
    }
    fn store(x: Floats, out: &mut [f32; PANEL], _lanes: usize) { memory::_mm512_storeu_ps(out, x) }
}
