//! The merging both kinds of BPE share: always the best adjacent pair, the leftmost among equals, until none is left.
//!
//! Symbols form a doubly linked list in one vector; candidates wait in a heap and are checked for staleness when they
//! come out. `O(n log n)` for `n` symbols, whatever the text: a megabyte of one letter is no special case.

use std::cmp::Ordering;
use std::collections::BinaryHeap;

use super::TokenId;

/// No neighbour, or no token yet.
pub(super) const NONE: u32 = u32::MAX;

/// A stretch of the text being encoded.
#[derive(Debug, Clone, Copy)]
pub(super) struct Symbol {
    /// Byte offset in the text.
    pub(super) start: u32,
    /// Bytes; 0 once another symbol has swallowed it.
    pub(super) len: u32,
    /// Its token, or [`NONE`].
    pub(super) id: TokenId,
    previous: u32,
    next: u32,
}

/// What two neighbours become.
#[derive(Debug, Clone, Copy)]
pub(super) struct Merge {
    /// Smaller goes first.
    pub(super) priority: u32,
    /// The token made.
    pub(super) id: TokenId,
}

#[derive(Debug, PartialEq, Eq)]
struct Candidate {
    priority: u32,
    left: u32,
    right: u32,
    len: u32,
    id: TokenId,
}

impl Ord for Candidate {
    /// The heap gives its greatest: the smallest priority, then the leftmost.
    fn cmp(&self, other: &Self) -> Ordering {
        (other.priority, other.left).cmp(&(self.priority, self.left))
    }
}

impl PartialOrd for Candidate {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

/// Symbols and candidates; kept from piece to piece so that their memory is.
#[derive(Debug, Default)]
pub(super) struct Merger {
    symbols: Vec<Symbol>,
    queue: BinaryHeap<Candidate>,
}

impl Merger {
    /// Forgets the last piece.
    pub(super) fn clear(&mut self) {
        self.symbols.clear();
        self.queue.clear();
    }

    /// Appends a symbol of `len > 0` bytes. The caller keeps texts below 4 GiB.
    pub(super) fn push(&mut self, start: usize, len: usize, id: TokenId) {
        let index = self.symbols.len() as u32;
        if let Some(last) = self.symbols.last_mut() {
            last.next = index;
        }
        self.symbols.push(Symbol {
            start: start as u32,
            len: len as u32,
            id,
            previous: index.wrapping_sub(1),
            next: NONE,
        });
    }

    /// Merges until `merge` knows no pair of neighbours, and gives what is left, in order.
    pub(super) fn run(&mut self, merge: impl Fn(&Symbol, &Symbol) -> Option<Merge>) -> impl Iterator<Item = &Symbol> {
        let mut first = std::mem::take(&mut self.queue).into_vec();
        first.extend(
            (1..self.symbols.len() as u32)
                .filter_map(|right| candidate(&self.symbols, right.wrapping_sub(1), right, &merge)),
        );
        self.queue = first.into();

        while let Some(best) = self.queue.pop() {
            let (left, right) = (best.left as usize, best.right as usize);
            let (l, r) = (self.symbols[left], self.symbols[right]);
            // Symbols only grow, so an unchanged sum means that neither end has changed since the candidate was made.
            if l.len == 0 || r.len == 0 || l.len + r.len != best.len {
                continue;
            }
            self.symbols[left].len = best.len;
            self.symbols[left].id = best.id;
            self.symbols[left].next = r.next;
            self.symbols[right].len = 0;
            if r.next != NONE {
                self.symbols[r.next as usize].previous = best.left;
                self.queue.extend(candidate(&self.symbols, best.left, r.next, &merge));
            }
            if l.previous != NONE {
                self.queue.extend(candidate(&self.symbols, l.previous, best.left, &merge));
            }
        }
        self.symbols.iter().filter(|symbol| symbol.len > 0)
    }
}

fn candidate(
    symbols: &[Symbol],
    left: u32,
    right: u32,
    merge: impl Fn(&Symbol, &Symbol) -> Option<Merge>,
) -> Option<Candidate> {
    let (l, r) = (&symbols[left as usize], &symbols[right as usize]);
    let Merge { priority, id } = merge(l, r)?;
    Some(Candidate { priority, left, right, len: l.len + r.len, id })
}
