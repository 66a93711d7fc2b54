//! A guided generation: rows prefilled, steps submitted ahead, tokens read late.
//!
//! A step is one submit: every weight set's rows go from ids to logits, each lane's mix becomes a token, and that token is already
//! the next step's input when the CPU hears of it. Several steps are in flight; what was sampled past a stop is dropped.

use std::collections::VecDeque;
use std::rc::Rc;

use serde::Serialize;

use super::controller::Controller;
use super::lane::{Lane, Text};
use super::model::Model;
use super::options::{Returns, SessionOptions};
use super::plan::{Cost, RowInfo, SessionInfo, SessionPlan, mix_rule};
use super::reward::Scorer;
use super::rows::Rows;
use super::step::{Step, Stop};
use super::stop::StopStrings;
use super::streams::Streams;
use super::{Engine, Models};
use crate::adapter::Adapter;
use crate::gpu::{Gpu, Owned, Readback, StepShape, Usage, record};
use crate::guidance::{MixRule, Mixer, MixerPlan, RowFilter, Telemetry, Term};
use crate::model::{BatchPlace, Forward, ForwardPlan, KvPool, Logits, RowAdapters, Sizes};
use crate::ops::attend;
use crate::ops::linear::MatvecShape;
use crate::tokenizer::TokenId;
use crate::{Error, Result};

/// The most steps in flight.
pub(super) const MAX_IN_FLIGHT: u32 = 8;

/// Steps in flight on a GPU: enough to hide the way of a token to the CPU, few enough for a slider to feel immediate.
const DEFAULT_IN_FLIGHT: u32 = 3;

/// What is done while a session's prompts are read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct PrefillProgress {
    /// Prompt tokens in the caches, over all rows.
    pub done: usize,
    /// Prompt tokens in all.
    pub total: usize,
}

/// A generation under way.
#[derive(Debug)]
pub struct Session {
    pub(super) gpu: Rc<Gpu>,
    pub(super) shape: MatvecShape,
    /// Tokens of a prefill batch.
    pub(super) chunk: u32,
    pub(super) base: Rc<Model>,
    pub(super) guides: Vec<Rc<Model>>,
    pub(super) adapters: Vec<Rc<Adapter>>,
    /// As they are now: live changes are in them.
    pub(super) options: SessionOptions,
    pub(super) rows: Rows,
    pub(super) sets: Vec<Set>,
    pub(super) lanes: Vec<Lane>,
    /// The decode and prefill batches of all weight sets.
    pub(super) batches: wgpu::Buffer,
    /// `[rows, vocab_stride]`.
    pub(super) logits: wgpu::Buffer,
    pub(super) vocab_stride: u32,
    readbacks: Vec<Readback>,
    /// Of the mixed logits, if they are asked for.
    z_readbacks: Vec<Readback>,
    /// Slots of the readbacks in use, the oldest first.
    flights: VecDeque<u32>,
    /// Steps that were read and not given out.
    pending: VecDeque<Step>,
    /// Tokens of each lane, those in flight among them: the number of the next step.
    pub(super) depth: u32,
    /// Tokens that no row has any more, after each row's `kept` first ones: the context was full.
    pub(super) dropped: u32,
    /// Positions of the longest prompt.
    pub(super) longest_prompt: u32,
    in_flight: u32,
    stop_asked: bool,
    pub(super) faulty: bool,
    pub(super) shifted: u32,
    controller: Option<Box<Controller>>,
    pub(super) info: SessionInfo,
    pub(super) cost: Cost,
    /// Everything the session has on the GPU but what its sets own.
    _buffers: Owned,
}

/// One weight set of a session.
#[derive(Debug)]
pub(super) struct Set {
    pub(super) model: usize,
    pub(super) forward: Forward,
    pub(super) adapters: Option<RowAdapters>,
    pub(super) streams: Streams,
    pub(super) place: BatchPlace,
    pub(super) sizes: Sizes,
    /// Its first row among those of the logits.
    pub(super) first_row: u32,
    /// Rows of a lane.
    pub(super) per_lane: usize,
    pub(super) buffers: Owned,
}

