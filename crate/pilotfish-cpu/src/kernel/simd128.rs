//! WebAssembly's 128-bit registers, four rows in one. With `relaxed-simd`, four products a lane and instruction of a factor of eight bits
//! and one of seven: levels of fewer than eight bits are the latter, and of a token with levels of eight its two signs are, one after the
//! other, unless the machine multiplies eight bits by eight. Otherwise levels of 16 bits, two products a lane and instruction.
//!
//! What is read of a token is shared by the rows of several registers: by all of a panel where registers have room for that (one token,
//! or two from several panels), else by half.

use std::arch::wasm32::*;

use safe_unaligned_simd::wasm32 as memory;

use crate::inputs::Block;
use crate::panels::{Line, PANEL};

/// The kernel for `$registers` at once; `$whole` says whether the dot product takes [eight bits of both factors](whole_bytes).
macro_rules! registers {
    ($name:ident, $registers:literal, $whole:literal) => {
        #[allow(dead_code, unused_imports, reason = "`two` alone gathers, and is asked for what `one` does")]
        pub(crate) mod $name {
            use super::*;

            const LANES: usize = 4 * $registers;
            const TILE: usize = 4;
            type Floats = super::Floats<$registers>;
            pub(crate) use super::one::{add_halves, dot_halves};

            crate::kernel::driver!(#[cfg_attr(feature = "relaxed-simd", target_feature(enable = "relaxed-simd"))]);

            #[cfg_attr(feature = "relaxed-simd", target_feature(enable = "relaxed-simd"))]
            #[inline]
            fn dots<const BITS: usize, const T: usize, const FIRST: usize, const N: usize>(
                block: &[Line; BITS],
                lanes: usize,
                x: [&Block; T],
                start: [i32; T],
            ) -> [[v128; $registers]; T] {
                // Sums in pairs of many tokens do not fit the registers either way.
                let rolls = T == 1 || cfg!(feature = "relaxed-simd");
                if BITS < 6 && rolls {
                    return nibbles::<BITS, $registers, T, FIRST, N>(block, $registers * lanes, x, start);
                }
                #[cfg(feature = "relaxed-simd")]
                if BITS == 8 && $whole {
                    return whole_eights::<BITS, $registers, T, FIRST, N>(block, $registers * lanes, x, start);
                }
                if BITS == 8 && rolls {
                    return eights::<BITS, $registers, T, FIRST, N>(block, $registers * lanes, x, start);
                }
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

/// Rows of f16, register by register.
pub(crate) mod one {
    use super::*;

    const LANES: usize = 4;
    const ROWS: usize = 2;
    const ACROSS: usize = 2;
    type Floats = super::Floats<1>;

    crate::kernel::rows::rows!(#[cfg_attr(feature = "relaxed-simd", target_feature(enable = "relaxed-simd"))]);

    #[inline]
    fn totals(x: [Floats; 4]) -> [f32; 4] {
        let [[a], [b], [c], [d]] = x;
        let ab = f32x4_add(i32x4_shuffle::<0, 4, 1, 5>(a, b), i32x4_shuffle::<2, 6, 3, 7>(a, b));
        let cd = f32x4_add(i32x4_shuffle::<0, 4, 1, 5>(c, d), i32x4_shuffle::<2, 6, 3, 7>(c, d));
        let four = f32x4_add(i32x4_shuffle::<0, 1, 4, 5>(ab, cd), i32x4_shuffle::<2, 3, 6, 7>(ab, cd));
        let mut out = [0.0; 4];
        memory::v128_store(&mut out, four);
        out
    }
}

registers!(two, 2, false);
registers!(four, 4, false);
#[cfg(feature = "relaxed-simd")]
registers!(two_whole, 2, true);
#[cfg(feature = "relaxed-simd")]
registers!(four_whole, 4, true);

/// A register of levels, or of their products.
type Ints = v128;

super::unpacking!(#[cfg_attr(feature = "relaxed-simd", target_feature(enable = "relaxed-simd"))]);

/// Whether the dot product multiplies a signed byte with any unsigned one, exactly, though only seven bits of that are promised: an engine
/// does it one way or the other everywhere. Engines that have `vpdpbusd` for it do.
#[cfg(feature = "relaxed-simd")]
#[target_feature(enable = "relaxed-simd")]
pub(crate) fn whole_bytes() -> bool {
    let bytes = std::hint::black_box([0u8, 1, 127, 128, 200, 255]);
    let factors = std::hint::black_box([-127i8, -1, 0, 64, 127]);
    bytes.iter().all(|byte| {
        factors.iter().all(|factor| {
            let found = i32x4_relaxed_dot_i8x16_i7x16_add(i8x16_splat(*factor), u8x16_splat(*byte), i32x4_splat(0));
            i32x4_all_true(i32x4_eq(found, i32x4_splat(4 * i32::from(*factor) * i32::from(*byte))))
        })
    })
}

/// [`products`] of levels that are bytes as they lie, where the dot product takes them so.
#[cfg(feature = "relaxed-simd")]
#[target_feature(enable = "relaxed-simd")]
#[inline]
fn whole_eights<const BITS: usize, const R: usize, const T: usize, const FIRST: usize, const N: usize>(
    block: &[Line; BITS],
    lanes: usize,
    x: [&Block; T],
    start: [i32; T],
) -> [[v128; R]; T] {
    let mut sums = [[Sum::new(); R]; T];
    for (g, of_group) in (FIRST..).zip(&block[FIRST..FIRST + N][..rolled(N)]) {
        let mut factors = [i32x4_splat(0); T];
        for t in 0..T {
            factors[t] = factor(x[t].words[g % 8]);
        }
        for r in 0..R {
            let levels = line(of_group, lanes + r);
            for t in 0..T {
                sums[t][r].add(levels, factors[t]);
            }
        }
    }
    totals(sums, start)
}

/// [`products`] of levels that are bytes as they lie: with relaxed SIMD, and of one token.
#[cfg_attr(feature = "relaxed-simd", target_feature(enable = "relaxed-simd"))]
#[inline]
fn eights<const BITS: usize, const R: usize, const T: usize, const FIRST: usize, const N: usize>(
    block: &[Line; BITS],
    lanes: usize,
    x: [&Block; T],
    start: [i32; T],
) -> [[v128; R]; T] {
    if T < 4 {
        return some_eights::<BITS, R, T, FIRST, N>(block, lanes, x, start);
    }
    // Registers have no room for the sums of four.
    let mut all = [[i32x4_splat(0); R]; T];
    for t in (0..T).step_by(2) {
        let two = some_eights::<BITS, R, 2, FIRST, N>(block, lanes, [x[t], x[t + 1]], [start[t], start[t + 1]]);
        [all[t], all[t + 1]] = two;
    }
    all
}

/// [`eights`] of up to three tokens.
#[cfg_attr(feature = "relaxed-simd", target_feature(enable = "relaxed-simd"))]
#[inline]
fn some_eights<const BITS: usize, const R: usize, const T: usize, const FIRST: usize, const N: usize>(
    block: &[Line; BITS],
    lanes: usize,
    x: [&Block; T],
    start: [i32; T],
) -> [[v128; R]; T] {
    let groups = (FIRST..).zip(&block[FIRST..FIRST + N][..rolled(N)]);
    #[cfg(feature = "relaxed-simd")]
    {
        // A weight is the factor of eight bits here, signed, and that of seven is what is positive of the token, or what is negative:
        // so the sum of two products in between fits 16 bits, too.
        let mut sums = [[i32x4_splat(0); R]; T];
        let mut less = [[i32x4_splat(0); R]; T];
        for t in 0..T {
            let sum: i32 = x[t].sums[FIRST / 4..(FIRST + N) / 4].iter().sum();
            sums[t] = [i32x4_splat(start[t] + 128 * sum); R];
        }
        for (g, of_group) in groups {
            let mut signs = [[i32x4_splat(0); 2]; T];
            for t in 0..T {
                let x = i32x4_splat(x[t].words[g % 8]);
                let positive = i8x16_max(x, i8x16_splat(0));
                signs[t] = [positive, i8x16_sub(positive, x)];
            }
            for r in 0..R {
                let w = v128_xor(line(of_group, lanes + r), u8x16_splat(128));
                for t in 0..T {
                    sums[t][r] = i32x4_relaxed_dot_i8x16_i7x16_add(w, signs[t][0], sums[t][r]);
                    less[t][r] = i32x4_relaxed_dot_i8x16_i7x16_add(w, signs[t][1], less[t][r]);
                }
            }
        }
        for t in 0..T {
            for r in 0..R {
                sums[t][r] = i32x4_sub(sums[t][r], less[t][r]);
            }
        }
        sums
    }
    #[cfg(not(feature = "relaxed-simd"))]
    {
        let mut sums = [[Sum::new(); R]; T];
        for (g, of_group) in groups {
            let eights = of_group.0.as_chunks::<8>().0;
            for t in 0..T {
                let x = factor(x[t].words[g % 8]);
                for r in 0..R {
                    let at = 2 * (lanes + r);
                    let wide = [at, at + 1].map(|at| memory::u16x8_load_extend_u8x8(&eights[at]));
                    sums[t][r].add_wide(wide, x);
                }
            }
        }
        totals(sums, start)
    }
}

/// [`products`] of levels of 4 bits or of 5.
#[cfg_attr(feature = "relaxed-simd", target_feature(enable = "relaxed-simd"))]
#[inline]
fn nibbles<const BITS: usize, const R: usize, const T: usize, const FIRST: usize, const N: usize>(
    block: &[Line; BITS],
    lanes: usize,
    x: [&Block; T],
    start: [i32; T],
) -> [[v128; R]; T] {
    let mut sums = [[Sum::new(); R]; T];
    let mut high = [i32x4_splat(0); R];
    if BITS == 5 {
        for r in 0..R {
            high[r] = shift_right(line(&block[4 % BITS], lanes + r), FIRST);
        }
    }
    for (at, of_two) in (FIRST / 2..).zip(&block[FIRST / 2..(FIRST + N) / 2][..rolled(N / 2)]) {
        let mut factors = [[i32x4_splat(0); 2]; T];
        for t in 0..T {
            let words = &x[t].words.as_chunks::<2>().0[at % 4];
            factors[t] = [factor(words[0]), factor(words[1])];
        }
        for r in 0..R {
            let both = line(of_two, lanes + r);
            let mut levels = [and(both, 15), and(shift_right(both, 4), 15)];
            if BITS == 5 {
                levels[0] = or(levels[0], and(shift_left(high[r], 4), 16));
                levels[1] = or(levels[1], and(shift_left(high[r], 3), 16));
                high[r] = shift_right(high[r], 2);
            }
            for t in 0..T {
                sums[t][r].add(levels[0], factors[t][0]);
                sums[t][r].add(levels[1], factors[t][1]);
            }
        }
    }
    totals(sums, start)
}

/// `n`, hidden from the compiler. It would unroll the loop and put all products of a register together; engines then run out of
/// registers, and moving them about costs more than all arithmetic.
#[inline]
fn rolled(n: usize) -> usize {
    std::hint::black_box(n)
}

/// A register's products, and how one is added: with levels of up to six bits, as bytes, and a [`factor`]. The sum of two products in
/// between fits 16 bits (63 * 127 * 2), so that every engine gives the same.
#[derive(Clone, Copy)]
#[cfg(feature = "relaxed-simd")]
struct Sum(v128);

#[cfg(feature = "relaxed-simd")]
impl Sum {
    #[inline]
    fn new() -> Self {
        Self(i32x4_splat(0))
    }

    #[target_feature(enable = "relaxed-simd")]
    #[inline]
    fn add(&mut self, levels: v128, x: v128) {
        self.0 = i32x4_relaxed_dot_i8x16_i7x16_add(x, levels, self.0);
    }

    #[inline]
    fn total(self) -> v128 {
        self.0
    }
}

/// Those of rows 0 and 1, and of rows 2 and 3, in pairs.
#[derive(Clone, Copy)]
#[cfg(not(feature = "relaxed-simd"))]
struct Sum([v128; 2]);

#[cfg(not(feature = "relaxed-simd"))]
impl Sum {
    #[inline]
    fn new() -> Self {
        Self([i32x4_splat(0); 2])
    }

    #[inline]
    fn add(&mut self, levels: v128, x: v128) {
        self.add_wide([u16x8_extend_low_u8x16(levels), u16x8_extend_high_u8x16(levels)], x);
    }

    #[inline]
    fn add_wide(&mut self, [low, high]: [v128; 2], x: v128) {
        self.0[0] = i32x4_add(self.0[0], i32x4_dot_i16x8(low, x));
        self.0[1] = i32x4_add(self.0[1], i32x4_dot_i16x8(high, x));
    }

    #[inline]
    fn total(self) -> v128 {
        let [low, high] = self.0;
        i32x4_add(i32x4_shuffle::<0, 2, 4, 6>(low, high), i32x4_shuffle::<1, 3, 5, 7>(low, high))
    }
}

/// Four columns of a token, as the factor of levels of any row.
#[inline]
fn factor(word: i32) -> v128 {
    let x = i32x4_splat(word);
    if cfg!(feature = "relaxed-simd") { x } else { i16x8_extend_low_i8x16(x) }
}

/// What the sums come to, each token's on top of its `start`.
#[inline]
fn totals<const R: usize, const T: usize>(sums: [[Sum; R]; T], start: [i32; T]) -> [[v128; R]; T] {
    let mut totals = [[i32x4_splat(0); R]; T];
    for t in 0..T {
        for r in 0..R {
            totals[t][r] = i32x4_add(i32x4_splat(start[t]), sums[t][r].total());
        }
    }
    totals
}

/// `start` plus the products of groups `FIRST..FIRST + N` with each token's, for the rows of `R` registers from `lanes` on: exact.
#[cfg_attr(feature = "relaxed-simd", target_feature(enable = "relaxed-simd"))]
#[inline]
fn products<const BITS: usize, const R: usize, const T: usize, const FIRST: usize, const N: usize>(
    block: &[Line; BITS],
    lanes: usize,
    x: [&Block; T],
    start: [i32; T],
) -> [[v128; R]; T] {
    let mut sums = [[Sum::new(); R]; T];
    for g in FIRST..FIRST + N {
        let mut xs = [i32x4_splat(0); T];
        for t in 0..T {
            xs[t] = factor(x[t].words[g]);
        }
        for r in 0..R {
            #[cfg(feature = "relaxed-simd")]
            let w = levels::<BITS>(block, g, lanes + r);
            #[cfg(not(feature = "relaxed-simd"))]
            let w = wide::<BITS>(block, g, lanes + r);
            for t in 0..T {
                #[cfg(feature = "relaxed-simd")]
                sums[t][r].add(w, xs[t]);
                #[cfg(not(feature = "relaxed-simd"))]
                sums[t][r].add_wide(w, xs[t]);
            }
        }
    }
    totals(sums, start)
}

/// As `levels`, in 16 bits each: rows 0 and 1, rows 2 and 3.
#[cfg(not(feature = "relaxed-simd"))]
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

/// Rounded once or twice, as the machine does it faster.
#[cfg(feature = "relaxed-simd")]
#[target_feature(enable = "relaxed-simd")]
#[inline]
fn fma<const R: usize>(a: Floats<R>, b: Floats<R>, mut c: Floats<R>) -> Floats<R> {
    for r in 0..R {
        c[r] = f32x4_relaxed_madd(a[r], b[r], c[r]);
    }
    c
}

#[cfg(not(feature = "relaxed-simd"))]
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
