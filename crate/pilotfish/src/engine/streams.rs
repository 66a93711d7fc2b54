//! The rows' places in the key-value cache: which slots hold which tokens, what of it still serves, and what must be computed.

use std::rc::Rc;

use crate::model::{BatchToken, RowSlots, SlotPool};
use crate::tokenizer::TokenId;
use crate::{Error, Result};

/// Positions that a row is given ahead of the step that writes the first of them.
const AHEAD: usize = 32;

/// The rows of a weight set: those of lane 0, then those of lane 1, and so on.
#[derive(Debug)]
pub(super) struct Streams {
    pub(super) pool: Rc<SlotPool>,
    rows: Vec<Stream>,
    /// Rows of a lane.
    per_lane: usize,
    /// Positions of a row, at most.
    context: usize,
}

/// One row's cache.
#[derive(Debug, Default)]
struct Stream {
    slots: RowSlots,
    /// What the first slots hold.
    cached: Vec<TokenId>,
}

/// What [`Streams::hold`] leaves to do.
#[derive(Debug, Default)]
pub(super) struct Missing {
    /// To be prefilled, row by row.
    pub(super) tokens: Vec<BatchToken>,
    /// The next step's input.
    pub(super) last: Vec<BatchToken>,
    /// Positions that need not be computed.
    pub(super) reused: usize,
}

impl Streams {
    pub(super) fn new(pool: Rc<SlotPool>, lanes: usize, per_lane: usize, context: u32) -> Self {
        let rows = (0..lanes * per_lane).map(|_| Stream::default()).collect();
        Self { pool, rows, per_lane, context: context as usize }
    }

    /// The same rows, in another session.
    pub(super) fn fork(&self) -> Self {
        let share =
            |row: &Stream| Stream { slots: self.pool.share(&row.slots, row.cached.len()), cached: row.cached.clone() };
        let rows = self.rows.iter().map(share).collect();
        Self { pool: Rc::clone(&self.pool), rows, per_lane: self.per_lane, context: self.context }
    }

    /// Says what a row's cache holds: the steps have written it without the CPU's knowing.
    pub(super) fn holds(&mut self, row: usize, mut ids: Vec<TokenId>) {
        ids.truncate(self.rows[row].slots.len());
        self.rows[row].cached = ids;
    }

    /// What the caches hold serves no more.
    pub(super) fn forget(&mut self) {
        self.rows.iter_mut().for_each(|row| row.cached.clear());
    }

    /// As [`Streams::forget`], but for the first `len` tokens of each row.
    pub(super) fn keep(&mut self, len: usize) {
        self.rows.iter_mut().for_each(|row| row.cached.truncate(len));
    }

    /// As [`Streams::forget`], for one row.
    pub(super) fn forget_row(&mut self, row: usize) {
        self.rows[row].cached.clear();
    }

    /// Readies the rows to go on after `wanted` (of each row, at least one token). Whatever any lane has cached of a row, or will
    /// have after this, all lanes share.
    pub(super) fn hold(&mut self, wanted: &[Vec<TokenId>]) -> Result<Missing> {
        // A row's last token is the next step's input; what is there of it already serves nobody.
        let kept = |row: usize| &wanted[row][..wanted[row].len() - 1];
        let share = |(len, source): (usize, &Stream)| Stream {
            slots: self.pool.share(&source.slots, len),
            cached: source.cached[..len].to_vec(),
        };
        let cached =
            (0..wanted.len()).map(|row| self.longest(&self.rows, row, kept(row)).map(share).unwrap_or_default());
        let cached: Vec<Stream> = cached.collect();
        for mut old in std::mem::replace(&mut self.rows, cached) {
            self.pool.truncate(&mut old.slots, 0);
        }
        let mut missing = Missing::default();
        for (row, ids) in wanted.iter().enumerate() {
            let own = self.rows[row].slots.len();
            let sooner = self.longest(&self.rows[..row], row, kept(row));
            if let Some(found) = sooner.filter(|(len, _)| *len > own).map(share) {
                let mut own = std::mem::replace(&mut self.rows[row], found);
                self.pool.truncate(&mut own.slots, 0);
            }
            let Stream { slots, cached } = &mut self.rows[row];
            let reused = slots.len();
            if !self.pool.extend(slots, kept(row).len() - reused) {
                // Rows before this one have slots whose tokens are not computed.
                self.forget();
                return Err(self.full());
            }
            *cached = kept(row).to_vec();
            let token = |position: usize| BatchToken {
                id: ids[position],
                row: row as u32,
                position: position as u32,
                lane: (row / self.per_lane) as u32,
            };
            missing.tokens.extend((reused..kept(row).len()).map(token));
            missing.last.push(token(kept(row).len()));
            missing.reused += reused;
        }
        Ok(missing)
    }

    /// Of `rows`, the same row of whichever lane has most of `ids`, and how many tokens that is.
    fn longest<'a>(&self, rows: &'a [Stream], row: usize, ids: &[TokenId]) -> Option<(usize, &'a Stream)> {
        let lanes = rows.iter().skip(row % self.per_lane).step_by(self.per_lane);
        lanes.map(|source| (common(&source.cached, ids), source)).max_by_key(|(len, _)| *len)
    }

    /// Gives every row slots for the position it writes next, `next(row)`, and some beyond; what is new goes to
    /// `write(row, first position, slots)`.
    pub(super) fn reserve(
        &mut self,
        next: impl Fn(usize) -> usize,
        mut write: impl FnMut(usize, usize, &[u32]),
    ) -> Result<()> {
        for row in 0..self.rows.len() {
            let (slots, next) = (&mut self.rows[row].slots, next(row));
            let had = slots.len();
            if next < had || next >= self.context {
                continue;
            }
            // Near the pool's end what is needed must do.
            let most = (next + AHEAD).min(self.context) - had;
            if !self.pool.extend(slots, most) && !self.pool.extend(slots, next + 1 - had) {
                return Err(self.full());
            }
            write(row, had, &slots[had..]);
        }
        Ok(())
    }

    /// All slots of every row, from its first position on.
    pub(super) fn slots(&self) -> impl Iterator<Item = (usize, &[u32])> {
        self.rows.iter().map(|stream| &stream.slots[..]).enumerate()
    }

    fn full(&self) -> Error {
        Error::PoolFull { size: self.pool.size(), free: self.pool.free() }
    }
}

impl Drop for Streams {
    fn drop(&mut self) {
        self.rows.iter_mut().for_each(|row| self.pool.truncate(&mut row.slots, 0));
    }
}

/// How many tokens two texts begin with in common.
fn common(a: &[TokenId], b: &[TokenId]) -> usize {
    a.iter().zip(b).take_while(|(a, b)| a == b).count()
}
