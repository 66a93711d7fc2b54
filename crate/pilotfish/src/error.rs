//! One error type for the crate, made of one enum per module. Codes are stable: the npm package and the CLI print them.

use crate::adapter::AdapterError;
use crate::arch::ArchError;
use crate::chat::ChatError;
use crate::gguf::GgufError;
use crate::gpu::GpuError;
use crate::guidance::MixError;
use crate::model::SourceError;
use crate::quant::QuantError;
use crate::tokenizer::{TokenId, TokenizerError, VocabularyDifference};

/// What went wrong, with the module's own account inside.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The GPU.
    #[error(transparent)]
    Gpu(#[from] GpuError),
    /// The file's header or metadata.
    #[error(transparent)]
    Gguf(#[from] GgufError),
    /// Decoding or packing weights.
    #[error(transparent)]
    Quant(#[from] QuantError),
    /// What the file means.
    #[error(transparent)]
    Arch(#[from] ArchError),
    /// A batch on the CPU.
    #[cfg(feature = "cpu")]
    #[error(transparent)]
    Cpu(#[from] crate::cpu::CpuError),
    /// An adapter.
    #[error(transparent)]
    Adapter(#[from] AdapterError),
    /// The vocabulary.
    #[error(transparent)]
    Tokenizer(#[from] TokenizerError),
    /// The chat template.
    #[error(transparent)]
    Chat(#[from] ChatError),
    /// Weights, filters, sampling.
    #[error(transparent)]
    Mix(#[from] MixError),
    /// Reading the file.
    #[error(transparent)]
    Source(#[from] SourceError),
    /// The CPU was asked for, and this build has no backend for it.
    #[error("this build runs on the GPU alone: take the one with the CPU backend (cargo feature `cpu`)")]
    NoCpu,
    /// What runs the engine's models is not known before the first is loaded.
    #[error(
        "no model was loaded with this engine yet, and the first decides what runs them: load the model with this engine"
    )]
    NoModel,
    /// A model of another engine.
    #[error(
        "the model is in the {found}'s memory, but this engine runs on the {expected}: load the model with this engine"
    )]
    OtherProcessor {
        /// Where it is.
        found: &'static str,
        /// Where it should be.
        expected: &'static str,
    },
    /// A progress callback asked to stop.
    #[error("stopped as asked; nothing of it was kept")]
    Aborted,
    /// The vocabulary is larger than the embedding.
    #[error(
        "the file names {tokens} tokens, but its embedding has {rows} rows: the file is damaged, download it again"
    )]
    VocabularySize {
        /// Tokens with a name.
        tokens: u32,
        /// Rows of the embedding.
        rows: u32,
    },
    /// A guide's vocabulary is not the base's.
    #[error("guide `{guide}` has another vocabulary than the base: token {} is {:?} here and {:?} in the base; a guide must share the base's tokenizer", difference.id, difference.right, difference.left)]
    Vocabulary {
        /// The guide.
        guide: String,
        /// Where they part.
        difference: Box<VocabularyDifference>,
    },
    /// A guide names a model that was not given.
    #[error("a guide asks for guide model {index}, but {given} were given")]
    GuideModel {
        /// The index asked for.
        index: usize,
        /// How many there are.
        given: usize,
    },
    /// A row names an adapter that was not given.
    #[error("`{row}` asks for adapter {index}, but {given} were given")]
    AdapterIndex {
        /// The row.
        row: String,
        /// The index asked for.
        index: usize,
        /// How many there are.
        given: usize,
    },
    /// A row of more adapters and preferences than there are live shares.
    #[error("`{row}` adds up {found} adapters and preferences, a row takes {most}: use fewer")]
    TooManyAdapters {
        /// The row.
        row: String,
        /// How many it adds up.
        found: usize,
        /// The most.
        most: usize,
    },
    /// A share of something that has none.
    #[error("`{row}` has no adapter {index}: it uses {given}")]
    NoSuchShare {
        /// The row.
        row: String,
        /// The place asked for.
        index: usize,
        /// How many it uses.
        given: usize,
    },
    /// There is no such guide.
    #[error("guide {index} was named, but the session has {given}")]
    Guide {
        /// The index asked for.
        index: usize,
        /// How many there are.
        given: usize,
    },
    /// A name used twice, or a reserved one.
    #[error("guide name `{name}` is taken: give every guide a name of its own, other than `base` and `mix`")]
    GuideName {
        /// The name.
        name: String,
    },
    /// A filter names no row.
    #[error("the filter goes by row `{row}`, which is neither `base` nor a guide's name")]
    UnknownRow {
        /// The name.
        row: String,
    },
    /// A schedule names no guide.
    #[error("a schedule is for guide `{name}`, which is not among the guides")]
    ScheduleGuide {
        /// The name.
        name: String,
    },
    /// An empty stop string.
    #[error("stop string {index} is empty, which would end every text before it begins: leave it out")]
    StopString {
        /// Its place in the list.
        index: usize,
    },
    /// A context guide over a prompt of ids.
    #[error("a context guide needs a text or a conversation to put its context before, but the prompt is token ids")]
    ContextNeedsText,
    /// Nothing to continue.
    #[error("the prompt of `{row}` has no tokens: give it at least one")]
    EmptyPrompt {
        /// The row.
        row: String,
    },
    /// The prompt does not fit.
    #[error(
        "the prompt of `{row}` has {found} tokens, but the context holds {expected}: shorten it or ask for a longer context"
    )]
    PromptTooLong {
        /// The row.
        row: String,
        /// Its tokens.
        found: usize,
        /// Positions in the context.
        expected: u32,
    },
    /// More rows than a session takes.
    #[error("{rows} rows for each of {samples} samples, or trials, are {}; a session takes 1 to {most}: use fewer guides, samples or candidates", rows * samples)]
    TooManyRows {
        /// Rows of a sample.
        rows: usize,
        /// Samples, or trials of a method.
        samples: usize,
        /// The most.
        most: usize,
    },
    /// The key-value pool has no slot left.
    #[error(
        "the pool of keys and values has {size} positions, of which {free} are free, and more are needed: make the session with a larger `pool_length`, or drop a fork"
    )]
    PoolFull {
        /// Positions in all.
        size: u32,
        /// Those nobody holds.
        free: u32,
    },
    /// A turn whose prompts need other rows.
    #[error("the new prompts make the rows `{found}`, but this session has `{expected}`: make a new session")]
    OtherRows {
        /// Rows of the new prompts.
        found: String,
        /// The session's.
        expected: String,
    },
    /// More texts to go on after than samples.
    #[error("{found} texts to go on after, but the session makes {most}: give as many as there are samples, or none")]
    Continued {
        /// Texts given.
        found: usize,
        /// Samples.
        most: usize,
    },
    /// A number of a method is out of range.
    #[error("the method's `{what}` is {found}, expected {least} to {most}")]
    Method {
        /// Which.
        what: &'static str,
        /// What was given.
        found: f64,
        /// The least.
        least: f64,
        /// The most.
        most: f64,
    },
    /// A method with trials of its own, and samples.
    #[error("`{method}` makes one text of many trials, but {samples} samples are asked for: ask for one")]
    MethodSamples {
        /// The method.
        method: &'static str,
        /// Samples asked for.
        samples: u32,
    },
    /// A method that needs a reward, and none.
    #[error(
        "`{method}` chooses by a reward, and there is none: name a guide as `reward`, or give the session a scorer"
    )]
    NoReward {
        /// The method.
        method: &'static str,
    },
    /// The reward names no guide.
    #[error("the reward is to be guide `{name}`, which is not among the guides")]
    RewardGuide {
        /// The name.
        name: String,
    },
    /// A classifier among the models that make text.
    #[error("the model of `{row}` is a classifier of {classes} scores and makes no text: use it as a reward")]
    Classifier {
        /// The row.
        row: String,
        /// Scores that it gives.
        classes: u32,
    },
    /// A reward model after a prompt of ids.
    #[error("a reward model reads text, but the prompt is token ids: give it as text or as a conversation")]
    RewardNeedsText,
    /// A reward model without a score of that name or number.
    #[error("the reward is to be {asked}, but the model has {found}: name one of these")]
    NoClass {
        /// What was asked for.
        asked: String,
        /// What there is.
        found: String,
    },
    /// A scorer's answer is of no use.
    #[error("a scorer gave {scores} rewards for {texts} texts{}; one finite number for each is needed", found.map_or(String::new(), |score| format!(", one of them {score}")))]
    Score {
        /// Texts it was asked about.
        texts: usize,
        /// Rewards it gave.
        scores: usize,
        /// One that is not finite.
        found: Option<f32>,
    },
    /// A scorer failed.
    #[error("the scorer failed: {message}")]
    Scorer {
        /// What it said.
        message: String,
    },
    /// A token id beyond the vocabulary.
    #[error("token id {found} is not in the vocabulary of {expected} tokens")]
    TokenId {
        /// The id.
        found: TokenId,
        /// Tokens in the vocabulary.
        expected: u32,
    },
}

