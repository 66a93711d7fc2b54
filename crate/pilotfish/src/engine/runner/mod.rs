//! What runs a session's steps. A session knows texts, rows and tokens; a runner has the caches, the logits and the mixes of them,
//! all on one processor.

#[cfg(feature = "cpu")]
mod cpu;
mod gpu;

use std::fmt::Debug;
use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;

#[cfg(feature = "cpu")]
pub(super) use cpu::{CpuRunner, CpuTable};
pub(super) use gpu::{GpuRunner, weights as gpu_weights};

use super::model::Model;
use super::options::Returns;
use crate::Result;
use crate::guidance::{MixError, MixRule, Sampling, Schedule, Telemetry, TokenRules};
use crate::model::{BatchToken, RowAdapter, Sizes};
use crate::tokenizer::TokenId;

/// Something that a runner is at.
pub(super) type Running<'a, T> = Pin<Box<dyn Future<Output = Result<T>> + 'a>>;

/// What a lane's step came to.
#[derive(Debug)]
pub(super) struct Report {
    pub(super) telemetry: Result<Telemetry, MixError>,
    /// The mixed logits, if they are asked for: `[vocab]`, -inf where a token was left out.
    pub(super) logits: Option<Vec<f32>>,
}

/// The rows of one weight set.
#[derive(Debug)]
pub(super) struct SetPlan<'a> {
    pub(super) model: &'a Rc<Model>,
    /// Of every row: those of lane 0, then those of lane 1, and so on.
    pub(super) adapters: Vec<Vec<RowAdapter<'a>>>,
    pub(super) sizes: Sizes,
    /// Its first row among those of the logits.
    pub(super) first_row: u32,
}

/// The mix of one lane.
#[derive(Debug)]
pub(super) struct LanePlan<'a> {
    /// Rows are counted over all weight sets.
    pub(super) rule: MixRule,
    pub(super) sampling: Sampling,
    pub(super) tokens: &'a TokenRules,
    /// The base's prompt, for penalties that count it.
    pub(super) prompt: &'a [TokenId],
    /// Tokens that end the text.
    pub(super) ends: &'a [TokenId],
    /// Tokens that penalties may look back on.
    pub(super) room: u32,
    /// Rows whose log-probabilities are reported, the base first.
    pub(super) report: Vec<usize>,
    /// The likeliest tokens that are reported.
    pub(super) candidates: u32,
    /// The first tokens, whatever the mix says.
    pub(super) forced: &'a [TokenId],
}

/// What a runner is made for.
#[derive(Debug)]
pub(super) struct RunnerPlan<'a> {
    pub(super) sets: Vec<SetPlan<'a>>,
    pub(super) lanes: Vec<LanePlan<'a>>,
    /// Ids that are mixed.
    pub(super) vocab: u32,
    /// Floats between rows of logits.
    pub(super) vocab_stride: u32,
    /// What reports bring.
    pub(super) returns: Returns,
}

impl RunnerPlan<'_> {
    /// Rows over all weight sets.
    fn rows(&self) -> usize {
        self.sets.iter().map(|set| set.sizes.rows as usize).sum()
    }
}

/// Runs steps. Weight sets, rows and lanes are those of its plan.
pub(super) trait Runner: Debug {
    /// Another runner over the same caches.
    fn fork(&self, plan: &RunnerPlan<'_>) -> Result<Box<dyn Runner>>;

    /// Returns when what was submitted so far, and all that was made, is there; fails if something of it did.
    fn ready(&mut self) -> Running<'_, ()>;

    /// Says in which slots the positions of a row are, from position `first` on.
    fn write_slots(&mut self, set: usize, row: usize, first: usize, slots: &[u32]);

    /// Says what the next step reads: a token for each row.
    fn write_decode(&mut self, set: usize, tokens: &[BatchToken]);

    /// Computes keys and values of some tokens, at most a chunk.
    fn prefill<'a>(&'a mut self, set: usize, tokens: &'a [BatchToken]) -> Running<'a, ()>;

    /// Begins step number `step`: every row goes from its token to logits, and every lane's mix to a token, which is what its rows read
    /// next. No row stands after position `furthest`.
    fn submit(&mut self, step: u32, furthest: u32) -> Result<()>;

    /// Steps that were begun and whose reports were not taken.
    fn in_flight(&self) -> usize;

    /// As many as are worth having in flight: enough to hide the way of a token to the session, few enough for a slider to feel immediate.
    fn ahead(&self) -> u32;

    /// As many as may be in flight where nothing is waiting for a token.
    fn most_ahead(&self) -> u32;

    /// What the oldest step in flight came to, lane by lane.
    fn reports(&mut self) -> Running<'_, Vec<Report>>;

    /// Forgets the steps in flight, when they have ended.
    fn drain(&mut self) -> Running<'_, ()>;

    /// Forgets the steps in flight as they are.
    fn abandon(&mut self);

    /// The mix of a lane.
    fn mix(&mut self, lane: usize) -> &mut dyn Mix;

    /// Sets live shares of a row, from `segment` on. Acts on the next step.
    fn set_shares(&mut self, set: usize, row: usize, segment: u32, shares: &[f32]);

    /// Gives all rows of a weight set other adapters, or none; all or nothing.
    fn set_adapters(&mut self, set: usize, adapters: &[Vec<RowAdapter<'_>>]) -> Result<()>;

    /// Bytes of the rows' adapters.
    fn adapter_bytes(&self) -> u64;

    /// Kernel calls of a step.
    fn dispatches(&self) -> u32;
}

/// What may be changed of a lane's mix while it runs; each acts on the next step that is begun.
pub(super) trait Mix: Debug {
    /// Gives terms new weights, all or none. Their schedules end.
    fn set_weights(&mut self, weights: &[(usize, f32)]) -> Result<(), MixError>;

    /// Gives terms schedules, all or none.
    fn set_schedules(&mut self, schedules: &[Schedule]) -> Result<(), MixError>;

    /// Changes scores, bans and the allowed set.
    fn set_tokens(&mut self, tokens: &TokenRules) -> Result<(), MixError>;

    /// Gives the tokens of the steps from `from` on; what was given before is forgotten.
    fn force(&mut self, from: u32, ids: &[TokenId]) -> Result<(), MixError>;

    /// Changes how tokens are drawn.
    fn set_sampling(&mut self, sampling: &Sampling) -> Result<(), MixError>;

    /// Goes on after a prompt and what was `said`: the next step has the number of tokens said.
    fn restart(&mut self, prompt: &[TokenId], said: &[TokenId]);
}
