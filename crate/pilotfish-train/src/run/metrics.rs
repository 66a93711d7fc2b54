//! Numbers of each step, one line of JSON each.

use std::fs::{File, OpenOptions};
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::Evaluation;
use crate::error::{Result, TrainError};

/// What a step gave.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct StepMetrics {
    /// From 1.
    pub step: usize,
    /// Mean over the batch, before the step.
    pub loss: f64,
    /// Share of the batch's pairs whose chosen answer has the greater summed log-probability, by their weights; absent for SFT.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub accuracy: Option<f64>,
    /// Mean of `Σ log π(chosen) - Σ log π(rejected)`, in nats; absent for SFT.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub margin: Option<f64>,
    /// Norm of the gradient, before clipping.
    pub gradient_norm: f64,
    /// The learning rate.
    pub rate: f64,
    /// Tokens read.
    pub tokens: usize,
    /// Seconds that the step took.
    pub seconds: f64,
}

/// A line of the file.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub(super) enum Entry {
    /// A step.
    Step(StepMetrics),
    /// An evaluation after so many steps.
    Evaluation {
        /// Steps taken.
        step: usize,
        /// What it found.
        #[serde(flatten)]
        evaluation: Evaluation,
        /// The same for each dimension of preference.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        dimensions: Vec<Evaluation>,
    },
}

/// The file, and what is in it.
#[derive(Debug)]
pub(super) struct MetricsFile {
    path: PathBuf,
    file: File,
    /// All entries, first to last.
    pub(super) entries: Vec<Entry>,
}

impl MetricsFile {
    /// Opens it with the entries of the first `steps` steps and the evaluations up to `evaluated`; what an interrupted run wrote
    /// beyond its checkpoint goes.
    pub(super) fn open(path: &Path, steps: usize, evaluated: Option<usize>) -> Result<Self> {
        let failed = |source| TrainError::Write { path: path.to_owned(), source };
        let mut entries: Vec<Entry> = Vec::new();
        let known = |entry: &Entry| match entry {
            Entry::Step(metrics) => metrics.step <= steps,
            Entry::Evaluation { step, .. } => evaluated.is_some_and(|evaluated| *step <= evaluated),
        };
        if (steps > 0 || evaluated.is_some())
            && let Ok(file) = File::open(path)
        {
            let lines = BufReader::new(file).lines().map_while(Result::ok);
            let read = lines.map_while(|line| serde_json::from_str::<Entry>(&line).ok());
            entries.extend(read.take_while(known));
        }
        let file = OpenOptions::new().create(true).write(true).truncate(true).open(path).map_err(failed)?;
        let mut this = Self { path: path.to_owned(), file, entries: Vec::new() };
        for entry in entries {
            this.push(entry)?;
        }
        Ok(this)
    }

    /// Appends an entry, at once.
    pub(super) fn push(&mut self, entry: Entry) -> Result<()> {
        let mut line = serde_json::to_vec(&entry).unwrap_or_default();
        line.push(b'\n');
        let failed = |source| TrainError::Write { path: self.path.clone(), source };
        self.file.write_all(&line).map_err(failed)?;
        self.entries.push(entry);
        Ok(())
    }
}
