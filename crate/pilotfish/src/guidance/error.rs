//! What a mix can be refused for.

/// A mix, a sampler setting or a step that cannot be. Nothing was changed when one is returned.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum MixError {
    /// No term, or too many.
    #[error("a mix of {found} terms was asked for, but 1 to {most} are possible: leave out guides")]
    Terms {
        /// How many.
        found: usize,
        /// The most that are possible.
        most: usize,
    },
    /// A row that is not there.
    #[error("{what} names row {found}, but there are {rows} rows: name one below that")]
    Row {
        /// Who names it.
        what: &'static str,
        /// The row.
        found: usize,
        /// How many rows there are.
        rows: usize,
    },
    /// A weight that is not a number, or too large.
    #[error("the weight of term {term} is {found}, but it must be a number between -{most} and {most}")]
    Weight {
        /// Which term.
        term: usize,
        /// Its weight.
        found: f32,
        /// The largest magnitude.
        most: f32,
    },
    /// A term that is not there.
    #[error("term {found} was given a weight, but the mix has {terms} terms")]
    Term {
        /// The term.
        found: usize,
        /// How many there are.
        terms: usize,
    },
    /// Normalising weights that cancel.
    #[error("the weights sum to {sum}, so they cannot be normalised: change a weight, or switch `normalize` off")]
    Normalize {
        /// The sum.
        sum: f32,
    },
    /// A temperature out of range.
    #[error(
        "the temperature is {found}, but it must be 0 (always the most likely token) or between {least} and {most}"
    )]
    Temperature {
        /// The temperature.
        found: f32,
        /// The smallest above 0.
        least: f32,
        /// The largest.
        most: f32,
    },
    /// More tokens than there are.
    #[error("top-k is {found}, but the vocabulary has {vocab} tokens: choose at most that, or 0 for no limit")]
    TopK {
        /// k.
        found: u32,
        /// The vocabulary.
        vocab: u32,
    },
    /// A share out of range.
    #[error("top-p is {found}, but it must be above 0 and at most 1 (no limit)")]
    TopP {
        /// p.
        found: f32,
    },
    /// A ratio out of range.
    #[error("min-p is {found}, but it must be at least 0 (no limit) and below 1")]
    MinP {
        /// The ratio.
        found: f32,
    },
    /// A share out of range.
    #[error("typical-p is {found}, but it must be above 0 and at most 1 (no limit)")]
    TypicalP {
        /// p.
        found: f32,
    },
    /// A penalty out of range.
    #[error("the {what} is {found}, but it must be {expected}")]
    Penalty {
        /// Which.
        what: &'static str,
        /// The setting.
        found: f32,
        /// The range in words.
        expected: &'static str,
    },
    /// A schedule that cannot be followed.
    #[error(
        "the schedule of term {term} has {what}, but it must be 1 to 16 points with ascending steps, one schedule a term"
    )]
    Schedule {
        /// The term.
        term: usize,
        /// What is wrong.
        what: String,
    },
    /// A score that is not a number, or too large.
    #[error(
        "the score of token {token} is {found}, but it must be a number between -{most} and {most}; to leave a token out, ban it"
    )]
    Score {
        /// The token.
        token: u32,
        /// Its score.
        found: f32,
        /// The largest magnitude.
        most: f32,
    },
    /// A token that is not mixed.
    #[error("{what} names token {found}, but the vocabulary has {vocab} tokens: name one below that")]
    Token {
        /// Who names it.
        what: &'static str,
        /// The token.
        found: u32,
        /// How many there are.
        vocab: u32,
    },
    /// Masks that leave nothing.
    #[error("the banned and allowed tokens leave none that could be drawn: allow at least one that is not banned")]
    Mask,
    /// Too many tokens given ahead.
    #[error(
        "{found} tokens were to be forced, but at most {most} can be given ahead: give the rest later, or put them in the prompt"
    )]
    Forced {
        /// How many.
        found: usize,
        /// The most.
        most: usize,
    },
    /// A row filter's setting out of range.
    #[error("the row filter's {what} is {found}, but it must be {expected}")]
    Filter {
        /// `alpha`, `k` or `p`.
        what: &'static str,
        /// The setting.
        found: f32,
        /// The range in words.
        expected: &'static str,
    },
    /// Sizes the kernels cannot serve.
    #[error("the mix was planned with {what} = {found}, but {expected} is needed")]
    Plan {
        /// The size's name.
        what: &'static str,
        /// The size.
        found: u64,
        /// What is needed.
        expected: &'static str,
    },
    /// A report that is not whole.
    #[error("a step's report has {found} bytes, but {expected} were expected")]
    Report {
        /// The bytes.
        found: usize,
        /// What a report takes.
        expected: usize,
    },
    /// A model computed NaN or infinity.
    #[error(
        "step {step}: the logits of rows {rows:?} hold NaN or infinity: the model file is damaged, or its numbers outgrow f16 (try another quantisation)"
    )]
    Logits {
        /// The step.
        step: u32,
        /// The rows.
        rows: Vec<usize>,
    },
    /// The filters and guides left nothing to say.
    #[error(
        "step {step}: no token is left: the guides, bans and penalties rule out all that the row filter keeps; weaken one of them"
    )]
    Empty {
        /// The step.
        step: u32,
    },
}

impl MixError {
    /// The stable code of this error.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Terms { .. } => "mix.terms",
            Self::Row { .. } => "mix.row",
            Self::Weight { .. } => "mix.weight",
            Self::Term { .. } => "mix.term",
            Self::Normalize { .. } => "mix.normalize",
            Self::Temperature { .. } => "mix.temperature",
            Self::TopK { .. } => "mix.top_k",
            Self::TopP { .. } => "mix.top_p",
            Self::MinP { .. } => "mix.min_p",
            Self::TypicalP { .. } => "mix.typical_p",
            Self::Penalty { .. } => "mix.penalty",
            Self::Schedule { .. } => "mix.schedule",
            Self::Score { .. } => "mix.score",
            Self::Token { .. } => "mix.token",
            Self::Mask => "mix.mask",
            Self::Forced { .. } => "mix.forced",
            Self::Filter { .. } => "mix.filter",
            Self::Plan { .. } => "mix.plan",
            Self::Report { .. } => "mix.report",
            Self::Logits { .. } => "mix.logits",
            Self::Empty { .. } => "mix.empty",
        }
    }
}
