//! What a caller asks of a session.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::method::Method;
use super::model::Prompt;
use crate::guidance::{FilterKind, Sampling, TokenRules};
use crate::tokenizer::TokenId;

/// A guided generation, but for the loaded models themselves.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SessionOptions {
    /// What the base continues.
    pub prompt: Prompt,
    /// Adapters of the base itself (a DPO-tuned base, say): their sum, each times its share.
    #[serde(default)]
    pub adapters: Vec<AdapterUse>,
    /// What steers it.
    #[serde(default)]
    pub guides: Vec<Guide>,
    /// How a token is drawn from the mix.
    #[serde(default)]
    pub sampling: Sampling,
    /// Divide by the sum of all weights: the averaged variant.
    #[serde(default)]
    pub normalize: bool,
    /// Restrict the candidates by one row, before the mix.
    #[serde(default)]
    pub filter: Option<NamedFilter>,
    /// Weights that change by step, by guide: `(step, weight)`, 1 to 16 points, on straight lines between them. A guide that is
    /// named here does not use its own weight.
    #[serde(default)]
    pub schedules: BTreeMap<String, Vec<(u32, f32)>>,
    /// Scores, banned tokens, and tokens that alone are allowed; live.
    #[serde(default)]
    pub tokens: TokenRules,
    /// The first tokens, whatever the mix says; at most 256.
    #[serde(default)]
    pub forced: Vec<TokenId>,
    /// Texts of the same prompt that are made at once, each with a draw of its own: sample `i` has the seed plus `i`. Rows times
    /// samples may be 32.
    #[serde(default = "one_sample")]
    pub samples: u32,
    /// How tokens are chosen.
    #[serde(default)]
    pub method: Method,
    /// What was made already, by sample, all of one length but for those that have ended: the session goes on after it.
    #[serde(default)]
    pub continued: Vec<Vec<TokenId>>,
    /// What happens when the context is full.
    #[serde(default)]
    pub when_full: WhenFull,
    /// Texts that end the generation wherever they appear; neither they nor a part of them is given out.
    #[serde(default)]
    pub stop: Vec<String>,
    /// What each step brings back.
    #[serde(default, rename = "return")]
    pub returns: Returns,
    /// Positions per row; 0 is what the prompts and `max_tokens` need. At most what the model was trained for.
    #[serde(default)]
    pub context_length: u32,
    /// Positions of each weight set's pool of keys and values, over all rows; 0 is what rows and samples need. Forks of the session
    /// take theirs from it, too.
    #[serde(default)]
    pub pool_length: u32,
    /// Tokens to make at most.
    #[serde(default = "default_max_tokens")]
    pub max_tokens: u32,
    /// How many of the likeliest tokens a step lists, at most 64.
    #[serde(default = "default_candidates")]
    pub candidates: u32,
    /// Steps submitted ahead of the one being read, at most 8: 1 waits for each token, 0 is what suits the device.
    #[serde(default)]
    pub in_flight: u32,
}

fn one_sample() -> u32 {
    1
}

fn default_max_tokens() -> u32 {
    256
}

/// As many as a panel shows.
pub(super) fn default_candidates() -> u32 {
    10
}

impl SessionOptions {
    /// The base alone on `prompt`, with every default.
    pub fn new(prompt: Prompt) -> Self {
        Self {
            prompt,
            adapters: Vec::new(),
            guides: Vec::new(),
            sampling: Sampling::default(),
            normalize: false,
            filter: None,
            schedules: BTreeMap::new(),
            tokens: TokenRules::default(),
            forced: Vec::new(),
            samples: 1,
            method: Method::default(),
            continued: Vec::new(),
            when_full: WhenFull::Stop,
            stop: Vec::new(),
            returns: Returns::default(),
            context_length: 0,
            pool_length: 0,
            max_tokens: default_max_tokens(),
            candidates: default_candidates(),
            in_flight: 0,
        }
    }
}

/// What happens when a row has as many positions as the context.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum WhenFull {
    /// The text ends, with [`super::Stop::Context`].
    #[default]
    Stop,
    /// Half of what follows a row's first tokens is dropped, the rest is computed anew, and the text goes on; the next step says so in
    /// [`super::Step::shifted`]. Searches above the step (see [`Method`]) stop instead.
    Shift {
        /// First tokens that every row keeps; its whole prompt if this is not said.
        #[serde(default)]
        keep: Option<u32>,
    },
}