impl Session {
    /// Allocates, plans every dispatch, and prefills. `options` names guide models and adapters by their place in `models`.
    /// `progress` answers `false` to abort.
    pub async fn new(
        engine: &Engine,
        models: Models<'_>,
        options: &SessionOptions,
        mut progress: impl FnMut(PrefillProgress) -> bool,
    ) -> Result<Self> {
        let plan = SessionPlan::new(engine, models, options)?;
        let parts = Parts { gpu: &engine.gpu, shape: engine.shape, chunk: engine.chunk(), pools: None };
        let mut session = Self::assemble(&parts, models, options, plan)?;
        session.gpu.flush().await?;
        session.go_on_after(&options.continued)?;
        session.sync(&mut progress).await?;
        Ok(session)
    }

    /// Everything but what the caches hold.
    pub(super) fn assemble(
        parts: &Parts<'_>,
        models: Models<'_>,
        options: &SessionOptions,
        plan: SessionPlan,
    ) -> Result<Self> {
        let SessionPlan { rows, context, lanes, vocab, vocab_stride, used, mut memory } = plan;
        let gpu = Rc::clone(parts.gpu);
        let controller = Controller::new(options, &rows)?;
        let scope = gpu.scope();
        let all_rows = rows.rows.len() * lanes;
        let logits = gpu.buffer("logits", u64::from(vocab_stride) * 4 * all_rows as u64, Usage::Storage)?;
        let mut places: Vec<(usize, Sizes, BatchPlace)> = Vec::new();
        for (index, slots) in &used {
            let sizes = rows.sizes(*index, lanes, context, parts.chunk, *slots);
            let start = places.last().map_or(0, |(.., place)| place.end());
            places.push((*index, sizes, BatchPlace::after(start, &sizes)));
        }
        let batches = gpu.buffer("batches", places.last().map_or(0, |(.., place)| place.end()), Usage::Storage)?;
        let mut sets: Vec<Set> = Vec::new();
        for (at, (index, sizes, place)) in places.iter().enumerate() {
            let pool = match parts.pools {
                Some(pools) => Rc::clone(&pools[at]),
                None => Rc::new(KvPool::new(&gpu, &models.pick(*index).spec, sizes.slots)?),
            };
            let first_row = sets.last().map_or(0, |set| set.first_row + set.sizes.rows);
            let per_lane = sizes.rows as usize / lanes;
            let plan = SetPlan { models, rows: &rows, lanes, model: *index, shape: parts.shape };
            let target = Target { sizes: *sizes, place: *place, batches: &batches, logits: &logits, vocab_stride };
            let (forward, adapters, buffers) = plan.record(&gpu, &pool, &target, first_row)?;
            memory.adapters += adapters.as_ref().map_or(0, |adapters| adapters.bytes);
            let streams = Streams::new(pool, lanes, per_lane, context);
            let (sizes, place) = (*sizes, *place);
            sets.push(Set { model: *index, forward, adapters, streams, place, sizes, first_row, per_lane, buffers });
        }
        let mut rule = mix_rule(&rows, options)?;
        let report = rows.reported(controller.as_ref().map(Controller::reward_rows).unwrap_or_default());
        let mut made = Vec::new();
        for lane in 0..lanes {
            // A row of a session as a lane's own among the logits.
            let own = |row: usize| own_row(&sets, &rows, row, lane);
            let mut sampling = options.sampling;
            sampling.seed = sampling.seed.wrapping_add(lane as u64);
            let of_lane = MixRule {
                terms: rule.terms.iter().map(|term| Term { row: own(term.row), ..*term }).collect(),
                filter: rule.filter.map(|filter| RowFilter { row: own(filter.row), ..filter }),
                schedules: std::mem::take(&mut rule.schedules),
                normalize: rule.normalize,
            };
            let mut mixer = Mixer::new(
                &gpu,
                &MixerPlan {
                    vocab,
                    vocab_stride,
                    logits: &logits,
                    rows: all_rows,
                    rule: &of_lane,
                    sampling: &sampling,
                    tokens: &options.tokens,
                    prompt: &rows.rows[0].ids,
                    ends: models.base.tokenizer.ends(),
                    room: past_room(&rows, options, context),
                    report: report.iter().map(|row| own(*row)).collect(),
                    candidates: Controller::candidates(&options.method).max(options.candidates).min(vocab),
                    batches: &batches,
                    batch_offsets: sets.iter().map(|set| set.place.decode_at()).collect(),
                    lane: lane as u32,
                    slots: MAX_IN_FLIGHT,
                },
            )?;
            rule.schedules = of_lane.schedules;
            mixer.force(&gpu, 0, &options.forced)?;
            let stops = StopStrings::new(&options.stop)?;
            let text = Text::new(models.base, stops, options.candidates, rows.guides.len());
            made.push(Lane { mixer, ids: Vec::new(), ended: None, text });
        }
        let slot_bytes = made[0].mixer.slot_bytes() * lanes as u64;
        let readbacks = (0..MAX_IN_FLIGHT).map(|_| gpu.readback("telemetry", slot_bytes)).collect::<Result<_, _>>()?;
        let kept = if options.returns == Returns::Logits { MAX_IN_FLIGHT } else { 0 };
        let z_bytes = 4 * u64::from(vocab) * lanes as u64;
        let z_readbacks = (0..kept).map(|_| gpu.readback("mixed logits", z_bytes)).collect::<Result<_, _>>()?;
        let buffers = scope.close();
        let software = gpu.info().software;
        let mut session = Self {
            shape: parts.shape,
            chunk: parts.chunk,
            base: Rc::clone(models.base),
            guides: models.guides.to_vec(),
            adapters: models.adapters.to_vec(),
            options: options.clone(),
            longest_prompt: rows.longest(),
            info: SessionInfo {
                rows: rows.rows.iter().map(RowInfo::of).collect(),
                samples: lanes,
                context_length: context,
                dispatches_per_step: 0,
                weight_bytes_per_step: memory.weights + memory.adapters,
                memory,
            },
            gpu,
            rows,
            sets,
            lanes: made,
            batches,
            logits,
            vocab_stride,
            readbacks,
            z_readbacks,
            flights: VecDeque::new(),
            pending: VecDeque::new(),
            depth: 0,
            dropped: 0,
            in_flight: match options.in_flight {
                // On the CPU steps cannot overlap with anything: going ahead would only delay a stop.
                0 if software => 1,
                0 => DEFAULT_IN_FLIGHT,
                asked => asked.min(MAX_IN_FLIGHT),
            },
            stop_asked: false,
            faulty: false,
            shifted: 0,
            controller: controller.map(Box::new),
            cost: Cost::default(),
            _buffers: buffers,
        };
        session.info.dispatches_per_step = session.step_dispatches().count() as u32;
        Ok(session)
    }

