//! WebAssembly's 128-bit registers, four rows in one. With `relaxed-simd`, four products a lane and instruction for levels of fewer than
//! eight bits, which its second factor does not have; otherwise levels of 16 bits, two products a lane and instruction.
//!
//! What is read of a token is shared by the rows of several registers: by all of a panel where there is one token, else by half.

use std::arch::wasm32::*;

use safe_unaligned_simd::wasm32 as memory;

use crate::inputs::Block;
use crate::panels::{Line, PANEL};

/// The kernel for `$registers` at once.
macro_rules! registers {
    ($name:ident, $registers:literal) => {
        #[allow(dead_code, reason = "of many tokens, `two` alone gathers")]
        pub(crate) mod $name {
            use super::*;

            const LANES: usize = 4 * $registers;
            const TILE: usize = 4;
            type Floats = super::Floats<$registers>;

            crate::kernel::driver!(#[cfg_attr(feature = "relaxed-simd", target_feature(enable = "relaxed-simd"))]);

            #[cfg_attr(feature = "relaxed-simd", target_feature(enable = "relaxed-simd"))]
            #[inline]
            fn dots<const BITS: usize, const T: usize, const FIRST: usize, const N: usize>(
                block: &[Line; BITS],
                lanes: usize,
                x: [&Block; T],
                start: [i32; T],
            ) -> [[v128; $registers]; T] {
                if T > 1 {
                    return products::<BITS, $registers, T, FIRST, N>(block, $registers * lanes, x, start);
                }
                let mut sums = [[i32x4_splat(0); $registers]; T];
                // Register by register, so that memory is soon asked for all lines of the block.
                for r in 0..$registers {
                    sums[0][r] = products::<BITS, 1, T, FIRST, N>(block, $registers * lanes + r, x, start)[0][0];
                }
                sums
            }
        }
    };
}
registers!(two, 2);
registers!(four, 4);

/// A register of levels, or of their products.
type Ints = v128;

super::unpacking!(#[cfg_attr(feature = "relaxed-simd", target_feature(enable = "relaxed-simd"))]);

/// `start` plus the products of groups `FIRST..FIRST + N` with each token's, for the rows of `R` registers from `lanes` on: exact.
#[cfg_attr(feature = "relaxed-simd", target_feature(enable = "relaxed-simd"))]
#[inline]
fn products<const BITS: usize, const R: usize, const T: usize, const FIRST: usize, const N: usize>(
    block: &[Line; BITS],
    lanes: usize,
    x: [&Block; T],
    start: [i32; T],
) -> [[v128; R]; T] {
    let mut sums = [[i32x4_splat(0); R]; T];
    for t in 0..T {
        sums[t] = [i32x4_splat(start[t]); R];
    }
    #[cfg(feature = "relaxed-simd")]
    if BITS < 8 {
        for g in FIRST..FIRST + N {
            for r in 0..R {
                let w = levels::<BITS>(block, g, lanes + r);
                for t in 0..T {
                    // The sum of two products in between fits 16 bits (63 * 127 * 2), so that every engine gives the same.
                    sums[t][r] = i32x4_relaxed_dot_i8x16_i7x16_add(i32x4_splat(x[t].words[g]), w, sums[t][r]);
                }
            }
        }
        return sums;
    }
    // Levels of 16 bits, whose products are added in pairs: those of rows 0 and 1, and those of rows 2 and 3.
    let mut pairs = [[[i32x4_splat(0); 2]; R]; T];
    for g in FIRST..FIRST + N {
        let mut xs = [i32x4_splat(0); T];
        for t in 0..T {
            xs[t] = i16x8_extend_low_i8x16(i32x4_splat(x[t].words[g]));
        }
        for r in 0..R {
            let [low, high] = wide::<BITS>(block, g, lanes + r);
            for t in 0..T {
                let [before_low, before_high] = pairs[t][r];
                pairs[t][r] = [
                    i32x4_add(before_low, i32x4_dot_i16x8(low, xs[t])),
                    i32x4_add(before_high, i32x4_dot_i16x8(high, xs[t])),
                ];
            }
        }
    }
    for t in 0..T {
        for r in 0..R {
            let [low, high] = pairs[t][r];
            let even = i32x4_shuffle::<0, 2, 4, 6>(low, high);
            let odd = i32x4_shuffle::<1, 3, 5, 7>(low, high);
            sums[t][r] = i32x4_add(sums[t][r], i32x4_add(even, odd));
        }
    }
    sums
}

/// As `levels`, in 16 bits each: rows 0 and 1, rows 2 and 3.
#[inline]
fn wide<const BITS: usize>(block: &[Line; BITS], g: usize, lanes: usize) -> [Ints; 2] {
    if BITS == 8 {
        let eights = block[g].0.as_chunks::<8>().0;
        return [2 * lanes, 2 * lanes + 1].map(|at| memory::u16x8_load_extend_u8x8(&eights[at]));
    }
    let levels = levels::<BITS>(block, g, lanes);
    [u16x8_extend_low_u8x16(levels), u16x8_extend_high_u8x16(levels)]
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

/// Rows of floats.
type Floats<const R: usize> = [v128; R];

#[inline]
fn zero<const R: usize>() -> Floats<R> {
    [f32x4_splat(0.0); R]
}

#[inline]
fn splat<const R: usize>(x: f32) -> Floats<R> {
    [f32x4_splat(x); R]
}

#[inline]
fn add<const R: usize>(mut a: Floats<R>, b: Floats<R>) -> Floats<R> {
    for r in 0..R {
        a[r] = f32x4_add(a[r], b[r]);
    }
    a
}

#[inline]
fn mul<const R: usize>(mut a: Floats<R>, b: Floats<R>) -> Floats<R> {
    for r in 0..R {
        a[r] = f32x4_mul(a[r], b[r]);
    }
    a
}

#[inline]
fn fma<const R: usize>(a: Floats<R>, b: Floats<R>, c: Floats<R>) -> Floats<R> {
    add(mul(a, b), c)
}

#[inline]
fn floats<const R: usize>(mut x: [Ints; R]) -> Floats<R> {
    for r in 0..R {
        x[r] = f32x4_convert_i32x4(x[r]);
    }
    x
}

/// As [`crate::float::from_half`], all at once.
#[inline]
fn halves<const R: usize>(x: &[u16; PANEL], lanes: usize) -> Floats<R> {
    let mut out = zero();
    for r in 0..R {
        let x = i32x4_extend_low_i16x8(memory::v128_load64_zero(&x.as_chunks::<4>().0[R * lanes + r]));
        // The sign was extended into what then is the exponent's upper end, but for the sign itself.
        let x = v128_and(i32x4_shl(x, 13), u32x4_splat(0x8fff_e000));
        out[r] = f32x4_mul(x, f32x4_splat(const { f32::from_bits((127 + 112) << 23) }));
    }
    out
}

#[inline]
fn signed_bytes<const R: usize>(x: &[i8; PANEL], lanes: usize) -> Floats<R> {
    let mut out = zero();
    for r in 0..R {
        let x = memory::v128_load32_zero(&x.as_chunks::<4>().0[R * lanes + r]);
        out[r] = f32x4_convert_i32x4(i32x4_extend_low_i16x8(i16x8_extend_low_i8x16(x)));
    }
    out
}

#[inline]
fn load<const R: usize>(x: &[f32; PANEL], lanes: usize) -> Floats<R> {
    let mut out = zero();
    for r in 0..R {
        out[r] = memory::v128_load(&x.as_chunks::<4>().0[R * lanes + r]);
    }
    out
}

#[inline]
fn store<const R: usize>(x: Floats<R>, out: &mut [f32; PANEL], lanes: usize) {
    for r in 0..R {
        memory::v128_store(&mut out.as_chunks_mut::<4>().0[R * lanes + r], x[r]);
    }
}
