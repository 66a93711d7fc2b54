//! Rewards of whole texts, from outside a session's rows: whatever implements [`Scorer`], and [`RewardHead`], a reward model of its own.

use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;

use super::Engine;
use super::model::{Model, Prompt};
use super::pass::{Pass, outputs};
use super::streams::Streams;
use crate::chat::{Message, Role};
use crate::model::{Sizes, SlotPool};
use crate::tokenizer::{Bos, Encode, TokenId};
use crate::{Error, Result};

/// Texts that are scored in one batch.
const MOST_TEXTS: u32 = 16;
/// Tokens of a batch.
const CHUNK: u32 = 64;

/// The rewards of some texts, when they are there.
pub type Scoring<'a> = Pin<Box<dyn Future<Output = Result<Vec<f32>>> + 'a>>;

/// What rewards a text: a reward model, a rule, a person.
pub trait Scorer: std::fmt::Debug {
    /// The reward of each of `texts`: what was said after the prompt, so far. As many as there are texts, all finite.
    fn score<'a>(&'a mut self, texts: &'a [String]) -> Scoring<'a>;
}

/// A reward model: a GGUF of any family here with a classifier head (`cls.output.weight`, as llama.cpp's converter writes it for
/// rerankers and sequence classifiers), read at a text's last token. It need not share the base's vocabulary: it reads text.
///
/// Texts are scored side by side, and what they have in common, with each other and with those before, is computed once.
#[derive(Debug)]
pub struct RewardHead {
    model: Rc<Model>,
    prompt: Prompt,
    of: Of,
    context: u32,
    pass: Box<dyn Pass>,
    streams: Streams,
}

/// What of the scores is the reward.
#[derive(Debug, Clone, Copy)]
enum Of {
    One(usize),
    /// Of a reranker: the logit of `yes` less that of `no`.
    Difference(usize, usize),
}

impl RewardHead {
    /// Readies a reward model for the texts that follow `prompt`, of at most `context_length` tokens with it (0: as many as the model
    /// was trained for, up to 4,096). `class` names one of the model's scores, by its label or number; without it the model must have
    /// one score, or those labelled `yes` and `no`.
    pub fn new(
        engine: &Engine,
        model: &Rc<Model>,
        prompt: &Prompt,
        class: Option<&str>,
        context_length: u32,
    ) -> Result<Self> {
        let of = class_of(model, class)?;
        if matches!(prompt, Prompt::Ids(_)) {
            return Err(Error::RewardNeedsText);
        }
        let spec = &model.spec;
        let most = if context_length == 0 { 4096 } else { context_length };
        let context = most.min(spec.context_length);
        // A text is there once, and what others add to it is theirs.
        let slots = 2 * context;
        let sizes = Sizes { rows: MOST_TEXTS, context, chunk: CHUNK, slots };
        let pool = SlotPool::new(slots, sizes.kv_bytes(spec) / u64::from(slots));
        let no_adapters = vec![Vec::new(); MOST_TEXTS as usize];
        Ok(Self {
            model: Rc::clone(model),
            prompt: prompt.clone(),
            of,
            context,
            pass: engine.processor()?.pass(model, &no_adapters, sizes)?,
            streams: Streams::new(Rc::new(pool), MOST_TEXTS as usize, 1, context),
        })
    }

    /// The tokens of the prompt and a text after it: a conversation with the text as its answer.
    fn encode(&self, text: &str) -> Result<Vec<TokenId>> {
        let ids = match &self.prompt {
            Prompt::Chat(messages) => {
                let mut messages = messages.clone();
                messages.push(Message { role: Role::Assistant, content: text.to_owned() });
                let rendered = self.model.chat.render(&messages, false)?;
                self.model
                    .tokenizer
                    .encode(&rendered, Encode { special: true, bos: self.model.bos_before(&rendered) })?
            }
            Prompt::Text(prompt) => {
                let whole = format!("{prompt}{text}");
                self.model.tokenizer.encode(&whole, Encode { special: false, bos: Bos::Auto })?
            }
            Prompt::Ids(_) => return Err(Error::RewardNeedsText),
        };
        match ids.len() {
            0 => Err(Error::EmptyPrompt { row: "reward".into() }),
            found if found > self.context as usize => {
                Err(Error::PromptTooLong { row: "reward".into(), found, expected: self.context })
            }
            _ => Ok(ids),
        }
    }

