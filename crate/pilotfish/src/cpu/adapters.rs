//! The adapters of a batch's rows: what each row adds to each matrix, `s B (A h)`, with live shares.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use half::f16;
use pilotfish_cpu::{Isa, add_low_rank, axpy, dot};

use crate::adapter::{AdapterError, Module, Pair};
use crate::arch::ModelSpec;
use crate::model::RowAdapter;

/// One low-rank change of one row to one matrix.
#[derive(Debug)]
struct Change {
    /// Which of the row's shares multiplies it.
    segment: usize,
    factors: Arc<Factors>,
}

/// What an adapter does to one matrix, the same for all rows that use it.
#[derive(Debug)]
struct Factors {
    scale: f32,
    rank: usize,
    numbers: Numbers,
}

/// A, `[rank, inputs]`, and B, `[rank, outputs]`: transposed, so that every output of a rank is a neighbour.
#[derive(Debug)]
enum Numbers {
    /// f16 bits, where none is rounded by that: as most files have them, for half the memory.
    Halves([Vec<u16>; 2]),
    Floats([Vec<f32>; 2]),
}

/// The changes and shares of one row.
#[derive(Debug, Default)]
struct Row {
    changes: BTreeMap<(usize, Module), Vec<Change>>,
    shares: Vec<f32>,
}

/// The adapters of all rows.
#[derive(Debug)]
pub struct Adapters {
    rows: Vec<Row>,
    bytes: u64,
}

impl Adapters {
    /// Copies what each row uses. The adapters are fitted to `spec`; a row may use none.
    pub fn new(spec: &ModelSpec, rows: &[Vec<RowAdapter<'_>>]) -> Result<Self, AdapterError> {
        let mut made = HashMap::new();
        let rows = rows.iter().map(|row| Row::new(spec, row, &mut made)).collect::<Result<_, _>>()?;
        let bytes = made.values().map(|factors: &Arc<Factors>| factors.numbers.bytes()).sum();
        Ok(Self { rows, bytes })
    }

    /// How many rows there are.
    pub fn rows(&self) -> usize {
        self.rows.len()
    }

    /// Bytes of all changes.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Sets live shares of a row, from `segment` on; segments are counted over the components of the row's adapters. Rows and
    /// segments that there are not are passed over.
    pub fn set_shares(&mut self, row: usize, segment: usize, shares: &[f32]) {
        let held = self.rows.get_mut(row).and_then(|row| row.shares.get_mut(segment..));
        held.unwrap_or_default().iter_mut().zip(shares).for_each(|(held, share)| *held = *share);
    }

    /// Whether a row changes any of these matrices of a layer.
    pub(super) fn change(&self, row: usize, layer: usize, modules: &[Module]) -> bool {
        modules.iter().any(|module| self.rows[row].changes.contains_key(&(layer, *module)))
    }

    /// `y += Σ share s B (A h)`.
    pub(super) fn apply(&self, isa: Isa, row: usize, layer: usize, module: Module, h: &[f32], y: &mut [f32]) {
        let row = &self.rows[row];
        for change in row.changes.get(&(layer, module)).into_iter().flatten() {
            let Change { segment, factors } = change;
            let factor = factors.scale * row.shares[*segment];
            if factor == 0.0 {
                continue;
            }
            match &factors.numbers {
                Numbers::Halves([a, b]) => add_low_rank(isa, factor, h, a, b, y),
                Numbers::Floats([a, b]) => {
                    for (a, b) in a.chunks_exact(a.len() / factors.rank).zip(b.chunks_exact(b.len() / factors.rank)) {
                        axpy(isa, factor * dot(isa, a, h), b, y);
                    }
                }
            }
        }
    }
}

impl Factors {
    fn of(pair: &Pair) -> Self {
        let (rank, outputs) = (pair.rank as usize, pair.outputs() as usize);
        let mut b = vec![0.0; pair.b.len()];
        for (output, from) in pair.b.chunks_exact(rank).enumerate() {
            from.iter().enumerate().for_each(|(r, from)| b[r * outputs + output] = *from);
        }
        Self { scale: pair.scale, rank, numbers: Numbers::of([&pair.a, &b]) }
    }
}

impl Numbers {
    fn of(floats: [&Vec<f32>; 2]) -> Self {
        // Kernels read finite numbers.
        let exact = |x: &f32| x.is_finite() && f16::from_f32(*x).to_f32().to_bits() == x.to_bits();
        if floats.iter().all(|floats| floats.iter().all(exact)) {
            Self::Halves(floats.map(|floats| floats.iter().map(|x| f16::from_f32(*x).to_bits()).collect()))
        } else {
            Self::Floats(floats.map(Clone::clone))
        }
    }

