//! Steps on the GPU. A step is one submit: every weight set's rows go from ids to logits, each lane's mix becomes a token, and that
//! token is already the next step's input when the CPU hears of it.

use std::collections::VecDeque;
use std::rc::Rc;

use super::super::limits::MAX_IN_FLIGHT;
use super::super::model::Model;
use super::super::options::Returns;
use super::super::processor::GpuProcessor;
use super::{LanePlan, Mix, Report, Runner, RunnerPlan, Running, SetPlan};
#[cfg(feature = "cpu")]
use crate::Error;
use crate::Result;
use crate::gpu::{Dispatch, Gpu, Owned, Readback, StepShape, Usage, record};
use crate::guidance::{MixError, Mixer, MixerPlan, Sampling, Schedule, Telemetry, TokenRules};
use crate::model::{
    BatchPlace, BatchToken, Forward, ForwardPlan, KvCache, Logits, RowAdapter, RowAdapters, Sizes, Weights,
};
use crate::ops::attend;
use crate::tokenizer::TokenId;

/// Steps worth having in flight on a GPU that is one.
const AHEAD: u32 = 3;

/// Buffers, and every dispatch of a step.
#[derive(Debug)]
pub(in super::super) struct GpuRunner {
    processor: Rc<GpuProcessor>,
    sets: Vec<Set>,
    lanes: Vec<GpuMix>,
    /// The decode and prefill batches of all weight sets.
    batches: wgpu::Buffer,
    /// `[rows, vocab_stride]`.
    logits: wgpu::Buffer,
    vocab_stride: u32,
    readbacks: Vec<Readback>,
    /// Of the mixed logits, if they are asked for.
    z_readbacks: Vec<Readback>,
    /// Slots of the readbacks in use, the oldest first.
    flights: VecDeque<u32>,
    /// Reports are [`Telemetry::of_the_mix`].
    mix_only: bool,
    /// Everything but what the sets own.
    _buffers: Owned,
}

/// One weight set.
#[derive(Debug)]
struct Set {
    model: Rc<Model>,
    cache: Rc<KvCache>,
    recorded: Recorded,
    sizes: Sizes,
    place: BatchPlace,
    first_row: u32,
}

/// What a weight set's rows dispatch.
#[derive(Debug)]
struct Recorded {
    forward: Forward,
    adapters: Option<RowAdapters>,
    _buffers: Owned,
}

/// The mix of a lane.
#[derive(Debug)]
struct GpuMix {
    gpu: Rc<Gpu>,
    mixer: Mixer,
}

impl GpuRunner {
    /// Makes every buffer and dispatch; over `caches`, one for each weight set, or over new ones.
    pub(in super::super) fn new(
        processor: &Rc<GpuProcessor>,
        plan: &RunnerPlan<'_>,
        caches: Option<&[Rc<KvCache>]>,
    ) -> Result<Self> {
        let gpu = &processor.gpu;
        let scope = gpu.scope();
        let bytes = u64::from(plan.vocab_stride) * 4 * plan.rows() as u64;
        let logits = gpu.buffer("logits", bytes, Usage::Storage)?;
        let mut places: Vec<BatchPlace> = Vec::new();
        for set in &plan.sets {
            places.push(BatchPlace::after(places.last().map_or(0, BatchPlace::end), &set.sizes));
        }
        let batches = gpu.buffer("batches", places.last().map_or(0, BatchPlace::end), Usage::Storage)?;
        let target = Target { processor, batches: &batches, logits: &logits, vocab_stride: plan.vocab_stride };
        let mut sets = Vec::new();
        for (at, (set, place)) in plan.sets.iter().zip(&places).enumerate() {
            let SetPlan { model, adapters, sizes, first_row } = set;
            let cache = match caches {
                Some(caches) => Rc::clone(&caches[at]),
                None => Rc::new(KvCache::new(gpu, &model.spec, sizes.slots)?),
            };
            let recorded = target.record(model, &cache, adapters, (*sizes, *place, *first_row))?;
            let (model, sizes, first_row) = (Rc::clone(model), *sizes, *first_row);
            sets.push(Set { model, cache, recorded, sizes, place: *place, first_row });
        }
        let mut lanes = Vec::new();
        for lane in 0..plan.lanes.len() {
            lanes.push(GpuMix::new(gpu, plan, lane, (&logits, &batches), &places)?);
        }
        let slot_bytes = lanes[0].mixer.slot_bytes() * lanes.len() as u64;
        let readbacks = (0..MAX_IN_FLIGHT).map(|_| gpu.readback("telemetry", slot_bytes)).collect::<Result<_, _>>()?;
        let kept = if plan.returns == Returns::Logits { MAX_IN_FLIGHT } else { 0 };
        let z_bytes = 4 * u64::from(plan.vocab) * lanes.len() as u64;
        let z_readbacks = (0..kept).map(|_| gpu.readback("mixed logits", z_bytes)).collect::<Result<_, _>>()?;
        Ok(Self {
            processor: Rc::clone(processor),
            sets,
            lanes,
            batches,
            logits,
            vocab_stride: plan.vocab_stride,
            readbacks,
            z_readbacks,
            flights: VecDeque::new(),
            mix_only: plan.returns == Returns::Mix,
            _buffers: scope.close(),
        })
    }

