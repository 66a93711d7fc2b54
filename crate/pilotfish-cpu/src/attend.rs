//! Attention over paged keys and values in f16.
//!
//! A layer's cache is `[slots, n_kv_heads * head_dim]` for keys and as much for values. A row finds its position `p` in slot
//! `slots[p]`, so rows that begin alike share what they have in common. Scores are gone through in runs of keys with a running
//! maximum (arXiv 2205.14135, section 3.1), so that nothing grows with the context. Where there are few rows, threads share a row's
//! positions; how they are put together does not depend on it.

use std::ops::Range;

use crate::float::{exp, in_order, larger, largest_integer, of_order, tanh, total};
use crate::kernel::rows::RUN;
use crate::{Isa, Workers, dispatch};

/// Positions whose values are summed up by themselves, so that threads may share them: some runs of keys.
const SPAN: usize = 4 * RUN;
/// Tokens of one row that share the look for its keys.
const TOKENS: usize = 8;
/// Query heads that share a reading of a key.
const HEADS: usize = 4;

/// The attention heads of a layer.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Attention {
    /// Query heads: a multiple of `n_kv_heads`.
    pub n_heads: usize,
    /// Key and value heads.
    pub n_kv_heads: usize,
    /// Values in a head.
    pub head_dim: usize,
    /// What scores are multiplied with.
    pub scale: f32,
    /// Scores become `cap * tanh(score / cap)`.
    pub soft_cap: Option<f32>,
    /// Position `p` sees the positions in `(p - window, p]`; all up to `p` where there is none.
    pub window: Option<u32>,
}

/// What a token sees: its row's positions up to its own.
#[derive(Debug, Clone, Copy)]
pub struct Seen<'a> {
    /// Where the row's positions are, `position + 1` or more of them.
    pub slots: &'a [u32],
    /// The token's own position.
    pub position: u32,
}

/// Some tokens of one row, and the query heads that share one kv head.
#[derive(Debug, Clone, Copy)]
struct Tile<'a> {
    heads: &'a Attention,
    kv_head: usize,
    tokens: &'a [Seen<'a>],
    /// `[tokens, n_heads, head_dim]`
    q: &'a [f32],
    keys: &'a [u16],
    values: &'a [u16],
}

/// One query head's softmax so far.
#[derive(Debug, Clone, Copy)]
pub(crate) struct State {
    largest: f32,
    total: f32,
}

/// Some spans of a tile and where their sums go.
struct Task<'a> {
    tile: Tile<'a>,
    spans: Range<usize>,
    /// `[tokens, heads of the group]`
    states: &'a mut [State],
    /// `[tokens, heads of the group, head_dim]`
    sums: &'a mut [f32],
}

