//! The grid of the attention kernels: decoding steps and prefill chunks, each through its whole chain of ops.

use super::super::attend_combine::Combine;
use super::super::attend_prefill::Prefill;
use super::super::grid::{Case, Comparison, Numbers};
use super::super::rope::{Rope, rope, store, turns};
use super::super::stride;
use super::{Attend, Heads, RopeStyle, Variant, attend, through_f16};
use crate::gpu::{Binding, Dispatch, Gpu, GpuError, StepShape, record};

/// The plainest heads: one for one, everything rotated.
const PLAIN: Heads = Heads {
    n_heads: 1,
    n_kv_heads: 1,
    head_dim: 64,
    context: 40,
    slots: 0,
    scale: 0.125,
    soft_cap: None,
    window: None,
    rope_style: RopeStyle::Interleaved,
    rope_dims: 64,
    qk_norm: None,
};

/// A batch: `(row, position)` of each token.
type Tokens = Vec<(u32, u32)>;

/// `rows` streams of which the last comes first in the batch, so that a token's index is not its row.
fn one_each(positions: &[u32]) -> Tokens {
    positions.iter().enumerate().map(|(at, pos)| ((positions.len() - 1 - at) as u32, *pos)).collect()
}

/// Streams of tokens one after another: `(row, first position, tokens)`.
fn streams(of: &[(u32, u32, u32)]) -> Tokens {
    of.iter().flat_map(|(row, first, n)| (0..*n).map(move |at| (*row, first + at))).collect()
}

/// Shapes of real models and odd ones: `(name, heads)`.
fn shapes() -> Vec<(&'static str, Heads)> {
    let of = |n_heads, n_kv_heads, head_dim: u32| Heads {
        n_heads,
        n_kv_heads,
        head_dim,
        rope_dims: head_dim,
        scale: (head_dim as f32).sqrt().recip(),
        ..PLAIN
    };
    let half = RopeStyle::HalfSplit;
    vec![
        ("plain", PLAIN),
        ("smollm2", of(9, 3, 64)),
        ("llama", of(8, 2, 128)),
        ("qwen2", Heads { rope_style: half, ..of(14, 2, 64) }),
        ("qwen3", Heads { rope_style: half, qk_norm: Some(1e-6), ..of(16, 2, 128) }),
        ("gemma3", Heads { rope_style: half, qk_norm: Some(1e-6), window: Some(17), ..of(4, 1, 256) }),
        ("gemma2", Heads { rope_style: half, soft_cap: Some(1.5), window: Some(1), ..of(8, 4, 256) }),
        ("partial", Heads { rope_style: half, rope_dims: 32, ..of(5, 1, 80) }),
        ("partial pairs", Heads { rope_dims: 20, qk_norm: Some(1e-5), ..of(6, 1, 96) }),
        ("no rope", Heads { rope_dims: 0, ..of(2, 1, 100) }),
        ("tiny", of(4, 2, 8)),
    ]
}

/// Every kernel here, on both variants.
pub(crate) fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    for variant in [Variant::Workgroup, Variant::Serial] {
        for (shape, heads) in shapes() {
            for (name, tokens) in [
                ("start", one_each(&[0])),
                ("second", one_each(&[1, 0])),
                ("rows", one_each(&[39, 0, 17, 16, 3, 1, 38, 31])),
            ] {
                cases.push(decode(format!("attend/{variant:?}/{shape}/{name}"), heads, variant, tokens, 1));
            }
            for (name, tokens) in [
                ("one", streams(&[(0, 0, 1)])),
                ("start", streams(&[(1, 0, 33)])),
                ("later", streams(&[(0, 5, 35)])),
                ("rows", streams(&[(2, 0, 7), (0, 30, 10), (1, 3, 1), (3, 0, 40)])),
            ] {
                cases.push(prefill(format!("attend_prefill/{variant:?}/{shape}/{name}"), heads, variant, tokens));
            }
        }
        // Longer than a workgroup's chunk of keys, and split, once more often than there is room for; the window's border lies in and between chunks.
        for (shape, heads) in shapes() {
            if !["smollm2", "gemma3", "qwen3"].contains(&shape) {
                continue;
            }
            for window in [None, Some(130)] {
                let heads = Heads { context: 300, window, ..heads };
                for splits in [1, 2, 3, 8, 33] {
                    let name = format!("attend/{variant:?}/{shape}/long/window={window:?}/splits={splits}");
                    let tokens = one_each(&[299, 127, 128, 5, 256, 131]);
                    cases.push(decode(name, heads, variant, tokens, splits));
                }
                let name = format!("attend_prefill/{variant:?}/{shape}/long/window={window:?}");
                cases.push(prefill(name, heads, variant, streams(&[(0, 260, 40), (1, 127, 3), (2, 110, 60)])));
            }
        }
    }
    cases
}

