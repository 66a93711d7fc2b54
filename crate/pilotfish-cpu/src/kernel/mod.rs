//! Products of one panel with the blocks of some tokens, for each instruction set.
//!
//! An instruction set is a file that gives its register types and a dozen one-line functions on them, and `dots`: the integer
//! products of one block of weights with a block of each token. The rest is [`driver`], expanded in each of them, because a
//! function that uses an instruction set's registers must be compiled for it.

#![allow(clippy::wildcard_imports, reason = "an instruction set's names say themselves where they are from")]

#[cfg(target_arch = "aarch64")]
mod arm;
#[cfg(target_arch = "x86_64")]
pub(crate) mod avx2;
#[cfg(target_arch = "x86_64")]
pub(crate) mod avx512;
#[cfg(target_arch = "x86_64")]
pub(crate) mod avx_vnni;
#[cfg(target_arch = "aarch64")]
pub(crate) mod neon;
#[cfg(target_arch = "aarch64")]
pub(crate) mod neon_dot;
pub(crate) mod portable;
#[cfg(all(target_arch = "wasm32", target_feature = "simd128"))]
pub(crate) mod simd128;

/// Expands to `panel`: sixteen outputs of `T` tokens.
///
/// `$features` are the attributes that every function of the file has. The file defines `LANES` (rows in a register), `TILE` (tokens
/// taken at once: what fits the registers beside the weights), the registers `Ints` and `Floats`, and the functions used below.
macro_rules! driver {
    ($(#[$features:meta])*) => {
        /// Sixteen outputs of `T` tokens: `out[t][r]` is row `r` of the panel times the blocks of token `t`.
        ///
        /// `BITS` to `NESTED` are the layout's: bits of a level, offsets or none, a scale for each 16 columns or for 32, nested
        /// scales or f16. `centre` is 0 where there are offsets. With `PICKED`, the tokens' blocks are those of columns
        /// `32 * picks[..]` alone. Fewer than `TILE` tokens wait for memory, and add the products of their `seconds` meanwhile.
        $(#[$features])*
        pub(crate) fn panel<
            const BITS: usize,
            const OFFSETS: bool,
            const SIXTEEN: bool,
            const NESTED: bool,
            const PICKED: bool,
            const T: usize,
        >(
            panel: $crate::panels::Panel<'_>,
            centre: i32,
            tokens: [&[$crate::inputs::Block]; T],
            picks: &[u32],
            seconds: [$crate::inputs::Seconds<'_>; T],
            out: &mut [[f32; 16]; T],
        ) {
            let blocks = panel.quants.as_chunks::<BITS>().0;
            let n = if PICKED { picks.len() } else { blocks.len() };
            // Arrays are filled in loops here: what `map` and `from_fn` call is not always inlined.
            let mut tokens = tokens;
            for token in &mut tokens {
                *token = &token[..n];
            }
            let kinds = if OFFSETS { 2 } else { 1 };
            let parts = if SIXTEEN { 2 } else { 1 };
            for lanes in 0..16 / LANES {
                let mut sums = [zero(); T];
                // By themselves, so that a sum is the same wherever second digits are added.
                let mut more = [zero(); T];
                let mut seconds = seconds;
                let (mut nest, mut nest_offset) = (zero(), zero());
                for i in 0..n {
                    let mut x = [&tokens[0][i]; T];
                    for t in 1..T {
                        x[t] = &tokens[t][i];
                    }
                    let at = if PICKED { picks[i] as usize } else { i };
                    if NESTED && (PICKED || at % 8 == 0) {
                        nest = halves(&panel.halves[at / 8 * kinds], lanes);
                        if OFFSETS {
                            nest_offset = halves(&panel.halves[at / 8 * kinds + 1], lanes);
                        }
                    }
                    if SIXTEEN {
                        let bytes = &panel.bytes[at * 2 * kinds..][..2 * kinds];
                        let mut starts = [[0; T]; 2];
                        for t in 0..T {
                            starts[0][t] = -centre * x[t].sums[0];
                            starts[1][t] = -centre * x[t].sums[1];
                        }
                        let products = [
                            dots::<BITS, T, 0, 4>(&blocks[at], lanes, x, starts[0]),
                            dots::<BITS, T, 4, 4>(&blocks[at], lanes, x, starts[1]),
                        ];
                        for part in 0..parts {
                            let scale = mul(nest, signed_bytes(&bytes[part], lanes));
                            for t in 0..T {
                                sums[t] = fma(floats(products[part][t]), mul(scale, splat(x[t].scale)), sums[t]);
                            }
                            if OFFSETS {
                                let offset = mul(nest_offset, signed_bytes(&bytes[2 + part], lanes));
                                for t in 0..T {
                                    sums[t] = fma(offset, splat(x[t].scaled_sums[part]), sums[t]);
                                }
                            }
                        }
                        for t in 0..T {
                            let Some(x) = (if T < TILE { seconds[t].at(i) } else { None }) else { continue };
                            let start = [-centre * x.sums[0], -centre * x.sums[1]];
                            let products = [
                                dots::<BITS, 1, 0, 4>(&blocks[at], lanes, [x], [start[0]])[0],
                                dots::<BITS, 1, 4, 4>(&blocks[at], lanes, [x], [start[1]])[0],
                            ];
                            for part in 0..parts {
                                let scale = mul(nest, signed_bytes(&bytes[part], lanes));
                                more[t] = fma(floats(products[part]), mul(scale, splat(x.scale)), more[t]);
                                if OFFSETS {
                                    let offset = mul(nest_offset, signed_bytes(&bytes[2 + part], lanes));
                                    more[t] = fma(offset, splat(x.scaled_sums[part]), more[t]);
                                }
                            }
                        }
                    } else {
                        let (scale, offset) = if NESTED {
                            let bytes = &panel.bytes[at * kinds..][..kinds];
                            let scale = mul(nest, signed_bytes(&bytes[0], lanes));
                            let offset =
                                if OFFSETS { mul(nest_offset, signed_bytes(&bytes[1], lanes)) } else { zero() };
                            (scale, offset)
                        } else {
                            let both = &panel.halves[at * kinds..][..kinds];
                            (halves(&both[0], lanes), if OFFSETS { halves(&both[1], lanes) } else { zero() })
                        };
                        let mut start = [0; T];
                        if !OFFSETS {
                            for t in 0..T {
                                start[t] = -centre * (x[t].sums[0] + x[t].sums[1]);
                            }
                        }
                        let products = dots::<BITS, T, 0, 8>(&blocks[at], lanes, x, start);
                        for t in 0..T {
                            sums[t] = fma(floats(products[t]), mul(scale, splat(x[t].scale)), sums[t]);
                        }
                        if OFFSETS {
                            for t in 0..T {
                                let sum = x[t].scaled_sums[0] + x[t].scaled_sums[1];
                                sums[t] = fma(offset, splat(sum), sums[t]);
                            }
                        }
                        for t in 0..T {
                            let Some(x) = (if T < TILE { seconds[t].at(i) } else { None }) else { continue };
                            let start = if OFFSETS { 0 } else { -centre * (x.sums[0] + x.sums[1]) };
                            let products = dots::<BITS, 1, 0, 8>(&blocks[at], lanes, [x], [start])[0];
                            more[t] = fma(floats(products), mul(scale, splat(x.scale)), more[t]);
                            if OFFSETS {
                                more[t] = fma(offset, splat(x.scaled_sums[0] + x.scaled_sums[1]), more[t]);
                            }
                        }
                    }
                }
                for t in 0..T {
                    store(add(sums[t], more[t]), &mut out[t], lanes);
                }
            }
        }
    };
}

/// Expands to `levels`, for `dots`.
macro_rules! unpacking {
    ($(#[$features:meta])*) => {
        /// The four columns of group `g` for the rows of a register, as bytes; 8-bit levels are as they lie.
        $(#[$features])*
        #[inline]
        fn levels<const BITS: usize>(block: &[$crate::panels::Line; BITS], g: usize, lanes: usize) -> Ints {
            if BITS == 8 {
                return line(&block[g], lanes);
            }
            let both = line(&block[g / 2], lanes);
            let low = and(if g % 2 == 0 { both } else { shift_right(both, 4) }, 15);
            // The bits above land on bits 4 and 5.
            let (high, at, mask) = match BITS {
                5 => (line(&block[4 % BITS], lanes), g, 16),
                6 => (line(&block[(4 + g / 4) % BITS], lanes), 2 * (g % 4), 48),
                _ => return low,
            };
            or(low, and(if at > 4 { shift_right(high, at - 4) } else { shift_left(high, 4 - at) }, mask))
        }
    };
}
pub(crate) use {driver, unpacking};
