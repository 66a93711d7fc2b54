//! Who holds which slot of a key-value cache: a slot for a position of a row, or of several rows that have it in common.
//!
//! What other caches call a page is one position here: a row can share any prefix with another, and as only positions after it
//! are written, nothing shared is ever copied.

use std::cell::RefCell;

/// The slots of one row, position by position; given back to the pool by [`SlotPool::truncate`].
pub type RowSlots = Vec<u32>;

/// The slots of one cache.
#[derive(Debug)]
pub struct SlotPool {
    slots: RefCell<Slots>,
    bytes_per_slot: u64,
}

impl SlotPool {
    /// A pool of `slots` slots of `bytes_per_slot` bytes.
    pub fn new(slots: u32, bytes_per_slot: u64) -> Self {
        Self { slots: RefCell::new(Slots::new(slots)), bytes_per_slot }
    }

    /// Slots in all.
    pub fn size(&self) -> u32 {
        self.slots.borrow().holders.len() as u32
    }

    /// Slots that nobody holds.
    pub fn free(&self) -> u32 {
        self.slots.borrow().free.len() as u32
    }

    /// Bytes of the most slots that were held at once.
    pub fn peak_bytes(&self) -> u64 {
        u64::from(self.slots.borrow().peak) * self.bytes_per_slot
    }

    /// Gives a row `n` more positions; all or none. `false` where there are not so many.
    pub fn extend(&self, row: &mut RowSlots, n: usize) -> bool {
        self.slots.borrow_mut().extend(row, n)
    }

    /// Takes a row's positions from `len` on.
    pub fn truncate(&self, row: &mut RowSlots, len: usize) {
        self.slots.borrow_mut().truncate(row, len);
    }

    /// A row that has the first `len` positions of another in common with it.
    pub fn share(&self, row: &RowSlots, len: usize) -> RowSlots {
        self.slots.borrow_mut().share(row, len)
    }
}

/// Who holds which slot.
#[derive(Debug)]
struct Slots {
    /// How many rows hold each.
    holders: Vec<u32>,
    /// Those that none holds; the next to be given is the last.
    free: Vec<u32>,
    /// The most held at once.
    peak: u32,
}

impl Slots {
    fn new(slots: u32) -> Self {
        Self { holders: vec![0; slots as usize], free: (0..slots).rev().collect(), peak: 0 }
    }

    fn extend(&mut self, row: &mut RowSlots, n: usize) -> bool {
        let Some(left) = self.free.len().checked_sub(n) else { return false };
        for slot in self.free.drain(left..).rev() {
            self.holders[slot as usize] = 1;
            row.push(slot);
        }
        self.peak = self.peak.max((self.holders.len() - left) as u32);
        true
    }

    fn truncate(&mut self, row: &mut RowSlots, len: usize) {
        // Backwards, so that they are given again in the order they were in.
        for slot in row.drain(len.min(row.len())..).rev() {
            let holders = &mut self.holders[slot as usize];
            *holders -= 1;
            if *holders == 0 {
                self.free.push(slot);
            }
        }
    }

    fn share(&mut self, row: &RowSlots, len: usize) -> RowSlots {
        let shared = row[..len.min(row.len())].to_vec();
        for slot in &shared {
            self.holders[*slot as usize] += 1;
        }
        shared
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fork_shares_what_came_before_and_writes_elsewhere() {
        let mut slots = Slots::new(8);
        let mut first = RowSlots::new();
        assert!(slots.extend(&mut first, 4));
        assert_eq!(first, [0, 1, 2, 3]);
        let mut fork = slots.share(&first, 3);
        assert!(slots.extend(&mut fork, 2));
        assert_eq!((&fork[..], slots.peak), (&[0, 1, 2, 4, 5][..], 6));
        // What both hold stays while one of them holds it.
        slots.truncate(&mut first, 0);
        assert_eq!((first.len(), slots.free.len()), (0, 3));
        assert!(slots.extend(&mut first, 1) && first == [3], "only slot 3 was the first row's alone");
        slots.truncate(&mut fork, 1);
        slots.truncate(&mut fork, 0);
        slots.truncate(&mut first, 0);
        assert_eq!((slots.free.len(), slots.holders.iter().sum::<u32>()), (8, 0));
    }

    #[test]
    fn a_row_that_asks_for_more_than_there_is_gets_nothing() {
        let mut slots = Slots::new(3);
        let mut row = RowSlots::new();
        assert!(!slots.extend(&mut row, 4) && row.is_empty() && slots.free.len() == 3);
        assert!(slots.extend(&mut row, 3) && !slots.extend(&mut row, 1));
    }
}
