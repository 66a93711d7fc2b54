//! Attention over sequences that share beginnings: a tree of tokens in one batch.

use std::ops::Range;
use std::sync::Arc;

use candle_core::{CpuStorage, CustomOp3, Layout, Result, Shape, Tensor};

use super::matmul::{Mat, matmul};
use super::{shaped, values, view};

/// Rows that follow each other, after rows that others may share: each sees the whole prefix, and its span up to itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Span {
    /// What all of the span sees; empty at the beginning of a text.
    pub(crate) prefix: Range<usize>,
    /// The span's own rows.
    pub(crate) rows: Range<usize>,
}

/// Softmax attention of `q [tokens, n_heads * head_dim]` over `k` and `v [tokens, n_kv_heads * head_dim]`.
///
/// Scores are computed anew in the backward pass: they are quadratic in length, and a small part of the work.
#[derive(Debug, Clone)]
pub(crate) struct Attention {
    /// Which rows see which.
    pub(crate) spans: Arc<Vec<Span>>,
    /// Positions of the rows, for the window.
    pub(crate) positions: Arc<Vec<u32>>,
    /// Query heads, a multiple of `n_kv_heads`.
    pub(crate) n_heads: usize,
    /// Key and value heads.
    pub(crate) n_kv_heads: usize,
    /// Values of a head.
    pub(crate) head_dim: usize,
    /// Multiplies `q·k`.
    pub(crate) scale: f32,
    /// `c · tanh(s / c)` on scores.
    pub(crate) soft_cap: Option<f32>,
    /// A row sees those less than this many positions before it.
    pub(crate) window: Option<u32>,
}

/// Where the parts of one head of one span lie.
struct Head<'a> {
    op: &'a Attention,
    span: &'a Span,
    q_at: usize,
    kv_at: usize,
}

impl Attention {
    fn q_stride(&self) -> usize {
        self.n_heads * self.head_dim
    }

    fn kv_stride(&self) -> usize {
        self.n_kv_heads * self.head_dim
    }

    fn heads(&self) -> impl Iterator<Item = Head<'_>> {
        let ratio = self.n_heads / self.n_kv_heads;
        self.spans.iter().flat_map(move |span| {
            (0..self.n_heads).map(move |head| Head {
                op: self,
                span,
                q_at: head * self.head_dim,
                kv_at: head / ratio * self.head_dim,
            })
        })
    }
}

impl Head<'_> {
    /// The two runs of keys that are seen, each with the column where it begins.
    fn runs(&self) -> [(usize, Range<usize>); 2] {
        [(0, self.span.prefix.clone()), (self.span.prefix.len(), self.span.rows.clone())]
    }

    fn keys(&self) -> usize {
        self.span.prefix.len() + self.span.rows.len()
    }

    /// This head's part of the span's rows in something shaped as `q`.
    fn queries<'v>(&self, values: &'v [f32]) -> Mat<'v> {
        let (rows, stride) = (&self.span.rows, self.op.q_stride());
        Mat::new(&values[rows.start * stride + self.q_at..], rows.len(), self.op.head_dim, stride)
    }

    /// This head's part of `rows` in something shaped as `k`.
    fn run<'v>(&self, values: &'v [f32], rows: &Range<usize>) -> Mat<'v> {
        let stride = self.op.kv_stride();
        // The last token of a batch may have no run after it.
        let from = (rows.start * stride + self.kv_at).min(values.len());
        Mat::new(&values[from..], rows.len(), self.op.head_dim, stride)
    }

    /// What row `row` of the span sees: columns of the scores.
    fn seen(&self, row: usize) -> impl Iterator<Item = usize> {
        let position = self.op.positions[self.span.rows.start + row];
        let prefix = self.span.prefix.len();
        (0..=prefix + row).filter(move |column| {
            let key =
                if *column < prefix { self.span.prefix.start + column } else { self.span.rows.start + column - prefix };
            self.op.window.is_none_or(|window| position - self.op.positions[key] < window)
        })
    }

    /// Into `weights [rows, keys]` the softmax of the scores; into `slopes`, where there is a soft cap, its derivative.
    fn weights(&self, q: &[f32], k: &[f32], weights: &mut Vec<f32>, slopes: &mut Vec<f32>) {
        let keys = self.keys();
        weights.clear();
        weights.resize(self.span.rows.len() * keys, 0.0);
        for (column, run) in self.runs() {
            let k = self.run(k, &run).transposed();
            if !run.is_empty() {
                matmul(&mut weights[column..], keys, 0.0, self.op.scale, self.queries(q), k);
            }
        }
        if let Some(cap) = self.op.soft_cap {
            slopes.clear();
            for weight in weights.iter_mut() {
                let tanh = (*weight / cap).tanh();
                *weight = cap * tanh;
                slopes.push(1.0 - tanh * tanh);
            }
        }
        for (row, weights) in weights.chunks_exact_mut(keys).enumerate() {
            if self.op.window.is_none() {
                softmax(&mut weights[..=self.span.prefix.len() + row]);
                weights[self.span.prefix.len() + row + 1..].fill(0.0);
                continue;
            }
            let seen: Vec<usize> = self.seen(row).collect();
            let mut kept: Vec<f32> = seen.iter().map(|column| weights[*column]).collect();
            softmax(&mut kept);
            weights.fill(0.0);
            seen.iter().zip(kept).for_each(|(column, weight)| weights[*column] = weight);
        }
    }
}

