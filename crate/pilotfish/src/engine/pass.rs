//! A forward pass whose logits come to the caller: for scoring a text, and for reward models. Not the ordinary path.

#[cfg(feature = "cpu")]
use std::cell::RefCell;
use std::fmt::Debug;
use std::rc::Rc;

use super::model::Model;
#[cfg(feature = "cpu")]
use super::processor::CpuProcessor;
use super::processor::GpuProcessor;
#[cfg(feature = "cpu")]
use super::runner::CpuTable;
use super::runner::{Running, gpu_weights};
use crate::Result;
use crate::gpu::{Owned, Usage};
use crate::model::{BatchPlace, BatchToken, Forward, ForwardPlan, KvCache, Logits, RowAdapter, RowAdapters, Sizes};
use crate::ops::stride;

/// Batches of tokens to logits.
pub(super) trait Pass: Debug {
    /// Says in which slots the positions of a row are, from position `first` on.
    fn write_slots(&mut self, row: usize, first: usize, slots: &[u32]);

    /// Puts `tokens`, at most a chunk, into the caches and returns their logits (of a classifier: its scores), `[tokens, outputs]`.
    fn run<'a>(&'a mut self, tokens: &'a [BatchToken]) -> Running<'a, Vec<f32>>;
}

/// Logits of a token: one for each row of the embedding, or each score of a classifier.
pub(super) fn outputs(model: &Model) -> usize {
    model.spec.model.classes.unwrap_or(model.spec.n_vocab) as usize
}

/// On the GPU.
#[derive(Debug)]
pub(super) struct GpuPass {
    processor: Rc<GpuProcessor>,
    // What the dispatches read is kept alive with them.
    _model: Rc<Model>,
    _cache: KvCache,
    forward: Forward,
    place: BatchPlace,
    batches: wgpu::Buffer,
    /// `[chunk, stride(outputs)]`.
    logits: wgpu::Buffer,
    outputs: usize,
    _buffers: Owned,
}

impl GpuPass {
    pub(super) fn new(
        processor: &Rc<GpuProcessor>,
        model: &Rc<Model>,
        adapters: &[Vec<RowAdapter<'_>>],
        sizes: Sizes,
    ) -> Result<Self> {
        let GpuProcessor { gpu, shape, .. } = &**processor;
        let scope = gpu.scope();
        let outputs = outputs(model);
        let width = stride(outputs as u32);
        let logits = gpu.buffer("scored logits", 4 * u64::from(width) * u64::from(sizes.chunk), Usage::Storage)?;
        let place = BatchPlace::after(0, &sizes);
        let batches = gpu.buffer("batches", place.end(), Usage::Storage)?;
        let cache = KvCache::new(gpu, &model.spec, sizes.slots)?;
        let adapters = RowAdapters::new(gpu, &model.spec, adapters)?;
        let to = Logits { buffer: &logits, stride: width, first_row: 0 };
        let plan = ForwardPlan {
            spec: &model.spec,
            weights: gpu_weights(model)?,
            adapters: adapters.as_ref(),
            sizes,
            cache: &cache,
            batches: &batches,
            place,
            logits: to,
            score_logits: Some(to),
            shape: *shape,
        };
        let forward = Forward::new(gpu, &plan)?;
        Ok(Self {
            processor: Rc::clone(processor),
            _model: Rc::clone(model),
            _cache: cache,
            forward,
            place,
            batches,
            logits,
            outputs,
            _buffers: scope.close(),
        })
    }
}

impl Pass for GpuPass {
    fn write_slots(&mut self, row: usize, first: usize, slots: &[u32]) {
        self.place.write_slots(&self.processor.gpu, &self.batches, row, first, slots);
    }

    fn run<'a>(&'a mut self, tokens: &'a [BatchToken]) -> Running<'a, Vec<f32>> {
        Box::pin(async {
            let gpu = &self.processor.gpu;
            self.forward.submit_score(gpu, tokens);
            let width = stride(self.outputs as u32) as usize;
            let padded: Vec<f32> = gpu.read(&self.logits, tokens.len() * width).await?;
            Ok(padded.chunks_exact(width).flat_map(|row| &row[..self.outputs]).copied().collect())
        })
    }
}

/// On the CPU.
#[cfg(feature = "cpu")]
#[derive(Debug)]
pub(super) struct CpuPass {
    processor: Rc<CpuProcessor>,
    table: CpuTable,
}

#[cfg(feature = "cpu")]
impl CpuPass {
    pub(super) fn new(
        processor: &Rc<CpuProcessor>,
        model: &Rc<Model>,
        adapters: &[Vec<RowAdapter<'_>>],
        sizes: Sizes,
    ) -> Result<Self> {
        let cache = Rc::new(RefCell::new(crate::cpu::Cache::new(&model.spec, sizes.slots)));
        let table = CpuTable::new(processor, model, cache, adapters, sizes)?;
        Ok(Self { processor: Rc::clone(processor), table })
    }
}

#[cfg(feature = "cpu")]
impl Pass for CpuPass {
    fn write_slots(&mut self, row: usize, first: usize, slots: &[u32]) {
        self.table.write_slots(row, first, slots);
    }

    fn run<'a>(&'a mut self, tokens: &'a [BatchToken]) -> Running<'a, Vec<f32>> {
        Box::pin(async {
            self.table.run(tokens, true)?;
            self.processor.host.pause().await;
            Ok(self.table.logits().to_vec())
        })
    }
}