    /// What this session takes and does.
    pub fn info(&self) -> &SessionInfo {
        &self.info
    }

    /// What this session has done so far.
    pub fn cost(&self) -> Cost {
        let kv_peak = self.sets.iter().map(|set| set.streams.pool.peak_bytes()).sum();
        Cost { kv_peak, ..self.cost }
    }

    /// Gives the reward of a method that names no guide for it.
    pub fn set_scorer(&mut self, scorer: Box<dyn Scorer>) {
        if let Some(controller) = &mut self.controller {
            controller.set_scorer(scorer);
        }
    }

    /// The text that was held back because it may be the beginning of a stop string, or of a character: for a caller who stops
    /// while no step is in flight, so that no last step brings it.
    pub fn rest(&mut self) -> String {
        self.lanes[0].text.rest()
    }

    /// Submits no more; [`Session::next`] gives what is in flight no more either, but one last step (of each sample) that says
    /// [`Stop::Stopped`] if there is one. [`Session::resume`] goes on.
    pub fn stop(&mut self) {
        self.stop_asked = true;
    }

    /// The next token, or `None` when the generation has ended. Of several samples, one after the other.
    pub async fn next(&mut self) -> Result<Option<Step>> {
        if let Some(mut controller) = self.controller.take() {
            let step = controller.next(self).await;
            self.controller = Some(controller);
            return step;
        }
        loop {
            if let Some(step) = self.pending.pop_front() {
                return Ok(Some(step));
            }
            if self.lanes.iter().all(|lane| lane.ended.is_some()) || self.faulty {
                return Ok(None);
            }
            if self.flights.is_empty() && !self.stop_asked && self.room() == Some(Stop::Context) {
                self.shift().await?;
            }
            while !self.stop_asked && self.flights.len() < self.in_flight as usize && self.room().is_none() {
                self.submit()?;
            }
            let Some(reports) = self.reports().await? else { return Ok(None) };
            self.give(reports);
            if self.lanes.iter().all(|lane| lane.ended.is_some()) {
                self.drain().await?;
            }
        }
    }

