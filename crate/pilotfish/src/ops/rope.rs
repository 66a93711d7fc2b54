//! Rotary positions, and what else becomes of projections before attention: norms per head, and the way into the cache.

use super::attend::{Heads, RopeStyle, Variant};
use crate::gpu::{Binding, Dispatch, Extent, Gpu, GpuError};

/// Positions in the finer half of [`turns`]; `TURNS` of `rotate.wgsl`.
const TURNS: u32 = 128;

/// What the kernel of a prefill reads and writes; while decoding, [`super::attend::Attend`] does this work itself.
#[derive(Debug, Clone, Copy)]
pub struct Rope<'a> {
    /// The heads.
    pub heads: Heads,
    /// [`Variant::of`] the GPU, unless a test wants the other.
    pub variant: Variant,
    /// The batch: `(tokens, ...)`, then `(id, row, pos, 0)` of each token. Its `at` is not looked at.
    pub batch: Binding<'a>,
    /// Projections, see [`Heads`]. They are left as they are.
    pub qkv: &'a wgpu::Buffer,
    /// The key cache: the chunk's keys are written, normed, rotated and in f16.
    pub k_cache: &'a wgpu::Buffer,
    /// The value cache: the chunk's values are written in f16.
    pub v_cache: &'a wgpu::Buffer,
    /// [`turns`] of at least `context` positions.
    pub turns: &'a wgpu::Buffer,
    /// With `qk_norm`: `[2, head_dim]`, the gains of queries, then of keys.
    pub qk_gain: Option<&'a wgpu::Buffer>,
    /// `[tokens, stride(n_heads head_dim)]`: the queries, normed and rotated.
    pub q: &'a wgpu::Buffer,
}

impl Rope<'_> {
    /// The dispatch over a chunk's tokens.
    pub fn dispatch(&self, gpu: &Gpu) -> Result<Dispatch, GpuError> {
        let params = gpu.uniform_of("rope params", &self.heads.params())?;
        let bindings = [
            Binding::whole(0, &params),
            Binding { at: 1, ..self.batch },
            Binding::whole(2, self.qkv),
            Binding::whole(3, self.k_cache),
            Binding::whole(4, self.v_cache),
            Binding::whole(5, self.turns),
            Binding::whole(6, self.qk_gain.unwrap_or(gpu.nothing())),
            Binding::whole(7, self.q),
        ];
        let (size, lanes) = match self.variant {
            Variant::Workgroup => (64, 16),
            Variant::Serial => (4, 1),
        };
        let heads = self.heads.n_heads + 2 * self.heads.n_kv_heads;
        let count = [Extent::Fixed((heads * lanes).div_ceil(size)), Extent::Tokens(1), Extent::Fixed(1)];
        let consts = self.heads.consts(&[("SIZE", size), ("LANES", lanes)]);
        Dispatch::new(gpu, "rope", &[], &consts, &bindings, count)
    }
}

/// The table that kernels rotate by, for a storage buffer: `(cos, sin)` of `[128 + ceil(context / 128), inv_freq.len()]`.
///
/// First the angles of positions 0..127, times `mscale` (the factor that `YaRN` has on queries and keys, 1 elsewhere), then those of every
/// 128th position; a kernel adds two of them. `inv_freq` are radians a position, `rope_dims / 2` of them, with whatever scaling
/// the model asks for already applied. Angles are taken in f64, so that far positions are as exact as near ones.
pub fn turns(inv_freq: &[f32], mscale: f32, context: u32) -> Vec<[f32; 2]> {
    let turn = |pos: u64, freq: f32, scale: f64| {
        let (sin, cos) = (pos as f64 * f64::from(freq)).sin_cos();
        [(cos * scale) as f32, (sin * scale) as f32]
    };
    let fine = (0..TURNS).map(|pos| (u64::from(pos), f64::from(mscale)));
    let coarse = (0..context.div_ceil(TURNS)).map(|times| (u64::from(times) * u64::from(TURNS), 1.0));
    fine.chain(coarse).flat_map(|(pos, scale)| inv_freq.iter().map(move |freq| turn(pos, *freq, scale))).collect()
}

/// The twin, for one token's projections `[n_heads + 2 n_kv_heads, head_dim]`, in place: query and key heads are normed (with
/// `qk_gain [2, head_dim]`, where `heads.qk_norm` says so) and rotated to `pos`; value heads stay.
pub fn rope(qkv: &mut [f32], heads: &Heads, inv_freq: &[f32], mscale: f32, qk_gain: Option<&[f32]>, pos: u32) {
    let dim = heads.head_dim as usize;
    for (head, x) in qkv.chunks_exact_mut(dim).take((heads.n_heads + heads.n_kv_heads) as usize).enumerate() {
        if let (Some(eps), Some(gains)) = (heads.qk_norm, qk_gain) {
            let gain = &gains[if head < heads.n_heads as usize { 0 } else { dim }..][..dim];
            let squares: f32 = x.iter().map(|x| x * x).sum();
            let scale = (squares / dim as f32 + eps).sqrt().recip();
            x.iter_mut().zip(gain).for_each(|(x, gain)| *x *= scale * gain);
        }
        for (i, freq) in inv_freq.iter().enumerate().take(heads.rope_dims as usize / 2) {
            let (sin, cos) = (f64::from(pos) * f64::from(*freq)).sin_cos();
            let (sin, cos) = (sin as f32 * mscale, cos as f32 * mscale);
            let (a, b) = match heads.rope_style {
                RopeStyle::Interleaved => (2 * i, 2 * i + 1),
                RopeStyle::HalfSplit => (i, i + heads.rope_dims as usize / 2),
            };
            (x[a], x[b]) = (x[a] * cos - x[b] * sin, x[a] * sin + x[b] * cos);
        }
    }
}

/// The twin of the way into the cache: puts a token's rotated keys and its values at `pos` of a row's caches
/// `[n_kv_heads, context, head_dim]`, each value as `round` makes it ([`super::attend::through_f16`], or itself).
pub fn store(qkv: &[f32], heads: &Heads, pos: u32, round: impl Fn(f32) -> f32, k: &mut [f32], v: &mut [f32]) {
    let (dim, kv_heads) = (heads.head_dim as usize, heads.n_kv_heads as usize);
    let keys = &qkv[heads.n_heads as usize * dim..];
    let values = &keys[kv_heads * dim..];
    for (from, to) in [(keys, k), (values, v)] {
        for (head, from) in from.chunks_exact(dim).take(kv_heads).enumerate() {
            let at = (head * heads.context as usize + pos as usize) * dim;
            to[at..at + dim].iter_mut().zip(from).for_each(|(to, from)| *to = round(*from));
        }
    }
}
