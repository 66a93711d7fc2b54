//! WebAssembly's 128-bit registers, four rows in one. With `relaxed-simd`, four products a lane and instruction of a factor of eight bits
//! and one of seven: levels of fewer than eight bits are the latter, and of a token with levels of eight its two signs are, one after the
//! other, unless the machine multiplies eight bits by eight. Otherwise levels of 16 bits, two products a lane and instruction.
//!
//! On x86 engines have fifteen registers, and what does not fit them is moved to memory and back, which takes longer than the arithmetic: at most
//! two tokens are multiplied at a time, with all of a panel's rows where each sum is one register, else with half of them.

use std::arch::wasm32::*;

use safe_unaligned_simd::wasm32 as memory;

use super::unpacks;
use crate::inputs::{Block, Gathered, Seconds};
use crate::panels::{Line, PANEL, Panel};

/// The kernel for `$registers` at once; `$whole` says whether levels that lie as bytes are factors as they are, because they have seven bits
/// or the dot product takes [eight of both](whole_bytes).
macro_rules! registers {
    ($name:ident, $registers:literal, $whole:literal) => {
        mod $name {
            use super::*;

            const LANES: usize = 4 * $registers;
            const TILE: usize = 4;
            const TOGETHER: usize = 2;
            const UNPACKS: bool = $whole;
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
                let lanes = $registers * lanes;
                if BITS == 8 && $whole {
                    return whole_eights::<BITS, $registers, T, FIRST, N>(block, lanes, x, start);
                }
                if BITS == 8 {
                    return eights::<BITS, $registers, T, FIRST, N>(block, lanes, x, start);
                }
                nibbles::<BITS, $registers, T, FIRST, N>(block, lanes, x, start)
            }
        }
    };
}

/// Calls a function of the module that suits: `bytes` if so, else `four` if so, else `two`.
macro_rules! suited {
    ($bytes:expr, $four:expr, $function:ident::<$($generic:ident),+>($($argument:ident),+)) => {
        if $bytes {
            bytes::$function::<$($generic),+>($($argument),+);
        } else if $four {
            four::$function::<$($generic),+>($($argument),+);
        } else {
            two::$function::<$($generic),+>($($argument),+);
        }
    };
}

/// What [`dispatch`](crate::dispatch) calls; `$whole` says whether levels of eight bits are factors as they are.
macro_rules! kernels {
    ($name:ident, $whole:literal) => {
        pub(crate) mod $name {
            use super::*;

            pub(crate) use super::one::{add_halves, dot_halves};

            /// Whether levels are whole bytes that the dot product takes: so are those that were unpacked.
            fn whole(bits: usize, centre: i32) -> bool {
                bits == 8 && ($whole || centre < 128)
            }

            #[cfg_attr(feature = "relaxed-simd", target_feature(enable = "relaxed-simd"))]
            pub(crate) fn panel<
                const BITS: usize,
                const OFFSETS: bool,
                const SIXTEEN: bool,
                const NESTED: bool,
                const T: usize,
            >(
                panel: Panel<'_>,
                centre: i32,
                tokens: &[Block],
                seconds: [Seconds<'_>; T],
                out: &mut [[f32; PANEL]; T],
            ) {
                if T == 3 {
                    let out = std::array::from_mut(out);
                    abreast::<BITS, OFFSETS, SIXTEEN, NESTED, 1, T>([panel], centre, tokens, seconds, out);
                    return;
                }
                suited!(
                    whole(BITS, centre),
                    T == 1 || fits(BITS),
                    panel::<BITS, OFFSETS, SIXTEEN, NESTED, T>(panel, centre, tokens, seconds, out)
                );
            }

            #[cfg_attr(feature = "relaxed-simd", target_feature(enable = "relaxed-simd"))]
            pub(crate) fn abreast<
                const BITS: usize,
                const OFFSETS: bool,
                const SIXTEEN: bool,
                const NESTED: bool,
                const P: usize,
                const T: usize,
            >(
                panels: [Panel<'_>; P],
                centre: i32,
                tokens: &[Block],
                seconds: [Seconds<'_>; T],
                out: &mut [[[f32; PANEL]; T]; P],
            ) {
                let bytes = whole(BITS, centre) || unpacks(BITS, T);
                suited!(
                    bytes,
                    T == 1 || fits(BITS),
                    abreast::<BITS, OFFSETS, SIXTEEN, NESTED, P, T>(panels, centre, tokens, seconds, out)
                );
            }

            #[cfg_attr(feature = "relaxed-simd", target_feature(enable = "relaxed-simd"))]
            pub(crate) fn gathered<const BITS: usize, const OFFSETS: bool, const SIXTEEN: bool, const NESTED: bool>(
                panel: Panel<'_>,
                centre: i32,
                seconds: &Gathered<'_>,
                out: &mut [[f32; PANEL]],
            ) {
                suited!(
                    whole(BITS, centre),
                    fits(BITS),
                    gathered::<BITS, OFFSETS, SIXTEEN, NESTED>(panel, centre, seconds, out)
                );
            }
        }
    };
}

/// Whether the products of two tokens with all sixteen rows fit an engine's registers. Those of levels with eight bits whose dot product takes
/// seven are two sums, and so are all without relaxed SIMD.
const fn fits(bits: usize) -> bool {
    cfg!(feature = "relaxed-simd") && bits < 8
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
registers!(bytes, 4, true);
kernels!(parts, false);
#[cfg(feature = "relaxed-simd")]
kernels!(whole, true);

/// A register of levels, or of their products.
type Ints = v128;

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

/// `start` plus the products of groups `FIRST..FIRST + N` with each token's, for the rows of `R` registers from `lanes` on, exact: of levels
/// that are bytes as they lie, where the dot product takes them so.
#[cfg_attr(feature = "relaxed-simd", target_feature(enable = "relaxed-simd"))]
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

/// The same where it takes seven bits of one factor: a token's two signs one after the other.
#[cfg_attr(feature = "relaxed-simd", target_feature(enable = "relaxed-simd"))]
#[inline]
fn eights<const BITS: usize, const R: usize, const T: usize, const FIRST: usize, const N: usize>(
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

/// The same of levels of 4 to 6 bits: nibbles in lines of their own, and what is above them.
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
    for r in 0..R {
        high[r] = match BITS {
            5 => shift_right(line(&block[4 % BITS], lanes + r), FIRST),
            6 => line(&block[(4 + FIRST / 4) % BITS], lanes + r),
            _ => high[r],
        };
    }
    for (at, of_two) in (FIRST / 2..).zip(&block[FIRST / 2..FIRST / 2 + N / 2][..rolled(N / 2)]) {
        let mut factors = [[i32x4_splat(0); 2]; T];
        for t in 0..T {
            let words = &x[t].words.as_chunks::<2>().0[at % 4];
            factors[t] = [factor(words[0]), factor(words[1])];
        }
        for r in 0..R {
            let both = line(of_two, lanes + r);
            let mut levels = [and(both, 15), and(shift_right(both, 4), 15)];
            if BITS > 4 {
                let (each, mask) = if BITS == 5 { (1, 16) } else { (2, 48) };
                levels[0] = or(levels[0], and(shift_left(high[r], 4), mask));
                levels[1] = or(levels[1], and(shift_left(high[r], 4 - each), mask));
                high[r] = shift_right(high[r], 2 * each);
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
