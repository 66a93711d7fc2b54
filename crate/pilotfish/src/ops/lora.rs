//! What adapters add to one linear layer, packed: for each row of a batch its own low-rank matrices, or none.
//!
//! ```text
//! table    4 vec4s a row: for each part of the outputs (groups, first of B, first of t, 0), then
//!          (groups of all parts, first of A, first of the factors, 0)
//! factors  a vec2 a group: (segment, factor)
//! A        [groups, octets, 4 ranks, 4 words]: eight halves of each of four ranks
//! B        for each part [outputs, groups, 2 words]: four halves
//! ```
//!
//! Ranks come in groups of four, filled up with zeros. A *part* is one of the matrices that lie below each other in the layer
//! (q, k, v; gate, up); a *segment* is what has a live share of its own: one of several adapters whose sum a row uses, or a
//! preference. Each matrix is stored divided by a power of two that brings its largest magnitude to 1, where half precision is
//! finest; the factor brings it back.

use crate::gpu::{Gpu, GpuError};

/// One low-rank change of one part.
#[derive(Debug, Clone, Copy)]
pub struct Change<'a> {
    /// Which of the layer's parts it changes.
    pub part: usize,
    /// Whose share it is multiplied with, below [`super::lora_down::SEGMENTS`].
    pub segment: u32,
    /// What B A is multiplied with beside the share.
    pub scale: f32,
    /// Rows of A.
    pub rank: usize,
    /// `[rank, k]`.
    pub a: &'a [f32],
    /// `[outputs of the part, rank]`.
    pub b: &'a [f32],
}

/// The outputs of a layer: parts below each other, at most three.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Shape {
    /// Inputs.
    pub k: u32,
    /// Outputs of each part; 0 where there are fewer.
    pub parts: [u32; 3],
}

impl Shape {
    /// The first outputs of the second and the third part, beyond every output where there is none.
    pub(super) fn bounds(&self) -> [u32; 2] {
        let [first, second, third] = self.parts;
        let bound = |at: u32, part: u32| if part == 0 { u32::MAX } else { at };
        [bound(first, second), bound(first + second, third)]
    }

    /// Outputs of all parts.
    #[cfg(any(test, feature = "grid"))]
    pub(super) fn outputs(&self) -> u32 {
        self.parts.iter().sum()
    }

    /// Octets of a row of A.
    pub(super) fn octets(&self) -> u32 {
        self.k.div_ceil(8)
    }
}

/// The packed changes of a layer, on the GPU.
#[derive(Debug)]
pub struct Lora {
    /// The layer's inputs and outputs.
    pub shape: Shape,
    /// The most groups of four ranks that a row has.
    pub groups: u32,
    /// See the module.
    pub pool: wgpu::Buffer,
}

impl Lora {
    /// Packs and uploads the changes of each row; a row may have none.
    pub fn new(gpu: &Gpu, shape: Shape, rows: &[Vec<Change<'_>>]) -> Result<Self, GpuError> {
        let (words, groups) = pack(shape, rows);
        Ok(Self { shape, groups, pool: gpu.storage_of("adapters", &words)? })
    }
}

/// The words of a pool, and the most groups of a row.
fn pack(shape: Shape, rows: &[Vec<Change<'_>>]) -> (Vec<u32>, u32) {
    let mut words = vec![0; rows.len() * 16];
    let mut most = 0;
    for (row, changes) in rows.iter().enumerate() {
        let of_part = |part: usize| changes.iter().filter(move |change| change.part == part);
        let ordered: Vec<Stored<'_>> = (0..3).flat_map(of_part).map(Stored::new).collect();
        let groups: u32 = ordered.iter().map(|change| change.groups() as u32).sum();
        most = most.max(groups);
        let vec4s = |words: &[u32]| words.len() as u32 / 4;

        let factors_at = vec4s(&words);
        for change in &ordered {
            for _ in 0..change.groups() {
                words.extend([change.of.segment, change.factor.to_bits()]);
            }
        }
        words.resize(words.len().next_multiple_of(4), 0);

        let a_at = vec4s(&words);
        for change in &ordered {
            change.put_a(shape, &mut words);
        }
        let table = row * 16;
        let mut t_at = 0;
        for part in 0..3 {
            let changes: Vec<&Stored<'_>> = ordered.iter().filter(|change| change.of.part == part).collect();
            let groups: u32 = changes.iter().map(|change| change.groups() as u32).sum();
            let begin: u32 = shape.parts[..part].iter().sum();
            // The kernel counts outputs from the first part on: what goes below zero wraps back there.
            let b_at = (words.len() as u32 / 2).wrapping_sub(begin.wrapping_mul(groups));
            words[table + 4 * part..][..3].copy_from_slice(&[groups, b_at, t_at]);
            for output in 0..if groups > 0 { shape.parts[part] as usize } else { 0 } {
                for change in &changes {
                    change.put_b(output, &mut words);
                }
            }
            t_at += groups;
        }
        words.resize(words.len().next_multiple_of(4), 0);
        words[table + 12..][..3].copy_from_slice(&[groups, a_at, factors_at]);
    }
    (words, most)
}

/// A change and the powers of two by which its matrices are stored.
struct Stored<'a> {
    of: &'a Change<'a>,
    /// What a stored A is A times.
    a_times: f32,
    /// What a stored B is B times.
    b_times: f32,
    /// Brings the product back, the change's scale included.
    factor: f32,
}

impl<'a> Stored<'a> {
    fn new(of: &'a Change<'a>) -> Self {
        let (a_exponent, b_exponent) = (exponent(of.a), exponent(of.b));
        let two = |exponent: i32| (f64::from(exponent)).exp2() as f32;
        let factor = (f64::from(of.scale) * f64::from(a_exponent + b_exponent).exp2()) as f32;
        Self { of, a_times: two(-a_exponent), b_times: two(-b_exponent), factor }
    }

