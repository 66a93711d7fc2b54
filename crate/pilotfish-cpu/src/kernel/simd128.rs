//! WebAssembly's 128-bit registers: four rows in one. With `relaxed-simd`, four products a lane and instruction where the
//! levels have seven bits or less; otherwise products of 16 bits, which are added up as long as they fit.

use std::arch::wasm32::*;

use safe_unaligned_simd::wasm32 as memory;

use crate::float;
use crate::inputs::Block;
use crate::panels::{Line, PANEL};

const LANES: usize = 4;
type Ints = v128;
type Floats = v128;

super::driver!(#[cfg_attr(feature = "relaxed-simd", target_feature(enable = "relaxed-simd"))]);

/// `start` plus the products of groups `FIRST..FIRST + N` with each token's: exact.
#[cfg_attr(feature = "relaxed-simd", target_feature(enable = "relaxed-simd"))]
#[inline]
fn dots<const BITS: usize, const T: usize, const FIRST: usize, const N: usize>(
    block: &[Line; BITS],
    lanes: usize,
    x: [&Block; T],
    start: [i32; T],
) -> [Ints; T] {
    #[cfg(feature = "relaxed-simd")]
    if BITS < 8 {
        let mut sums = [i32x4_splat(0); T];
        for t in 0..T {
            sums[t] = i32x4_splat(start[t]);
        }
        for g in FIRST..FIRST + N {
            let w = levels::<BITS>(block, g, lanes);
            for t in 0..T {
                // The sum of two products in between fits 16 bits (63 * 127 * 2), so that every engine gives the same.
                sums[t] = i32x4_relaxed_dot_i8x16_i7x16_add(i32x4_splat(x[t].words[g]), w, sums[t]);
            }
        }
        return sums;
    }
    // Groups whose products fit 16 bits together: 15 * 127 * 8, 31 * 127 * 8, 63 * 127 * 4, 128 * 127 * 2 in signed levels.
    let together = match BITS {
        4 | 5 => 8,
        6 => 4,
        _ => 2,
    };
    let mut sums = [i32x4_splat(0); T];
    if BITS < 8 {
        for t in 0..T {
            sums[t] = i32x4_splat(start[t]);
        }
    }
    let mut products = [[i16x8_splat(0); 2]; T];
    for g in FIRST..FIRST + N {
        let w = levels::<BITS>(block, g, lanes);
        let w = if BITS == 8 { v128_xor(w, u8x16_splat(128)) } else { w };
        for t in 0..T {
            let x = i32x4_splat(x[t].words[g]);
            let both = [i16x8_extmul_low_i8x16(w, x), i16x8_extmul_high_i8x16(w, x)];
            products[t] = if g % together == 0 {
                both
            } else {
                [i16x8_add(products[t][0], both[0]), i16x8_add(products[t][1], both[1])]
            };
        }
        if g % together == together - 1 || g + 1 == FIRST + N {
            for t in 0..T {
                // Rows 0 and 1 in pairs, rows 2 and 3 in pairs.
                let low = i32x4_extadd_pairwise_i16x8(products[t][0]);
                let high = i32x4_extadd_pairwise_i16x8(products[t][1]);
                let even = i32x4_shuffle::<0, 2, 4, 6>(low, high);
                let odd = i32x4_shuffle::<1, 3, 5, 7>(low, high);
                sums[t] = i32x4_add(sums[t], i32x4_add(even, odd));
            }
        }
    }
    sums
}

#[inline]
fn zero() -> Floats {
    f32x4_splat(0.0)
}

#[inline]
fn splat(x: f32) -> Floats {
    f32x4_splat(x)
}

#[inline]
fn mul(a: Floats, b: Floats) -> Floats {
    f32x4_mul(a, b)
}

#[inline]
fn fma(a: Floats, b: Floats, c: Floats) -> Floats {
    f32x4_add(f32x4_mul(a, b), c)
}

#[inline]
fn floats(x: Ints) -> Floats {
    f32x4_convert_i32x4(x)
}

#[inline]
fn line(line: &Line, lanes: usize) -> Ints {
    memory::v128_load(&line.0.as_chunks::<16>().0[lanes])
}

#[inline]
fn and(x: Ints, mask: u8) -> Ints {
    v128_and(x, u8x16_splat(mask))
}

#[inline]
fn or(a: Ints, b: Ints) -> Ints {
    v128_or(a, b)
}

#[inline]
fn shift_right(x: Ints, by: usize) -> Ints {
    u16x8_shr(x, by as u32)
}

#[inline]
fn shift_left(x: Ints, by: usize) -> Ints {
    i16x8_shl(x, by as u32)
}

#[inline]
fn halves(x: &[u16; PANEL], lanes: usize) -> Floats {
    let x = &x.as_chunks::<4>().0[lanes];
    f32x4(float::from_half(x[0]), float::from_half(x[1]), float::from_half(x[2]), float::from_half(x[3]))
}

#[inline]
fn signed_bytes(x: &[i8; PANEL], lanes: usize) -> Floats {
    let x = &x.as_chunks::<4>().0[lanes];
    f32x4(f32::from(x[0]), f32::from(x[1]), f32::from(x[2]), f32::from(x[3]))
}

#[inline]
fn store(x: Floats, out: &mut [f32; PANEL], lanes: usize) {
    memory::v128_store(&mut out.as_chunks_mut::<4>().0[lanes], x);
}
