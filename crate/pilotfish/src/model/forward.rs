//! The recorded forward pass of one weight set: activations, and every dispatch from ids to logits, made once and replayed for
//! each step.
//!
//! ```text
//! embed -> [ norm  qkv  attend(+rope, +KV write)  output  +norm  gate/up  down  + ] x layers -> norm -> logits
//! ```
//!
//! All rows of a weight set go through each dispatch together, so a step reads the weights once however many rows it has.

use super::adapters::{RowAdapters, Site};
use super::batch::{BatchPlace, BatchToken};
use super::kv::KvCache;
use super::weights::{GateUp, Layer, Projection, Weights};
use crate::arch::{self, ModelSpec};
use crate::gpu::{Binding, Dispatch, Gpu, GpuError, StepShape, Usage, record};
use crate::ops::attend::{Attend, Heads, RopeStyle, Variant};
use crate::ops::attend_combine::Combine;
use crate::ops::attend_prefill::Prefill;
use crate::ops::embed::Embed;
use crate::ops::glu::Glu;
use crate::ops::linear::{Activation, Epilogue, Linear, MAX_VECTORS, MatvecShape, Tokens};
use crate::ops::lora_down::Down;
use crate::ops::lora_up::Delta;
use crate::ops::matrix::Matrix;
use crate::ops::norm::Norm;
use crate::ops::quantise::{self, Quantise};
use crate::ops::rope::{Rope, turns};
use crate::ops::stride;

/// How large the parts of a [`Forward`] are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sizes {
    /// Rows: streams of positions.
    pub rows: u32,
    /// Positions of a row, at most.
    pub context: u32,
    /// Tokens of a prefill batch.
    pub chunk: u32,
    /// Slots of the key-value cache, for all rows.
    pub slots: u32,
}

impl Sizes {
    /// Bytes of the key-value cache of a model of this shape.
    pub fn kv_bytes(&self, spec: &ModelSpec) -> u64 {
        let position = u64::from(spec.n_kv_heads) * u64::from(spec.head_dim) * 4;
        spec.layers.len() as u64 * u64::from(self.slots) * position
    }

    /// Bytes of the activations of a model of this shape.
    pub fn activation_bytes(&self, spec: &ModelSpec) -> u64 {
        let widths = [spec.hidden; 3].into_iter().chain([
            qkv_width(spec),
            attention_width(spec),
            attention_width(spec),
            spec.ffn,
            2 * spec.ffn,
        ]);
        widths.map(|width| u64::from(stride(width)) * 4 * u64::from(self.chunk.max(self.rows))).sum()
    }
}

fn attention_width(spec: &ModelSpec) -> u32 {
    spec.n_heads * spec.head_dim
}

fn qkv_width(spec: &ModelSpec) -> u32 {
    (spec.n_heads + 2 * spec.n_kv_heads) * spec.head_dim
}

pub(super) fn activation(spec: &ModelSpec) -> Activation {
    match spec.activation {
        arch::Activation::Silu => Activation::Silu,
        arch::Activation::GeluTanh => Activation::GeluTanh,
    }
}

pub(super) fn heads(spec: &ModelSpec, layer: &arch::Layer, sizes: &Sizes) -> Heads {
    Heads {
        n_heads: spec.n_heads,
        n_kv_heads: spec.n_kv_heads,
        head_dim: spec.head_dim,
        context: sizes.context,
        slots: sizes.slots,
        scale: spec.attention_scale,
        soft_cap: spec.attention_softcap,
        window: layer.window,
        rope_style: match spec.rope_style {
            arch::RopeStyle::Interleaved => RopeStyle::Interleaved,
            arch::RopeStyle::HalfSplit => RopeStyle::HalfSplit,
        },
        rope_dims: layer.rope.dims,
        qk_norm: spec.qk_norm.then_some(spec.norm_eps),
    }
}

/// Where logits go: rows of `stride` floats, this weight set's from `first_row` on.
#[derive(Debug, Clone, Copy)]
pub struct Logits<'a> {
    /// `[rows, stride]` in f32.
    pub buffer: &'a wgpu::Buffer,
    /// Floats from row to row.
    pub stride: u32,
    /// The first row that this weight set writes.
    pub first_row: u32,
}

