//! A run: batches in a seeded order, steps, evaluations, checkpoints, and the files at its end.

mod checkpoint;
mod evaluation;
mod metrics;
mod options;
mod order;
mod reference;
mod training;

pub use evaluation::Evaluation;
pub use metrics::StepMetrics;
pub use options::RunOptions;
pub use training::{Event, Outcome, RunFolder, Stopped, train};
