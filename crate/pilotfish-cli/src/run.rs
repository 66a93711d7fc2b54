//! One generation from prefill to its last token, and how long its parts took.

use std::time::Instant;

use pilotfish::engine::{Cost, Models, Scorer, Session, SessionInfo, SessionOptions, Step, Stop};
use serde::Serialize;

use crate::error::Result;
use crate::host::Host;
use crate::interrupt;
use crate::progress::Progress;
use crate::schedule::Schedule;

/// Seconds that the parts of a generation took.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize)]
pub(crate) struct Timing {
    /// Planning, allocating, and compiling what was not compiled yet.
    pub(crate) plan: f64,
    /// Prompts into the caches.
    pub(crate) prefill: f64,
    /// From the start of planning to the first token.
    pub(crate) first_token: f64,
    /// From the first token to the last.
    pub(crate) decode: f64,
    /// Prompt tokens that were put in the caches, over all rows (each row's last is the first step's input).
    pub(crate) prefill_tokens: usize,
    /// Tokens made.
    pub(crate) tokens: usize,
}

impl Timing {
    /// Prompt tokens a second, over all rows.
    pub(crate) fn prefill_rate(&self) -> Option<f64> {
        (self.prefill > 0.0 && self.prefill_tokens > 0).then(|| self.prefill_tokens as f64 / self.prefill)
    }

    /// Tokens a second after the first.
    pub(crate) fn decode_rate(&self) -> Option<f64> {
        (self.decode > 0.0 && self.tokens > 1).then(|| (self.tokens - 1) as f64 / self.decode)
    }
}

/// What came of a generation.
#[derive(Debug)]
pub(crate) struct Generated {
    /// The tokens.
    pub(crate) steps: Vec<Step>,
    /// Why it ended; `None` where nothing was to be made.
    pub(crate) stop: Option<Stop>,
    /// Text that was held back when it was interrupted.
    pub(crate) rest: String,
    /// What the session took.
    pub(crate) info: SessionInfo,
    /// What was computed for it.
    pub(crate) cost: Cost,
    /// How long it took.
    pub(crate) timing: Timing,
}

impl Generated {
    /// The text of each sample.
    pub(crate) fn texts(&self, options: &SessionOptions) -> Vec<String> {
        let of = |sample| self.steps.iter().filter(move |step| step.sample == sample).map(|step| step.text.as_str());
        (0..options.samples).map(|sample| of(sample).collect()).collect()
    }
}

/// Generates. `on_step` hears of every token when it is made; if it fails, so does this. Ctrl-C stops after the next token.
pub(crate) async fn generate(
    host: &Host,
    models: Models<'_>,
    options: &SessionOptions,
    schedule: &Schedule,
    on_step: impl FnMut(&Step) -> Result<()>,
) -> Result<Generated> {
    search(host, models, options, schedule, None, on_step).await
}

/// As [`generate`], with what rewards a method that names no guide for it.
pub(crate) async fn search(
    host: &Host,
    models: Models<'_>,
    options: &SessionOptions,
    schedule: &Schedule,
    scorer: Option<Box<dyn Scorer>>,
    mut on_step: impl FnMut(&Step) -> Result<()>,
) -> Result<Generated> {
    let options = SessionOptions { in_flight: schedule.in_flight(options.in_flight), ..options.clone() };
    let started = Instant::now();
    let mut prefill_started = started;
    let mut session = {
        let mut progress = Progress::new("reading the prompt", host.quiet);
        let session = Session::new(&host.engine, models, &options, |state| {
            if state.done == 0 {
                prefill_started = Instant::now();
            }
            progress.update(state.done as u64, state.total as u64);
            !interrupt::asked()
        });
        session.await?
    };
    if let Some(scorer) = scorer {
        session.set_scorer(scorer);
    }
    interrupt::also(session.remote().stop_flag());
    let info = session.info().clone();
    let mut timing = Timing {
        plan: (prefill_started - started).as_secs_f64(),
        prefill: prefill_started.elapsed().as_secs_f64(),
        prefill_tokens: info.rows.iter().map(|row| row.prompt_tokens - 1).sum(),
        ..Timing::default()
    };
    let mut steps: Vec<Step> = Vec::new();
    let mut first = None;
    loop {
        schedule.apply(&mut session, steps.len() as u32, options.in_flight)?;
        let Some(step) = session.next().await? else { break };
        let first = *first.get_or_insert_with(|| {
            timing.first_token = started.elapsed().as_secs_f64();
            Instant::now()
        });
        timing.decode = first.elapsed().as_secs_f64();
        on_step(&step)?;
        steps.push(step);
        if interrupt::asked() {
            session.stop();
        }
    }
    timing.tokens = steps.len();
    // Where nothing was in flight when it was stopped, no step says so.
    let stop = steps.last().and_then(|step| step.stop.or(Some(Stop::Stopped)));
    Ok(Generated { steps, stop, rest: session.rest(), info, cost: session.cost(), timing })
}
