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
pub(crate) mod rows;
#[cfg(all(target_arch = "wasm32", target_feature = "simd128"))]
pub(crate) mod simd128;

/// The same block, to be read again: WebAssembly's engines have no registers left to keep what was unpacked of it.
#[inline]
fn again<T>(block: &T) -> &T {
    if cfg!(target_arch = "wasm32") { std::hint::black_box(block) } else { block }
}

/// Whether levels of so many bits are made bytes for so few tokens, where products are made two at a time: it takes as long as to store them.
const fn unpacks(bits: usize, tokens: usize) -> bool {
    bits == 5 && tokens > 2 || bits == 6 && tokens > 1
}

/// Expands to `panel`, sixteen outputs of `T` tokens, `abreast`, those of several panels at once, and `gathered`, what
/// second digits add to sixteen outputs of many.
///
/// `$features` are the attributes that every function of the file has. The file defines `LANES` (rows in a register), `TILE` (tokens
/// that share the reading of a block), `TOGETHER` (tokens whose products fit the registers: all of a tile or two), `UNPACKS` (whether
/// [`unpacks`] holds), the registers `Ints` and `Floats`, and the functions used below.
macro_rules! driver {
    ($(#[$features:meta])*) => {
        /// Sixteen outputs of `T` tokens: `out[t][r]` is row `r` of the panel times the blocks of token `t`, which follow each other.
        ///
        /// `BITS` to `NESTED` are the layout's: bits of a level, offsets or none, a scale for each 16 columns or for 32, nested
        /// scales or f16. `centre` is 0 where there are offsets. Fewer than `TILE` tokens wait for memory, and add the products of
        /// their `seconds` meanwhile; for `TILE` they are left to [`gathered`].
        $(#[$features])*
        pub(crate) fn panel<
            const BITS: usize,
            const OFFSETS: bool,
            const SIXTEEN: bool,
            const NESTED: bool,
            const T: usize,
        >(
            panel: $crate::panels::Panel<'_>,
            centre: i32,
            tokens: &[$crate::inputs::Block],
            seconds: [$crate::inputs::Seconds<'_>; T],
            out: &mut [[f32; 16]; T],
        ) {
            let blocks = panel.quants.as_chunks::<BITS>().0;
            // Arrays are filled in loops here: what `map` and `from_fn` call is not always inlined.
            let mut rows = [tokens; T];
            for t in 0..T {
                rows[t] = &tokens[blocks.len() * t..][..blocks.len()];
            }
            for lanes in 0..16 / LANES {
                let mut sums = [zero(); T];
                // By themselves, so that a sum is the same wherever second digits are added.
                let mut more = [zero(); T];
                let mut seconds = seconds;
                let mut nest = [zero(); 2];
                for (at, block) in blocks.iter().enumerate() {
                    let mut x = [&rows[0][at]; T];
                    for t in 1..T {
                        x[t] = &rows[t][at];
                    }
                    if NESTED && at % 8 == 0 {
                        nest = nested::<OFFSETS>(panel, at, lanes);
                    }
                    let factors = factors::<OFFSETS, SIXTEEN, NESTED>(panel, at, lanes, nest);
                    if T <= TOGETHER {
                        sums = plus::<BITS, OFFSETS, SIXTEEN, T>(block, factors, centre, x, lanes, sums);
                    } else {
                        for t in (0..T).step_by(2) {
                            let (block, x, two) = ($crate::kernel::again(block), [x[t], x[t + 1]], [sums[t], sums[t + 1]]);
                            [sums[t], sums[t + 1]] =
                                plus::<BITS, OFFSETS, SIXTEEN, 2>(block, factors, centre, x, lanes, two);
                        }
                    }
                    for t in 0..T {
                        let Some(x) = (if T < TILE { seconds[t].at(at) } else { None }) else { continue };
                        let block = $crate::kernel::again(block);
                        more[t] = plus::<BITS, OFFSETS, SIXTEEN, 1>(block, factors, centre, [x], lanes, [more[t]])[0];
                    }
                }
                for t in 0..T {
                    store(add(sums[t], more[t]), &mut out[t], lanes);
                }
            }
        }

        /// As [`panel`], of some panels, block by block in turns: memory that is read in several places at once comes sooner. Of several
        /// tokens products are made two at a time, first digits and second ones as they come.
        $(#[$features])*
        pub(crate) fn abreast<
            const BITS: usize,
            const OFFSETS: bool,
            const SIXTEEN: bool,
            const NESTED: bool,
            const P: usize,
            const T: usize,
        >(
            panels: [$crate::panels::Panel<'_>; P],
            centre: i32,
            tokens: &[$crate::inputs::Block],
            seconds: [$crate::inputs::Seconds<'_>; T],
            out: &mut [[[f32; 16]; T]; P],
        ) {
            let mut blocks = [panels[0].quants.as_chunks::<BITS>().0; P];
            for p in 1..P {
                blocks[p] = &panels[p].quants.as_chunks::<BITS>().0[..blocks[0].len()];
            }
            let mut rows = [tokens; T];
            for t in 0..T {
                rows[t] = &tokens[blocks[0].len() * t..][..blocks[0].len()];
            }
            // Of the tokens' first digits, of their second ones, and of what makes an odd number even.
            let mut sums = [[[zero(); 2 * TILE + 1]; 16 / LANES]; P];
            let mut seconds = seconds;
            let mut nest = [[[zero(); 2]; 16 / LANES]; P];
            for at in 0..blocks[0].len() {
                // What is multiplied, and which of the sums it adds to.
                let mut entries = [(&rows[0][at], 2 * TILE); 2 * TILE + 1];
                let mut n = T;
                for t in 0..T {
                    entries[t] = (&rows[t][at], t);
                    if let Some(x) = seconds[t].at(at) {
                        entries[n] = (x, TILE + t);
                        n += 1;
                    }
                }
                for p in 0..P {
                    let unpacks = UNPACKS && $crate::kernel::unpacks(BITS, T);
                    let mut bytes = [$crate::panels::Line([0; 64]); 8];
                    if unpacks {
                        bytes = $crate::panels::unpack(&blocks[p][at]);
                    }
                    for lanes in 0..16 / LANES {
                        if NESTED && at % 8 == 0 {
                            nest[p][lanes] = nested::<OFFSETS>(panels[p], at, lanes);
                        }
                        let factors = factors::<OFFSETS, SIXTEEN, NESTED>(panels[p], at, lanes, nest[p][lanes]);
                        let sums = &mut sums[p][lanes];
                        let mut next = 0;
                        while next < n {
                            let block = $crate::kernel::again(&blocks[p][at]);
                            let (x, a) = entries[next];
                            if T == 1 {
                                [sums[a]] = plus::<BITS, OFFSETS, SIXTEEN, 1>(block, factors, centre, [x], lanes, [sums[a]]);
                                next += 1;
                                continue;
                            }
                            let (y, b) = entries[next + 1];
                            let (x, two) = ([x, y], [sums[a], sums[b]]);
                            [sums[a], sums[b]] = if unpacks {
                                let bytes = $crate::kernel::again(&bytes);
                                plus::<8, OFFSETS, SIXTEEN, 2>(bytes, factors, centre, x, lanes, two)
                            } else {
                                plus::<BITS, OFFSETS, SIXTEEN, 2>(block, factors, centre, x, lanes, two)
                            };
                            next += 2;
                        }
                    }
                }
            }
            for p in 0..P {
                for t in 0..T {
                    for lanes in 0..16 / LANES {
                        store(add(sums[p][lanes][t], sums[p][lanes][TILE + t]), &mut out[p][t], lanes);
                    }
                }
            }
        }

        /// Adds to each token's outputs the products of its second digits, block by block, so that what is to be unpacked of a block
        /// is unpacked once for some tokens.
        $(#[$features])*
        pub(crate) fn gathered<const BITS: usize, const OFFSETS: bool, const SIXTEEN: bool, const NESTED: bool>(
            panel: $crate::panels::Panel<'_>,
            centre: i32,
            seconds: &$crate::inputs::Gathered<'_>,
            out: &mut [[f32; 16]],
        ) {
            const SOME: usize = if TOGETHER < 4 { TOGETHER } else { 4 };
            let blocks = panel.quants.as_chunks::<BITS>().0;
            for lanes in 0..16 / LANES {
                for (at, block) in blocks.iter().enumerate() {
                    let mut these = seconds.of(at);
                    if these.is_empty() {
                        continue;
                    }
                    let nest = if NESTED { nested::<OFFSETS>(panel, at, lanes) } else { [zero(); 2] };
                    let factors = factors::<OFFSETS, SIXTEEN, NESTED>(panel, at, lanes, nest);
                    while let Some((some, others)) = these.split_first_chunk::<SOME>() {
                        these = others;
                        let mut x = [some[0].1; SOME];
                        let mut sums = [zero(); SOME];
                        for t in 0..SOME {
                            x[t] = some[t].1;
                            sums[t] = load(&out[some[t].0 as usize], lanes);
                        }
                        let sums = plus::<BITS, OFFSETS, SIXTEEN, SOME>(block, factors, centre, x, lanes, sums);
                        for t in 0..SOME {
                            store(sums[t], &mut out[some[t].0 as usize], lanes);
                        }
                    }
                    for (token, x) in these {
                        let out = &mut out[*token as usize];
                        let sum = [load(out, lanes)];
                        let [sum] = plus::<BITS, OFFSETS, SIXTEEN, 1>(block, factors, centre, [x], lanes, sum);
                        store(sum, out, lanes);
                    }
                }
            }
        }

        /// What the scales of block `at` are multiplied with, and what the offsets are.
        $(#[$features])*
        #[inline]
        fn nested<const OFFSETS: bool>(panel: $crate::panels::Panel<'_>, at: usize, lanes: usize) -> [Floats; 2] {
            let kinds = if OFFSETS { 2 } else { 1 };
            let both = &panel.halves[at / 8 * kinds..][..kinds];
            [halves(&both[0], lanes), if OFFSETS { halves(&both[1], lanes) } else { zero() }]
        }

        /// Scales and offsets of block `at`: for its first 16 columns and for the others where `SIXTEEN`, else for all, first.
        $(#[$features])*
        #[inline]
        fn factors<const OFFSETS: bool, const SIXTEEN: bool, const NESTED: bool>(
            panel: $crate::panels::Panel<'_>,
            at: usize,
            lanes: usize,
            nest: [Floats; 2],
        ) -> [[Floats; 2]; 2] {
            let kinds = if OFFSETS { 2 } else { 1 };
            let mut factors = [[zero(); 2]; 2];
            if NESTED {
                let parts = if SIXTEEN { 2 } else { 1 };
                let bytes = &panel.bytes[at * parts * kinds..][..parts * kinds];
                for kind in 0..kinds {
                    for part in 0..parts {
                        factors[kind][part] = mul(nest[kind], signed_bytes(&bytes[parts * kind + part], lanes));
                    }
                }
            } else {
                let both = &panel.halves[at * kinds..][..kinds];
                for kind in 0..kinds {
                    factors[kind][0] = halves(&both[kind], lanes);
                }
            }
            factors
        }

        /// `sums` plus the products of a block of weights with one of each token.
        $(#[$features])*
        #[inline]
        fn plus<const BITS: usize, const OFFSETS: bool, const SIXTEEN: bool, const T: usize>(
            block: &[$crate::panels::Line; BITS],
            [scales, offsets]: [[Floats; 2]; 2],
            centre: i32,
            x: [&$crate::inputs::Block; T],
            lanes: usize,
            mut sums: [Floats; T],
        ) -> [Floats; T] {
            if SIXTEEN {
                let mut starts = [[0; T]; 2];
                for t in 0..T {
                    starts[0][t] = -centre * x[t].sums[0];
                    starts[1][t] = -centre * x[t].sums[1];
                }
                let products = [
                    dots::<BITS, T, 0, 4>(block, lanes, x, starts[0]),
                    dots::<BITS, T, 4, 4>(block, lanes, x, starts[1]),
                ];
                for part in 0..2 {
                    for t in 0..T {
                        sums[t] = fma(floats(products[part][t]), mul(scales[part], splat(x[t].scale)), sums[t]);
                    }
                    if OFFSETS {
                        for t in 0..T {
                            sums[t] = fma(offsets[part], splat(x[t].scaled_sums[part]), sums[t]);
                        }
                    }
                }
            } else {
                let mut start = [0; T];
                if !OFFSETS {
                    for t in 0..T {
                        start[t] = -centre * (x[t].sums[0] + x[t].sums[1]);
                    }
                }
                let products = dots::<BITS, T, 0, 8>(block, lanes, x, start);
                for t in 0..T {
                    sums[t] = fma(floats(products[t]), mul(scales[0], splat(x[t].scale)), sums[t]);
                }
                if OFFSETS {
                    for t in 0..T {
                        let sum = x[t].scaled_sums[0] + x[t].scaled_sums[1];
                        sums[t] = fma(offsets[0], splat(sum), sums[t]);
                    }
                }
            }
            sums
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
