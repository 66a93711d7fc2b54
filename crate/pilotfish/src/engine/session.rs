//! A guided generation: rows prefilled, steps submitted ahead, tokens read late.
//!
//! A step is one submit: every weight set's rows go from ids to logits, each lane's mix becomes a token, and that token is already
//! the next step's input when the CPU hears of it. Several steps are in flight; what was sampled past a stop is dropped.

use std::collections::VecDeque;
use std::rc::Rc;

use serde::Serialize;

use super::assemble::Parts;
use super::controller::Controller;
use super::lane::Lane;
use super::model::Model;
use super::options::SessionOptions;
use super::plan::{SessionInfo, SessionPlan};
use super::processor::Processor;
use super::remote::{Cost, Remote};
use super::reward::Scorer;
use super::rows::Rows;
use super::runner::{Report, Runner};
use super::step::{Step, Stop};
use super::streams::Streams;
use super::{Engine, Models};
use crate::Result;
use crate::adapter::Adapter;
use crate::guidance::Telemetry;
use crate::model::Sizes;
use crate::tokenizer::TokenId;

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
    pub(super) runner: Box<dyn Runner>,
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
    /// Ids that are mixed.
    pub(super) vocab: u32,
    pub(super) vocab_stride: u32,
    /// Steps that were read and not given out.
    pub(super) pending: VecDeque<Step>,
    /// Tokens of each lane, those in flight among them: the number of the next step.
    pub(super) depth: u32,
    /// Tokens that no row has any more, after each row's `kept` first ones: the context was full.
    pub(super) dropped: u32,
    /// Positions of the longest prompt.
    pub(super) longest_prompt: u32,
    pub(super) in_flight: u32,
    pub(super) faulty: bool,
    pub(super) shifted: u32,
    pub(super) controller: Option<Box<Controller>>,
    pub(super) info: SessionInfo,
    pub(super) remote: Remote,
}

/// One weight set of a session.
#[derive(Debug)]
pub(super) struct Set {
    pub(super) model: usize,
    pub(super) streams: Streams,
    pub(super) sizes: Sizes,
    /// Rows of a lane.
    pub(super) per_lane: usize,
}

impl Session {
    /// Allocates, plans every dispatch, and prefills. `options` names guide models and adapters by their place in `models`.
    /// `progress` answers `false` to abort.
    pub async fn new(
        engine: &Engine,
        models: Models<'_>,
        options: &SessionOptions,
        progress: impl FnMut(PrefillProgress) -> bool,
    ) -> Result<Self> {
        let processor = engine.processor()?;
        let plan = SessionPlan::on(&processor, models, options)?;
        Self::on(&processor, models, options, plan, progress).await
    }

    pub(super) async fn on(
        processor: &Processor,
        models: Models<'_>,
        options: &SessionOptions,
        plan: SessionPlan,
        mut progress: impl FnMut(PrefillProgress) -> bool,
    ) -> Result<Self> {
        let parts = Parts { chunk: processor.chunk(), pools: None };
        let mut session = Self::assemble(&parts, models, options, plan, |plan| processor.runner(plan))?;
        session.runner.ready().await?;
        session.go_on_after(&options.continued)?;
        session.sync(&mut progress).await?;
        Ok(session)
    }

    /// What this session takes and does.
    pub fn info(&self) -> &SessionInfo {
        &self.info
    }

    /// What this session has done so far.
    pub fn cost(&self) -> Cost {
        Cost { kv_peak: self.kv_peak(), ..self.remote.cost() }
    }

    /// Stops it, and tells what it has cost, even while a step is awaited.
    pub fn remote(&self) -> Remote {
        self.remote.clone()
    }

    fn kv_peak(&self) -> u64 {
        self.sets.iter().map(|set| set.streams.pool.peak_bytes()).sum()
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
    /// [`Stop::Stopped`] if there is one. A search gives out what it has chosen, and chooses no more. [`Session::resume`] goes on.
    pub fn stop(&mut self) {
        self.remote.stop();
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
            if self.runner.in_flight() == 0 && !self.stopping() && self.room() == Some(Stop::Context) {
                self.shift().await?;
            }
            while !self.stopping() && self.runner.in_flight() < self.in_flight as usize && self.room().is_none() {
                self.submit()?;
            }
            let Some(reports) = self.reports().await? else { return Ok(None) };
            self.give(reports);
            if self.lanes.iter().all(|lane| lane.ended.is_some()) {
                self.drain().await?;
            }
        }
    }

    /// Computes the next step before it is asked for, where a step is over when it was begun (on the CPU) and nothing else is in flight: for a
    /// caller who has nothing to do until then. What is changed afterwards acts on the step after it, and what goes wrong
    /// [`Session::next`] says. A search does nothing.
    pub fn read_ahead(&mut self) {
        let ended = self.faulty || self.stopping() || self.lanes.iter().all(|lane| lane.ended.is_some());
        let idle = self.pending.is_empty() && self.runner.in_flight() == 0 && self.runner.most_ahead() == 1;
        if idle && !ended && !self.searches() && self.room().is_none() {
            // What fails fails again when it is asked for.
            let _ = self.submit();
        }
    }

    /// Turns the reports of a step into steps of the lanes that have not ended.
    fn give(&mut self, reports: Vec<(Telemetry, Option<Vec<f32>>)>) {
        let last = if self.stopping() {
            Some(Stop::Stopped)
        } else {
            self.room().filter(|_| self.runner.in_flight() == 0 && !self.can_shift())
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
        if self.runner.in_flight() == 0 {
            return Ok(None);
        }
        let read = self.runner.reports().await;
        let read = read.and_then(|reports| {
            let of_lane = |(lane, report): (&Lane, Report)| match report.telemetry {
                // What an ended lane says nobody hears.
                Err(_) if lane.ended.is_some() => Ok((Telemetry::default(), None)),
                telemetry => Ok((telemetry?, report.logits)),
            };
            self.lanes.iter().zip(reports).map(of_lane).collect::<Result<Vec<_>>>()
        });
        if read.is_err() {
            // After a fault nothing more comes of this session.
            self.faulty = true;
            self.runner.abandon();
        }
        read.map(Some)
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
        self.runner.drain().await
    }

    /// Forgets that a stop was asked for.
    pub(super) fn reopen(&mut self) {
        self.remote.reopen();
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
        self.runner.in_flight() < left.min(self.runner.most_ahead() as usize)
    }

    /// Whether a stop was asked for.
    pub(super) fn stopping(&self) -> bool {
        self.remote.stopping()
    }

    /// Begins the next step.
    pub(super) fn submit(&mut self) -> Result<()> {
        let (depth, dropped) = (self.depth as usize, self.dropped as usize);
        for (at, set) in self.sets.iter_mut().enumerate() {
            let prompts: Vec<usize> = self.rows.of_model(set.model).map(|row| row.ids.len()).collect();
            let next = |row: usize| prompts[row % prompts.len()] + depth - dropped - 1;
            let runner = &mut self.runner;
            set.streams.reserve(next, |row, first, slots| runner.write_slots(at, row, first, slots))?;
        }
        self.runner.submit(self.depth, self.longest_prompt + self.depth - self.dropped)?;
        self.depth += 1;
        let rows: u64 = self.sets.iter().map(|set| u64::from(set.sizes.rows)).sum();
        let kv_peak = self.kv_peak();
        self.remote.count(|cost| {
            cost.steps += 1;
            cost.decoded += rows;
            cost.kv_peak = kv_peak;
        });
        Ok(())
    }
}