    /// Turns the reports of a step into steps of the lanes that have not ended.
    fn give(&mut self, reports: Vec<(Telemetry, Option<Vec<f32>>)>) {
        let last = if self.stop_asked {
            Some(Stop::Stopped)
        } else {
            self.room().filter(|_| self.flights.is_empty() && !self.can_shift())
        };
        for (at, (telemetry, logits)) in reports.into_iter().enumerate() {
            if self.lanes[at].ended.is_none() {
                let step = self.take(at, &telemetry, last);
                self.pending.push_back(Step { logits, ..step });
            }
        }
    }

    /// Gives a lane the token of a report.
    fn take(&mut self, lane: usize, telemetry: &Telemetry, last: Option<Stop>) -> Step {
        let weights = self.weights_of(telemetry);
        let Lane { ids, ended, text, .. } = &mut self.lanes[lane];
        let step = text.take(telemetry, ids.len(), lane, last);
        ids.push(telemetry.token);
        *ended = step.stop;
        Step { weights, shifted: std::mem::take(&mut self.shifted), ..step }
    }

    /// The guides' weights that a report was made with.
    pub(super) fn weights_of(&self, telemetry: &Telemetry) -> Vec<f32> {
        let mut term = 1;
        let weight = |guide: &super::rows::GuideRows| {
            let weight = telemetry.weights[term] * guide.terms[0].1;
            term += guide.terms.len();
            weight
        };
        self.rows.guides.iter().map(weight).collect()
    }

    /// What the oldest step in flight reported, lane by lane; `None` if none is.
    pub(super) async fn reports(&mut self) -> Result<Option<Vec<(Telemetry, Option<Vec<f32>>)>>> {
        let Some(slot) = self.flights.pop_front() else { return Ok(None) };
        let layout = self.lanes[0].mixer.layout();
        let mut reports = Vec::new();
        let read = self.readbacks[slot as usize].take(&self.gpu, |bytes| {
            reports = bytes.chunks_exact(layout.bytes).map(|report| Telemetry::decode(report, &layout)).collect();
        });
        let read = read.await.map_err(Error::from);
        // What an ended lane says nobody hears.
        let ended = self.lanes.iter().map(|lane| lane.ended.is_some());
        let reports: Result<Vec<_>, _> = reports
            .into_iter()
            .zip(ended)
            .map(|(report, ended)| if ended { Ok(report.unwrap_or_default()) } else { report })
            .collect();
        let reports = match read.and_then(|()| Ok(reports?)) {
            Ok(reports) => reports,
            Err(error) => {
                // After a fault nothing more comes of this session.
                self.faulty = true;
                self.flights.clear();
                return Err(error);
            }
        };
        let mut logits = vec![None; reports.len()];
        if let Some(readback) = self.z_readbacks.get(slot as usize) {
            let each = 4 * self.lanes[0].mixer.vocab() as usize;
            let keep = |bytes: &[u8]| {
                logits.iter_mut().zip(bytes.chunks_exact(each)).for_each(|(z, bytes)| *z = Some(Mixer::logits(bytes)));
            };
            readback.take(&self.gpu, keep).await?;
        }
        Ok(Some(reports.into_iter().zip(logits).collect()))
    }

