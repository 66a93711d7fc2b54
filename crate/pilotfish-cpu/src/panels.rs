//! Weights as the kernels read them: panels of sixteen rows, blocks of 32 columns.
//!
//! A block of a panel is `bits` lines of 64 bytes. Its 32 columns are eight groups of four; in a line, bytes `4 r..4 r + 4` are
//! the four columns of a group for row `r`. With 8 bits, line `g` is group `g`. With fewer, line `j` of the first four holds
//! group `2 j` in its low nibbles and `2 j + 1` in its high ones; the fifth bits follow in one line (bit `g` of a byte is group
//! `g`), or the fifth and sixth in two (bits `2 (g % 4)` of line `4 + g / 4`). A register of 16, 32 or 64 bytes is then the same
//! columns of 4, 8 or 16 rows, and a row's sum stays in its own lane.
//!
//! Nothing is rounded: a weight read back equals the file's decode, bit for bit.

use bytemuck::{Pod, Zeroable};

/// Rows of a panel.
pub const PANEL: usize = 16;
/// Columns that share a scale, at most.
pub const BLOCK: usize = 32;
/// Blocks that share the scale of their scales ([`Scale::Nested`]).
const NEST: usize = 8;

/// 64 bytes on a cache line.
#[repr(C, align(64))]
#[derive(Debug, Clone, Copy, Pod, Zeroable)]
pub struct Line(pub [u8; 64]);

/// How the scales of a layout are kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Scale {
    /// An f16 for each block of 32.
    Block,
    /// A signed byte for each 32 or 16, times an f16 for each 256.
    Nested {
        /// Columns that share a byte: 16 or 32.
        columns: usize,
    },
}

/// How a matrix lies in memory. A weight is `scale * (q - centre)`, plus an offset where there are offsets.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Layout {
    /// Unsigned levels with scales.
    Quants {
        /// Bits of a level: 4, 5, 6 or 8.
        bits: usize,
        /// What is taken off a level; 0 where there are offsets, 128 with 8 bits.
        centre: i32,
        /// Whether there are offsets.
        offsets: bool,
        /// Where the scales are.
        scale: Scale,
    },
    /// f32 values.
    Floats,
}

/// One row of weights, taken out of its file's blocks: what [`Panels`] are made of.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Levels {
    /// `[k]`: levels, not yet centred.
    pub q: Vec<u8>,
    /// f16 bits: the scale of each block of 32, or of each 256 of a nested layout.
    pub scales: Vec<u16>,
    /// f16 bits of what is added, as `scales`.
    pub offsets: Vec<u16>,
    /// Nested layouts: the byte that multiplies `scales`, for each 32 or 16 columns.
    pub sub_scales: Vec<i8>,
    /// Nested layouts with offsets: the byte that multiplies `offsets`.
    pub sub_offsets: Vec<i8>,
    /// `[k]`: the values of a row of floats.
    pub floats: Vec<f32>,
}

/// A matrix of `rows` outputs and `k` inputs.
#[derive(Debug, Clone)]
pub struct Panels {
    pub(crate) layout: Layout,
    pub(crate) rows: usize,
    pub(crate) k: usize,
    /// `[panels, k / 32, bits]`
    pub(crate) quants: Vec<Line>,
    /// `[panels, k / 32 or k / 256, scale and offset]`
    pub(crate) halves: Vec<[u16; PANEL]>,
    /// `[panels, k / 32, scales of its parts and offsets of its parts]`
    pub(crate) bytes: Vec<[i8; PANEL]>,
    /// `[panels, k]`
    pub(crate) floats: Vec<[f32; PANEL]>,
}

/// One panel.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Panel<'a> {
    pub(crate) quants: &'a [Line],
    pub(crate) halves: &'a [[u16; PANEL]],
    pub(crate) bytes: &'a [[i8; PANEL]],
    pub(crate) floats: &'a [[f32; PANEL]],
}

