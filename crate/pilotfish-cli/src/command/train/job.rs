//! A run of the trainer, from its files to its files.

use std::path::{Path, PathBuf};

use pilotfish_train::output::{About, Results, write_results};
use pilotfish_train::pairs::{self, EncodeOptions, Pair, PairReport, Reason};
use pilotfish_train::run::{self, Event, Outcome, RunFolder, RunOptions, Stopped};
use pilotfish_train::{Base, TrainError};
use serde_json::json;

use super::shown::{Shown, evaluation_line, time};
use crate::args::Global;
use crate::error::{CliError, Result};
use crate::{interrupt, output};

/// How long to train.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Length {
    /// So many steps.
    Steps(usize),
    /// So many times over the pairs, those of the longest dimension.
    Epochs(f64),
}

/// Everything that a run needs to know.
#[derive(Debug, Clone)]
pub(super) struct Job {
    /// The model.
    pub(super) base: PathBuf,
    /// Files of pairs, with the names of their dimensions of preference; one without a name, where there is only one.
    pub(super) pairs: Vec<(String, PathBuf)>,
    /// Pass over lines that cannot be read.
    pub(super) skip_bad_lines: bool,
    /// How pairs become ids.
    pub(super) encode: EncodeOptions,
    /// All but the steps, which `length` gives.
    pub(super) options: RunOptions,
    /// How long.
    pub(super) length: Length,
    /// A folder for what comes of it.
    pub(super) out: PathBuf,
    /// The guide's name; the folder's unless given.
    pub(super) name: Option<String>,
    /// For the card. Its base is the model file's name unless given.
    pub(super) about: About,
    /// Go on from the folder's checkpoint.
    pub(super) resume: bool,
}

/// Pairs to learn from, pairs to judge by, and a report of each dimension.
type ReadPairs = (Vec<Pair>, Vec<Pair>, Vec<(String, PairReport)>);

/// What a run read and gave.
pub(super) struct Done {
    name: String,
    reports: Vec<(String, PairReport)>,
    /// What came of it.
    pub(super) outcome: Outcome,
    /// What was written.
    pub(super) files: Vec<PathBuf>,
    steps: usize,
}

impl Job {
    /// Trains, and writes what came of it.
    pub(super) fn run(self, global: &Global) -> Result<Done> {
        let base = Base::read(&self.base).map_err(CliError::Train)?;
        let (train, held_out, reports) = self.read_pairs(&base)?;
        for (name, report) in &reports {
            let of = if name.is_empty() { String::new() } else { format!("{name}: ") };
            if !global.quiet {
                report.sentences().iter().for_each(|line| output::diagnostic(&format!("{of}{line}")));
            }
        }
        let mut options = self.options.clone();
        options.steps = match self.length {
            Length::Steps(steps) => steps,
            Length::Epochs(epochs) => {
                let longest = reports.iter().map(|(_, report)| report.train).max().unwrap_or_default();
                (epochs * longest.div_ceil(options.batch.max(1)) as f64).round() as usize
            }
        };
        std::fs::create_dir_all(&self.out).map_err(|source| CliError::Write { path: self.out.clone(), source })?;
        // What comes of it does not depend on them.
        let cores = || std::thread::available_parallelism().ok().map(usize::from);
        let threads = global.threads.map(|threads| threads as usize).or_else(cores).unwrap_or(1);
        let shown = Shown::new(global.quiet);
        let observe = |event: Event<'_>| {
            shown.event(event);
            !interrupt::asked()
        };
        let folder = RunFolder { path: &self.out, resume: self.resume };
        let outcome = run::train(&base, &train, &held_out, &options, &folder, threads, &observe);
        drop(shown);
        let outcome = outcome.map_err(CliError::Train)?;
        let name = self.name.or_else(|| stem(&self.out)).unwrap_or_else(|| "guide".into());
        let mut about = self.about;
        if about.base_name.is_empty() {
            about.base_name = stem(&self.base).unwrap_or_else(|| base.spec.name.clone());
        }
        let results = Results {
            name: &name,
            about: &about,
            base: &base,
            options: &options,
            reports: &reports,
            outcome: &outcome,
        };
        let files = write_results(&self.out, &results).map_err(CliError::Train)?;
        Ok(Done { name, reports, outcome, files, steps: options.steps })
    }

    fn read_pairs(&self, base: &Base) -> Result<ReadPairs> {
        let (mut train, mut held_out, mut reports) = (Vec::new(), Vec::new(), Vec::new());
        for (dimension, (name, path)) in self.pairs.iter().enumerate() {
            let mut report = PairReport::default();
            let records = pairs::read(path, |error| match error {
                TrainError::Line { line, .. } if self.skip_bad_lines => {
                    report.drop(Reason::Bad, line);
                    report.lines += 1;
                    Ok(())
                }
                error => Err(error),
            });
            let encode = EncodeOptions { dimension, ..self.encode };
            let records = records.map_err(CliError::Train)?;
            let (some, others) = pairs::encode(base, &records, &encode, &mut report).map_err(CliError::Train)?;
            if some.is_empty() {
                let message = report.sentences().join("; ");
                return Err(CliError::Train(TrainError::NoPairs { path: path.clone(), message }));
            }
            train.extend(some);
            held_out.extend(others);
            reports.push((name.clone(), report));
        }
        Ok((train, held_out, reports))
    }
}

