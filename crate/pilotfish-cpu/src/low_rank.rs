//! What an adapter adds to a matrix's outputs.

use crate::kernel::rows::RUN;
use crate::{Isa, dispatch};

/// `y += factor * B (A x)`: `a` is `[rank, inputs]`, `b` is `[rank, outputs]`, which is B transposed, both as f16 bits.
pub fn add_low_rank(isa: Isa, factor: f32, x: &[f32], a: &[u16], b: &[u16], y: &mut [f32]) {
    let (inputs, outputs) = (x.len(), y.len());
    let ranks = a.chunks(RUN * inputs).zip(b.chunks(RUN * outputs));
    for (a, b) in ranks {
        let mut rows: [&[u16]; RUN] = Default::default();
        let mut inner = [[0.0; RUN]];
        let n = of(a, inputs, &mut rows);
        dispatch::dot_halves(isa, [x], &rows[..n], &mut inner);
        for inner in inner.as_flattened_mut() {
            *inner *= factor;
        }
        let n = of(b, outputs, &mut rows);
        dispatch::add_halves(isa, &inner, &rows[..n], [&mut *y]);
    }
}

/// Puts the rows of a matrix in `rows`, and says how many they are.
fn of<'a>(matrix: &'a [u16], width: usize, rows: &mut [&'a [u16]; RUN]) -> usize {
    let found = matrix.chunks_exact(width).zip(rows);
    found.map(|(row, to)| *to = row).count()
}