    fn gpu(&self) -> &Gpu {
        &self.processor.gpu
    }

    fn software(&self) -> bool {
        self.gpu().info().software
    }

    /// Every dispatch of a step, in order.
    fn step(&self, furthest: u32) -> impl Iterator<Item = (&Dispatch, StepShape)> {
        let splits = attend::splits(furthest, self.software());
        let forwards = self.sets.iter().flat_map(move |set| {
            let shape = StepShape { tokens: set.sizes.rows, splits };
            set.recorded.forward.decode.iter().map(move |dispatch| (dispatch, shape))
        });
        let mixes = self.lanes.iter().flat_map(|lane| lane.mixer.dispatches());
        forwards.chain(mixes.map(|dispatch| (dispatch, StepShape::default())))
    }

    /// What step `slot` left for the CPU.
    async fn read(&self, slot: u32) -> Result<Vec<Report>> {
        let mixer = &self.lanes[0].mixer;
        let layout = mixer.layout();
        let mut reports = Vec::new();
        let report = |bytes: &[u8]| {
            let telemetry = Telemetry::decode(bytes, &layout);
            Report {
                telemetry: if self.mix_only { telemetry.map(Telemetry::of_the_mix) } else { telemetry },
                logits: None,
            }
        };
        let keep = |bytes: &[u8]| reports = bytes.chunks_exact(layout.bytes).map(report).collect();
        self.readbacks[slot as usize].take(self.gpu(), keep).await?;
        if let Some(readback) = self.z_readbacks.get(slot as usize) {
            let each = 4 * mixer.vocab() as usize;
            let logits = |bytes: &[u8]| {
                let z = bytes.chunks_exact(each).map(Mixer::logits);
                reports.iter_mut().zip(z).for_each(|(report, z)| report.logits = Some(z));
            };
            readback.take(self.gpu(), logits).await?;
        }
        Ok(reports)
    }
}

impl Runner for GpuRunner {
    fn fork(&self, plan: &RunnerPlan<'_>) -> Result<Box<dyn Runner>> {
        let caches: Vec<_> = self.sets.iter().map(|set| Rc::clone(&set.cache)).collect();
        Ok(Box::new(Self::new(&self.processor, plan, Some(&caches))?))
    }

    fn ready(&mut self) -> Running<'_, ()> {
        Box::pin(async { Ok(self.gpu().flush().await?) })
    }

    fn write_slots(&mut self, set: usize, row: usize, first: usize, slots: &[u32]) {
        self.sets[set].place.write_slots(self.gpu(), &self.batches, row, first, slots);
    }

    fn write_decode(&mut self, set: usize, tokens: &[BatchToken]) {
        self.sets[set].place.write_decode(self.gpu(), &self.batches, tokens);
    }

    fn prefill<'a>(&'a mut self, set: usize, tokens: &'a [BatchToken]) -> Running<'a, ()> {
        self.sets[set].recorded.forward.submit_prefill(self.gpu(), tokens);
        self.ready()
    }

    /// One encoder, one pass, one submit.
    fn submit(&mut self, step: u32, furthest: u32) -> Result<()> {
        let slot = step % MAX_IN_FLIGHT;
        let mut encoder = self.gpu().encoder();
        record(&mut encoder, self.step(furthest), None);
        let readback = &self.readbacks[slot as usize];
        let mut at = 0;
        for GpuMix { mixer, .. } in &self.lanes {
            let report = mixer.slot_range(step);
            let bytes = report.end - report.start;
            encoder.copy_buffer_to_buffer(mixer.ring(), report.start, &readback.buffer, at, bytes);
            at += bytes;
        }
        if let Some(logits) = self.z_readbacks.get(slot as usize) {
            let mut at = 0;
            for (scratch, z) in self.lanes.iter().map(|lane| lane.mixer.z()) {
                encoder.copy_buffer_to_buffer(scratch, z.start, &logits.buffer, at, z.end - z.start);
                at += z.end - z.start;
            }
        }
        self.gpu().submit(encoder);
        readback.start();
        self.z_readbacks.get(slot as usize).into_iter().for_each(Readback::start);
        self.flights.push_back(slot);
        Ok(())
    }

    fn in_flight(&self) -> usize {
        self.flights.len()
    }

    fn ahead(&self) -> u32 {
        // On the CPU steps cannot overlap with anything: going ahead would only delay a stop.
        if self.software() { 1 } else { AHEAD }
    }

    fn most_ahead(&self) -> u32 {
        if self.software() { 1 } else { MAX_IN_FLIGHT }
    }

    fn reports(&mut self) -> Running<'_, Vec<Report>> {
        let slot = self.flights.pop_front();
        Box::pin(async move {
            match slot {
                Some(slot) => self.read(slot).await,
                None => Ok(Vec::new()),
            }
        })
    }

    fn drain(&mut self) -> Running<'_, ()> {
        Box::pin(async {
            while let Some(slot) = self.flights.pop_front() {
                self.readbacks[slot as usize].take(self.gpu(), |_| ()).await?;
                if let Some(logits) = self.z_readbacks.get(slot as usize) {
                    logits.take(self.gpu(), |_| ()).await?;
                }
            }
            Ok(())
        })
    }

    fn abandon(&mut self) {
        self.flights.clear();
    }

    fn mix(&mut self, lane: usize) -> &mut dyn Mix {
        &mut self.lanes[lane]
    }

    fn set_shares(&mut self, set: usize, row: usize, segment: u32, shares: &[f32]) {
        if let Some(adapters) = &self.sets[set].recorded.adapters {
            adapters.set_shares(self.gpu(), row, segment, shares);
        }
    }

    fn set_adapters(&mut self, set: usize, adapters: &[Vec<RowAdapter<'_>>]) -> Result<()> {
        let Self { processor, batches, logits, vocab_stride, .. } = &*self;
        let target = Target { processor, batches, logits, vocab_stride: *vocab_stride };
        let Set { model, cache, sizes, place, first_row, .. } = &self.sets[set];
        self.sets[set].recorded = target.record(model, cache, adapters, (*sizes, *place, *first_row))?;
        Ok(())
    }

    fn adapter_bytes(&self) -> u64 {
        self.sets.iter().filter_map(|set| set.recorded.adapters.as_ref()).map(|adapters| adapters.bytes).sum()
    }

    fn dispatches(&self) -> u32 {
        self.step(1).count() as u32
    }
}

