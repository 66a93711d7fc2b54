//! A session made: buffers, every dispatch of its steps, a mix for each lane; nothing in the caches yet.

use std::collections::VecDeque;
use std::rc::Rc;

use super::Models;
use super::controller::Controller;
use super::lane::{Lane, Text};
use super::limits::MAX_IN_FLIGHT;
use super::model::Model;
use super::options::{Returns, SessionOptions};
use super::plan::{RowInfo, SessionInfo, SessionPlan, mix_rule};
use super::remote::Remote;
use super::rows::Rows;
use super::session::{Session, Set};
use super::stop::StopStrings;
use super::streams::Streams;
use crate::Result;
use crate::gpu::{Gpu, Owned, Usage};
use crate::guidance::{MixRule, Mixer, MixerPlan, RowFilter, Term};
use crate::model::{BatchPlace, Forward, ForwardPlan, KvPool, Logits, RowAdapters, Sizes};
use crate::ops::linear::MatvecShape;

/// Steps in flight on a GPU: enough to hide the way of a token to the CPU, few enough for a slider to feel immediate.
const DEFAULT_IN_FLIGHT: u32 = 3;

impl Session {
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
            faulty: false,
            shifted: 0,
            controller: controller.map(Box::new),
            remote: Remote::default(),
            _buffers: buffers,
        };
        session.info.dispatches_per_step = session.step_dispatches().count() as u32;
        Ok(session)
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
