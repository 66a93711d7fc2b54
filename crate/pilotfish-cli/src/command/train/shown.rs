//! What people see of a run.

use std::sync::{Mutex, PoisonError};

use pilotfish_train::run::{Evaluation, Event, StepMetrics};

use crate::output;
use crate::progress::Progress;

/// The line that tells of the last step, and lines that stay.
pub(super) struct Shown {
    quiet: bool,
    progress: Mutex<Progress>,
}

impl Shown {
    pub(super) fn new(quiet: bool) -> Self {
        Self { quiet, progress: Mutex::new(Progress::new("", quiet)) }
    }

    /// Tells of an event.
    pub(super) fn event(&self, event: Event<'_>) {
        let mut progress = self.progress.lock().unwrap_or_else(PoisonError::into_inner);
        match event {
            Event::Scoring { done, total } => {
                progress.say(&format!("scoring pair {done} of {total}"));
            }
            Event::Step { metrics, total, tokens_per_second, left } => {
                let line = step_line(metrics, total);
                let line = format!("{line}, {tokens_per_second:.0} tok/s, {} left", time(left));
                // Where there is no terminal, a line now and then.
                if !progress.say(&line) && !self.quiet && (metrics.step == 1 || metrics.step % 10 == 0) {
                    output::diagnostic(&line);
                }
            }
            _ if self.quiet => {}
            Event::Evaluated { step, evaluation } => {
                progress.clear();
                output::diagnostic(&format!("after step {step}, held out: {}", evaluation_line(evaluation)));
            }
            Event::Resumed { step } => output::diagnostic(&format!("going on after step {step}")),
            _ => {}
        }
    }
}

fn step_line(metrics: &StepMetrics, total: usize) -> String {
    let mut line = format!("step {} of {total}: loss {:.4}", metrics.step, metrics.loss);
    if let (Some(accuracy), Some(margin)) = (metrics.accuracy, metrics.margin) {
        line += &format!(", accuracy {accuracy:.2}, margin {margin:+.1}");
    }
    line
}

/// What held-out pairs say, in a line.
pub(super) fn evaluation_line(found: &Evaluation) -> String {
    let Evaluation { pairs, loss, accuracy, accuracy_over_base, margin, margin_deviation } = found;
    format!(
        "loss {loss:.4}, accuracy {accuracy:.3} ({accuracy_over_base:.3} over the base), margin {margin:+.1} (sd {margin_deviation:.1}), {pairs} pairs"
    )
}

/// `1:02:03`, `2:03`.
pub(super) fn time(seconds: f64) -> String {
    let seconds = seconds.round() as u64;
    let (hours, minutes, seconds) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
    if hours > 0 { format!("{hours}:{minutes:02}:{seconds:02}") } else { format!("{minutes}:{seconds:02}") }
}
