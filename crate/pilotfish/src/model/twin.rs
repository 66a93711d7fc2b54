//! The same forward pass on the CPU, in plain f32 over decoded weights, made of the kernels' twins: the oracle.
//!
//! It is for comparing, not for speed: one token after the other, every weight in memory.

use super::forward::{activation, heads};
use super::source::ByteSource;
use super::{Sizes, weights};
use crate::Result;
use crate::arch::{LayerTensors, ModelSpec, Rope, TensorIndex};
use crate::ops::attend::{attend, through_f16};
use crate::ops::norm::norm;
use crate::ops::rope::{rope, store};

/// How the cache keeps keys and values.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cache {
    /// In f32: exact.
    Exact,
    /// In f16, as on the GPU.
    Half,
}

/// A model whose weights are decoded in memory.
#[derive(Debug)]
pub struct CpuModel {
    spec: ModelSpec,
    tensors: Vec<Vec<f32>>,
    frequencies: Vec<(Rope, Vec<f32>)>,
}

impl CpuModel {
    /// Reads and decodes every tensor of `spec`.
    pub async fn read(spec: ModelSpec, source: &mut impl ByteSource) -> Result<Self> {
        let mut tensors = Vec::new();
        for tensor in &spec.tensors {
            tensors.push(weights::read_floats(tensor, source).await?);
        }
        let frequencies = weights::frequencies(&spec, source).await?;
        Ok(Self { spec, tensors, frequencies })
    }

    /// The logits after each of `ids`, `[ids.len(), n_vocab]`; of a classifier its scores.
    pub fn logits(&self, ids: &[u32], cache: Cache) -> Vec<Vec<f32>> {
        let spec = &self.spec;
        let context = ids.len() as u32;
        let sizes = Sizes { rows: 1, context, chunk: 1, slots: context };
        let kv = ids.len() * (spec.n_kv_heads * spec.head_dim) as usize;
        let mut caches = vec![(vec![0.0; kv], vec![0.0; kv]); spec.layers.len()];
        let hidden = spec.hidden as usize;
        let mut all = Vec::new();
        for (position, id) in ids.iter().enumerate() {
            let embedding = &self.tensors[spec.model.token_embd][*id as usize * hidden..][..hidden];
            let scale = spec.embedding_scale.unwrap_or(1.0);
            let mut x: Vec<f32> = embedding.iter().map(|value| value * scale).collect();
            for (layer, (k, v)) in spec.layers.iter().zip(&mut caches) {
                let tensors = &layer.tensors;
                let mut qkv = self.qkv(tensors, &self.normed(&mut x, None, tensors.attn_norm));
                let heads = heads(spec, layer, &sizes);
                let gains = tensors.q_norm.zip(tensors.k_norm);
                let gains = gains.map(|(q, k)| [&self.tensors[q][..], &self.tensors[k][..]].concat());
                let position = position as u32;
                let frequencies = self.frequencies.iter().find(|(rope, _)| *rope == layer.rope);
                let frequencies = frequencies.map_or(&[][..], |(_, values)| values);
                rope(&mut qkv, &heads, frequencies, layer.rope.magnitude(), gains.as_deref(), position);
                let round = |value| if cache == Cache::Half { through_f16(value) } else { value };
                store(&qkv, &heads, position, round, k, v);
                let mut out = vec![0.0; heads.out_len() as usize];
                attend(&qkv[..heads.out_len() as usize], k, v, &heads, position, &mut out);
                let y = self.times(tensors.o, &out);
                let h = self.normed(&mut x, Some((&y, tensors.post_attn_norm)), tensors.ffn_norm);
                let y = self.feed_forward(tensors, &h);
                self.add(&mut x, &y, tensors.post_ffn_norm);
            }
            let h = self.normed(&mut x, None, spec.model.output_norm);
            let mut logits = self.times(spec.model.output, &h);
            if let Some(bias) = spec.model.output_bias {
                logits.iter_mut().zip(&self.tensors[bias]).for_each(|(logit, bias)| *logit += bias);
            }
            all.push(logits);
        }
        all
    }

    fn qkv(&self, layer: &LayerTensors, h: &[f32]) -> Vec<f32> {
        [(layer.q, layer.q_bias), (layer.k, layer.k_bias), (layer.v, layer.v_bias)]
            .into_iter()
            .flat_map(|(matrix, bias)| {
                let mut y = self.times(matrix, h);
                if let Some(bias) = bias {
                    y.iter_mut().zip(&self.tensors[bias]).for_each(|(y, bias)| *y += bias);
                }
                y
            })
            .collect()
    }

    fn feed_forward(&self, layer: &LayerTensors, h: &[f32]) -> Vec<f32> {
        let gate = self.times(layer.gate, h);
        let up = self.times(layer.up, h);
        let activation = activation(&self.spec);
        let f: Vec<f32> = gate.iter().zip(&up).map(|(gate, up)| activation.of(*gate) * up).collect();
        self.times(layer.down, &f)
    }

    /// `x += post(y)`.
    fn add(&self, x: &mut [f32], y: &[f32], post: Option<TensorIndex>) {
        let gain = vec![1.0; x.len()];
        let mut h = vec![0.0; x.len()];
        norm(x, Some((y, post.map(|gain| &self.tensors[gain][..]))), &gain, self.spec.norm_eps, &mut h);
    }

    /// `x += post(y)`, and the norm of the sum.
    fn normed(&self, x: &mut [f32], y: Option<(&[f32], Option<TensorIndex>)>, gain: TensorIndex) -> Vec<f32> {
        let mut h = vec![0.0; x.len()];
        let y = y.map(|(y, post)| (y, post.map(|gain| &self.tensors[gain][..])));
        norm(x, y, &self.tensors[gain], self.spec.norm_eps, &mut h);
        h
    }

    fn times(&self, matrix: TensorIndex, x: &[f32]) -> Vec<f32> {
        let dot = |row: &[f32]| row.iter().zip(x).map(|(w, x)| w * x).sum();
        self.tensors[matrix].chunks_exact(x.len()).map(dot).collect()
    }
}