fn decode(name: String, heads: Heads, variant: Variant, tokens: Tokens, splits: u32) -> Case {
    Case::new(name, move |gpu| {
        let tokens = tokens.clone();
        Box::pin(async move {
            let bench = Bench::new(gpu, heads, &tokens)?;
            let heads = bench.heads;
            let step = Attend {
                heads,
                variant,
                batch: Binding::whole(0, &bench.batch),
                qkv: &bench.qkv.1,
                k_cache: &bench.k.1,
                v_cache: &bench.v.1,
                turns: &bench.turns,
                qk_gain: heads.qk_norm.map(|_| &bench.qk_gain.1),
                out: &bench.out,
                partials: &bench.partials,
            };
            let combine =
                Combine { heads, variant, batch: step.batch, partials: step.partials, out: step.out }.dispatch(gpu)?;
            bench.compare(gpu, &[step.dispatch(gpu)?, combine], &tokens, splits).await
        })
    })
}

fn prefill(name: String, heads: Heads, variant: Variant, tokens: Tokens) -> Case {
    Case::new(name, move |gpu| {
        let tokens = tokens.clone();
        Box::pin(async move {
            let bench = Bench::new(gpu, heads, &tokens)?;
            let heads = bench.heads;
            let batch = Binding::whole(0, &bench.batch);
            let (k_cache, v_cache, out) = (&bench.k.1, &bench.v.1, &bench.out);
            let qk_gain = heads.qk_norm.map(|_| &bench.qk_gain.1);
            let (qkv, turns) = (&bench.qkv.1, &bench.turns);
            let rope =
                Rope { heads, variant, batch, qkv, k_cache, v_cache, turns, qk_gain, q: &bench.q }.dispatch(gpu)?;
            let attend = Prefill { heads, variant, batch, q: &bench.q, k_cache, v_cache, out }.dispatch(gpu)?;
            bench.compare(gpu, &[rope, attend], &tokens, 1).await
        })
    })
}

/// What a case computes on, as the CPU's numbers and the GPU's buffers.
struct Bench {
    heads: Heads,
    /// `[rows, context]`.
    slots: Vec<u32>,
    inv_freq: Vec<f32>,
    batch: wgpu::Buffer,
    turns: wgpu::Buffer,
    qkv: (Vec<f32>, wgpu::Buffer),
    qk_gain: (Vec<f32>, wgpu::Buffer),
    k: (Vec<f32>, wgpu::Buffer),
    v: (Vec<f32>, wgpu::Buffer),
    q: wgpu::Buffer,
    out: wgpu::Buffer,
    partials: wgpu::Buffer,
}

const MSCALE: f32 = 1.25;

impl Bench {
    fn new(gpu: &Gpu, heads: Heads, tokens: &Tokens) -> Result<Self, GpuError> {
        if let Some(message) = heads.complaint() {
            return Err(GpuError::Invalid { message });
        }
        let mut numbers = Numbers::new(u64::from(heads.head_dim * heads.n_heads) + tokens.len() as u64);
        let width = stride(heads.qkv_len()) as usize;
        let mut qkv = numbers.rows(tokens.len(), heads.qkv_len() as usize, width);
        if heads.qk_norm.is_none() {
            // Scores a few units apart, or attention is a plain mean.
            qkv.chunks_mut(width)
                .for_each(|token| token[..heads.out_len() as usize].iter_mut().for_each(|q| *q *= 8.0));
        }
        let mut qk_gain = numbers.floats(2 * heads.head_dim as usize);
        for gain in &mut qk_gain {
            *gain += 2.0;
        }
        // What is not yet written is not zero either: reading it shows.
        let rows = tokens.iter().map(|(row, _)| row + 1).max().unwrap_or(1);
        // Some slots are nobody's, and neighbours' are far from each other.
        let held = rows * heads.context;
        let heads = Heads { slots: held + 3, ..heads };
        let slots: Vec<u32> = (0..held).map(|at| (at * 7919 + 1) % (held + 3)).collect();
        let cached = heads.cache_bytes() as usize / 2;
        let caches = [(); 2].map(|()| numbers.floats(cached).into_iter().map(through_f16).collect::<Vec<f32>>());
        let packed =
            |values: &[f32]| -> Vec<u16> { values.iter().map(|value| half::f16::from_f32(*value).to_bits()).collect() };
        let inv_freq: Vec<f32> =
            (0..heads.rope_dims / 2).map(|i| 10_000f32.powf(-2.0 * i as f32 / heads.rope_dims as f32)).collect();
        let mut batch = vec![[tokens.len() as u32, 1 + tokens.len() as u32, 0, 0]];
        batch.extend(tokens.iter().map(|(row, pos)| [7, *row, *pos, 0]));
        batch.extend(slots.chunks(4).map(|four| [0, 1, 2, 3].map(|at| four.get(at).copied().unwrap_or_default())));
        let turns = turns(&inv_freq, MSCALE, heads.context);
        let [k, v] = caches;
        let out = tokens.len() * stride(heads.out_len()) as usize;
        Ok(Self {
            heads,
            slots,
            batch: gpu.storage_of("batch", &batch)?,
            turns: gpu.storage_of("turns", &turns)?,
            qkv: (qkv.clone(), gpu.storage_of("qkv", &qkv)?),
            qk_gain: (qk_gain.clone(), gpu.storage_of("qk gain", &qk_gain)?),
            k: (k.clone(), gpu.storage_of("k", &packed(&k))?),
            v: (v.clone(), gpu.storage_of("v", &packed(&v))?),
            q: gpu.storage_of("q", &vec![f32::NAN; out])?,
            out: gpu.storage_of("out", &vec![0.0f32; out])?,
            partials: gpu
                .storage_of("partials", &vec![f32::NAN; heads.partials_bytes(tokens.len() as u32) as usize / 4])?,
            inv_freq,
        })
    }