/// What each panel of a matrix takes of each of the four lists.
#[derive(Debug, Clone, Copy)]
struct Strides {
    quants: usize,
    halves: usize,
    bytes: usize,
    floats: usize,
}

impl Layout {
    /// Whether rows of `k` inputs can lie in this layout.
    pub fn holds(&self, k: usize) -> bool {
        match self {
            Self::Floats => k > 0,
            Self::Quants { scale: Scale::Block, .. } => k > 0 && k.is_multiple_of(BLOCK),
            Self::Quants { scale: Scale::Nested { .. }, .. } => k > 0 && k.is_multiple_of(BLOCK * NEST),
        }
    }

    /// Bytes of a matrix of `rows` outputs and `k` inputs in memory.
    pub fn bytes(&self, rows: u64, k: u64) -> u64 {
        let panels = rows.div_ceil(PANEL as u64);
        if *self == Self::Floats {
            return panels.saturating_mul(k).saturating_mul(4 * PANEL as u64);
        }
        // Strides are linear in k, and k may be too large for a `usize` here.
        let Strides { quants, halves, bytes, .. } = self.strides(BLOCK * NEST);
        let per_nest = (64 * quants + 32 * halves + 16 * bytes) as u64;
        let per_panel = k.div_ceil(BLOCK as u64).saturating_mul(per_nest) / NEST as u64;
        panels.saturating_mul(per_panel)
    }

    fn strides(&self, k: usize) -> Strides {
        let blocks = k / BLOCK;
        match *self {
            Self::Floats => Strides { quants: 0, halves: 0, bytes: 0, floats: k },
            Self::Quants { bits, offsets, scale, .. } => {
                let kinds = 1 + usize::from(offsets);
                let (halves, bytes) = match scale {
                    Scale::Block => (blocks * kinds, 0),
                    Scale::Nested { columns } => (blocks / NEST * kinds, blocks * (BLOCK / columns) * kinds),
                };
                Strides { quants: blocks * bits, halves, bytes, floats: 0 }
            }
        }
    }
}

impl Panels {
    /// A matrix of zeros, to be filled by [`Self::fill`]. `layout` must [hold](Layout::holds) rows of `k`.
    ///
    /// # Panics
    ///
    /// Where it does not.
    pub fn zeros(layout: Layout, rows: usize, k: usize) -> Self {
        assert!(layout.holds(k), "rows of {k} do not divide into the blocks of {layout:?}");
        let panels = rows.div_ceil(PANEL);
        let strides = layout.strides(k);
        Self {
            layout,
            rows,
            k,
            quants: vec![Line::zeroed(); panels * strides.quants],
            halves: vec![[0; PANEL]; panels * strides.halves],
            bytes: vec![[0; PANEL]; panels * strides.bytes],
            floats: vec![[0.0; PANEL]; panels * strides.floats],
        }
    }

    /// Outputs.
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// Inputs.
    pub fn inputs(&self) -> usize {
        self.k
    }

    /// How it lies in memory.
    pub fn layout(&self) -> Layout {
        self.layout
    }

    /// Panels of sixteen rows, the last one filled up with zeros.
    pub fn panels(&self) -> usize {
        self.rows.div_ceil(PANEL)
    }

    /// Bytes in memory, all of which a product reads once.
    pub fn bytes(&self) -> usize {
        64 * self.quants.len() + 32 * self.halves.len() + 16 * self.bytes.len() + 64 * self.floats.len()
    }

