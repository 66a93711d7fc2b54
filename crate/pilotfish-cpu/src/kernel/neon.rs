//! NEON, which every `AArch64` has: four rows in a register. Products have 16 bits and are added up as long as they fit.

use std::arch::aarch64::*;

use safe_unaligned_simd::aarch64 as memory;

use super::arm;
use crate::inputs::Block;
use crate::panels::{Line, PANEL};

const LANES: usize = 4;
const TILE: usize = 4;
const TOGETHER: usize = TILE;
const UNPACKS: bool = false;
const ROWS: usize = 4;
const ACROSS: usize = 4;
pub(super) type Ints = int8x16_t;
pub(super) type Floats = float32x4_t;

super::driver!(#[target_feature(enable = "neon")]);
super::unpacking!(#[target_feature(enable = "neon")]);
super::rows::rows!(#[target_feature(enable = "neon")]);

/// `start` plus the products of groups `FIRST..FIRST + N` with each token's: exact.
#[target_feature(enable = "neon")]
#[inline]
fn dots<const BITS: usize, const T: usize, const FIRST: usize, const N: usize>(
    block: &[Line; BITS],
    lanes: usize,
    x: [&Block; T],
    start: [i32; T],
) -> [int32x4_t; T] {
    // Groups whose products fit 16 bits together: 15 * 127 * 8, 31 * 127 * 8, 63 * 127 * 4, 128 * 127 * 2 in signed levels.
    let together = match BITS {
        4 | 5 => 8,
        6 => 4,
        _ => 2,
    };
    let mut sums = [vdupq_n_s32(0); T];
    if BITS < 8 {
        for t in 0..T {
            sums[t] = vdupq_n_s32(start[t]);
        }
    }
    let mut products = [[vdupq_n_s16(0); 2]; T];
    for g in FIRST..FIRST + N {
        let w = signed_levels::<BITS>(block, g, lanes);
        for t in 0..T {
            let x = vreinterpretq_s8_s32(vdupq_n_s32(x[t].words[g]));
            products[t] = if g % together == 0 {
                [vmull_s8(vget_low_s8(w), vget_low_s8(x)), vmull_high_s8(w, x)]
            } else {
                let [low, high] = products[t];
                [vmlal_s8(low, vget_low_s8(w), vget_low_s8(x)), vmlal_high_s8(high, w, x)]
            };
        }
        if g % together == together - 1 || g + 1 == FIRST + N {
            for t in 0..T {
                // Rows 0 and 1 in pairs, rows 2 and 3 in pairs.
                let [low, high] = products[t];
                sums[t] = vaddq_s32(sums[t], vpaddq_s32(vpaddlq_s16(low), vpaddlq_s16(high)));
            }
        }
    }
    sums
}

/// [`levels`] as signed numbers: of eight bits, the centre is taken off.
#[target_feature(enable = "neon")]
#[inline]
fn signed_levels<const BITS: usize>(block: &[Line; BITS], g: usize, lanes: usize) -> Ints {
    let w = levels::<BITS>(block, g, lanes);
    if BITS == 8 { centred(w) } else { w }
}

macro_rules! ops {
    ($($(#[$docs:meta])* fn $name:ident($($argument:ident: $ty:ty),*) -> $out:ty $body:block)*) => {
        $($(#[$docs])* #[target_feature(enable = "neon")]
        #[inline]
        pub(super) fn $name($($argument: $ty),*) -> $out $body)*
    };
}

ops! {
    fn zero() -> Floats { vdupq_n_f32(0.0) }
    fn splat(x: f32) -> Floats { vdupq_n_f32(x) }
    fn add(a: Floats, b: Floats) -> Floats { vaddq_f32(a, b) }
    fn mul(a: Floats, b: Floats) -> Floats { vmulq_f32(a, b) }
    fn fma(a: Floats, b: Floats, c: Floats) -> Floats { vfmaq_f32(c, a, b) }
    fn floats(x: int32x4_t) -> Floats { vcvtq_f32_s32(x) }
    fn line(line: &Line, lanes: usize) -> Ints {
        vreinterpretq_s8_u8(memory::vld1q_u8(&line.0.as_chunks::<16>().0[lanes]))
    }
    /// 128 off unsigned bytes.
    fn centred(x: Ints) -> Ints { veorq_s8(x, vdupq_n_s8(-128)) }
    fn and(x: Ints, mask: i8) -> Ints { vandq_s8(x, vdupq_n_s8(mask)) }
    fn or(a: Ints, b: Ints) -> Ints { vorrq_s8(a, b) }
    fn shift_right(x: Ints, by: usize) -> Ints { shifted(x, -(by as i8)) }
    fn shift_left(x: Ints, by: usize) -> Ints { shifted(x, by as i8) }
    /// The bits of each byte moved to the left, or to the right if `by` is negative.
    fn shifted(x: Ints, by: i8) -> Ints { vreinterpretq_s8_u8(vshlq_u8(vreinterpretq_u8_s8(x), vdupq_n_s8(by))) }
    fn totals(x: [Floats; 4]) -> [f32; 4] {
        let [a, b, c, d] = x;
        let mut out = [0.0; 4];
        memory::vst1q_f32(&mut out, vpaddq_f32(vpaddq_f32(a, b), vpaddq_f32(c, d)));
        out
    }
    fn load(x: &[f32; PANEL], lanes: usize) -> Floats { memory::vld1q_f32(&x.as_chunks::<4>().0[lanes]) }
    fn halves(x: &[u16; PANEL], lanes: usize) -> Floats { arm::floats(memory::vld1_u16(&x.as_chunks::<4>().0[lanes])) }
    fn signed_bytes(x: &[i8; PANEL], lanes: usize) -> Floats {
        let x = &x.as_chunks::<4>().0[lanes];
        let four = vdup_n_s32(i32::from_le_bytes([x[0] as u8, x[1] as u8, x[2] as u8, x[3] as u8]));
        vcvtq_f32_s32(vmovl_s16(vget_low_s16(vmovl_s8(vreinterpret_s8_s32(four)))))
    }
}

#[target_feature(enable = "neon")]
#[inline]
pub(super) fn store(x: Floats, out: &mut [f32; PANEL], lanes: usize) {
    memory::vst1q_f32(&mut out.as_chunks_mut::<4>().0[lanes], x);
}
