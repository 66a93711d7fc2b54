//! Kernels compiled while a model's weights stream: they depend on its shape and formats, and on no number in its file.

use super::limits::MAX_IN_FLIGHT;
use super::options::default_candidates;
use super::processor::GpuProcessor;
use crate::Result;
use crate::arch::ModelSpec;
use crate::gpu::Usage;
use crate::guidance::{MixRule, Mixer, MixerPlan, Sampling, Term, TokenRules};
use crate::model::{BatchPlace, Forward, ForwardPlan, KvCache, Logits, Sizes, Weights};
use crate::ops::stride;

impl GpuProcessor {
    /// Plans a session of `rows` rows ([`super::EngineOptions::expected_rows`]) in the smallest buffers, and forgets it: its pipelines
    /// stay with the GPU. `vocab` is as [`super::Model::vocab`].
    pub(super) fn prepare(&self, spec: &ModelSpec, weights: &Weights, vocab: u32, rows: u32) -> Result<()> {
        // A classifier has no logits to be mixed; what it runs is recorded when it is asked.
        if rows == 0 || spec.model.classes.is_some() {
            return Ok(());
        }
        let gpu = &self.gpu;
        let _scope = gpu.scope();
        let stride = stride(spec.n_vocab);
        let logits = gpu.buffer("logits", u64::from(stride) * 4 * u64::from(rows), Usage::Storage)?;
        let sizes = Sizes { rows, context: 1, chunk: 1, slots: rows };
        let place = BatchPlace::after(0, &sizes);
        let batches = gpu.buffer("batches", place.end(), Usage::Storage)?;
        let cache = KvCache::new(gpu, spec, rows)?;
        let forward = ForwardPlan {
            spec,
            weights,
            adapters: None,
            sizes,
            cache: &cache,
            batches: &batches,
            place,
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
            room: 1,
            report: (0..rows as usize).collect(),
            candidates: default_candidates().min(vocab),
            batches: &batches,
            batch_offsets: vec![place.decode_at()],
            lane: 0,
            slots: MAX_IN_FLIGHT,
        };
        Mixer::new(gpu, &mixer)?;
        Ok(())
    }
}
