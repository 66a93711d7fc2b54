//! Which pairs a step learns from: a function of seed and step alone, so that a run can go on anywhere.

use std::iter::repeat_n;

use rand::SeedableRng as _;
use rand::seq::SliceRandom as _;
use rand_chacha::ChaCha8Rng;

/// Batches of `size` out of `pairs` pairs; each epoch has its own order, and its last batch may be smaller.
#[derive(Debug, Clone)]
pub(super) struct Order {
    pairs: usize,
    size: usize,
    seed: u64,
    shuffled: Option<(usize, Vec<usize>)>,
}

impl Order {
    pub(super) fn new(pairs: usize, size: usize, seed: u64) -> Self {
        Self { pairs, size, seed, shuffled: None }
    }

    /// Steps that see every pair once.
    pub(super) fn steps_per_epoch(&self) -> usize {
        self.pairs.div_ceil(self.size)
    }

    /// The pairs of step `step`, from 0.
    pub(super) fn batch(&mut self, step: usize) -> Vec<usize> {
        let (epoch, within) = (step / self.steps_per_epoch(), step % self.steps_per_epoch());
        if self.shuffled.as_ref().is_none_or(|(known, _)| *known != epoch) {
            let mut random = ChaCha8Rng::seed_from_u64(self.seed);
            random.set_stream(epoch as u64 + 1);
            let mut order: Vec<usize> = (0..self.pairs).collect();
            order.shuffle(&mut random);
            self.shuffled = Some((epoch, order));
        }
        let order = self.shuffled.as_ref().map_or(&[][..], |(_, order)| order);
        order.iter().skip(within * self.size).take(self.size).copied().collect()
    }
}

/// The order of each dimension's pairs, and what their losses weigh.
#[derive(Debug, Clone)]
pub(super) struct Orders {
    /// Indices of a dimension's pairs, and their order.
    dimensions: Vec<(Vec<usize>, Order)>,
}

impl Orders {
    /// `dimension_of` gives the dimension of each pair, in `0..dimensions`.
    pub(super) fn new(dimension_of: &[usize], dimensions: usize, size: usize, seed: u64) -> Self {
        let of = |dimension: usize| {
            let pairs: Vec<usize> =
                dimension_of.iter().enumerate().filter(|(_, of)| **of == dimension).map(|(pair, _)| pair).collect();
            let order = Order::new(pairs.len(), size, seed.wrapping_add((dimension as u64) << 32));
            (pairs, order)
        };
        Self { dimensions: (0..dimensions).map(of).collect() }
    }

    /// The pairs of step `step` with their weights, which are the `shares` of their dimensions, and add up to one as those do.
    pub(super) fn batch(&mut self, step: usize, shares: &[f32]) -> Vec<(usize, f64)> {
        let mut batch = Vec::new();
        for ((pairs, order), share) in self.dimensions.iter_mut().zip(shares) {
            let chosen = order.batch(step);
            let weight = f64::from(*share) / chosen.len() as f64;
            batch.extend(chosen.iter().map(|at| pairs[*at]).zip(repeat_n(weight, chosen.len())));
        }
        batch
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_epoch_sees_every_pair_once_and_any_step_can_be_first() {
        let mut order = Order::new(10, 4, 3);
        let mut epoch: Vec<usize> = (0..3).flat_map(|step| order.batch(step)).collect();
        assert_ne!(epoch[..4], order.batch(3)[..]);
        assert_eq!(Order::new(10, 4, 3).batch(2), epoch[8..]);
        epoch.sort_unstable();
        assert_eq!(epoch, (0..10).collect::<Vec<_>>());
    }

    #[test]
    fn each_dimension_gives_its_part_of_a_batch() {
        let mut orders = Orders::new(&[0, 1, 1, 0, 1], 2, 2, 3);
        let batch = orders.batch(0, &[0.25, 0.75]);
        let of = |pairs: &[usize]| -> Vec<f64> {
            batch.iter().filter(|(pair, _)| pairs.contains(pair)).map(|(_, weight)| *weight).collect()
        };
        assert_eq!((of(&[0, 3]), of(&[1, 2, 4])), (vec![0.125; 2], vec![0.375; 2]));
    }
}