impl Error {
    /// The stable code, `module.what`.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Gpu(error) => error.code(),
            Self::Gguf(error) => error.code(),
            Self::Arch(error) => error.code(),
            Self::Quant(error) => error.code(),
            #[cfg(feature = "cpu")]
            Self::Cpu(error) => error.code(),
            Self::Adapter(error) => error.code(),
            Self::Chat(error) => error.code(),
            Self::Tokenizer(error) => error.code(),
            Self::Mix(error) => error.code(),
            Self::Source(error) => error.code(),
            Self::NoCpu => "engine.no_cpu",
            Self::NoModel => "engine.no_model",
            Self::OtherProcessor { .. } => "engine.other_processor",
            Self::Aborted => "aborted",
            Self::VocabularySize { .. } => "model.vocabulary_size",
            Self::Vocabulary { .. } => "session.vocabulary",
            Self::GuideModel { .. } => "session.guide_model",
            Self::AdapterIndex { .. } => "session.adapter",
            Self::TooManyAdapters { .. } => "session.too_many_adapters",
            Self::NoSuchShare { .. } => "session.share",
            Self::Guide { .. } => "session.guide",
            Self::GuideName { .. } => "session.guide_name",
            Self::UnknownRow { .. } => "session.unknown_row",
            Self::ScheduleGuide { .. } => "session.schedule_guide",
            Self::StopString { .. } => "session.stop_string",
            Self::ContextNeedsText => "session.context_needs_text",
            Self::EmptyPrompt { .. } => "session.empty_prompt",
            Self::PromptTooLong { .. } => "session.prompt_too_long",
            Self::TooManyRows { .. } => "session.too_many_rows",
            Self::PoolFull { .. } => "session.pool_full",
            Self::OtherRows { .. } => "session.other_rows",
            Self::Continued { .. } => "session.continued",
            Self::Method { .. } => "method.value",
            Self::MethodSamples { .. } => "method.samples",
            Self::NoReward { .. } => "method.no_reward",
            Self::RewardGuide { .. } => "method.reward_guide",
            Self::Classifier { .. } => "session.classifier",
            Self::NoClass { .. } => "reward.class",
            Self::RewardNeedsText => "reward.needs_text",
            Self::Score { .. } => "method.score",
            Self::Scorer { .. } => "method.scorer",
            Self::TokenId { .. } => "session.token_id",
        }
    }
}

/// The crate's result.
pub type Result<T, E = Error> = std::result::Result<T, E>;