fn softmax(scores: &mut [f32]) {
    let largest = scores.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let mut total = 0.0;
    for score in scores.iter_mut() {
        *score = (*score - largest).exp();
        total += *score;
    }
    let share = total.recip();
    for score in scores {
        *score *= share;
    }
}

impl CustomOp3 for Attention {
    fn name(&self) -> &'static str {
        "attention"
    }

    fn cpu_fwd(
        &self,
        q: &CpuStorage,
        q_layout: &Layout,
        k: &CpuStorage,
        k_layout: &Layout,
        v: &CpuStorage,
        v_layout: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        let (q, k, v) = (values(q, q_layout)?, values(k, k_layout)?, values(v, v_layout)?);
        let mut out = vec![0.0; q.len()];
        let (mut weights, mut slopes) = (Vec::new(), Vec::new());
        for head in self.heads() {
            head.weights(q, k, &mut weights, &mut slopes);
            let into = &mut out[head.span.rows.start * self.q_stride() + head.q_at..];
            for (column, run) in head.runs() {
                let weights = Mat::new(&weights[column..], head.span.rows.len(), run.len(), head.keys());
                if !run.is_empty() {
                    matmul(into, self.q_stride(), 1.0, 1.0, weights, head.run(v, &run));
                }
            }
        }
        Ok((CpuStorage::F32(out), q_layout.shape().clone()))
    }

    fn bwd(
        &self,
        q: &Tensor,
        k: &Tensor,
        v: &Tensor,
        _out: &Tensor,
        grad: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>, Option<Tensor>)> {
        let grad = grad.contiguous()?;
        let views = (view(q)?, view(k)?, view(v)?, view(&grad)?);
        let (qs, ks, vs, grads) = (views.0.values()?, views.1.values()?, views.2.values()?, views.3.values()?);
        let (mut grad_q, mut grad_k, mut grad_v) = (vec![0.0; qs.len()], vec![0.0; ks.len()], vec![0.0; vs.len()]);
        let (mut weights, mut slopes, mut grad_weights) = (Vec::new(), Vec::new(), Vec::new());
        let (q_stride, kv_stride) = (self.q_stride(), self.kv_stride());
        for head in self.heads() {
            head.weights(qs, ks, &mut weights, &mut slopes);
            let (rows, keys) = (head.span.rows.len(), head.keys());
            let grad_out = head.queries(grads);
            grad_weights.clear();
            grad_weights.resize(rows * keys, 0.0);
            for (column, run) in head.runs().into_iter().filter(|(_, run)| !run.is_empty()) {
                matmul(&mut grad_weights[column..], keys, 0.0, 1.0, grad_out, head.run(vs, &run).transposed());
                let weights = Mat::new(&weights[column..], rows, run.len(), keys).transposed();
                let into = &mut grad_v[run.start * kv_stride + head.kv_at..];
                matmul(into, kv_stride, 1.0, 1.0, weights, grad_out);
            }
            // Through the softmax, in place: dS = P ∘ (dP - Σ P ∘ dP).
            for (weights, grads) in weights.chunks_exact(keys).zip(grad_weights.chunks_exact_mut(keys)) {
                let mean: f32 = weights.iter().zip(grads.iter()).map(|(weight, grad)| weight * grad).sum();
                grads.iter_mut().zip(weights).for_each(|(grad, weight)| *grad = weight * (*grad - mean));
            }
            if self.soft_cap.is_some() {
                grad_weights.iter_mut().zip(&slopes).for_each(|(grad, slope)| *grad *= slope);
            }
            for (column, run) in head.runs().into_iter().filter(|(_, run)| !run.is_empty()) {
                let grad_scores = Mat::new(&grad_weights[column..], rows, run.len(), keys);
                let into = &mut grad_q[head.span.rows.start * q_stride + head.q_at..];
                matmul(into, q_stride, 1.0, self.scale, grad_scores, head.run(ks, &run));
                let into = &mut grad_k[run.start * kv_stride + head.kv_at..];
                matmul(into, kv_stride, 1.0, self.scale, grad_scores.transposed(), head.queries(qs));
            }
        }
        Ok((Some(shaped(grad_q, q)?), Some(shaped(grad_k, k)?), Some(shaped(grad_v, v)?)))
    }
}
