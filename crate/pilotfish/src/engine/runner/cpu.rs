//! Steps on the CPU. Here a step is over when it was begun: its reports wait to be taken.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::rc::Rc;

use super::super::model::{LoadedWeights, Model};
use super::super::options::Returns;
use super::super::pass::outputs;
use super::super::processor::CpuProcessor;
use super::{LanePlan, Mix, Report, Runner, RunnerPlan, Running};
use crate::cpu::{Adapters, Cache, Forward, Token, Weights};
use crate::guidance::{CpuMixer, CpuMixerPlan, MixError, Sampling, Schedule, TokenRules};
use crate::model::{BatchToken, RowAdapter, RowSlots, Sizes};
use crate::tokenizer::TokenId;
use crate::{Error, Result};

/// Weight sets with their caches, and mixes.
#[derive(Debug)]
pub(in super::super) struct CpuRunner {
    processor: Rc<CpuProcessor>,
    sets: Vec<Set>,
    lanes: Vec<CpuMixer>,
    vocab: usize,
    returns: Returns,
    /// Rows are added up before the output matrix: nothing more is wanted of them.
    adds_up: bool,
    /// Of the steps in flight, the oldest first.
    reports: VecDeque<Vec<Report>>,
}

/// One weight set.
#[derive(Debug)]
struct Set {
    table: CpuTable,
    /// What the next step reads: a token for each row.
    next: Vec<BatchToken>,
    /// Its first row among those of all sets.
    first_row: usize,
}

impl Set {
    /// What the last step gave: of each row, or each sum, the logits of the ids that are mixed.
    fn logits(&self, vocab: usize) -> Vec<&[f32]> {
        self.table.logits().chunks_exact(outputs(&self.table.model)).map(|logits| &logits[..vocab]).collect()
    }
}

/// A weight set's rows: where their positions are in the cache, and room to compute them.
#[derive(Debug)]
pub(in super::super) struct CpuTable {
    model: Rc<Model>,
    cache: Rc<RefCell<Cache>>,
    adapters: Option<Adapters>,
    forward: Forward,
    slots: Vec<RowSlots>,
}

impl CpuTable {
    pub(in super::super) fn new(
        processor: &CpuProcessor,
        model: &Rc<Model>,
        cache: Rc<RefCell<Cache>>,
        adapters: &[Vec<RowAdapter<'_>>],
        sizes: Sizes,
    ) -> Result<Self> {
        weights(model)?;
        Ok(Self {
            model: Rc::clone(model),
            cache,
            adapters: packed(model, adapters)?,
            forward: processor.forward(),
            slots: vec![RowSlots::new(); sizes.rows as usize],
        })
    }

    /// Says in which slots the positions of a row are, from position `first` on.
    pub(in super::super) fn write_slots(&mut self, row: usize, first: usize, slots: &[u32]) {
        self.slots[row].truncate(first);
        self.slots[row].extend_from_slice(slots);
    }

    /// Puts `tokens` into the cache; with their logits, if asked for.
    pub(in super::super) fn run(&mut self, tokens: &[BatchToken], logits: bool) -> Result<()> {
        let tokens = batch(tokens, &self.slots, logits);
        let cache = &mut self.cache.borrow_mut();
        self.forward.run(weights(&self.model)?, cache, self.adapters.as_ref(), &tokens)?;
        Ok(())
    }

    /// Puts `tokens` into the cache, and adds them up before the output matrix: each of `sums` is `(token, weight)` of what is in it.
    fn run_added(&mut self, tokens: &[BatchToken], sums: &[Vec<(usize, f32)>]) -> Result<()> {
        let tokens = batch(tokens, &self.slots, false);
        let cache = &mut self.cache.borrow_mut();
        self.forward.run_added(weights(&self.model)?, cache, self.adapters.as_ref(), &tokens, sums)?;
        Ok(())
    }

    /// What the last run with logits gave: `[tokens, outputs]`, or `[sums, outputs]`.
    pub(in super::super) fn logits(&self) -> &[f32] {
        self.forward.logits()
    }
}

/// Tokens with their rows' slots.
fn batch<'a>(tokens: &[BatchToken], slots: &'a [RowSlots], logits: bool) -> Vec<Token<'a>> {
    let token = |token: &BatchToken| {
        let row = token.row as usize;
        Token { id: token.id, position: token.position, slots: &slots[row], row, logits }
    };
    tokens.iter().map(token).collect()
}