/// Softmax-weighted sums of the values that each query head of each token sees.
///
/// `q` is `[tokens, n_heads * head_dim]`, rotated; `keys` and `values` are one layer's cache, as f16 bits, and hold the tokens' own
/// positions; `out` is shaped as `q`. `scratch` is for the call alone. Tokens of one row with the same slots should be neighbours.
#[expect(clippy::too_many_arguments, reason = "a layer's attention has these parts")]
pub fn attend(
    isa: Isa,
    workers: &Workers,
    heads: &Attention,
    tokens: &[Seen<'_>],
    q: &[f32],
    keys: &[u16],
    values: &[u16],
    scratch: &mut Vec<f32>,
    out: &mut [f32],
) {
    let Attention { n_heads, n_kv_heads, head_dim: dim, .. } = *heads;
    let (width, group) = (n_heads * dim, n_heads / n_kv_heads);
    let mut tiles = Vec::new();
    let mut first = 0;
    while first < tokens.len() {
        let slots = tokens[first].slots.as_ptr();
        let same = tokens[first..].iter().take(TOKENS).take_while(|token| std::ptr::eq(token.slots.as_ptr(), slots));
        let n = same.count();
        let (tokens, q) = (&tokens[first..first + n], &q[first * width..(first + n) * width]);
        tiles.extend((0..n_kv_heads).map(|kv_head| (first, Tile { heads, kv_head, tokens, q, keys, values })));
        first += n;
    }
    // Each thread has something to do without sharing positions, or they are shared.
    let share = tiles.len() < 4 * workers.threads();
    let parts_of = |tile: &Tile<'_>| if share { tile.spans().len() } else { 1 };
    let sums_of = |tile: &Tile<'_>| tile.tokens.len() * group;
    let parts: usize = tiles.iter().map(|(_, tile)| parts_of(tile) * sums_of(tile)).sum();
    scratch.resize(parts * dim, 0.0);
    let mut states = vec![State::EMPTY; parts];
    let mut tasks = Vec::new();
    let (mut states_left, mut sums_left) = (&mut states[..], &mut scratch[..]);
    for (_, tile) in &tiles {
        let (spans, parts) = (tile.spans(), parts_of(tile));
        for part in 0..parts {
            let states = states_left.split_off_mut(..sums_of(tile)).unwrap_or_default();
            let sums = sums_left.split_off_mut(..sums_of(tile) * dim).unwrap_or_default();
            let spans = if share { spans.start + part..spans.start + part + 1 } else { spans.clone() };
            tasks.push(Task { tile: *tile, spans, states, sums });
        }
    }
    workers.pieces(&mut tasks, 1, |_, tasks| tasks.iter_mut().for_each(|task| task.work(isa)));
    let mut tasks = tasks.into_iter();
    for (first, tile) in &tiles {
        let Some(whole) = tasks.next() else { return };
        for part in tasks.by_ref().take(parts_of(tile) - 1) {
            merge(whole.states, whole.sums, part.states, part.sums);
        }
        for (at, (state, sums)) in whole.states.iter().zip(whole.sums.chunks_exact(dim)).enumerate() {
            let (token, head) = (first + at / group, tile.kv_head * group + at % group);
            let inverse = state.total.recip();
            let out = &mut out[token * width + head * dim..][..dim];
            out.iter_mut().zip(sums).for_each(|(out, sum)| *out = sum * inverse);
        }
    }
}

impl State {
    const EMPTY: Self = Self { largest: f32::NEG_INFINITY, total: 0.0 };
}

impl Attention {
    /// The first position that one sees.
    fn first_of(&self, position: u32) -> usize {
        self.window.map_or(0, |window| (position + 1).saturating_sub(window.max(1))) as usize
    }
}

impl Tile<'_> {
    /// Positions that its tokens see.
    fn seen(&self) -> Range<usize> {
        let begin = self.tokens.iter().map(|token| self.heads.first_of(token.position)).min();
        let end = self.tokens.iter().map(|token| token.position as usize + 1).max();
        begin.unwrap_or(0)..end.unwrap_or(0)
    }

    /// Spans that they lie in.
    fn spans(&self) -> Range<usize> {
        let seen = self.seen();
        seen.start / SPAN..seen.end.div_ceil(SPAN)
    }

    /// Adds what the tokens see in a span, run by run.
    fn span(&self, isa: Isa, span: usize, states: &mut [State], sums: &mut [f32]) {
        let Attention { n_heads, n_kv_heads, head_dim: dim, .. } = *self.heads;
        let group = n_heads / n_kv_heads;
        let seen = self.seen();
        let end = seen.end.min((span + 1) * SPAN);
        for run in (span * SPAN..end).step_by(RUN).filter(|run| run + RUN > seen.start) {
            let n = RUN.min(end - run);
            let slots = self.tokens[0].slots;
            let (mut keys, mut values): ([&[u16]; RUN], [&[u16]; RUN]) = Default::default();
            for j in seen.start.saturating_sub(run)..n {
                // The token with the furthest position has slots for all of them; shorter lists of the same row begin alike.
                let slot = slots.get(run + j).or_else(|| self.tokens.last()?.slots.get(run + j));
                let at = (slot.map_or(0, |slot| *slot as usize) * n_kv_heads + self.kv_head) * dim;
                keys[j] = &self.keys[at..at + dim];
                values[j] = &self.values[at..at + dim];
            }
            for (t, token) in self.tokens.iter().enumerate() {
                let from = self.heads.first_of(token.position).max(run) - run;
                let to = (token.position as usize + 1).min(run + n).max(run) - run;
                if from >= to {
                    continue;
                }
                let (keys, values) = (&keys[from..to], &values[from..to]);
                let q = &self.q[(t * n_heads + self.kv_head * group) * dim..][..group * dim];
                let q = q.chunks(HEADS * dim);
                let sums = sums[t * group * dim..][..group * dim].chunks_mut(HEADS * dim);
                let states = states[t * group..][..group].chunks_mut(HEADS);
                for ((q, sums), states) in q.zip(sums).zip(states) {
                    match states.len() {
                        4 => self.run::<4>(isa, keys, values, q, states, sums),
                        3 => self.run::<3>(isa, keys, values, q, states, sums),
                        2 => self.run::<2>(isa, keys, values, q, states, sums),
                        _ => self.run::<1>(isa, keys, values, q, states, sums),
                    }
                }
            }
        }
    }

    /// Adds the keys and values of a run to `G` heads of one token.
    fn run<const G: usize>(
        &self,
        isa: Isa,
        keys: &[&[u16]],
        values: &[&[u16]],
        q: &[f32],
        states: &mut [State],
        sums: &mut [f32],
    ) {
        let dim = self.heads.head_dim;
        let mut scores = [[0.0; RUN]; G];
        let q: [_; G] = std::array::from_fn(|g| &q[g * dim..][..dim]);
        dispatch::dot_halves(isa, q, keys, &mut scores);
        let mut rest = sums;
        let mut sums: [_; G] = std::array::from_fn(|_| rest.split_off_mut(..dim).unwrap_or_default());
        for ((scores, state), sums) in scores.iter_mut().zip(states).zip(&mut sums) {
            let shrink = dispatch::weigh(isa, self.heads, scores, keys.len(), state);
            if shrink < 1.0 {
                sums.iter_mut().for_each(|sum| *sum *= shrink);
            }
        }
        dispatch::add_halves(isa, &scores, values, sums);
    }
}