    /// Why no further step can be submitted, if so.
    pub(super) fn room(&self) -> Option<Stop> {
        if self.depth >= self.options.max_tokens {
            Some(Stop::Length)
        } else if self.longest_prompt + self.depth - self.dropped > self.info.context_length {
            Some(Stop::Context)
        } else {
            None
        }
    }

    /// Waits for steps past the end and forgets them.
    pub(super) async fn drain(&mut self) -> Result<()> {
        while let Some(slot) = self.flights.pop_front() {
            self.readbacks[slot as usize].take(&self.gpu, |_| ()).await?;
            if let Some(logits) = self.z_readbacks.get(slot as usize) {
                logits.take(&self.gpu, |_| ()).await?;
            }
        }
        Ok(())
    }

    /// Forgets that a stop was asked for.
    pub(super) fn reopen(&mut self) {
        self.stop_asked = false;
    }

    /// Begins the text anew: what was read and not given out is forgotten.
    pub(super) fn restart(&mut self) {
        self.pending.clear();
        if let Some(controller) = &mut self.controller {
            controller.restart(&self.lanes[0].ids);
        }
    }

    /// What was given out, by sample. Of a search that is one text, whatever its lanes have tried.
    pub(super) fn given(&self) -> Vec<Vec<TokenId>> {
        match self.controller.as_ref().and_then(|controller| controller.given()) {
            Some(ids) => vec![ids.to_vec()],
            None => self.lanes.iter().map(|lane| lane.ids.clone()).collect(),
        }
    }

    /// Whether something above the step chooses.
    pub(super) fn searches(&self) -> bool {
        self.controller.is_some()
    }

    /// Lets a search go on that ended for its length, or was stopped.
    pub(super) fn go_on_searching(&mut self) {
        if let Some(controller) = &mut self.controller {
            controller.go_on();
        }
    }

    /// Whether one more of `left` steps may be submitted ahead.
    pub(super) fn may_submit(&self, left: usize) -> bool {
        let ahead = if self.gpu.info().software { 1 } else { MAX_IN_FLIGHT as usize };
        self.flights.len() < left.min(ahead)
    }

    /// Whether a stop was asked for.
    pub(super) fn stopping(&self) -> bool {
        self.stop_asked
    }

    /// Every dispatch of the next step, in order.
    fn step_dispatches(&self) -> impl Iterator<Item = (&crate::gpu::Dispatch, StepShape)> {
        let furthest = self.longest_prompt + self.depth - self.dropped;
        let splits = attend::splits(furthest, self.gpu.info().software);
        let forwards = self.sets.iter().flat_map(move |set| {
            let shape = StepShape { tokens: set.sizes.rows, splits };
            set.forward.decode.iter().map(move |dispatch| (dispatch, shape))
        });
        let mixes = self.lanes.iter().flat_map(|lane| lane.mixer.dispatches());
        forwards.chain(mixes.map(|dispatch| (dispatch, StepShape::default())))
    }