    /// The rewards of some texts, all or, where the pool has no room for them at once, [`Error::PoolFull`].
    async fn batch(&mut self, texts: &[Vec<TokenId>]) -> Result<Vec<f32>> {
        // A token more than there are: the one that `hold` would leave to the next step. Idle rows hold what the first does.
        let idle = (texts.len()..MOST_TEXTS as usize).map(|_| &texts[0]);
        let wanted: Vec<Vec<TokenId>> = texts.iter().chain(idle).map(|ids| [&ids[..], &[0]].concat()).collect();
        let missing = self.streams.hold(&wanted)?;
        self.streams.slots().for_each(|(row, slots)| self.pass.write_slots(row, 0, slots));
        let mut rewards = vec![f32::NAN; texts.len()];
        for batch in missing.tokens.chunks(CHUNK as usize) {
            let scores = self.pass.run(batch).await.inspect_err(|_| self.streams.forget())?;
            let width = outputs(&self.model);
            for (token, scores) in batch.iter().zip(scores.chunks_exact(width)) {
                let row = token.row as usize;
                if texts.get(row).is_some_and(|ids| ids.len() == token.position as usize + 1) {
                    rewards[row] = self.of.reward(scores);
                }
            }
        }
        Ok(rewards)
    }

    /// As [`RewardHead::batch`], and the last token of each text is among what is computed: where it is the beginning of another, or
    /// was there before, the cache has its keys and values, but nobody has its score.
    async fn rewards(&mut self, texts: &[Vec<TokenId>]) -> Result<Vec<f32>> {
        let shortest = texts.iter().map(Vec::len).min().unwrap_or_default();
        let mut rewards = self.batch(texts).await?;
        for (reward, ids) in rewards.iter_mut().zip(texts) {
            if reward.is_nan() {
                self.streams.keep(ids.len() - 1);
                *reward = self.batch(std::slice::from_ref(ids)).await?[0];
            }
        }
        self.streams.keep(shortest - 1);
        Ok(rewards)
    }
}

impl Scorer for RewardHead {
    fn score<'a>(&'a mut self, texts: &'a [String]) -> Scoring<'a> {
        Box::pin(async move {
            let texts = texts.iter().map(|text| self.encode(text)).collect::<Result<Vec<_>>>()?;
            let mut rewards = Vec::new();
            let mut at_once = MOST_TEXTS as usize;
            while rewards.len() < texts.len() {
                let end = texts.len().min(rewards.len() + at_once);
                match self.rewards(&texts[rewards.len()..end]).await {
                    Ok(more) => rewards.extend(more),
                    Err(Error::PoolFull { .. }) if at_once > 1 => at_once /= 2,
                    Err(error) => return Err(error),
                }
            }
            Ok(rewards)
        })
    }
}

impl Of {
    fn reward(self, scores: &[f32]) -> f32 {
        match self {
            Self::One(at) => scores[at],
            Self::Difference(yes, no) => scores[yes] - scores[no],
        }
    }
}

/// The score that is the reward.
fn class_of(model: &Model, class: Option<&str>) -> Result<Of> {
    let key = format!("{}.classifier.output_labels", model.spec.family);
    let labels = model.header.metadata.opt_strings(&key)?;
    let labels: Vec<&str> = labels.map(|labels| labels.iter().collect()).unwrap_or_default();
    let classes = model.spec.model.classes.unwrap_or_default() as usize;
    let labelled = |name: &str| labels.iter().position(|label| *label == name).filter(|at| *at < classes);
    let found = || match (classes, labels.is_empty()) {
        (0, _) => "no score: it is no classifier".to_owned(),
        (_, true) => format!("scores 0 to {}", classes - 1),
        (_, false) => format!("the scores {}", labels.join(", ")),
    };
    let missing = |asked: &str| Err(Error::NoClass { asked: asked.to_owned(), found: found() });
    match class {
        Some(name) => match labelled(name).or_else(|| name.parse().ok().filter(|at: &usize| *at < classes)) {
            Some(at) => Ok(Of::One(at)),
            None => missing(&format!("score `{name}`")),
        },
        None if classes == 1 => Ok(Of::One(0)),
        None => match labelled("yes").zip(labelled("no")) {
            Some((yes, no)) => Ok(Of::Difference(yes, no)),
            None => missing("the only score"),
        },
    }
}