impl Task<'_> {
    /// Sums up span by span, so that it does not matter how many there are.
    fn work(&mut self, isa: Isa) {
        let mut spans = self.spans.clone();
        self.states.fill(State::EMPTY);
        self.sums.fill(0.0);
        if let Some(first) = spans.next() {
            self.tile.span(isa, first, self.states, self.sums);
        }
        if spans.is_empty() {
            return;
        }
        let (mut states, mut sums) = (self.states.to_vec(), self.sums.to_vec());
        for span in spans {
            states.fill(State::EMPTY);
            sums.fill(0.0);
            self.tile.span(isa, span, &mut states, &mut sums);
            merge(self.states, self.sums, &states, &sums);
        }
    }
}

/// Makes weights of the first `n` scores and zeros of the others; gives what the sums so far are to be multiplied with.
#[inline(always)]
pub(crate) fn weigh<const FMA: bool>(heads: &Attention, scores: &mut [f32; RUN], n: usize, state: &mut State) -> f32 {
    for score in &mut *scores {
        *score *= heads.scale;
    }
    if let Some(cap) = heads.soft_cap {
        for score in &mut *scores {
            *score = cap * tanh::<FMA>(*score / cap);
        }
    }
    // As integers, of which every instruction set has the larger ones of vectors.
    let mut order = [0; RUN];
    for (at, order) in order.iter_mut().enumerate() {
        *order = in_order(if at < n { scores[at] } else { f32::NEG_INFINITY });
    }
    let largest = larger(of_order(largest_integer(order)), state.largest);
    let mut totals = [0.0; RUN / 2];
    for half in 0..2 {
        for (i, lane) in totals.iter_mut().enumerate() {
            let at = RUN / 2 * half + i;
            scores[at] = if at < n { exp::<FMA>(scores[at] - largest) } else { 0.0 };
            *lane += scores[at];
        }
    }
    let shrink = shrinking::<FMA>(state.largest, largest);
    *state = State { largest, total: state.total * shrink + total(totals) };
    shrink
}

/// What sums with one largest score are multiplied with where there is a larger one.
#[inline(always)]
fn shrinking<const FMA: bool>(before: f32, largest: f32) -> f32 {
    if before == largest {
        1.0
    } else if before == f32::NEG_INFINITY {
        0.0
    } else {
        exp::<FMA>(before - largest)
    }
}

/// Adds the sums of a later span to those of the spans before it.
fn merge(states: &mut [State], sums: &mut [f32], more_states: &[State], more_sums: &[f32]) {
    let dim = sums.len() / states.len();
    let both = sums.chunks_exact_mut(dim).zip(more_sums.chunks_exact(dim));
    for ((state, more), (sums, more_sums)) in states.iter_mut().zip(more_states).zip(both) {
        let largest = larger(more.largest, state.largest);
        let (a, b) = (shrinking::<false>(state.largest, largest), shrinking::<false>(more.largest, largest));
        *state = State { largest, total: state.total * a + more.total * b };
        for (sum, more) in sums.iter_mut().zip(more_sums) {
            *sum = *sum * a + more * b;
        }
    }
}
