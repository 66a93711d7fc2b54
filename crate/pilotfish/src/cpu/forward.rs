//! One batch through the model.
//!
//! Tokens of a batch are of any rows and positions: a step has one of each row, a prompt many of one. A token sees what its
//! slots say, itself and earlier tokens of the same batch included, since each layer writes all keys before it reads any.

use std::ops::Range;

use pilotfish_cpu::{
    Attention, Gate, Inputs, Isa, PANEL, Panels, Precision, Second, Seen, Workers, add_normed, attend, gated, halves,
    multiply, panel_row, rms_norm,
};

use super::weights::{Layer, Weights};
use super::{Adapters, Cache, CpuError};
use crate::Result;
use crate::adapter::Module;
use crate::arch::{self, Activation, ModelSpec, RopeStyle};

/// Tokens of a piece of the work between products: a token takes about as long as it takes to share the work.
const TOKENS: usize = 4;
/// Blocks with a second digit, on the fast path. Over the golden texts the mean KL from f32 is 4.6e-4 on `SmolLM2` and 3.1e-4 on
/// Gemma 3 270M (top tokens the same at 98.8 and 98.3 %); without any it is 3.4e-3 and 2.2e-3 (96.5 and 96.3 %), with all 5e-7.
const SECOND: Second = Second::Quarter;

/// A token of a batch.
#[derive(Debug, Clone, Copy)]
pub struct Token<'a> {
    /// Its id.
    pub id: u32,
    /// Its position in its row.
    pub position: u32,
    /// Where the row's positions are in the cache, up to this one at least. Tokens of one row give the same slice.
    pub slots: &'a [u32],
    /// Its row among the adapters; without adapters it is not looked at.
    pub row: usize,
    /// Whether its logits are wanted.
    pub logits: bool,
}

/// How to compute, and room for what is computed.
#[derive(Debug)]
pub struct Forward {
    isa: Isa,
    workers: Workers,
    precision: Precision,
    /// The residual stream, `[tokens, hidden]`.
    x: Vec<f32>,
    /// What a product reads.
    h: Inputs,
    /// What a product gives.
    y: Vec<[f32; PANEL]>,
    /// `[tokens, (n_heads + 2 n_kv_heads) head_dim]`
    qkv: Vec<f32>,
    /// `[tokens, n_heads head_dim]`
    q: Vec<f32>,
    scratch: Vec<f32>,
    /// By kind of rotation, `[tokens, pairs]` of cosine and sine.
    turns: Vec<Vec<[f32; 2]>>,
    logits: Vec<f32>,
}

impl Forward {
    /// With the fastest instructions of this machine.
    pub fn new(workers: Workers, precision: Precision) -> Self {
        Self::with(Isa::best(), workers, precision)
    }

    /// With instructions of the caller's choice.
    pub fn with(isa: Isa, workers: Workers, precision: Precision) -> Self {
        Self {
            isa,
            workers,
            precision,
            x: Vec::new(),
            h: Inputs::default(),
            y: Vec::new(),
            qkv: Vec::new(),
            q: Vec::new(),
            scratch: Vec::new(),
            turns: Vec::new(),
            logits: Vec::new(),
        }
    }