/// The adapters of some rows; `None` where no row uses any, so that nothing is looked up.
fn packed(model: &Model, adapters: &[Vec<RowAdapter<'_>>]) -> Result<Option<Adapters>> {
    let any = adapters.iter().any(|used| !used.is_empty());
    Ok(if any { Some(Adapters::new(&model.spec, adapters)?) } else { None })
}

/// A model's weights, which must be in the CPU's memory.
fn weights(model: &Model) -> Result<&Weights> {
    match &model.weights {
        LoadedWeights::Cpu(weights) => Ok(weights),
        LoadedWeights::Gpu(_) => Err(Error::OtherProcessor { found: "GPU", expected: "CPU" }),
    }
}

impl CpuRunner {
    /// Over `caches`, one for each weight set, or over new ones.
    pub(in super::super) fn new(
        processor: &Rc<CpuProcessor>,
        plan: &RunnerPlan<'_>,
        caches: Option<&[Rc<RefCell<Cache>>]>,
    ) -> Result<Self> {
        let mut sets = Vec::new();
        for (at, set) in plan.sets.iter().enumerate() {
            let cache = match caches {
                Some(caches) => Rc::clone(&caches[at]),
                None => Rc::new(RefCell::new(Cache::new(&set.model.spec, set.sizes.slots))),
            };
            let table = CpuTable::new(processor, set.model, cache, &set.adapters, set.sizes)?;
            sets.push(Set { table, next: Vec::new(), first_row: set.first_row as usize });
        }
        let mixer = |plan_of_lane: &LanePlan<'_>| {
            let LanePlan { rule, sampling, tokens, prompt, ends, report, candidates, forced, room: _ } = plan_of_lane;
            let mut mixer = CpuMixer::new(&CpuMixerPlan {
                vocab: plan.vocab,
                rows: plan.rows(),
                rule,
                sampling,
                tokens,
                prompt,
                ends,
                report,
                candidates: *candidates,
                mix_only: plan.returns == Returns::Mix,
            })?;
            mixer.force(0, forced)?;
            Ok(mixer)
        };
        let lanes = plan.lanes.iter().map(mixer).collect::<Result<Vec<_>>>()?;
        let mut adds_up = lanes.iter().all(CpuMixer::adds_up);
        for set in &plan.sets {
            adds_up &= weights(set.model)?.adds_up();
        }
        Ok(Self {
            processor: Rc::clone(processor),
            sets,
            lanes,
            vocab: plan.vocab as usize,
            returns: plan.returns,
            adds_up,
            reports: VecDeque::new(),
        })
    }

    /// Every row's token to logits, every lane's mix to a token, and that to the next step.
    fn step(&mut self) -> Result<Vec<Report>> {
        let shares: Vec<Vec<(usize, f32)>> =
            if self.adds_up { self.lanes.iter().map(CpuMixer::shares).collect() } else { Vec::new() };
        for Set { table, next, first_row } in &mut self.sets {
            if self.adds_up {
                let own = |(row, share): &(usize, f32)| Some((row.checked_sub(*first_row)?, *share));
                let here = |(row, _): &(usize, f32)| *row < next.len();
                let sums = shares.iter().map(|shares| shares.iter().filter_map(own).filter(here).collect());
                table.run_added(next, &sums.collect::<Vec<_>>())?;
            } else {
                table.run(next, true)?;
            }
        }
        let each: Vec<Vec<&[f32]>> = self.sets.iter().map(|set| set.logits(self.vocab)).collect();
        let rows: Vec<&[f32]> = each.iter().flatten().copied().collect();
        let (adds_up, with_logits) = (self.adds_up, self.returns == Returns::Logits);
        let workers = &self.processor.workers;
        let of_lane = |lane: usize, mixer: &mut CpuMixer| {
            let telemetry = if adds_up {
                mixer.step_of_sums(workers, &each.iter().map(|sums| sums[lane]).collect::<Vec<_>>())
            } else {
                mixer.step(workers, &rows)
            };
            let logits = with_logits.then(|| mixer.logits());
            Report { telemetry, logits }
        };
        let mut mixes: Vec<(&mut CpuMixer, Option<Report>)> =
            self.lanes.iter_mut().map(|mixer| (mixer, None)).collect();
        workers.pieces(&mut mixes, 1, |first, mixes| {
            for (lane, (mixer, report)) in (first..).zip(mixes) {
                *report = Some(of_lane(lane, mixer));
            }
        });
        let reports: Vec<Report> = mixes.into_iter().filter_map(|(_, report)| report).collect();
        for next in self.sets.iter_mut().flat_map(|set| &mut set.next) {
            // After a fault there is no next step, and what it would read is no matter.
            next.id = reports[next.lane as usize].telemetry.as_ref().map_or(0, |telemetry| telemetry.token);
            next.position += 1;
        }
        Ok(reports)
    }
}

