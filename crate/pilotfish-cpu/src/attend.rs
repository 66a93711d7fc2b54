//! Attention over paged keys and values in f16.
//!
//! A layer's cache is `[slots, n_kv_heads * head_dim]` for keys and as much for values. A row finds its position `p` in slot
//! `slots[p]`, so rows that begin alike share what they have in common. Scores are gone through in runs of keys with a running
//! maximum (arXiv 2205.14135, section 3.1), so that nothing grows with the context.

use crate::elements::body;
use crate::float::{exp, fma, from_half, larger, tanh};
use crate::{Isa, Workers, dispatch};

/// Keys of a run.
const KEYS: usize = 32;
/// Tokens of one row that share a reading of its keys.
const TOKENS: usize = 8;

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
#[derive(Debug)]
pub(crate) struct Tile<'a> {
    heads: Attention,
    kv_head: usize,
    tokens: &'a [Seen<'a>],
    /// `[tokens, n_heads, head_dim]`
    q: &'a [f32],
    keys: &'a [u16],
    values: &'a [u16],
}

/// A tile and where its result goes: `[tokens, heads of the group, head_dim]`.
struct Task<'a> {
    tile: Tile<'a>,
    out: &'a mut [f32],
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
    let width = heads.n_heads * heads.head_dim;
    let group = width / heads.n_kv_heads;
    scratch.resize(tokens.len() * width, 0.0);
    let mut tasks = Vec::new();
    let mut runs = Vec::new();
    let mut rest = &mut scratch[..];
    let mut first = 0;
    while first < tokens.len() {
        let slots = tokens[first].slots.as_ptr();
        let same = tokens[first..].iter().take(TOKENS).take_while(|token| std::ptr::eq(token.slots.as_ptr(), slots));
        let n = same.count();
        runs.push((first, n));
        let (tokens, q) = (&tokens[first..first + n], &q[first * width..(first + n) * width]);
        for kv_head in 0..heads.n_kv_heads {
            let (part, others) = rest.split_at_mut(n * group);
            rest = others;
            tasks.push(Task { tile: Tile { heads: *heads, kv_head, tokens, q, keys, values }, out: part });
        }
        first += n;
    }
    workers.pieces(&mut tasks, 1, |_, tasks| {
        for Task { tile, out } in tasks {
            dispatch::tile(isa, tile, out);
        }
    });
    drop(tasks);
    let mut parts = &scratch[..];
    for (first, n) in runs {
        for kv_head in 0..heads.n_kv_heads {
            let (part, others) = parts.split_at(n * group);
            parts = others;
            for (token, part) in part.chunks_exact(group).enumerate() {
                out[(first + token) * width + kv_head * group..][..group].copy_from_slice(part);
            }
        }
    }
}

/// One query head's softmax so far.
#[derive(Clone, Copy)]
struct State {
    largest: f32,
    total: f32,
}

/// The body of [`attend`] for one tile.
#[inline(always)]
pub(crate) fn tile<const FMA: bool>(tile: &Tile<'_>, out: &mut [f32]) {
    let Attention { n_heads, n_kv_heads, head_dim: dim, scale, soft_cap, window } = tile.heads;
    let group = n_heads / n_kv_heads;
    let first_of = |position: u32| window.map_or(0, |window| (position + 1).saturating_sub(window.max(1))) as usize;
    let position = |token: &Seen<'_>| token.position as usize;
    let end = tile.tokens.iter().map(position).max().map_or(0, |last| last + 1);
    let begin = tile.tokens.iter().map(|token| first_of(token.position)).min().unwrap_or(0);
    let mut states = vec![State { largest: f32::NEG_INFINITY, total: 0.0 }; tile.tokens.len() * group];
    let mut keys = vec![0.0; KEYS * dim];
    let mut values = vec![0.0; KEYS * dim];
    out.fill(0.0);
    for run in (begin..end).step_by(KEYS) {
        let n = KEYS.min(end - run);
        let slots = &tile.tokens[0].slots;
        for (j, (key, value)) in keys.chunks_exact_mut(dim).zip(values.chunks_exact_mut(dim)).take(n).enumerate() {
            // The token with the furthest position has slots for all of them; shorter lists of the same row begin alike.
            let slot = slots.get(run + j).or_else(|| tile.tokens.last()?.slots.get(run + j));
            let at = (slot.map_or(0, |slot| *slot as usize) * n_kv_heads + tile.kv_head) * dim;
            for (to, from) in key.iter_mut().zip(&tile.keys[at..at + dim]) {
                *to = from_half(*from);
            }
            for (to, from) in value.iter_mut().zip(&tile.values[at..at + dim]) {
                *to = from_half(*from);
            }
        }
        for (t, token) in tile.tokens.iter().enumerate() {
            let from = first_of(token.position).max(run) - run;
            let to = (position(token) + 1).min(run + n).max(run) - run;
            if from >= to {
                continue;
            }
            for h in 0..group {
                let q = &tile.q[(t * n_heads + tile.kv_head * group + h) * dim..][..dim];
                let out = &mut out[(t * group + h) * dim..][..dim];
                let mut scores = [f32::NEG_INFINITY; KEYS];
                for (score, key) in scores[from..to].iter_mut().zip(keys[from * dim..].chunks_exact(dim)) {
                    *score = body::dot::<FMA>(q, key) * scale;
                }
                if let Some(cap) = soft_cap {
                    for score in &mut scores[from..to] {
                        *score = cap * tanh::<FMA>(*score / cap);
                    }
                }
                let state = &mut states[t * group + h];
                let largest = scores[from..to].iter().fold(state.largest, |largest, score| larger(*score, largest));
                if largest > state.largest {
                    let shrink =
                        if state.largest == f32::NEG_INFINITY { 0.0 } else { exp::<FMA>(state.largest - largest) };
                    state.total *= shrink;
                    for out in out.iter_mut() {
                        *out *= shrink;
                    }
                    state.largest = largest;
                }
                for score in &mut scores {
                    *score = exp::<FMA>(*score - largest);
                }
                let weights = &scores[from..to];
                for weight in weights {
                    state.total += weight;
                }
                add_weighed::<FMA>(weights, &values[from * dim..], dim, out);
            }
        }
    }
    for (out, state) in out.chunks_exact_mut(dim).zip(&states) {
        let inverse = state.total.recip();
        for out in out {
            *out *= inverse;
        }
    }
}

/// `out += Σ weight * value`, of values of `dim` one after the other; 32 numbers at a time stay in registers over all of them.
#[inline(always)]
fn add_weighed<const FMA: bool>(weights: &[f32], values: &[f32], dim: usize, out: &mut [f32]) {
    let (chunks, rest) = out.as_chunks_mut::<32>();
    for (at, chunk) in chunks.iter_mut().enumerate() {
        let mut sums = *chunk;
        for (weight, value) in weights.iter().zip(values.chunks_exact(dim)) {
            if let Some(value) = value[at * 32..].first_chunk::<32>() {
                for i in 0..32 {
                    sums[i] = fma::<FMA>(*weight, value[i], sums[i]);
                }
            }
        }
        *chunk = sums;
    }
    let done = dim - rest.len();
    for (weight, value) in weights.iter().zip(values.chunks_exact(dim)) {
        for (out, value) in rest.iter_mut().zip(&value[done..]) {
            *out = fma::<FMA>(*weight, *value, *out);
        }
    }
}
