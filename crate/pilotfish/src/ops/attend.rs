//! Attention while decoding: one token per row over that row's cache, the cache split among workgroups.

use bytemuck::{Pod, Zeroable};

use super::stride;
use crate::gpu::{Binding, Dispatch, Extent, Gpu, GpuError};

#[cfg(any(test, feature = "grid"))]
pub(super) mod cases;

/// Query heads that a workgroup, or an invocation by itself, does at most: a key and a value are read once for all of them.
const GROUP: u32 = 4;
/// Invocations in a workgroup where each does a split by itself: `SwiftShader` runs four at once.
const SERIAL_SPLITS: u32 = 4;
/// Positions that make a split worth its workgroup.
const SPLIT_KEYS: u32 = 128;
/// Splits that there is room for; kernels leave those past it idle.
const MAX_SPLITS: u32 = 32;

/// Which values of a head are rotated together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RopeStyle {
    /// Neighbours: `2i` and `2i + 1` (llama's GGUF files, whose query and key rows are permuted for it).
    Interleaved,
    /// `i` and `i + rope_dims / 2` (qwen, gemma).
    HalfSplit,
}

/// How a kernel is laid out on the device.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Variant {
    /// Workgroups share their keys through workgroup memory: for GPUs.
    Workgroup,
    /// Every invocation works by itself: for adapters that run on the CPU, where a barrier costs 5 to 20 times more.
    Serial,
}

impl Variant {
    /// The one that suits `gpu`.
    pub fn of(gpu: &Gpu) -> Self {
        if gpu.info().software { Self::Serial } else { Self::Workgroup }
    }
}

/// The attention heads of a layer.
///
/// A token's projections are one row of `[tokens, stride((n_heads + 2 n_kv_heads) head_dim)]`: query heads, key heads, value
/// heads. Each of the two caches is `[n_kv_heads, slots, head_dim]` in f16, two values to a `u32`; a slot is one position of one row,
/// or of several rows that share it. The batch says which slot a position has.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Heads {
    /// Query heads: a multiple of `n_kv_heads`.
    pub n_heads: u32,
    /// Key and value heads.
    pub n_kv_heads: u32,
    /// Values in a head: a multiple of 4, at most 256.
    pub head_dim: u32,
    /// Positions of a row, at most.
    pub context: u32,
    /// Slots of the cache, for all rows.
    pub slots: u32,
    /// What scores are multiplied by, usually `1 / sqrt(head_dim)`.
    pub scale: f32,
    /// Scores become `cap * tanh(score / cap)`.
    pub soft_cap: Option<f32>,
    /// A query sees keys less than this many positions before it (itself included).
    pub window: Option<u32>,
    /// How queries and keys are rotated.
    pub rope_style: RopeStyle,
    /// The first values of a head that are rotated: even, at most `head_dim`. The others pass.
    pub rope_dims: u32,
    /// Queries and keys are normed per head before they are rotated, with this added to the mean square.
    pub qk_norm: Option<f32>,
}

/// The uniform of all attention kernels: `Params` of `heads.wgsl`.
#[repr(C)]
#[derive(Debug, Clone, Copy, Pod, Zeroable)]
pub(super) struct Params {
    n_heads: u32,
    n_kv_heads: u32,
    qkv_stride: u32,
    out_stride: u32,
    context: u32,
    window: u32,
    scale: f32,
    soft_cap: f32,
    eps: f32,
    slots: u32,
    pad: [u32; 2],
}

impl Heads {
    /// What is wrong with these sizes, if anything: `None` means every kernel here can do them.
    pub fn complaint(&self) -> Option<String> {
        let Self { n_heads, n_kv_heads, head_dim, rope_dims, .. } = *self;
        if n_kv_heads == 0 || n_heads == 0 || n_heads % n_kv_heads != 0 {
            Some(format!("{n_heads} query heads over {n_kv_heads} key-value heads: a whole multiple is needed"))
        } else if head_dim == 0 || head_dim % 4 != 0 || head_dim > 256 {
            Some(format!("a head of {head_dim} values: a multiple of 4, at most 256, is needed"))
        } else if rope_dims % 2 != 0 || rope_dims > head_dim {
            Some(format!("{rope_dims} rotated values in a head of {head_dim}: an even number, at most all, is needed"))
        } else {
            None
        }
    }