/// One weight set's buffers and dispatches.
#[derive(Debug)]
pub struct Forward {
    batches: wgpu::Buffer,
    place: BatchPlace,
    /// One token per row to its logits.
    pub decode: Vec<Dispatch>,
    /// A chunk of tokens into the caches; no logits.
    pub prefill: Vec<Dispatch>,
    /// A chunk of tokens to the logits of each, where these were asked for.
    pub score: Vec<Dispatch>,
}

/// What [`Forward::new`] plans for.
#[derive(Debug, Clone, Copy)]
pub struct ForwardPlan<'a> {
    /// The model's shape.
    pub spec: &'a ModelSpec,
    /// Its weights.
    pub weights: &'a Weights,
    /// What rows add to them.
    pub adapters: Option<&'a RowAdapters>,
    /// Rows, context, chunk, slots.
    pub sizes: Sizes,
    /// Keys and values: `sizes.slots` of them.
    pub cache: &'a KvCache,
    /// The buffer of batches.
    pub batches: &'a wgpu::Buffer,
    /// Where in it this weight set's are.
    pub place: BatchPlace,
    /// Where decoding puts logits.
    pub logits: Logits<'a>,
    /// Where scoring puts logits, `[chunk, stride]`, if it is wanted.
    pub score_logits: Option<Logits<'a>>,
    /// How matrices and vectors are multiplied on this device.
    pub shape: MatvecShape,
}

impl ForwardPlan<'_> {
    /// Whether a layer's fused gate and up must be stored before they are gated: software adapters add an adapter afterwards.
    fn gates_apart(&self, layer: usize) -> bool {
        let adapted = self.adapters.is_some_and(|adapters| adapters.site(layer, Site::GateUp).is_some());
        adapted && self.shape.serial()
    }
}