    /// Computes a batch: writes its keys and values to `cache` and gives `[tokens that want them, n_vocab]` logits, in their
    /// order; of a classifier `[tokens, classes]` scores.
    pub fn run(
        &mut self,
        weights: &Weights,
        cache: &mut Cache,
        adapters: Option<&Adapters>,
        tokens: &[Token<'_>],
    ) -> Result<&[f32]> {
        check(weights, cache, adapters, tokens)?;
        let workers = self.workers.clone();
        workers.enter(|| {
            self.compute(weights, cache, adapters, tokens);
            self.keep_wanted(weights, tokens);
            self.give_logits(weights);
        });
        Ok(&self.logits)
    }

    /// The same, but what is given is `[sums, n_vocab]`: weighted sums of the tokens' logits, each as `(token, weight)` of what is in it.
    /// The tokens are added up before the output matrix, which costs a product for each sum and not for each token.
    ///
    /// Fails with [`CpuError::NotLinear`] where that is not the same thing.
    pub fn run_added(
        &mut self,
        weights: &Weights,
        cache: &mut Cache,
        adapters: Option<&Adapters>,
        tokens: &[Token<'_>],
        sums: &[Vec<(usize, f32)>],
    ) -> Result<&[f32]> {
        check(weights, cache, adapters, tokens)?;
        if !weights.adds_up() {
            return Err(CpuError::NotLinear.into());
        }
        if let Some((found, _)) = sums.iter().flatten().find(|(token, _)| *token >= tokens.len()) {
            return Err(CpuError::Token { found: *found, tokens: tokens.len() }.into());
        }
        let workers = self.workers.clone();
        workers.enter(|| {
            self.compute(weights, cache, adapters, tokens);
            self.add_up(weights, sums);
            self.give_logits(weights);
        });
        Ok(&self.logits)
    }

    /// What the last run gave.
    pub fn logits(&self) -> &[f32] {
        &self.logits
    }

    fn compute(&mut self, weights: &Weights, cache: &mut Cache, adapters: Option<&Adapters>, tokens: &[Token<'_>]) {
        let spec = &weights.spec;
        let hidden = spec.hidden as usize;
        self.x.resize(tokens.len() * hidden, 0.0);
        let scale = spec.embedding_scale.unwrap_or(1.0);
        self.workers.pieces(&mut self.x, TOKENS * hidden, |at, x| {
            for (x, token) in x.chunks_exact_mut(hidden).zip(&tokens[at / hidden..]) {
                weights.embed.row(token.id as usize, x);
                for x in x {
                    *x *= scale;
                }
            }
        });
        self.turn(weights, tokens);
        for (at, (layer, shape)) in weights.layers.iter().zip(&spec.layers).enumerate() {
            let adapted = Adapted { isa: self.isa, adapters, layer: at, tokens };
            self.normed(spec, &layer.attn_norm);
            self.times(&layer.qkv.each_ref());
            self.qkv(spec, layer, shape, weights, cache, &adapted);
            self.attend(spec, shape, &cache.layers[at], tokens);
            self.times(&[&layer.o]);
            self.add(spec, Module::O, layer.post_attn_norm.as_deref(), &adapted);
            self.normed(spec, &layer.ffn_norm);
            self.times(&layer.gate_up.each_ref());
            self.gate(spec, &adapted);
            self.times(&[&layer.down]);
            self.add(spec, Module::Down, layer.post_ffn_norm.as_deref(), &adapted);
        }
    }

    /// Tokens of a piece where a token takes longer than that, so that a step of few rows is shared, too: at most [`TOKENS`].
    fn few(&self, tokens: usize) -> usize {
        tokens.div_ceil(2 * self.workers.threads()).clamp(1, TOKENS)
    }

    /// `y = matrices · h`.
    fn times(&mut self, matrices: &[&Panels]) {
        multiply(self.isa, &self.workers, self.precision, matrices, &self.h, &mut self.y);
    }

    /// `h = norm(x)`.
    fn normed(&mut self, spec: &ModelSpec, gain: &[f32]) {
        let (isa, fast, hidden) = (self.isa, self.precision == Precision::Fast, spec.hidden as usize);
        self.h.resize(self.x.len() / hidden, hidden, SECOND);
        let parts = self.x.chunks(TOKENS * hidden).zip(self.h.pieces(TOKENS));
        let mut parts: Vec<_> = parts.collect();
        self.workers.pieces(&mut parts, 1, |_, parts| {
            for (x, h) in parts {
                for (x, h) in x.chunks_exact(hidden).zip(h.floats.chunks_exact_mut(hidden)) {
                    rms_norm(isa, x, gain, spec.norm_eps, h);
                }
                if fast {
                    h.quantise(isa);
                }
            }
        });
    }

    /// From products to rotated queries in `q`, and keys and values in the cache.
    fn qkv(
        &mut self,
        spec: &ModelSpec,
        layer: &Layer,
        shape: &arch::Layer,
        weights: &Weights,
        cache: &mut Cache,
        adapted: &Adapted<'_>,
    ) {
        let (dim, tokens) = (spec.head_dim as usize, adapted.tokens);
        let q_width = spec.n_heads as usize * dim;
        let kv_width = spec.n_kv_heads as usize * dim;
        let width = q_width + 2 * kv_width;
        self.qkv.resize(tokens.len() * width, 0.0);
        self.q.resize(tokens.len() * q_width, 0.0);
        let kind = weights.frequencies.iter().position(|(rope, _)| *rope == shape.rope).unwrap_or(0);
        let pairs = weights.frequencies[kind].1.len().min(shape.rope.dims as usize / 2);
        let turns = &self.turns[kind];
        let (isa, y, h) = (self.isa, &self.y, &self.h);
        let each = if adapted.any(&[Module::Q, Module::K, Module::V]) { self.few(tokens.len()) } else { TOKENS };
        let parts = self.qkv.chunks_mut(each * width).zip(self.q.chunks_mut(each * q_width));
        let mut parts: Vec<_> = parts.collect();
        self.workers.pieces(&mut parts, 1, |piece, parts| {
            let mut before = vec![0.0; dim];
            for (at, (qkv, q)) in parts.iter_mut().enumerate() {
                let first = (piece + at) * each;
                for (t, (qkv, q)) in qkv.chunks_exact_mut(width).zip(q.chunks_exact_mut(q_width)).enumerate() {
                    let t = first + t;
                    let (mut panel, mut from) = (0, 0);
                    for (matrix, module) in layer.qkv.iter().zip([Module::Q, Module::K, Module::V]) {
                        let part = &mut qkv[from..from + matrix.rows()];
                        panel_row(y, tokens.len(), panel, t, part);
                        adapted.apply(t, module, h, part);
                        panel += matrix.panels();
                        from += matrix.rows();
                    }
                    if let Some(bias) = &layer.qkv_bias {
                        qkv.iter_mut().zip(bias).for_each(|(qkv, bias)| *qkv += bias);
                    }
                    let turns = &turns[t * weights.frequencies[kind].1.len()..][..pairs];
                    for (head, x) in qkv[..q_width + kv_width].chunks_exact_mut(dim).enumerate() {
                        if let Some([q_gain, k_gain]) = &layer.qk_norm {
                            before.copy_from_slice(x);
                            rms_norm(
                                isa,
                                &before,
                                if head < spec.n_heads as usize { q_gain } else { k_gain },
                                spec.norm_eps,
                                x,
                            );
                        }
                        rotate(x, spec.rope_style, turns);
                    }
                    q.copy_from_slice(&qkv[..q_width]);
                }
            }
        });
        let [keys, values] = &mut cache.layers[adapted.layer];
        for (token, qkv) in tokens.iter().zip(self.qkv.chunks_exact(width)) {
            let slot = token.slots[token.position as usize] as usize * kv_width;
            halves(&qkv[q_width..q_width + kv_width], &mut keys[slot..slot + kv_width]);
            halves(&qkv[q_width + kv_width..], &mut values[slot..slot + kv_width]);
        }
    }

    /// `h = attention(q)`.
    fn attend(&mut self, spec: &ModelSpec, shape: &arch::Layer, [keys, values]: &[Vec<u16>; 2], tokens: &[Token<'_>]) {
        let heads = Attention {
            n_heads: spec.n_heads as usize,
            n_kv_heads: spec.n_kv_heads as usize,
            head_dim: spec.head_dim as usize,
            scale: spec.attention_scale,
            soft_cap: spec.attention_softcap,
            window: shape.window,
        };
        let seen: Vec<Seen<'_>> =
            tokens.iter().map(|token| Seen { slots: token.slots, position: token.position }).collect();
        self.h.resize(tokens.len(), heads.n_heads * heads.head_dim, SECOND);
        let (isa, workers, scratch) = (self.isa, &self.workers, &mut self.scratch);
        attend(isa, workers, &heads, &seen, &self.q, keys, values, scratch, &mut self.h.floats);
        self.quantise();
    }

    fn quantise(&mut self) {
        if self.precision == Precision::Fast {
            let isa = self.isa;
            let mut parts: Vec<_> = self.h.pieces(TOKENS).collect();
            self.workers.pieces(&mut parts, 1, |_, parts| parts.iter_mut().for_each(|part| part.quantise(isa)));
        }
    }

    /// `x += post(y)`.
    fn add(&mut self, spec: &ModelSpec, module: Module, post: Option<&[f32]>, adapted: &Adapted<'_>) {
        let (hidden, tokens) = (spec.hidden as usize, adapted.tokens.len());
        let each = if adapted.any(&[module]) { self.few(tokens) } else { TOKENS };
        let (isa, y, h) = (self.isa, &self.y, &self.h);
        self.workers.pieces(&mut self.x, each * hidden, |at, x| {
            let mut added = vec![0.0; hidden];
            for (t, x) in (at / hidden..).zip(x.chunks_exact_mut(hidden)) {
                panel_row(y, tokens, 0, t, &mut added);
                adapted.apply(t, module, h, &mut added);
                add_normed(isa, x, &added, post, spec.norm_eps);
            }
        });
    }

    /// `h = act(gate) * up`.
    fn gate(&mut self, spec: &ModelSpec, adapted: &Adapted<'_>) {
        let (ffn, tokens) = (spec.ffn as usize, adapted.tokens.len());
        let kind = match spec.activation {
            Activation::Silu => Gate::Silu,
            Activation::GeluTanh => Gate::GeluTanh,
        };
        let (isa, fast, y) = (self.isa, self.precision == Precision::Fast, &self.y);
        // What the gate reads is overwritten by what it gives, and adapters still need it.
        let before = if adapted.any(&[Module::Gate, Module::Up]) { self.h.clone() } else { Inputs::default() };
        self.h.resize(tokens, ffn, SECOND);
        let each = self.few(tokens);
        let mut parts: Vec<_> = self.h.pieces(each).collect();
        self.workers.pieces(&mut parts, 1, |piece, parts| {
            let (mut gate, mut up) = (vec![0.0; ffn], vec![0.0; ffn]);
            for (at, h) in parts.iter_mut().enumerate() {
                let first = (piece + at) * each;
                for (t, h) in h.floats.chunks_exact_mut(ffn).enumerate() {
                    panel_row(y, tokens, 0, first + t, &mut gate);
                    panel_row(y, tokens, ffn.div_ceil(PANEL), first + t, &mut up);
                    if before.tokens() > 0 {
                        adapted.apply(first + t, Module::Gate, &before, &mut gate);
                        adapted.apply(first + t, Module::Up, &before, &mut up);
                    }
                    gated(isa, &gate, &up, kind, h);
                }
                if fast {
                    h.quantise(isa);
                }
            }
        });
    }

    /// Cosines and sines of every token's position, for each kind of rotation.
    fn turn(&mut self, weights: &Weights, tokens: &[Token<'_>]) {
        self.turns.resize(weights.frequencies.len(), Vec::new());
        for (turns, (rope, frequencies)) in self.turns.iter_mut().zip(&weights.frequencies) {
            let magnitude = rope.magnitude();
            turns.clear();
            for token in tokens {
                turns.extend(frequencies.iter().map(|frequency| {
                    let (sin, cos) = (f64::from(token.position) * f64::from(*frequency)).sin_cos();
                    [cos as f32 * magnitude, sin as f32 * magnitude]
                }));
            }
        }
    }

    /// `h` = what the output matrix reads of the tokens whose logits are wanted.
    fn keep_wanted(&mut self, weights: &Weights, tokens: &[Token<'_>]) {
        let hidden = weights.spec.hidden as usize;
        let mut wanted = 0;
        for (t, _) in tokens.iter().enumerate().filter(|(_, token)| token.logits) {
            self.x.copy_within(t * hidden..(t + 1) * hidden, wanted * hidden);
            wanted += 1;
        }
        self.x.truncate(wanted * hidden);
        self.normed(&weights.spec, &weights.output_norm);
    }

    /// `h` = the same of all tokens, added up by `sums`: in f32, so that a sum is rounded once.
    fn add_up(&mut self, weights: &Weights, sums: &[Vec<(usize, f32)>]) {
        let (spec, hidden) = (&weights.spec, weights.spec.hidden as usize);
        // Nothing reads the queries any more.
        let tokens = &mut self.q;
        tokens.resize(self.x.len(), 0.0);
        for (x, normed) in self.x.chunks_exact(hidden).zip(tokens.chunks_exact_mut(hidden)) {
            rms_norm(self.isa, x, &weights.output_norm, spec.norm_eps, normed);
        }
        self.h.resize(sums.len(), hidden, SECOND);
        self.h.floats.fill(0.0);
        for (sum, parts) in self.h.floats.chunks_exact_mut(hidden).zip(sums) {
            for (token, weight) in parts {
                let token = &tokens[token * hidden..][..hidden];
                sum.iter_mut().zip(token).for_each(|(sum, x)| *sum += weight * x);
            }
        }
        self.quantise();
    }

    /// `logits = output · h`.
    fn give_logits(&mut self, weights: &Weights) {
        let (spec, vocab, wanted) = (&weights.spec, weights.logits().rows(), self.h.tokens());
        self.logits.resize(wanted * vocab, 0.0);
        if wanted == 0 {
            return;
        }
        self.times(&[weights.logits()]);
        let y = &self.y;
        self.workers.pieces(&mut self.logits, vocab, |at, logits| {
            panel_row(y, wanted, 0, at / vocab, logits);
            if let Some(bias) = &weights.output_bias {
                logits.iter_mut().zip(bias).for_each(|(z, bias)| *z += bias);
            }
            if let Some(cap) = spec.final_softcap {
                for z in logits {
                    *z = cap * (*z / cap).tanh();
                }
            }
        });
    }
}

/// What adapters do to the tokens of a batch in one layer.
struct Adapted<'a> {
    isa: Isa,
    adapters: Option<&'a Adapters>,
    layer: usize,
    tokens: &'a [Token<'a>],
}

impl Adapted<'_> {
    /// Whether any token's row changes any of these matrices.
    fn any(&self, modules: &[Module]) -> bool {
        let Some(adapters) = self.adapters else { return false };
        self.tokens.iter().any(|token| adapters.change(token.row, self.layer, modules))
    }

    /// Adds what token `t`'s row adds to `module`, whose inputs are `h`.
    fn apply(&self, t: usize, module: Module, h: &Inputs, y: &mut [f32]) {
        if let Some(adapters) = self.adapters {
            let inputs = t * h.k()..(t + 1) * h.k();
            adapters.apply(self.isa, self.tokens[t].row, self.layer, module, &h.floats[inputs], y);
        }
    }
}

/// Turns the pairs of a head.
fn rotate(x: &mut [f32], style: RopeStyle, turns: &[[f32; 2]]) {
    match style {
        RopeStyle::Interleaved => {
            for ([a, b], [cos, sin]) in x.as_chunks_mut::<2>().0.iter_mut().zip(turns) {
                (*a, *b) = (*a * cos - *b * sin, *a * sin + *b * cos);
            }
        }
        RopeStyle::HalfSplit => {
            let (a, b) = x.split_at_mut(turns.len());
            for ((a, b), [cos, sin]) in a.iter_mut().zip(b).zip(turns) {
                (*a, *b) = (*a * cos - *b * sin, *a * sin + *b * cos);
            }
        }
    }
}

/// Refuses a batch that reaches outside anything.
fn check(weights: &Weights, cache: &Cache, adapters: Option<&Adapters>, tokens: &[Token<'_>]) -> Result<(), CpuError> {
    let spec = &weights.spec;
    let layers: Range<usize> = 0..spec.layers.len();
    if cache.layers.len() != layers.end {
        return Err(CpuError::Model { what: "the cache's layers", found: cache.layers.len(), expected: layers.end });
    }
    let expected = (spec.n_kv_heads * spec.head_dim) as usize;
    if cache.width != expected {
        return Err(CpuError::Model { what: "the cache's width", found: cache.width, expected });
    }
    for token in tokens {
        if token.id >= spec.n_vocab {
            return Err(CpuError::Id { found: token.id, rows: spec.n_vocab });
        }
        let Some(seen) = token.slots.get(..=token.position as usize) else {
            return Err(CpuError::Slots { position: token.position, slots: token.slots.len() });
        };
        if let Some(found) = seen.iter().copied().find(|slot| *slot >= cache.slots) {
            return Err(CpuError::Slot { found, slots: cache.slots });
        }
        let rows = adapters.map_or(usize::MAX, Adapters::rows);
        if token.row >= rows {
            return Err(CpuError::Row { found: token.row, rows });
        }
    }
    Ok(())
}
