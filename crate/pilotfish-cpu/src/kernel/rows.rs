//! Rows of f16 numbers: their products with vectors and their weighed sums. Keys and values are such rows, and an adapter's factors.

/// Rows of a call, at most.
pub(crate) const RUN: usize = 32;

/// Expands to `dot_halves` and `add_halves`.
///
/// The file defines, beside what [`driver`](super::driver) asks for, `totals` (the sums of four registers' lanes), `ROWS` (rows that
/// share a reading of the vectors) and `ACROSS` (registers of a row that are summed up at once): what fits the registers for four vectors.
macro_rules! rows {
    ($(#[$features:meta])*) => {
        /// `out[g][r] = x[g] · rows[r]`, for as many rows as there are, all as long as the vectors.
        $(#[$features])*
        pub(crate) fn dot_halves<const G: usize>(
            x: [&[f32]; G],
            rows: &[&[u16]],
            out: &mut [[f32; $crate::kernel::rows::RUN]; G],
        ) {
            let (some, others) = rows.as_chunks::<ROWS>();
            let mut at = 0;
            for rows in some {
                let found = dots_of::<G, ROWS>(x, rows);
                for g in 0..G {
                    out[g][at..at + ROWS].copy_from_slice(&found[g]);
                }
                at += ROWS;
            }
            for row in others {
                let found = dots_of::<G, 1>(x, &[*row]);
                for g in 0..G {
                    out[g][at] = found[g][0];
                }
                at += 1;
            }
        }

        /// `[vector][row]`
        $(#[$features])*
        #[inline]
        fn dots_of<const G: usize, const N: usize>(x: [&[f32]; G], rows: &[&[u16]; N]) -> [[f32; N]; G] {
            let (first, rest) = rows[0].as_chunks::<16>();
            let mut whole = [first; N];
            for r in 1..N {
                whole[r] = &rows[r].as_chunks::<16>().0[..first.len()];
            }
            let mut vectors = [x[0].as_chunks::<16>().0; G];
            for g in 0..G {
                vectors[g] = &x[g].as_chunks::<16>().0[..first.len()];
            }
            let mut sums: [[Floats; N]; G] = [[zero(); N]; G];
            for c in 0..first.len() {
                for lanes in 0..16 / LANES {
                    let mut of_rows = [zero(); N];
                    for r in 0..N {
                        of_rows[r] = halves(&whole[r][c], lanes);
                    }
                    for g in 0..G {
                        let x = load(&vectors[g][c], lanes);
                        for r in 0..N {
                            sums[g][r] = fma(of_rows[r], x, sums[g][r]);
                        }
                    }
                }
            }
            let mut found = [[0.0; N]; G];
            for first in (0..G * N).step_by(4) {
                let mut four = [zero(); 4];
                for at in first..(first + 4).min(G * N) {
                    four[at - first] = sums[at / N][at % N];
                }
                let four = totals(four);
                for at in first..(first + 4).min(G * N) {
                    found[at / N][at % N] = four[at - first];
                }
            }
            if !rest.is_empty() {
                for g in 0..G {
                    for r in 0..N {
                        for at in 16 * first.len()..rows[0].len() {
                            found[g][r] += x[g][at] * $crate::float::from_half(rows[r][at]);
                        }
                    }
                }
            }
            found
        }

        /// `out[g] += Σ weights[g][r] rows[r]`, over as many rows as there are, all as long as the vectors.
        $(#[$features])*
        pub(crate) fn add_halves<const G: usize>(
            weights: &[[f32; $crate::kernel::rows::RUN]; G],
            rows: &[&[u16]],
            mut out: [&mut [f32]; G],
        ) {
            let n = out[0].len();
            let registers = n / 16 * (16 / LANES);
            let mut at = 0;
            while at + ACROSS <= registers {
                add_across::<G, ACROSS>(weights, rows, at, &mut out);
                at += ACROSS;
            }
            while at < registers {
                add_across::<G, 1>(weights, rows, at, &mut out);
                at += 1;
            }
            for at in n / 16 * 16..n {
                for g in 0..G {
                    for (row, weight) in rows.iter().zip(&weights[g]) {
                        out[g][at] += weight * $crate::float::from_half(row[at]);
                    }
                }
            }
        }

        /// The same for `C` registers of each vector, from register `at` on.
        $(#[$features])*
        #[inline]
        fn add_across<const G: usize, const C: usize>(
            weights: &[[f32; $crate::kernel::rows::RUN]; G],
            rows: &[&[u16]],
            at: usize,
            out: &mut [&mut [f32]; G],
        ) {
            let parts = 16 / LANES;
            let mut sums: [[Floats; C]; G] = [[zero(); C]; G];
            for g in 0..G {
                let out = out[g].as_chunks::<16>().0;
                for c in 0..C {
                    sums[g][c] = load(&out[(at + c) / parts], (at + c) % parts);
                }
            }
            for r in 0..rows.len().min($crate::kernel::rows::RUN) {
                let row = rows[r].as_chunks::<16>().0;
                let mut of_row: [Floats; C] = [zero(); C];
                for c in 0..C {
                    of_row[c] = halves(&row[(at + c) / parts], (at + c) % parts);
                }
                for g in 0..G {
                    let weight = splat(weights[g][r]);
                    for c in 0..C {
                        sums[g][c] = fma(of_row[c], weight, sums[g][c]);
                    }
                }
            }
            for g in 0..G {
                let out = out[g].as_chunks_mut::<16>().0;
                for c in 0..C {
                    store(sums[g][c], &mut out[(at + c) / parts], (at + c) % parts);
                }
            }
        }
    };
}
pub(crate) use rows;