    /// Values in a token's projections.
    pub fn qkv_len(&self) -> u32 {
        (self.n_heads + 2 * self.n_kv_heads) * self.head_dim
    }

    /// Values in a token's queries, and in what attention gives.
    pub fn out_len(&self) -> u32 {
        self.n_heads * self.head_dim
    }

    /// Bytes of one of a layer's two caches.
    pub fn cache_bytes(&self) -> u64 {
        u64::from(self.n_kv_heads) * u64::from(self.slots) * u64::from(self.head_dim) * 2
    }

    /// Bytes of what the splits of a decoding step leave for [`super::attend_combine`].
    pub fn partials_bytes(&self, tokens: u32) -> u64 {
        u64::from(tokens) * u64::from(self.n_heads) * u64::from(MAX_SPLITS) * u64::from(self.head_dim + 4) * 4
    }

    pub(super) fn params(&self) -> Params {
        Params {
            n_heads: self.n_heads,
            n_kv_heads: self.n_kv_heads,
            qkv_stride: stride(self.qkv_len()),
            out_stride: stride(self.out_len()),
            context: self.context,
            window: self.window.map_or(u32::MAX, |window| window.max(1)),
            scale: self.scale,
            soft_cap: self.soft_cap.unwrap_or(0.0),
            eps: self.qk_norm.unwrap_or(0.0),
            slots: self.slots,
            pad: [0; 2],
        }
    }

    /// The constants of `heads.wgsl` and `rotate.wgsl`, and a kernel's own.
    pub(super) fn consts(&self, own: &[(&'static str, u32)]) -> Vec<(&'static str, u32)> {
        let mut consts = vec![
            ("HEAD_DIM", self.head_dim),
            ("RATIO", self.ratio()),
            ("MAX_SPLITS", MAX_SPLITS),
            ("SOFT_CAP", u32::from(self.soft_cap.is_some())),
            ("ROPE_DIMS", self.rope_dims),
            ("HALF_SPLIT", u32::from(self.rope_style == RopeStyle::HalfSplit)),
            ("QK_NORM", u32::from(self.qk_norm.is_some())),
        ];
        consts.extend_from_slice(own);
        consts
    }

    fn ratio(&self) -> u32 {
        self.n_heads / self.n_kv_heads
    }

    /// In how many groups the query heads of a kv head are done, and how many are in a group (the last may have fewer).
    pub(super) fn groups(&self) -> (u32, u32) {
        let groups = self.ratio().div_ceil(GROUP);
        (groups, self.ratio().div_ceil(groups))
    }
}

/// What [`attend`] reads and writes. The token's own key and value are rotated and stored by the same kernel.
///
/// While decoding a batch holds at most one token per row.
#[derive(Debug, Clone, Copy)]
pub struct Attend<'a> {
    /// The heads; the same as those of the other ops of the layer.
    pub heads: Heads,
    /// [`Variant::of`] the GPU, unless a test wants the other.
    pub variant: Variant,
    /// The batch and the table of slots, see `shared/heads.wgsl`. Its `at` is not looked at.
    pub batch: Binding<'a>,
    /// Projections, see [`Heads`].
    pub qkv: &'a wgpu::Buffer,
    /// The key cache.
    pub k_cache: &'a wgpu::Buffer,
    /// The value cache.
    pub v_cache: &'a wgpu::Buffer,
    /// [`super::rope::turns`] of at least `context` positions.
    pub turns: &'a wgpu::Buffer,
    /// With `qk_norm`: `[2, head_dim]`, the gains of queries, then of keys.
    pub qk_gain: Option<&'a wgpu::Buffer>,
    /// `[tokens, stride(n_heads head_dim)]`, written where a GPU works on one split; otherwise [`super::attend_combine`] does.
    pub out: &'a wgpu::Buffer,
    /// What the splits find: [`Heads::partials_bytes`].
    pub partials: &'a wgpu::Buffer,
}

impl Attend<'_> {
    /// The dispatch over a decoding step's tokens and splits.
    pub fn dispatch(&self, gpu: &Gpu) -> Result<Dispatch, GpuError> {
        let heads = &self.heads;
        let params = gpu.uniform_of("attend params", &heads.params())?;
        let mut bindings = vec![
            Binding::whole(0, &params),
            Binding { at: 1, ..self.batch },
            Binding::whole(2, self.qkv),
            Binding::whole(3, self.k_cache),
            Binding::whole(4, self.v_cache),
            Binding::whole(5, self.turns),
            Binding::whole(6, self.qk_gain.unwrap_or(gpu.nothing())),
            Binding::whole(7, self.partials),
        ];
        let (kernel, size) = match self.variant {
            Variant::Workgroup => {
                bindings.push(Binding::whole(8, self.out));
                ("attend", 128)
            }
            Variant::Serial => ("attend_serial", SERIAL_SPLITS),
        };
        let (groups, group) = heads.groups();
        let consts = heads.consts(&[("SIZE", size), ("GROUP", group), ("GROUPS", groups)]);
        let count = [Extent::Fixed(heads.n_kv_heads * groups), Extent::Splits, Extent::Tokens(1)];
        Dispatch::new(gpu, kernel, &[], &consts, &bindings, count)
    }
}