/// What each step brings back.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Returns {
    /// The token and its report: some hundred bytes.
    #[default]
    Report,
    /// The token, and of its report what is the mix's own: nothing of single rows, no entropy and no KL (NaN). Where no row filters, the
    /// CPU then adds up the rows of a weight set before the output matrix, and multiplies it once and not for each row. The tokens are those
    /// of a report, but for what rounding decides. A search needs to look at rows: its steps are as with [`Returns::Report`].
    Mix,
    /// The mixed logits of the whole vocabulary, too.
    Logits,
}

/// A guide: what steers, and how much. In DESIGN's words `(weights, context, weight, transform)`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Guide {
    /// Its name, unique in a session; `base` and `mix` are taken.
    pub name: String,
    /// How much it steers, of either sign; live.
    pub weight: f32,
    /// What it is.
    #[serde(flatten)]
    pub kind: GuideKind,
}

/// What a guide is made of.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum GuideKind {
    /// The base's own weights under another context: `+ w * base(context) - w * base(against)`. `against` defaults to the
    /// base's own prompt, which costs no further row.
    Context {
        /// Put before the conversation as a system message (or before a plain text).
        context: String,
        /// The same for the row that is subtracted.
        #[serde(default)]
        against: Option<String>,
    },
    /// A model under adapters, on the base's prompt or its own: `+ w * adapted(prompt)`. `GenARM`'s reward models are of this
    /// kind, over the very base that they steer: one row more of the same batch. Several adapters are a soup (Rewarded Soups,
    /// arXiv 2306.04488): the weights change by Σ share · adapter, and shares are live.
    ///
    /// A `relative` one adds only what the adapters change, `+ w * (adapted - plain)` (proxy tuning, arXiv 2401.08565, with the
    /// model itself as the untuned one): then a weight of 1 on the base speaks as the adapted base would, and a negative one
    /// turns the adapters' effect round instead of cancelling the base.
    Adapter {
        /// At least one.
        adapters: Vec<AdapterUse>,
        /// Take the model without these adapters off.
        #[serde(default)]
        relative: bool,
        /// Index into the guide models; the base by default.
        #[serde(default)]
        model: Option<usize>,
        /// Its own prompt; the base's by default.
        #[serde(default)]
        prompt: Option<Prompt>,
    },
    /// Another model with the same vocabulary, on the base's prompt or its own: `+ w * model(prompt)`.
    Model {
        /// Index into the guide models given beside these options.
        model: usize,
        /// Its own prompt (another template, say); the base's by default.
        #[serde(default)]
        prompt: Option<Prompt>,
    },
}

impl GuideKind {
    /// The same guide under the prompt, or the contexts, of another of its kind.
    pub(super) fn with_prompt_of(&self, other: &Self) -> Self {
        match (self, other) {
            (Self::Adapter { adapters, relative, model, .. }, Self::Adapter { prompt, .. }) => {
                Self::Adapter { adapters: adapters.clone(), relative: *relative, model: *model, prompt: prompt.clone() }
            }
            (Self::Model { model, .. }, Self::Model { prompt, .. }) => {
                Self::Model { model: *model, prompt: prompt.clone() }
            }
            (Self::Context { .. }, Self::Context { .. }) => other.clone(),
            _ => self.clone(),
        }
    }
}

/// An adapter as a row uses it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AdapterUse {
    /// Index into the adapters given beside these options.
    pub adapter: usize,
    /// What it is multiplied with, of either sign; live.
    #[serde(default = "one")]
    pub share: f32,
    /// The preference vector, for an adapter that has preferences (PARM, arXiv 2505.06274); live.
    #[serde(default)]
    pub preference: Vec<f32>,
}

impl AdapterUse {
    /// The adapter at `adapter`, whole.
    pub fn whole(adapter: usize) -> Self {
        Self { adapter, share: 1.0, preference: Vec::new() }
    }
}

fn one() -> f32 {
    1.0
}

/// A filter by a row that goes by its name: `base`, or a guide's.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct NamedFilter {
    /// `base`, or a guide's name (its row under the context, or its model's row).
    pub row: String,
    /// What it keeps.
    #[serde(flatten)]
    pub kind: FilterKind,
}