/// Where weight sets read and write.
struct Target<'a> {
    processor: &'a GpuProcessor,
    batches: &'a wgpu::Buffer,
    logits: &'a wgpu::Buffer,
    vocab_stride: u32,
}

impl Target<'_> {
    /// Packs the rows' adapters and records the forward pass.
    fn record(
        &self,
        model: &Model,
        cache: &KvCache,
        adapters: &[Vec<RowAdapter<'_>>],
        (sizes, place, first_row): (Sizes, BatchPlace, u32),
    ) -> Result<Recorded> {
        let GpuProcessor { gpu, shape, .. } = self.processor;
        let scope = gpu.scope();
        let adapters = RowAdapters::new(gpu, &model.spec, adapters)?;
        let plan = ForwardPlan {
            spec: &model.spec,
            weights: weights(model)?,
            adapters: adapters.as_ref(),
            sizes,
            cache,
            batches: self.batches,
            place,
            logits: Logits { buffer: self.logits, stride: self.vocab_stride, first_row },
            score_logits: None,
            shape: *shape,
        };
        let forward = Forward::new(gpu, &plan)?;
        Ok(Recorded { forward, adapters, _buffers: scope.close() })
    }
}

/// A model's weights, which must be on the GPU.
pub(in super::super) fn weights(model: &Model) -> Result<&Weights> {
    match &model.weights {
        super::super::model::LoadedWeights::Gpu(weights) => Ok(weights),
        #[cfg(feature = "cpu")]
        super::super::model::LoadedWeights::Cpu(_) => Err(Error::OtherProcessor { found: "CPU", expected: "GPU" }),
    }
}

impl GpuMix {
    fn new(
        gpu: &Rc<Gpu>,
        plan: &RunnerPlan<'_>,
        lane: usize,
        (logits, batches): (&wgpu::Buffer, &wgpu::Buffer),
        places: &[BatchPlace],
    ) -> Result<Self> {
        let LanePlan { rule, sampling, tokens, prompt, ends, room, report, candidates, forced } = &plan.lanes[lane];
        let plan = MixerPlan {
            vocab: plan.vocab,
            vocab_stride: plan.vocab_stride,
            logits,
            rows: plan.rows(),
            rule,
            sampling,
            tokens,
            prompt,
            ends,
            room: *room,
            report: report.clone(),
            candidates: *candidates,
            batches,
            batch_offsets: places.iter().map(BatchPlace::decode_at).collect(),
            lane: lane as u32,
            slots: MAX_IN_FLIGHT,
        };
        let mut mixer = Mixer::new(gpu, &plan)?;
        mixer.force(gpu, 0, forced)?;
        Ok(Self { gpu: Rc::clone(gpu), mixer })
    }
}

impl Mix for GpuMix {
    fn set_weights(&mut self, weights: &[(usize, f32)]) -> Result<(), MixError> {
        self.mixer.set_weights(&self.gpu, weights)
    }

    fn set_schedules(&mut self, schedules: &[Schedule]) -> Result<(), MixError> {
        self.mixer.set_schedules(&self.gpu, schedules)
    }

    fn set_tokens(&mut self, tokens: &TokenRules) -> Result<(), MixError> {
        self.mixer.set_tokens(&self.gpu, tokens)
    }

    fn force(&mut self, from: u32, ids: &[TokenId]) -> Result<(), MixError> {
        self.mixer.force(&self.gpu, from, ids)
    }

    fn set_sampling(&mut self, sampling: &Sampling) -> Result<(), MixError> {
        self.mixer.set_sampling(&self.gpu, sampling)
    }

    fn restart(&mut self, prompt: &[TokenId], said: &[TokenId]) {
        self.mixer.restart(&self.gpu, prompt, said);
    }
}
