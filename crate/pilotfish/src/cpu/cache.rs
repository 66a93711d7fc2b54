//! Keys and values of all layers, by slot.

use crate::arch::ModelSpec;

/// A pool of slots, each with the key and value of one position in every layer, as f16.
///
/// Which row has which position in which slot is the caller's to say with each token: rows that begin alike share slots, and a
/// fork copies none.
#[derive(Debug, Clone)]
pub struct Cache {
    /// Numbers of a key (and of a value) in a layer.
    pub(super) width: usize,
    pub(super) slots: u32,
    /// By layer: keys, then values, each `[slots, width]`.
    pub(super) layers: Vec<[Vec<u16>; 2]>,
}

impl Cache {
    /// Room for `slots` positions. Memory is taken as slots are written.
    pub fn new(spec: &ModelSpec, slots: u32) -> Self {
        let width = (spec.n_kv_heads * spec.head_dim) as usize;
        let side = || vec![0; width * slots as usize];
        Self { width, slots, layers: spec.layers.iter().map(|_| [side(), side()]).collect() }
    }

    /// How many positions it holds.
    pub fn slots(&self) -> u32 {
        self.slots
    }

    /// Bytes of all slots.
    pub fn bytes(&self) -> u64 {
        self.layers.len() as u64 * self.width as u64 * u64::from(self.slots) * 4
    }

    /// Copies a position: what a row needs that writes on in a slot which another one keeps.
    ///
    /// # Panics
    ///
    /// If either slot is outside the cache.
    pub fn copy(&mut self, from: u32, to: u32) {
        let (width, from, to) = (self.width, from as usize, to as usize);
        for side in self.layers.iter_mut().flatten() {
            side.copy_within(from * width..(from + 1) * width, to * width);
        }
    }
}
