//! Why a guide cannot be made.

use std::path::PathBuf;

/// What functions here give.
pub type Result<T, E = TrainError> = std::result::Result<T, E>;

/// Why training cannot begin, or stopped.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TrainError {
    /// The model, its tokenizer or its template.
    #[error(transparent)]
    Engine(#[from] pilotfish::Error),
    /// The tape: sizes that do not fit, which is a fault here.
    #[error("computing failed: {0}; this is a fault of pilotfish-train, please report it")]
    Compute(#[from] candle_core::Error),
    /// A file that cannot be read.
    #[error("cannot read {}: {source}", path.display())]
    File {
        /// Which.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// A file that cannot be written.
    #[error("cannot write {}: {source}; make room or choose another place: what was written before is kept", path.display())]
    Write {
        /// Which.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// A line of a file of pairs.
    #[error("{} line {line}: {message}", path.display())]
    Line {
        /// Which file.
        path: PathBuf,
        /// Which line, from 1.
        line: usize,
        /// What is wrong with it, and what was expected.
        message: String,
    },
    /// Nothing to learn from.
    #[error("{} holds no pair that can be used: {message}", path.display())]
    NoPairs {
        /// Which file.
        path: PathBuf,
        /// Why.
        message: String,
    },
    /// Options that cannot be used.
    #[error("{message}")]
    Options {
        /// What is wrong with them.
        message: String,
    },
    /// A recipe that cannot be understood.
    #[error("{} is no recipe: {message}", path.display())]
    Recipe {
        /// Which file.
        path: PathBuf,
        /// What is wrong with it.
        message: String,
    },
    /// A file that a recipe needs is missing, or another.
    #[error("{} {message}; where it is from: {from}", path.display())]
    Ingredient {
        /// Which file.
        path: PathBuf,
        /// What is wrong with it.
        message: String,
        /// Where to get it.
        from: String,
    },
    /// A recipe's guide came out otherwise than the recipe says.
    #[error(
        "the held-out {what} is {found:.3}, the recipe expects {expected:.3}: the guide is written, but is not the one that the recipe describes"
    )]
    Unexpected {
        /// Which figure.
        what: &'static str,
        /// The recipe's.
        expected: f64,
        /// This run's.
        found: f64,
    },
    /// A checkpoint that does not continue this run.
    #[error("{}: {message}", path.display())]
    Checkpoint {
        /// Which file.
        path: PathBuf,
        /// Why it cannot be used.
        message: String,
    },
    /// The loss, or a gradient, is no number.
    #[error(
        "step {step}: the {what} is {value}, over the pairs of lines {lines:?}; {kept}. Try a lower learning rate or beta"
    )]
    Diverged {
        /// The step, from 1.
        step: usize,
        /// `loss` or `gradient norm`.
        what: &'static str,
        /// Its value.
        value: f64,
        /// Lines of the batch's pairs.
        lines: Vec<usize>,
        /// What is left of the run.
        kept: String,
    },
}

impl TrainError {
    /// The stable code.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Engine(error) => error.code(),
            Self::Compute(_) => "train.compute",
            Self::File { .. } => "file.read",
            Self::Write { .. } => "file.write",
            Self::Line { .. } => "pairs.line",
            Self::NoPairs { .. } => "pairs.none",
            Self::Options { .. } => "train.options",
            Self::Recipe { .. } => "recipe.content",
            Self::Ingredient { .. } => "recipe.ingredient",
            Self::Unexpected { .. } => "recipe.unexpected",
            Self::Checkpoint { .. } => "train.checkpoint",
            Self::Diverged { .. } => "train.diverged",
        }
    }
}