impl Runner for CpuRunner {
    fn fork(&self, plan: &RunnerPlan<'_>) -> Result<Box<dyn Runner>> {
        let caches: Vec<_> = self.sets.iter().map(|set| Rc::clone(&set.table.cache)).collect();
        Ok(Box::new(Self::new(&self.processor, plan, Some(&caches))?))
    }

    fn ready(&mut self) -> Running<'_, ()> {
        Box::pin(std::future::ready(Ok(())))
    }

    fn write_slots(&mut self, set: usize, row: usize, first: usize, slots: &[u32]) {
        self.sets[set].table.write_slots(row, first, slots);
    }

    fn write_decode(&mut self, set: usize, tokens: &[BatchToken]) {
        self.sets[set].next = tokens.to_vec();
    }

    fn prefill<'a>(&'a mut self, set: usize, tokens: &'a [BatchToken]) -> Running<'a, ()> {
        Box::pin(async move {
            self.sets[set].table.run(tokens, false)?;
            self.processor.host.pause().await;
            Ok(())
        })
    }

    fn submit(&mut self, _step: u32, _furthest: u32) -> Result<()> {
        let reports = self.step()?;
        self.reports.push_back(reports);
        Ok(())
    }

    fn in_flight(&self) -> usize {
        self.reports.len()
    }

    fn ahead(&self) -> u32 {
        1
    }

    fn most_ahead(&self) -> u32 {
        1
    }

    fn reports(&mut self) -> Running<'_, Vec<Report>> {
        Box::pin(async {
            self.processor.host.pause().await;
            Ok(self.reports.pop_front().unwrap_or_default())
        })
    }

    fn drain(&mut self) -> Running<'_, ()> {
        self.reports.clear();
        Box::pin(std::future::ready(Ok(())))
    }

    fn abandon(&mut self) {
        self.reports.clear();
    }

    fn mix(&mut self, lane: usize) -> &mut dyn Mix {
        &mut self.lanes[lane]
    }

    fn set_shares(&mut self, set: usize, row: usize, segment: u32, shares: &[f32]) {
        if let Some(adapters) = &mut self.sets[set].table.adapters {
            adapters.set_shares(row, segment as usize, shares);
        }
    }

    fn set_adapters(&mut self, set: usize, adapters: &[Vec<RowAdapter<'_>>]) -> Result<()> {
        let table = &mut self.sets[set].table;
        table.adapters = packed(&table.model, adapters)?;
        Ok(())
    }

    fn adapter_bytes(&self) -> u64 {
        self.sets.iter().filter_map(|set| set.table.adapters.as_ref()).map(Adapters::bytes).sum()
    }

    fn dispatches(&self) -> u32 {
        0
    }
}

impl Mix for CpuMixer {
    fn set_weights(&mut self, weights: &[(usize, f32)]) -> Result<(), MixError> {
        Self::set_weights(self, weights)
    }

    fn set_schedules(&mut self, schedules: &[Schedule]) -> Result<(), MixError> {
        Self::set_schedules(self, schedules)
    }

    fn set_tokens(&mut self, tokens: &TokenRules) -> Result<(), MixError> {
        Self::set_tokens(self, tokens)
    }

    fn force(&mut self, from: u32, ids: &[TokenId]) -> Result<(), MixError> {
        Self::force(self, from, ids)
    }

    fn set_sampling(&mut self, sampling: &Sampling) -> Result<(), MixError> {
        Self::set_sampling(self, sampling)
    }

    fn restart(&mut self, prompt: &[TokenId], said: &[TokenId]) {
        Self::restart(self, prompt, said);
    }
}
