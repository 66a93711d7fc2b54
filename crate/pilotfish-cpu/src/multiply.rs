//! Products of matrices with a batch of inputs.

use crate::inputs::{Gathered, Inputs, Precision, Seconds};
use crate::panels::{Layout, PANEL, Panel, Panels, Scale, unpack};
use crate::{Isa, Workers, dispatch, float};

/// Pieces of the work for each thread: more even out what disturbs one of them, fewer cost less.
const PIECES: usize = 2;
/// Bytes of weights in a piece at most, about: the threads wait for the last one, which should not be long.
const LARGE: usize = 1 << 20;

/// Places of a matrix that WebAssembly, which cannot prefetch, multiplies with few tokens at once: there is little arithmetic to a byte, so
/// it waits for memory, and what is read in several places comes sooner. With one token, weights of less than 8 bits gain nothing.
const ABREAST: usize = if cfg!(target_arch = "wasm32") { 4 } else { 1 };

/// Whether the levels of a panel are made bytes once for all of many tokens, and not for each few of them: WebAssembly's engines have few
/// registers to keep what is unpacked.
const UNPACKS: bool = cfg!(target_arch = "wasm32");

/// `out[panel, token, r]` is output `16 panel + r` of `token`; the panels are those of `matrices`, one matrix below the other.
///
/// All matrices have `x.k()` inputs. Each of their weights is read once for every 8 tokens (4 without AVX-512) of a batch, from the
/// nearest cache after the first time. `x` must be [quantised](Inputs::quantise) where `precision` is fast.
pub fn multiply(
    isa: Isa,
    workers: &Workers,
    precision: Precision,
    matrices: &[&Panels],
    x: &Inputs,
    out: &mut Vec<[f32; PANEL]>,
) {
    let tokens = x.tokens();
    let panels: usize = matrices.iter().map(|matrix| matrix.panels()).sum();
    out.resize(panels * tokens, [0.0; PANEL]);
    if tokens == 0 {
        return;
    }
    let whole = tokens - tokens % isa.tile();
    // Those of tokens that are multiplied abreast are added in the same pass.
    let gathers = precision == Precision::Fast && (ABREAST == 1 || tokens > isa.tile());
    let seconds = if gathers { x.gathered(whole) } else { Gathered::default() };
    let batch = Batch { isa, precision, x, seconds };
    let bytes: usize = matrices.iter().map(|matrix| matrix.bytes()).sum();
    let size = panels.div_ceil((workers.threads() * PIECES).max(bytes / LARGE)).max(1) * tokens;
    workers.pieces(out, size, |at, piece| {
        let first = at / tokens;
        let last = first + piece.len() / tokens;
        let mut scratch = Vec::new();
        let mut start = 0;
        for matrix in matrices {
            let end = start + matrix.panels();
            let here = first.max(start)..last.min(end);
            if !here.is_empty() {
                let out = &mut piece[(here.start - first) * tokens..(here.end - first) * tokens];
                product(&batch, matrix, here.start - start, &mut scratch, out);
            }
            start = end;
        }
    });
}

/// Copies the outputs of `token` from [`multiply`]'s `out`, the rows of the matrix whose first panel is `first`.
pub fn panel_row(out: &[[f32; PANEL]], tokens: usize, first: usize, token: usize, into: &mut [f32]) {
    for (panel, into) in into.chunks_mut(PANEL).enumerate() {
        into.copy_from_slice(&out[(first + panel) * tokens + token][..into.len()]);
    }
}

/// What every panel is multiplied with.
struct Batch<'a> {
    isa: Isa,
    precision: Precision,
    x: &'a Inputs,
    /// Of the tokens in whole tiles.
    seconds: Gathered<'a>,
}

