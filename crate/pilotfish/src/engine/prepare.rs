//! Kernels compiled while a model's weights stream: they depend on its shape and formats, and on no number in its file.

use super::Engine;
use super::options::default_candidates;
use super::session::{BATCH_STRIDE, MAX_IN_FLIGHT};
use crate::Result;
use crate::arch::ModelSpec;
use crate::gpu::{Binding, Usage};
use crate::guidance::{MixRule, Mixer, MixerPlan, Sampling, Term, TokenRules};
use crate::model::{Forward, ForwardPlan, Logits, Sizes, Weights};
use crate::ops::stride;

impl Engine {
    /// Plans a session of [`super::EngineOptions::expected_rows`] rows in the smallest buffers, and forgets it: its pipelines
    /// stay with the GPU. `vocab` is as [`super::Model::vocab`].
    pub(super) fn prepare(&self, spec: &ModelSpec, weights: &Weights, vocab: u32) -> Result<()> {
        let rows = self.expected_rows;
        if rows == 0 {
            return Ok(());
        }
        let gpu = &self.gpu;
        let _scope = gpu.scope();
        let stride = stride(spec.n_vocab);
        let logits = gpu.buffer("logits", u64::from(stride) * 4 * u64::from(rows), Usage::Storage)?;
        let batches = gpu.buffer("decode batches", BATCH_STRIDE, Usage::Storage)?;
        let forward = ForwardPlan {
            spec,
            weights,
            adapters: None,
            sizes: Sizes { rows, context: 1, chunk: 1 },
            decode_batch: Binding::whole(0, &batches),
            logits: Logits { buffer: &logits, stride, first_row: 0 },
            score_logits: None,
            shape: self.shape,
        };
        Forward::new(gpu, &forward)?;
        let terms = (0..rows as usize).map(|row| Term { row, weight: 1.0 }).collect();
        let mixer = MixerPlan {
            vocab,
            vocab_stride: stride,
            logits: &logits,
            rows: rows as usize,
            rule: &MixRule { terms, ..MixRule::default() },
            sampling: &Sampling::default(),
            tokens: &TokenRules::default(),
            prompt: &[],
            ends: &[],
            steps: 1,
            report: (0..rows as usize).collect(),
            candidates: default_candidates().min(vocab),
            batches: &batches,
            batch_offsets: vec![0],
            slots: MAX_IN_FLIGHT,
        };
        Mixer::new(gpu, &mixer)?;
        Ok(())
    }
}