impl Forward {
    /// Allocates and records.
    pub fn new(gpu: &Gpu, plan: &ForwardPlan<'_>) -> Result<Self, GpuError> {
        let buffers = Buffers::new(gpu, plan)?;
        let recorder = Recorder { gpu, plan, buffers: &buffers };
        let whole = plan.place.prefill(plan.batches);
        let chunk = Tokens::Chunk(whole);
        let prefill = recorder.body(Phase::Prefill, whole, chunk)?;
        let score = match plan.score_logits {
            None => Vec::new(),
            Some(logits) => {
                let mut score = recorder.body(Phase::Prefill, whole, chunk)?;
                score.extend(recorder.head(chunk, logits)?);
                score
            }
        };
        let batch = plan.place.decode(plan.batches);
        // A matrix-vector kernel multiplies a few rows in one read of the weights; for more there is the one of prefills.
        let rows = if plan.sizes.rows <= MAX_VECTORS { Tokens::Rows(plan.sizes.rows) } else { Tokens::Chunk(batch) };
        let mut decode = recorder.body(Phase::Decode, batch, rows)?;
        decode.extend(recorder.head(rows, plan.logits)?);
        Ok(Self { batches: plan.batches.clone(), place: plan.place, decode, prefill, score })
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    Prefill,
    Decode,
}

/// Activations, `[tokens, stride(width)]` in f32.
struct Buffers {
    /// The residual stream.
    x: wgpu::Buffer,
    /// A block's input.
    h: wgpu::Buffer,
    /// A block's output.
    y: wgpu::Buffer,
    /// `[q | k | v]`.
    qkv: wgpu::Buffer,
    /// Rotated queries of a prefill.
    q: wgpu::Buffer,
    /// The input of a layer in 8 bits, on [`MatvecShape::Packed`].
    levels: wgpu::Buffer,
    /// Attention's output.
    attention: wgpu::Buffer,
    /// Attention's partial results, one per split.
    partials: wgpu::Buffer,
    /// `act(gate) * up`.
    ffn: wgpu::Buffer,
    /// `[gate | up]` where they are not fused.
    gate_up: wgpu::Buffer,
    /// An adapter's few dimensions, `[tokens, groups of four]`.
    low_rank: wgpu::Buffer,
    /// What each kind of rotation turns by.
    turns: Vec<(arch::Rope, wgpu::Buffer)>,
}

impl Buffers {
    fn new(gpu: &Gpu, plan: &ForwardPlan<'_>) -> Result<Self, GpuError> {
        let ForwardPlan { spec, sizes, weights, .. } = plan;
        let tokens = u64::from(sizes.chunk.max(sizes.rows));
        let activation =
            |label: &str, width: u32| gpu.buffer(label, u64::from(stride(width)) * 4 * tokens, Usage::Storage);
        let split = weights.layers.iter().any(|layer| matches!(layer.gate_up, GateUp::Split(_)));
        let unfused = split || (0..spec.layers.len()).any(|layer| plan.gates_apart(layer));
        let groups = plan.adapters.map_or(0, RowAdapters::groups);
        let heads = spec.layers.first().map(|layer| heads(spec, layer, sizes));
        let partials = heads.map_or(0, |heads| heads.partials_bytes(sizes.rows));
        let widest = [spec.hidden, attention_width(spec), spec.ffn].into_iter().max().unwrap_or(0);
        let words = if plan.shape == MatvecShape::Packed { u64::from(quantise::words(widest)) } else { 0 };
        let turns = |(rope, frequencies): &(arch::Rope, Vec<f32>)| {
            let table = turns(frequencies, rope.magnitude(), sizes.context);
            Ok((*rope, gpu.storage_of("rotation", &table)?))
        };
        Ok(Self {
            x: activation("residual stream", spec.hidden)?,
            h: activation("block input", spec.hidden)?,
            y: activation("block output", spec.hidden)?,
            qkv: activation("qkv", qkv_width(spec))?,
            q: activation("queries", attention_width(spec))?,
            levels: gpu.buffer("levels", 4 * words * tokens, Usage::Storage)?,
            attention: activation("attention", attention_width(spec))?,
            partials: gpu.buffer("attention partials", partials, Usage::Storage)?,
            ffn: activation("feed forward", spec.ffn)?,
            gate_up: activation("gate and up", if unfused { 2 * spec.ffn } else { 0 })?,
            low_rank: gpu.buffer("adapter's few dimensions", 16 * u64::from(groups) * tokens, Usage::Storage)?,
            turns: weights.frequencies.iter().map(turns).collect::<Result<_, GpuError>>()?,
        })
    }
}

impl Forward {
    /// Puts `tokens` (at most a chunk) into the caches.
    pub fn submit_prefill(&self, gpu: &Gpu, tokens: &[BatchToken]) {
        self.submit(gpu, &self.prefill, tokens);
    }

    /// As [`Forward::submit_prefill`], and leaves the logits of each token where scoring puts them.
    pub fn submit_score(&self, gpu: &Gpu, tokens: &[BatchToken]) {
        self.submit(gpu, &self.score, tokens);
    }

    fn submit(&self, gpu: &Gpu, dispatches: &[Dispatch], tokens: &[BatchToken]) {
        self.place.write_prefill(gpu, &self.batches, tokens);
        let n = tokens.len() as u32;
        let shape = StepShape { tokens: n, splits: 1 };
        let mut encoder = gpu.encoder();
        record(&mut encoder, dispatches.iter().map(|dispatch| (dispatch, shape)), None);
        gpu.submit(encoder);
    }
}

/// Turns a plan into dispatches.
struct Recorder<'a> {
    gpu: &'a Gpu,
    plan: &'a ForwardPlan<'a>,
    buffers: &'a Buffers,
}