    fn bytes(&self) -> u64 {
        let bytes = match self {
            Self::Halves(both) => 2 * both.iter().map(Vec::len).sum::<usize>(),
            Self::Floats(both) => 4 * both.iter().map(Vec::len).sum::<usize>(),
        };
        bytes as u64
    }
}

impl Row {
    /// `made` has what other rows use, by where in memory the pair is.
    fn new(
        spec: &ModelSpec,
        used: &[RowAdapter<'_>],
        made: &mut HashMap<*const Pair, Arc<Factors>>,
    ) -> Result<Self, AdapterError> {
        let mut row = Self::default();
        for used in used {
            used.adapter.check(spec)?;
            let first = row.shares.len();
            row.shares.extend(used.shares()?);
            for (at, component) in used.adapter.components().enumerate() {
                for ((layer, module), pair) in &component.pairs {
                    let factors = made.entry(pair).or_insert_with(|| Arc::new(Factors::of(pair)));
                    let change = Change { segment: first + at, factors: Arc::clone(factors) };
                    row.changes.entry((*layer as usize, *module)).or_default().push(change);
                }
            }
        }
        Ok(row)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// One row that changes one matrix by this much.
    fn adding(numbers: Numbers, rank: usize) -> Adapters {
        let factors = Arc::new(Factors { scale: 2.0, rank, numbers });
        let changes = BTreeMap::from([((0, Module::Q), vec![Change { segment: 0, factors }])]);
        Adapters { rows: vec![Row { changes, shares: vec![0.5] }], bytes: 0 }
    }

    #[test]
    fn numbers_that_f16_holds_take_half_the_memory_and_add_the_same() {
        let (rank, inputs, outputs) = (3, 20, 35);
        let eighths = |n: usize| (0..n).map(|i| (i * 37 % 64) as f32 / 8.0 - 4.0).collect::<Vec<f32>>();
        let (a, b) = (eighths(rank * inputs), eighths(rank * outputs));
        let halves = Numbers::of([&a, &b]);
        assert!(matches!(halves, Numbers::Halves(_)), "eighths are f16 numbers");
        assert_eq!(halves.bytes(), 2 * (rank * (inputs + outputs)) as u64);
        let [mut found, mut want] = [vec![1.0; outputs], vec![1.0; outputs]];
        let h = eighths(inputs);
        adding(halves, rank).apply(Isa::best(), 0, 0, Module::Q, &h, &mut found);
        adding(Numbers::Floats([a, b]), rank).apply(Isa::best(), 0, 0, Module::Q, &h, &mut want);
        assert_eq!(found, want, "sums of multiples of 1/512 that f32 holds are exact");
    }

    #[test]
    fn numbers_that_f16_would_round_stay_as_they_are() {
        for odd in [0.1, 1e6, 1e-9, f32::INFINITY, f32::NAN] {
            let numbers = Numbers::of([&vec![0.5, odd], &vec![0.25]]);
            assert!(matches!(numbers, Numbers::Floats(_)), "{odd} is no finite f16 number");
            assert_eq!(numbers.bytes(), 12);
        }
    }
}