/// Panels from `panel` on, times all tokens: as many as `out` has room for.
fn product(
    batch: &Batch<'_>,
    matrix: &Panels,
    panel: usize,
    scratch: &mut Vec<[f32; PANEL]>,
    out: &mut [[f32; PANEL]],
) {
    let Batch { isa, precision, x, .. } = *batch;
    match (matrix.layout(), precision) {
        (Layout::Floats, _) => {
            for (panel, out) in (panel..).zip(out.chunks_mut(x.tokens())) {
                each_floats(isa, matrix.panel(panel).floats, x, out);
            }
        }
        (_, Precision::Precise) => {
            scratch.resize(matrix.inputs(), [0.0; PANEL]);
            for (panel, out) in (panel..).zip(out.chunks_mut(x.tokens())) {
                matrix.decode(panel, scratch);
                each_floats(isa, scratch, x, out);
            }
        }
        (Layout::Quants { bits, centre, offsets, scale }, Precision::Fast) => {
            let job = Job { batch, matrix, panel, centre };
            let nested = matches!(scale, Scale::Nested { .. });
            let sixteen = matches!(scale, Scale::Nested { columns: 16 });
            match (bits, offsets, sixteen, nested) {
                (4, false, false, false) => job.all::<4, false, false, false>(scratch, out),
                (4, true, false, false) => job.all::<4, true, false, false>(scratch, out),
                (5, false, false, false) => job.all::<5, false, false, false>(scratch, out),
                (5, true, false, false) => job.all::<5, true, false, false>(scratch, out),
                (8, false, false, false) => job.all::<8, false, false, false>(scratch, out),
                (4, true, false, true) => job.all::<4, true, false, true>(scratch, out),
                (5, true, false, true) => job.all::<5, true, false, true>(scratch, out),
                (4, false, true, true) => job.all::<4, false, true, true>(scratch, out),
                (4, true, true, true) => job.all::<4, true, true, true>(scratch, out),
                (6, false, true, true) => job.all::<6, false, true, true>(scratch, out),
                other => unreachable!("no format has the layout {other:?}"),
            }
        }
    }
}

/// Panels of quants, from one on, and the tokens that they are multiplied with.
struct Job<'a> {
    batch: &'a Batch<'a>,
    matrix: &'a Panels,
    panel: usize,
    centre: i32,
}

impl Job<'_> {
    /// As many panels as `out` has room for.
    fn all<const BITS: usize, const OFFSETS: bool, const SIXTEEN: bool, const NESTED: bool>(
        &self,
        scratch: &mut Vec<[f32; PANEL]>,
        out: &mut [[f32; PANEL]],
    ) {
        let tokens = self.batch.x.tokens();
        let mut done = 0;
        if ABREAST > 1 && tokens <= self.batch.isa.tile() && (tokens > 1 || BITS == 8) {
            done = out.len() / tokens / ABREAST * ABREAST;
            let out = &mut out[..done * tokens];
            match tokens {
                1 => self.abreast::<BITS, OFFSETS, SIXTEEN, NESTED, 1>(out),
                2 => self.abreast::<BITS, OFFSETS, SIXTEEN, NESTED, 2>(out),
                3 => self.abreast::<BITS, OFFSETS, SIXTEEN, NESTED, 3>(out),
                _ => self.abreast::<BITS, OFFSETS, SIXTEEN, NESTED, 4>(out),
            }
        }
        let mut bytes = Vec::new();
        for (panel, out) in (self.panel..).zip(out.chunks_mut(tokens)).skip(done) {
            let panel = self.matrix.panel(panel);
            if UNPACKS && BITS < 8 && tokens > self.batch.isa.tile() {
                bytes.clear();
                bytes.extend(panel.quants.as_chunks::<BITS>().0.iter().flat_map(unpack));
                let panel = Panel { quants: &bytes, ..panel };
                self.each::<8, OFFSETS, SIXTEEN, NESTED>(panel, out);
                self.gathered::<8, OFFSETS, SIXTEEN, NESTED>(panel, scratch, out);
            } else {
                self.each::<BITS, OFFSETS, SIXTEEN, NESTED>(panel, out);
                self.gathered::<BITS, OFFSETS, SIXTEEN, NESTED>(panel, scratch, out);
            }
        }
    }

    /// A panel, times all tokens.
    fn each<const BITS: usize, const OFFSETS: bool, const SIXTEEN: bool, const NESTED: bool>(
        &self,
        panel: Panel<'_>,
        out: &mut [[f32; PANEL]],
    ) {
        let mut first = 0;
        while first < out.len() {
            let rest = &mut out[first..];
            first += match rest.len().min(self.batch.isa.tile()) {
                8.. => self.tile::<BITS, OFFSETS, SIXTEEN, NESTED, 8>(panel, first, rest),
                4.. => self.tile::<BITS, OFFSETS, SIXTEEN, NESTED, 4>(panel, first, rest),
                3 => self.tile::<BITS, OFFSETS, SIXTEEN, NESTED, 3>(panel, first, rest),
                2 => self.tile::<BITS, OFFSETS, SIXTEEN, NESTED, 2>(panel, first, rest),
                _ => self.tile::<BITS, OFFSETS, SIXTEEN, NESTED, 1>(panel, first, rest),
            };
        }
    }

    /// Panels from [`ABREAST`] places on at once, times all tokens; `out` has room for as many from each.
    fn abreast<const BITS: usize, const OFFSETS: bool, const SIXTEEN: bool, const NESTED: bool, const T: usize>(
        &self,
        out: &mut [[f32; PANEL]],
    ) {
        let tokens = self.batch.x.blocks_of(0, T);
        let seconds = std::array::from_fn(|t| self.batch.x.seconds(t));
        let out = out.as_chunks_mut::<T>().0;
        let each = out.len() / ABREAST;
        for at in 0..each {
            let panels: [_; ABREAST] = std::array::from_fn(|p| self.matrix.panel(self.panel + p * each + at));
            let mut found = [[[0.0; PANEL]; T]; ABREAST];
            dispatch::abreast::<BITS, OFFSETS, SIXTEEN, NESTED, ABREAST, T>(
                self.batch.isa,
                panels,
                self.centre,
                tokens,
                seconds,
                &mut found,
            );
            for (p, found) in found.into_iter().enumerate() {
                out[p * each + at] = found;
            }
        }
    }

    /// Adds the second digits of whole tiles: by themselves, as they are where they are added in the same pass.
    fn gathered<const BITS: usize, const OFFSETS: bool, const SIXTEEN: bool, const NESTED: bool>(
        &self,
        panel: Panel<'_>,
        scratch: &mut Vec<[f32; PANEL]>,
        out: &mut [[f32; PANEL]],
    ) {
        if self.batch.seconds.is_empty() {
            return;
        }
        let whole = out.len() - out.len() % self.batch.isa.tile();
        scratch.clear();
        scratch.resize(whole, [0.0; PANEL]);
        dispatch::gathered::<BITS, OFFSETS, SIXTEEN, NESTED>(
            self.batch.isa,
            panel,
            self.centre,
            &self.batch.seconds,
            scratch,
        );
        for (out, more) in out.as_flattened_mut().iter_mut().zip(scratch.as_flattened()) {
            *out += more;
        }
    }

    /// Second digits of a token that is multiplied with `T - 1` others, but where those of whole tiles are gathered.
    fn seconds<const T: usize>(&self, token: usize) -> Seconds<'_> {
        let gathered = T == self.batch.isa.tile() && !self.batch.seconds.is_empty();
        if gathered { Seconds::default() } else { self.batch.x.seconds(token) }
    }

    /// Tokens `first..first + T` of a panel; gives `T`.
    fn tile<const BITS: usize, const OFFSETS: bool, const SIXTEEN: bool, const NESTED: bool, const T: usize>(
        &self,
        panel: Panel<'_>,
        first: usize,
        out: &mut [[f32; PANEL]],
    ) -> usize {
        let Some(out) = out.first_chunk_mut::<T>() else { return T };
        let tokens = self.batch.x.blocks_of(first, T);
        let seconds = std::array::from_fn(|t| self.seconds::<T>(first + t));
        dispatch::panel::<BITS, OFFSETS, SIXTEEN, NESTED, T>(self.batch.isa, panel, self.centre, tokens, seconds, out);
        T
    }
}