impl Recorder<'_> {
    /// From ids to the last layer's output; the last norm's result is in `h`.
    fn body(&self, phase: Phase, batch: Binding<'_>, tokens: Tokens<'_>) -> Result<Vec<Dispatch>, GpuError> {
        let ForwardPlan { spec, weights, .. } = self.plan;
        let mut steps = Vec::new();
        for segment in &weights.embed {
            let scale = spec.embedding_scale.unwrap_or(1.0);
            let embed = Embed { table: &segment.matrix, first_row: segment.column, scale, batch, x: &self.buffers.x };
            steps.push(embed.dispatch(self.gpu)?);
        }
        if let Some(first) = weights.layers.first() {
            steps.push(self.norm(None, &first.attn_norm)?);
        }
        for (at, layer) in weights.layers.iter().enumerate() {
            self.attention(phase, at, layer, batch, tokens, &mut steps)?;
            steps.push(self.add_norm(layer.post_attn_norm.as_ref(), &layer.ffn_norm)?);
            self.feed_forward(at, layer, batch, tokens, &mut steps)?;
            let next = weights.layers.get(at + 1).map_or(&weights.output_norm, |next| &next.attn_norm);
            steps.push(self.add_norm(layer.post_ffn_norm.as_ref(), next)?);
        }
        Ok(steps)
    }

    /// From `h` to logits.
    fn head(&self, tokens: Tokens<'_>, logits: Logits<'_>) -> Result<Vec<Dispatch>, GpuError> {
        let offset = logits.first_row * logits.stride;
        let output = (logits.buffer, logits.stride, offset);
        self.project(self.plan.weights.logits(), &self.buffers.h, output, tokens, None)
    }

    /// `x += y` (with the gain of y's own norm, if it has one), `h = norm(x)`.
    fn add_norm(&self, post_gain: Option<&wgpu::Buffer>, gain: &wgpu::Buffer) -> Result<Dispatch, GpuError> {
        self.norm(Some((&self.buffers.y, post_gain)), gain)
    }

    fn norm(
        &self,
        residual: Option<(&wgpu::Buffer, Option<&wgpu::Buffer>)>,
        gain: &wgpu::Buffer,
    ) -> Result<Dispatch, GpuError> {
        let Buffers { x, h, .. } = self.buffers;
        let ModelSpec { hidden, norm_eps, .. } = *self.plan.spec;
        Norm { n: hidden, eps: norm_eps, x, residual, gain, h }.dispatch(self.gpu)
    }

    /// The first half of the adapters of a site, and what its second half needs; nothing where no row has any.
    fn adapt<'s>(
        &'s self,
        at: usize,
        site: Site,
        input: &'s wgpu::Buffer,
        batch: Binding<'s>,
        steps: &mut Vec<Dispatch>,
    ) -> Result<Option<Delta<'s>>, GpuError> {
        let Some((adapters, lora)) = self.plan.adapters.and_then(|all| Some((all, all.site(at, site)?))) else {
            return Ok(None);
        };
        let (t, t_stride) = (&self.buffers.low_rank, adapters.groups());
        let down = Down { lora, input, shares: &adapters.shares, t, t_stride, batch };
        steps.push(down.dispatch(self.gpu, self.plan.shape)?);
        Ok(Some(Delta { lora, t, t_stride, batch, column: 0 }))
    }

    /// The input of these matrices in 8 bits, where any of them is multiplied with that.
    fn round<'m>(
        &self,
        mut matrices: impl Iterator<Item = &'m Matrix>,
        input: &wgpu::Buffer,
        steps: &mut Vec<Dispatch>,
    ) -> Result<Option<&wgpu::Buffer>, GpuError> {
        let Some(matrix) = matrices.find(|matrix| quantise::suits(matrix.ty)) else { return Ok(None) };
        if self.plan.shape != MatvecShape::Packed {
            return Ok(None);
        }
        let output = &self.buffers.levels;
        steps.push(Quantise { k: matrix.k, input, output }.dispatch(self.gpu)?);
        Ok(Some(output))
    }

    /// `output = projections * input (+ delta)`, `output` being `(buffer, stride, first float)`.
    fn project(
        &self,
        projections: &[Projection],
        input: &wgpu::Buffer,
        (output, output_stride, first): (&wgpu::Buffer, u32, u32),
        tokens: Tokens<'_>,
        delta: Option<Delta<'_>>,
    ) -> Result<Vec<Dispatch>, GpuError> {
        let mut steps = Vec::new();
        let levels = self.round(projections.iter().map(|projection| &projection.matrix), input, &mut steps)?;
        for Projection { matrix, column, bias } in projections {
            let linear = Linear {
                weight: matrix,
                input,
                levels,
                output,
                output_stride,
                output_offset: first + column,
                bias: bias.as_ref(),
                delta: delta.map(|delta| Delta { column: *column, ..delta }),
                epilogue: Epilogue::Store,
                tokens,
            };
            steps.extend(linear.dispatches(self.gpu, self.plan.shape)?);
        }
        Ok(steps)
    }

    fn attention(
        &self,
        phase: Phase,
        at: usize,
        layer: &Layer,
        batch: Binding<'_>,
        tokens: Tokens<'_>,
        steps: &mut Vec<Dispatch>,
    ) -> Result<(), GpuError> {
        let spec = self.plan.spec;
        let Buffers { h, y, q, qkv, attention, partials, turns, .. } = self.buffers;
        let delta = self.adapt(at, Site::Qkv, h, batch, steps)?;
        steps.extend(self.project(&layer.qkv, h, (qkv, stride(qkv_width(spec)), 0), tokens, delta)?);
        let layer_spec = &spec.layers[at];
        let heads = heads(spec, layer_spec, &self.plan.sizes);
        let variant = Variant::of(self.gpu);
        let (k_cache, v_cache) = &self.plan.cache.layers[at];
        let turns =
            turns.iter().find(|(rope, _)| *rope == layer_spec.rope).map_or(self.gpu.nothing(), |(_, turns)| turns);
        let qk_gain = layer.qk_norm.as_ref();
        let out = attention;
        match phase {
            Phase::Decode => {
                let attend = Attend { heads, variant, batch, qkv, k_cache, v_cache, turns, qk_gain, out, partials };
                steps.push(attend.dispatch(self.gpu)?);
                steps.push(Combine { heads, variant, batch, partials, out }.dispatch(self.gpu)?);
            }
            Phase::Prefill => {
                let rope = Rope { heads, variant, batch, qkv, k_cache, v_cache, turns, qk_gain, q };
                steps.push(rope.dispatch(self.gpu)?);
                steps.push(Prefill { heads, variant, batch, q, k_cache, v_cache, out }.dispatch(self.gpu)?);
            }
        }
        let delta = self.adapt(at, Site::AttnOutput, attention, batch, steps)?;
        steps.extend(self.project(&layer.attn_output, attention, (y, stride(spec.hidden), 0), tokens, delta)?);
        Ok(())
    }

    fn feed_forward(
        &self,
        at: usize,
        layer: &Layer,
        batch: Binding<'_>,
        tokens: Tokens<'_>,
        steps: &mut Vec<Dispatch>,
    ) -> Result<(), GpuError> {
        let spec = self.plan.spec;
        let Buffers { h, y, ffn, gate_up, .. } = self.buffers;
        let delta = self.adapt(at, Site::GateUp, h, batch, steps)?;
        match &layer.gate_up {
            GateUp::Fused(weight) => {
                let apart = self.plan.gates_apart(at);
                let (output, width) = if apart { (gate_up, 2 * spec.ffn) } else { (ffn, spec.ffn) };
                let levels = self.round([weight].into_iter(), h, steps)?;
                let linear = Linear {
                    weight,
                    input: h,
                    levels,
                    output,
                    output_stride: stride(width),
                    output_offset: 0,
                    bias: None,
                    delta,
                    epilogue: if apart { Epilogue::Store } else { Epilogue::Glu(activation(spec)) },
                    tokens,
                };
                steps.extend(linear.dispatches(self.gpu, self.plan.shape)?);
                if apart {
                    steps.push(self.gate()?);
                }
            }
            GateUp::Split(projections) => {
                steps.extend(self.project(projections, h, (gate_up, stride(2 * spec.ffn), 0), tokens, delta)?);
                steps.push(self.gate()?);
            }
        }
        let delta = self.adapt(at, Site::Down, ffn, batch, steps)?;
        steps.extend(self.project(&layer.down, ffn, (y, stride(spec.hidden), 0), tokens, delta)?);
        Ok(())
    }

    /// `ffn = act(gate) * up`, from what was stored apart.
    fn gate(&self) -> Result<Dispatch, GpuError> {
        let spec = self.plan.spec;
        let glu = Glu {
            n: spec.ffn,
            activation: activation(spec),
            both: &self.buffers.gate_up,
            both_stride: stride(2 * spec.ffn),
            output: &self.buffers.ffn,
            output_stride: stride(spec.ffn),
        };
        glu.dispatch(self.gpu)
    }
}