    fn groups(&self) -> usize {
        self.of.rank.div_ceil(4)
    }

    fn put_a(&self, shape: Shape, words: &mut Vec<u32>) {
        let k = shape.k as usize;
        let value = |rank: usize, at: usize| {
            if rank < self.of.rank && at < k { self.of.a[rank * k + at] * self.a_times } else { 0.0 }
        };
        for group in 0..self.groups() {
            for octet in 0..shape.octets() as usize {
                for rank in 4 * group..4 * group + 4 {
                    words.extend((0..4).map(|pair| {
                        let at = 8 * octet + 2 * pair;
                        halves(value(rank, at), value(rank, at + 1))
                    }));
                }
            }
        }
    }

    fn put_b(&self, output: usize, words: &mut Vec<u32>) {
        let row = &self.of.b[output * self.of.rank..][..self.of.rank];
        let value = |rank: usize| row.get(rank).map_or(0.0, |value| value * self.b_times);
        for pair in (0..4 * self.groups()).step_by(2) {
            words.push(halves(value(pair), value(pair + 1)));
        }
    }
}

/// The power of two at or above the largest magnitude, within what f32 can be divided by.
fn exponent(values: &[f32]) -> i32 {
    let most = values.iter().fold(0.0f32, |most, value| most.max(value.abs()));
    if most == 0.0 { 0 } else { (most.log2().ceil() as i32).clamp(-100, 100) }
}

fn halves(low: f32, high: f32) -> u32 {
    let bits = |value: f32| u32::from(half::f16::from_f32(value).to_bits());
    bits(low) | bits(high) << 16
}

/// Random changes for tests.
#[cfg(any(test, feature = "grid"))]
pub(super) mod random {
    use super::super::grid::Numbers;
    use super::super::lora_down::SEGMENTS;
    use super::{Change, Shape};

    /// A change's numbers, to be borrowed.
    #[derive(Debug)]
    pub(crate) struct Owned {
        part: usize,
        segment: u32,
        rank: usize,
        pub(crate) a: Vec<f32>,
        pub(crate) b: Vec<f32>,
    }

    impl Owned {
        pub(crate) fn change(&self) -> Change<'_> {
            let Self { part, segment, rank, a, b } = self;
            Change { part: *part, segment: *segment, scale: 1.5, rank: *rank, a, b }
        }
    }

    /// `ranks` is, for each row, `(part, rank)` of its changes. The numbers are those that half precision has.
    pub(crate) fn changes(numbers: &mut Numbers, shape: Shape, ranks: &[&[(usize, usize)]]) -> Vec<Vec<Owned>> {
        let mut exact = |n: usize, size: f32| -> Vec<f32> {
            numbers.floats(n).iter().map(|value| half::f16::from_f32(*value).to_f32() * size).collect()
        };
        ranks
            .iter()
            .map(|row| {
                let change = |(at, (part, rank)): (usize, &(usize, usize))| Owned {
                    part: *part,
                    segment: at as u32 % SEGMENTS,
                    rank: *rank,
                    a: exact(rank * shape.k as usize, 2f32.powi(-7)),
                    b: exact(rank * shape.parts[*part] as usize, 2f32.powi(-3)),
                };
                row.iter().enumerate().map(change).collect()
            })
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_end_where_there_are_none() {
        assert_eq!(Shape { k: 8, parts: [6, 2, 2] }.bounds(), [6, 8]);
        assert_eq!(Shape { k: 8, parts: [6, 6, 0] }.bounds(), [6, u32::MAX]);
        assert_eq!(Shape { k: 8, parts: [6, 0, 0] }.bounds(), [u32::MAX, u32::MAX]);
    }

    #[test]
    fn small_and_large_numbers_keep_their_half_precision() {
        for size in [1e-8f32, 1.0, 3e7] {
            let (a, b) = ([0.7 * size, -0.3 * size, 0.0, size], [0.1 / size, 0.9 / size]);
            let change = Change { part: 0, segment: 0, scale: 2.0, rank: 1, a: &a, b: &b };
            let stored = Stored::new(&change);
            for (a, b) in a.iter().zip([b[0], b[1], b[0], b[1]]) {
                let half = |value: f32| half::f16::from_f32(value).to_f32();
                let back = half(a * stored.a_times) * half(b * stored.b_times) * stored.factor;
                assert!((back - 2.0 * a * b).abs() <= 2e-3, "{back} for {}", 2.0 * a * b);
            }
        }
    }
}