impl Done {
    /// Says what the guide is.
    pub(super) fn tell(&self, global: &Global) -> Result<()> {
        let Self { name, outcome, files, .. } = self;
        let speed = outcome.tokens as f64 / outcome.seconds.max(f64::MIN_POSITIVE);
        if global.json {
            return output::json(&self.json(speed));
        }
        let ended = match outcome.stopped {
            Stopped::Finished => "",
            Stopped::Early => " (the best; stopped early)",
            Stopped::Interrupted => " (interrupted: --resume goes on)",
        };
        let (step, tokens, seconds) = (outcome.step, outcome.tokens, time(outcome.seconds));
        let mut text =
            format!("{name}: step {step} of {}{ended}, {tokens} tokens in {seconds}, {speed:.0} tok/s\n", self.steps);
        for (when, evaluation) in [("before", &outcome.before), ("after", &outcome.after)] {
            if let Some(evaluation) = evaluation {
                text += &format!("{when:6}  {}\n", evaluation_line(evaluation));
            }
        }
        for (name, (before, after)) in &outcome.dimensions {
            text +=
                &format!("{name}, before  {}\n{name}, after   {}\n", evaluation_line(before), evaluation_line(after));
        }
        for file in files {
            text += &format!("{}\n", file.display());
        }
        output::text(&text)
    }

    fn json(&self, speed: f64) -> serde_json::Value {
        let Self { outcome, reports, files, .. } = self;
        let pairs = match &reports[..] {
            [(name, report)] if name.is_empty() => json!(report),
            reports => reports.iter().map(|(name, report)| (name.clone(), json!(report))).collect(),
        };
        let mut value = json!({
            "stopped": outcome.stopped, "step": outcome.step, "before": outcome.before, "after": outcome.after,
            "tokens": outcome.tokens, "seconds": outcome.seconds, "tokens_per_second": speed, "pairs": pairs,
            "files": files,
        });
        if !outcome.dimensions.is_empty() {
            let of =
                |(name, (before, after)): &(String, _)| (name.clone(), json!({ "before": before, "after": after }));
            value["dimensions"] = outcome.dimensions.iter().map(of).collect();
        }
        value
    }
}

/// A file's or folder's own name.
fn stem(path: &Path) -> Option<String> {
    let name = if path.is_dir() { path.file_name() } else { path.file_stem() };
    name.map(|name| name.to_string_lossy().into_owned())
}