    /// One encoder, one pass, one submit.
    pub(super) fn submit(&mut self) -> Result<()> {
        let (depth, dropped) = (self.depth as usize, self.dropped as usize);
        for set in &mut self.sets {
            let prompts: Vec<usize> = self.rows.of_model(set.model).map(|row| row.ids.len()).collect();
            let next = |row: usize| prompts[row % prompts.len()] + depth - dropped - 1;
            set.streams.reserve(&self.gpu, (&self.batches, &set.place), next)?;
        }
        let slot = self.depth % MAX_IN_FLIGHT;
        let mut encoder = self.gpu.encoder();
        record(&mut encoder, self.step_dispatches(), None);
        let readback = &self.readbacks[slot as usize];
        let mut at = 0;
        for mixer in self.lanes.iter().map(|lane| &lane.mixer) {
            let report = mixer.slot_range(self.depth);
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
        self.gpu.submit(encoder);
        readback.start();
        self.z_readbacks.get(slot as usize).into_iter().for_each(Readback::start);
        self.flights.push_back(slot);
        self.depth += 1;
        self.cost.steps += 1;
        self.cost.decoded += self.sets.iter().map(|set| u64::from(set.sizes.rows)).sum::<u64>();
        Ok(())
    }
}

/// What a session is made with that is not asked for.
pub(super) struct Parts<'a> {
    pub(super) gpu: &'a Rc<Gpu>,
    pub(super) shape: MatvecShape,
    pub(super) chunk: u32,
    /// The pools of another session's weight sets, in order; new ones if there is none.
    pub(super) pools: Option<&'a [Rc<KvPool>]>,
}

/// A weight set to be recorded.
pub(super) struct SetPlan<'a> {
    pub(super) models: Models<'a>,
    pub(super) rows: &'a Rows,
    pub(super) lanes: usize,
    pub(super) model: usize,
    pub(super) shape: MatvecShape,
}

/// Where a weight set reads and writes.
pub(super) struct Target<'a> {
    pub(super) sizes: Sizes,
    pub(super) place: BatchPlace,
    pub(super) batches: &'a wgpu::Buffer,
    pub(super) logits: &'a wgpu::Buffer,
    pub(super) vocab_stride: u32,
}

impl SetPlan<'_> {
    /// Packs the rows' adapters and records the forward pass; what was made on the way belongs to the last of the three.
    pub(super) fn record(
        &self,
        gpu: &Gpu,
        pool: &KvPool,
        target: &Target<'_>,
        first_row: u32,
    ) -> Result<(Forward, Option<RowAdapters>, Owned)> {
        let Target { sizes, place, batches, logits, vocab_stride } = *target;
        let Model { spec, weights, .. } = self.models.pick(self.model);
        let scope = gpu.scope();
        let of_lane = self.rows.adapters(self.models, self.model);
        let of_all: Vec<_> = std::iter::repeat_n(of_lane, self.lanes).flatten().collect();
        let adapters = RowAdapters::new(gpu, spec, &of_all)?;
        let plan = ForwardPlan {
            spec,
            weights,
            adapters: adapters.as_ref(),
            sizes,
            pool,
            batches,
            place,
            logits: Logits { buffer: logits, stride: vocab_stride, first_row },
            score_logits: None,
            shape: self.shape,
        };
        let forward = Forward::new(gpu, &plan)?;
        Ok((forward, adapters, scope.close()))
    }
}

/// Where the logits of a session's row are for a lane.
fn own_row(sets: &[Set], rows: &Rows, row: usize, lane: usize) -> usize {
    let model = rows.rows[row].model;
    let local = rows.rows[..row].iter().filter(|other| other.model == model).count();
    let set = sets.iter().find(|set| set.model == model);
    set.map_or(0, |set| set.first_row as usize + lane * set.per_lane + local)
}

/// Tokens that penalties may look back on.
fn past_room(rows: &Rows, options: &SessionOptions, context: u32) -> u32 {
    const MOST: u32 = 1 << 22;
    (rows.rows[0].ids.len() as u32).saturating_add(options.max_tokens).max(context).min(MOST)
}
