//! Which pairs a step learns from: a function of seed and step alone, so that a run can go on anywhere.

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
}