fn each_floats(isa: Isa, columns: &[[f32; PANEL]], x: &Inputs, out: &mut [[f32; PANEL]]) {
    let mut first = 0;
    while first < out.len() {
        first += match out.len() - first {
            4.. => tile_floats::<4>(isa, columns, x, first, out),
            3 => tile_floats::<3>(isa, columns, x, first, out),
            2 => tile_floats::<2>(isa, columns, x, first, out),
            _ => tile_floats::<1>(isa, columns, x, first, out),
        };
    }
}

fn tile_floats<const T: usize>(
    isa: Isa,
    columns: &[[f32; PANEL]],
    x: &Inputs,
    first: usize,
    out: &mut [[f32; PANEL]],
) -> usize {
    let tokens: [_; T] = std::array::from_fn(|t| x.row(first + t));
    if let Some(out) = out[first..].first_chunk_mut::<T>() {
        dispatch::floats(isa, columns, tokens, out);
    }
    T
}

/// Sixteen rows of f32 weights, column by column, times `T` tokens.
#[inline(always)]
pub(crate) fn floats<const FMA: bool, const T: usize>(
    columns: &[[f32; PANEL]],
    x: [&[f32]; T],
    out: &mut [[f32; PANEL]; T],
) {
    let x = x.map(|x| &x[..columns.len()]);
    let mut sums = [[0.0; PANEL]; T];
    for (at, column) in columns.iter().enumerate() {
        for t in 0..T {
            let x = x[t][at];
            for r in 0..PANEL {
                sums[t][r] = float::fma::<FMA>(column[r], x, sums[t][r]);
            }
        }
    }
    *out = sums;
}