    /// Where in a cache the heads' positions of a row are: kv head by kv head, position by position.
    fn places(&self, row: u32) -> impl Iterator<Item = usize> {
        let Heads { n_kv_heads, context, slots, .. } = self.heads;
        let own = &self.slots[(row * context) as usize..][..context as usize];
        (0..n_kv_heads).flat_map(move |head| own.iter().map(move |slot| (head * slots + slot) as usize))
    }

    /// A row's part of a cache, `[n_kv_heads, context, head_dim]`.
    fn of_row(&self, cache: &[f32], row: u32) -> Vec<f32> {
        let dim = self.heads.head_dim as usize;
        self.places(row).flat_map(|at| &cache[at * dim..][..dim]).copied().collect()
    }

    fn put_row(&self, cache: &mut [f32], row: u32, own: &[f32]) {
        let dim = self.heads.head_dim as usize;
        self.places(row).zip(own.chunks_exact(dim)).for_each(|(at, own)| cache[at * dim..][..dim].copy_from_slice(own));
    }

    /// Runs the kernels and the twins: the caches and what attention gives.
    async fn compare(
        &self,
        gpu: &Gpu,
        dispatches: &[Dispatch],
        tokens: &Tokens,
        splits: u32,
    ) -> Result<Comparison, GpuError> {
        let shape = StepShape { tokens: tokens.len() as u32, splits };
        let mut encoder = gpu.encoder();
        let ran = record(&mut encoder, dispatches.iter().map(|dispatch| (dispatch, shape)), None);
        gpu.submit(encoder);
        let heads = &self.heads;
        let (width, out_width) = (stride(heads.qkv_len()) as usize, stride(heads.out_len()) as usize);
        let out_len = heads.out_len() as usize;
        let (mut k, mut v) = (self.k.0.clone(), self.v.0.clone());
        let mut out = vec![0.0; tokens.len() * out_width];
        let mut projections = self.qkv.0.clone();
        for (qkv, (row, pos)) in projections.chunks_mut(width).zip(tokens) {
            let qkv = &mut qkv[..heads.qkv_len() as usize];
            let gain = heads.qk_norm.map(|_| &self.qk_gain.0[..]);
            rope(qkv, heads, &self.inv_freq, MSCALE, gain, *pos);
            let (mut own_k, mut own_v) = (self.of_row(&k, *row), self.of_row(&v, *row));
            store(qkv, heads, *pos, through_f16, &mut own_k, &mut own_v);
            self.put_row(&mut k, *row, &own_k);
            self.put_row(&mut v, *row, &own_v);
        }
        for ((qkv, (row, pos)), out) in projections.chunks(width).zip(tokens).zip(out.chunks_mut(out_width)) {
            let (k, v) = (self.of_row(&k, *row), self.of_row(&v, *row));
            attend(&qkv[..out_len], &k, &v, heads, *pos, &mut out[..out_len]);
        }
        let mut got = gpu.read::<f32>(&self.out, out.len()).await?;
        let mut want = out;
        for (buffer, twin) in [(&self.k.1, k), (&self.v.1, v)] {
            let held: Vec<u16> = gpu.read(buffer, twin.len()).await?;
            // The last bit of an f16 may fall either way where the value before was within f32's rounding of a tie.
            got.extend(held.iter().zip(&twin).map(|(held, twin)| {
                let near = half::f16::from_f32(*twin).to_bits().abs_diff(*held) <= 1;
                if near { *twin } else { half::f16::from_bits(*held).to_f32() }
            }));
            want.extend(twin);
        }
        // Every chain here is two kernels, except that a step in one split on a GPU leaves `attend_combine` out.
        got.push(ran as f32);
        want.push(if splits == 1 && dispatches[0].kernel == "attend" { 1.0 } else { 2.0 });
        Ok(Comparison::close(got, want, 1e-4))
    }
}
