//! A session made: its rows' places, its lanes, and what runs them; nothing in the caches yet.

use std::collections::VecDeque;
use std::rc::Rc;

use super::Models;
use super::controller::Controller;
use super::lane::{Lane, Text};
use super::limits::MAX_IN_FLIGHT;
use super::options::{Returns, SessionOptions};
use super::plan::{RowInfo, SessionInfo, SessionPlan, mix_rule};
use super::remote::Remote;
use super::rows::Rows;
use super::runner::{LanePlan, Runner, RunnerPlan, SetPlan};
use super::session::{Session, Set};
use super::stop::StopStrings;
use super::streams::Streams;
use crate::Result;
use crate::guidance::{MixRule, RowFilter, Sampling, Term};
use crate::model::{RowAdapter, SlotPool};

/// What a session is made with that is not asked for.
pub(super) struct Parts<'a> {
    /// Tokens of a prefill batch.
    pub(super) chunk: u32,
    /// The pools of another session's weight sets, in order; new ones if there is none.
    pub(super) pools: Option<&'a [Rc<SlotPool>]>,
}

impl Session {
    /// Everything but what the caches hold. `run` makes the runner.
    pub(super) fn assemble(
        parts: &Parts<'_>,
        models: Models<'_>,
        options: &SessionOptions,
        plan: SessionPlan,
        run: impl FnOnce(&RunnerPlan<'_>) -> Result<Box<dyn Runner>>,
    ) -> Result<Self> {
        let SessionPlan { rows, context, lanes, vocab, vocab_stride, used, mut memory } = plan;
        let controller = Controller::new(options, &rows)?;
        let mut sets: Vec<Set> = Vec::new();
        let mut planned: Vec<SetPlan<'_>> = Vec::new();
        for (at, (index, slots)) in used.iter().enumerate() {
            let model = models.pick(*index);
            let sizes = rows.sizes(*index, lanes, context, parts.chunk, *slots);
            let pool = match parts.pools {
                Some(pools) => Rc::clone(&pools[at]),
                None => Rc::new(SlotPool::new(*slots, sizes.kv_bytes(&model.spec) / u64::from(*slots))),
            };
            let first_row = planned.last().map_or(0, |set| set.first_row + set.sizes.rows);
            let per_lane = sizes.rows as usize / lanes;
            let adapters = of_every_lane(rows.adapters(models, *index), lanes);
            planned.push(SetPlan { model, adapters, sizes, first_row });
            sets.push(Set { model: *index, streams: Streams::new(pool, lanes, per_lane, context), sizes, per_lane });
        }
        let rule = mix_rule(&rows, options)?;
        // A search looks at rows, whatever is asked for.
        let returns =
            if controller.is_some() && options.returns == Returns::Mix { Returns::Report } else { options.returns };
        let report = match returns {
            Returns::Mix => vec![0],
            _ => rows.reported(controller.as_ref().map(Controller::reward_rows).unwrap_or_default()),
        };
        let of_lane = |lane: usize| {
            // A row of a session as a lane's own among the logits.
            let own = |row: usize| own_row(&planned, &sets, &rows, row, lane);
            LanePlan {
                rule: MixRule {
                    terms: rule.terms.iter().map(|term| Term { row: own(term.row), ..*term }).collect(),
                    filter: rule.filter.map(|filter| RowFilter { row: own(filter.row), ..filter }),
                    ..rule.clone()
                },
                sampling: Sampling { seed: options.sampling.seed.wrapping_add(lane as u64), ..options.sampling },
                tokens: &options.tokens,
                prompt: &rows.rows[0].ids,
                ends: models.base.tokenizer.ends(),
                room: past_room(&rows, options, context),
                report: report.iter().map(|row| own(*row)).collect(),
                candidates: Controller::candidates(&options.method).max(options.candidates).min(vocab),
                forced: &options.forced,
            }
        };
        let lane_plans = (0..lanes).map(of_lane).collect();
        let runner = run(&RunnerPlan { sets: planned, lanes: lane_plans, vocab, vocab_stride, returns })?;
        memory.adapters = runner.adapter_bytes();
        let mut made = Vec::new();
        for _ in 0..lanes {
            let stops = StopStrings::new(&options.stop)?;
            let text = Text::new(models.base, stops, options.candidates, rows.guides.len());
            made.push(Lane { ids: Vec::new(), ended: None, text });
        }
        Ok(Self {
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
                dispatches_per_step: runner.dispatches(),
                weight_bytes_per_step: memory.weights + memory.adapters,
                memory,
            },
            rows,
            sets,
            lanes: made,
            vocab,
            vocab_stride,
            pending: VecDeque::new(),
            depth: 0,
            dropped: 0,
            in_flight: match options.in_flight {
                0 => runner.ahead(),
                asked => asked.min(MAX_IN_FLIGHT),
            },
            runner,
            faulty: false,
            shifted: 0,
            controller: controller.map(Box::new),
            remote: Remote::default(),
        })
    }
}

/// The adapters of a lane's rows, for all lanes.
pub(super) fn of_every_lane(of_lane: Vec<Vec<RowAdapter<'_>>>, lanes: usize) -> Vec<Vec<RowAdapter<'_>>> {
    std::iter::repeat_n(of_lane, lanes).flatten().collect()
}

/// Where the logits of a session's row are for a lane.
fn own_row(planned: &[SetPlan<'_>], sets: &[Set], rows: &Rows, row: usize, lane: usize) -> usize {
    let model = rows.rows[row].model;
    let local = rows.rows[..row].iter().filter(|other| other.model == model).count();
    let set = planned.iter().zip(sets).find(|(_, set)| set.model == model);
    set.map_or(0, |(plan, set)| plan.first_row as usize + lane * set.per_lane + local)
}

/// Tokens that penalties may look back on.
fn past_room(rows: &Rows, options: &SessionOptions, context: u32) -> u32 {
    const MOST: u32 = 1 << 22;
    (rows.rows[0].ids.len() as u32).saturating_add(options.max_tokens).max(context).min(MOST)
}