    /// Puts `rows`, the outputs from `16 panel` on, in their panel.
    ///
    /// # Panics
    ///
    /// If a row has other lengths than the layout asks for.
    pub fn fill(&mut self, panel: usize, rows: &[Levels]) {
        let Strides { quants, halves, bytes, floats } = self.layout.strides(self.k);
        for (r, row) in rows.iter().enumerate().take(PANEL) {
            let Layout::Quants { bits, offsets, scale, .. } = self.layout else {
                let to = &mut self.floats[panel * floats..][..floats];
                to.iter_mut().zip(&row.floats).for_each(|(to, from)| to[r] = *from);
                continue;
            };
            assert_eq!(row.q.len(), self.k, "levels of a row");
            let lines = &mut self.quants[panel * quants..][..quants];
            for (block, q) in lines.chunks_exact_mut(bits).zip(row.q.chunks_exact(BLOCK)) {
                put(block, bits, r, q);
            }
            let kinds = 1 + usize::from(offsets);
            let to = &mut self.halves[panel * halves..][..halves];
            for (at, to) in to.chunks_exact_mut(kinds).enumerate() {
                to[0][r] = row.scales[at];
                if offsets {
                    to[1][r] = row.offsets[at];
                }
            }
            if let Scale::Nested { columns } = scale {
                let parts = BLOCK / columns;
                let to = &mut self.bytes[panel * bytes..][..bytes];
                for (at, to) in to.chunks_exact_mut(parts * kinds).enumerate() {
                    for part in 0..parts {
                        to[part][r] = row.sub_scales[at * parts + part];
                        if offsets {
                            to[parts + part][r] = row.sub_offsets[at * parts + part];
                        }
                    }
                }
            }
        }
    }

    pub(crate) fn panel(&self, panel: usize) -> Panel<'_> {
        let strides = self.layout.strides(self.k);
        Panel {
            quants: &self.quants[panel * strides.quants..][..strides.quants],
            halves: &self.halves[panel * strides.halves..][..strides.halves],
            bytes: &self.bytes[panel * strides.bytes..][..strides.bytes],
            floats: &self.floats[panel * strides.floats..][..strides.floats],
        }
    }

    /// Row `row`, decoded; `out` is `[k]`.
    pub fn row(&self, row: usize, out: &mut [f32]) {
        let (panel, r) = (self.panel(row / PANEL), row % PANEL);
        match self.layout {
            Layout::Floats => out.iter_mut().zip(panel.floats).for_each(|(out, values)| *out = values[r]),
            Layout::Quants { .. } => {
                for (block, out) in out.chunks_exact_mut(BLOCK).enumerate() {
                    for (column, out) in out.iter_mut().enumerate() {
                        *out = self.weight(panel, block, column, r);
                    }
                }
            }
        }
    }

    /// A panel, decoded: `out` is `[k]` columns of sixteen rows.
    pub(crate) fn decode(&self, panel: usize, out: &mut [[f32; PANEL]]) {
        let panel = self.panel(panel);
        match self.layout {
            Layout::Floats => out.copy_from_slice(panel.floats),
            Layout::Quants { bits, centre, offsets, scale } => {
                let alike = match scale {
                    Scale::Block => BLOCK,
                    Scale::Nested { columns } => columns,
                };
                for (at, out) in out.chunks_mut(alike).enumerate() {
                    let (block, first) = (at * alike / BLOCK, at * alike % BLOCK);
                    let factors: [(f32, f32); PANEL] = std::array::from_fn(|r| self.factors(panel, block, first, r));
                    let quants = &panel.quants[block * bits..][..bits];
                    for (column, out) in (first..).zip(out) {
                        for (r, (out, factors)) in out.iter_mut().zip(factors).enumerate() {
                            *out = valued(level(quants, bits, r, column), centre, offsets, factors);
                        }
                    }
                }
            }
        }
    }

    /// One weight of a panel of quants, with the roundings of the reference's decode.
    #[inline]
    fn weight(&self, panel: Panel<'_>, block: usize, column: usize, r: usize) -> f32 {
        let Layout::Quants { bits, centre, offsets, .. } = self.layout else { return 0.0 };
        let q = level(&panel.quants[block * bits..][..bits], bits, r, column);
        valued(q, centre, offsets, self.factors(panel, block, column, r))
    }

    /// The scale and the offset of a weight, which its neighbours share.
    #[inline]
    fn factors(&self, panel: Panel<'_>, block: usize, column: usize, r: usize) -> (f32, f32) {
        let Layout::Quants { offsets, scale, .. } = self.layout else { return (0.0, 0.0) };
        let kinds = 1 + usize::from(offsets);
        let half = |at: usize| half::f16::from_bits(panel.halves[at][r]).to_f32();
        match scale {
            Scale::Block => (half(block * kinds), if offsets { half(block * kinds + 1) } else { 0.0 }),
            Scale::Nested { columns } => {
                let (nest, parts) = (block / NEST * kinds, BLOCK / columns);
                let at = block * parts * kinds + column / columns;
                let byte = |at: usize| f32::from(panel.bytes[at][r]);
                let offset = if offsets { half(nest + 1) * byte(at + parts) } else { 0.0 };
                (half(nest) * byte(at), offset)
            }
        }
    }
}