/// How many splits suit a step whose furthest position is `max_pos`.
///
/// A GPU needs enough workgroups to hide its latency. On a CPU each of these is a workgroup of four splits, and one or two fill a
/// few cores (measured on `SwiftShader` with two).
pub fn splits(max_pos: u32, software: bool) -> u32 {
    if software {
        return if max_pos < 256 { 1 } else { 2 };
    }
    max_pos.saturating_add(1).div_ceil(SPLIT_KEYS).clamp(1, MAX_SPLITS)
}

/// The twin, for one token at `pos`: softmax-weighted sums of the values that each query head sees.
///
/// `q [n_heads, head_dim]` is rotated (see [`super::rope::rope`]); `k` and `v` are one row of a cache,
/// `[n_kv_heads, context, head_dim]`, in f32 or rounded by [`through_f16`], and hold position `pos`; `out` is shaped as `q`.
pub fn attend(q: &[f32], k: &[f32], v: &[f32], heads: &Heads, pos: u32, out: &mut [f32]) {
    let (dim, context) = (heads.head_dim as usize, heads.context as usize);
    let first = heads.window.map_or(0, |window| (pos + 1).saturating_sub(window.max(1))) as usize;
    for (head, (q, out)) in q.chunks_exact(dim).zip(out.chunks_exact_mut(dim)).enumerate() {
        let base = head / heads.ratio() as usize * context;
        let seen = (base + first) * dim..(base + pos as usize + 1) * dim;
        let mut weights: Vec<f32> = k[seen.clone()]
            .chunks_exact(dim)
            .map(|k| {
                let score = q.iter().zip(k).map(|(q, k)| q * k).sum::<f32>() * heads.scale;
                heads.soft_cap.map_or(score, |cap| cap * (score / cap).tanh())
            })
            .collect();
        let largest = weights.iter().copied().fold(f32::NEG_INFINITY, f32::max);
        for weight in &mut weights {
            *weight = (*weight - largest).exp();
        }
        let total: f32 = weights.iter().sum();
        out.fill(0.0);
        for (weight, v) in weights.iter().zip(v[seen].chunks_exact(dim)) {
            out.iter_mut().zip(v).for_each(|(out, v)| *out += weight / total * v);
        }
    }
}

/// What a value is after a stay in the cache.
pub fn through_f16(value: f32) -> f32 {
    half::f16::from_f32(value.clamp(-65504.0, 65504.0)).to_f32()
}
