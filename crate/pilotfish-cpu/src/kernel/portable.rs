//! Plain loops over sixteen rows, for every machine; and the reference of the other kernels' integers.

use crate::float;
use crate::inputs::Block;
use crate::panels::{Line, PANEL};

const LANES: usize = 16;
pub(crate) const TILE: usize = 4;
const TOGETHER: usize = TILE;
const UNPACKS: bool = false;
const ROWS: usize = 1;
const ACROSS: usize = 1;
#[derive(Clone, Copy)]
struct Ints([u8; 64]);
type Floats = [f32; PANEL];

super::driver!();
super::unpacking!();
super::rows::rows!();

/// `start` plus the products of groups `FIRST..FIRST + N` with each token's: exact.
fn dots<const BITS: usize, const T: usize, const FIRST: usize, const N: usize>(
    block: &[Line; BITS],
    lanes: usize,
    x: [&Block; T],
    start: [i32; T],
) -> [[i32; PANEL]; T] {
    let mut sums = start.map(|start| [start; PANEL]);
    for g in FIRST..FIRST + N {
        let Ints(w) = levels::<BITS>(block, g, lanes);
        for t in 0..T {
            let x = x[t].words[g].to_le_bytes().map(|x| i32::from(x as i8));
            for (sum, w) in sums[t].iter_mut().zip(w.as_chunks::<4>().0) {
                for c in 0..4 {
                    *sum += i32::from(w[c]) * x[c];
                }
            }
        }
    }
    sums
}

fn zero() -> Floats {
    [0.0; PANEL]
}

fn splat(x: f32) -> Floats {
    [x; PANEL]
}

fn add(a: Floats, b: Floats) -> Floats {
    std::array::from_fn(|r| a[r] + b[r])
}

fn mul(a: Floats, b: Floats) -> Floats {
    std::array::from_fn(|r| a[r] * b[r])
}

fn fma(a: Floats, b: Floats, c: Floats) -> Floats {
    std::array::from_fn(|r| a[r] * b[r] + c[r])
}

fn floats(x: [i32; PANEL]) -> Floats {
    x.map(|x| x as f32)
}

fn line(line: &Line, _lanes: usize) -> Ints {
    Ints(line.0)
}

fn and(Ints(x): Ints, mask: u8) -> Ints {
    Ints(x.map(|x| x & mask))
}

fn or(Ints(a): Ints, Ints(b): Ints) -> Ints {
    Ints(std::array::from_fn(|at| a[at] | b[at]))
}

/// Bits may cross from byte to byte elsewhere; all of them are masked away.
fn shift_right(Ints(x): Ints, by: usize) -> Ints {
    Ints(x.map(|x| x >> by))
}

fn shift_left(Ints(x): Ints, by: usize) -> Ints {
    Ints(x.map(|x| x << by))
}

fn halves(x: &[u16; PANEL], _lanes: usize) -> Floats {
    x.map(float::from_half)
}

fn signed_bytes(x: &[i8; PANEL], _lanes: usize) -> Floats {
    x.map(f32::from)
}

fn totals(x: [Floats; 4]) -> [f32; 4] {
    x.map(float::total)
}

fn load(x: &[f32; PANEL], _lanes: usize) -> Floats {
    *x
}

fn store(x: Floats, out: &mut [f32; PANEL], _lanes: usize) {
    *out = x;
}