/// A level as the number that it stands for.
#[inline]
fn valued(q: u8, centre: i32, offsets: bool, (scale, offset): (f32, f32)) -> f32 {
    let value = scale * (i32::from(q) - centre) as f32;
    if offsets { value + offset } else { value }
}

/// Puts the 32 levels of row `r` in their block.
fn put(block: &mut [Line], bits: usize, r: usize, q: &[u8]) {
    for (g, four) in q.chunks_exact(4).enumerate() {
        for (c, &q) in four.iter().enumerate() {
            let at = 4 * r + c;
            if bits == 8 {
                block[g].0[at] = q;
                continue;
            }
            block[g / 2].0[at] |= (q & 15) << (4 * (g % 2));
            match bits {
                5 => block[4].0[at] |= (q >> 4) << g,
                6 => block[4 + g / 4].0[at] |= (q >> 4) << (2 * (g % 4)),
                _ => {}
            }
        }
    }
}

/// The level that [`put`] put there.
#[inline]
fn level(block: &[Line], bits: usize, r: usize, column: usize) -> u8 {
    let (g, at) = (column / 4, 4 * r + column % 4);
    if bits == 8 {
        return block[g].0[at];
    }
    let low = block[g / 2].0[at] >> (4 * (g % 2)) & 15;
    match bits {
        5 => low | (block[4].0[at] >> g & 1) << 4,
        6 => low | (block[4 + g / 4].0[at] >> (2 * (g % 4)) & 3) << 4,
        _ => low,
    }
}

/// Levels of 4 to 6 bits as bytes, a line for each group: as levels of 8 bits lie.
#[inline]
pub(crate) fn unpack<const BITS: usize>(block: &[Line; BITS]) -> [Line; 8] {
    let mut out = [Line::zeroed(); 8];
    for (j, both) in out.as_chunks_mut::<2>().0.iter_mut().enumerate() {
        for (half, line) in both.iter_mut().enumerate() {
            let g = 2 * j + half;
            for (at, level) in line.0.iter_mut().enumerate() {
                let low = block[j].0[at] >> (4 * half) & 15;
                *level = match BITS {
                    5 => low | (block[4 % BITS].0[at] >> g & 1) << 4,
                    6 => low | (block[(4 + g / 4) % BITS].0[at] >> (2 * (g % 4)) & 3) << 4,
                    _ => low,
                };
            }
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unpacked_levels_are_those_that_were_put() {
        fn check<const BITS: usize>() {
            let mut block = [Line::zeroed(); BITS];
            let q = |r: usize, column: usize| ((r * 37 + column * 11) % (1 << BITS)) as u8;
            for r in 0..PANEL {
                let row: Vec<u8> = (0..BLOCK).map(|column| q(r, column)).collect();
                put(&mut block, BITS, r, &row);
            }
            let bytes = unpack(&block);
            for r in 0..PANEL {
                for column in 0..BLOCK {
                    assert_eq!(level(&bytes, 8, r, column), q(r, column), "{BITS} bits, row {r}, column {column}");
                }
            }
        }
        check::<4>();
        check::<5>();
        check::<6>();
    }
}
