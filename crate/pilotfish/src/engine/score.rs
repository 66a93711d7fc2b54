//! Scoring: the logits of every position of a given text. Not the ordinary path: here logits come to the CPU.

use std::rc::Rc;

use serde::Serialize;

use super::Engine;
use super::model::Model;
use crate::model::{BatchToken, RowAdapter, Sizes};
use crate::ops::stride;
use crate::tokenizer::TokenId;
use crate::{Error, Result};

/// Positions whose logits are read back together.
const MOST_AT_ONCE: u64 = 32;

/// What a model makes of a text.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Scores {
    /// `log p(ids[t + 1] | ids[..=t])`, natural, one fewer than ids.
    pub logprobs: Vec<f32>,
    /// The likeliest tokens after the last position, with their logits, highest first.
    pub top: Vec<(TokenId, f32)>,
    /// `ln Σ exp(logit)` at the last position.
    pub logsumexp: f32,
}

/// Scores `ids` under `model` and the sum of `adapters`; `top` tokens are listed for the last position. `progress(done, total)` answers `false` to abort.
pub async fn score(
    engine: &Engine,
    model: &Rc<Model>,
    adapters: &[RowAdapter<'_>],
    ids: &[TokenId],
    top: usize,
    progress: impl FnMut(usize, usize) -> bool,
) -> Result<Scores> {
    let mut scores = Scores { logprobs: Vec::new(), top: Vec::new(), logsumexp: f32::NAN };
    let take = |position: usize, logits: &[f32]| {
        let normaliser = logsumexp(logits);
        if let Some(next) = ids.get(position + 1) {
            scores.logprobs.push((f64::from(logits[*next as usize]) - normaliser) as f32);
        } else {
            scores.logsumexp = normaliser as f32;
            scores.top = highest(logits, top);
        }
    };
    each_logits(engine, model, adapters, ids, take, progress).await?;
    Ok(scores)
}

/// Calls `take(position, logits)` for every position of `ids`, in order; `logits` is `[n_vocab]`.
pub async fn each_logits(
    engine: &Engine,
    model: &Rc<Model>,
    adapters: &[RowAdapter<'_>],
    ids: &[TokenId],
    mut take: impl FnMut(usize, &[f32]),
    mut progress: impl FnMut(usize, usize) -> bool,
) -> Result<()> {
    model.check_language("base")?;
    let spec = &model.spec;
    let vocab = spec.n_vocab;
    if ids.is_empty() {
        return Err(Error::EmptyPrompt { row: "base".into() });
    }
    if ids.len() as u64 > u64::from(spec.context_length) {
        return Err(Error::PromptTooLong { row: "base".into(), found: ids.len(), expected: spec.context_length });
    }
    if let Some(id) = ids.iter().find(|id| **id >= vocab) {
        return Err(Error::TokenId { found: *id, expected: vocab });
    }
    let processor = engine.processor()?;
    let row_bytes = u64::from(stride(vocab)) * 4;
    let chunk = (processor.max_logits() / row_bytes).clamp(1, MOST_AT_ONCE).min(ids.len() as u64) as u32;
    let context = ids.len() as u32;
    let sizes = Sizes { rows: 1, context, chunk, slots: context };
    let mut pass = processor.pass(model, &[adapters.to_vec()], sizes)?;
    pass.write_slots(0, 0, &(0..context).collect::<Vec<u32>>());
    let tokens: Vec<BatchToken> =
        ids.iter().enumerate().map(|(at, id)| BatchToken { id: *id, row: 0, position: at as u32, lane: 0 }).collect();
    let mut done = 0;
    for tokens in tokens.chunks(chunk as usize) {
        let logits = pass.run(tokens).await?;
        for (at, row) in logits.chunks_exact(vocab as usize).enumerate() {
            take(done + at, row);
        }
        done += tokens.len();
        if !progress(done, ids.len()) {
            return Err(Error::Aborted);
        }
    }
    Ok(())
}

/// `ln Σ exp(x)`, in double precision.
pub fn logsumexp(logits: &[f32]) -> f64 {
    let max = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let sum: f64 = logits.iter().map(|logit| f64::from(logit - max).exp()).sum();
    f64::from(max) + sum.ln()
}

/// The `n` highest logits with their ids, highest first, lowest id first where equal.
pub fn highest(logits: &[f32], n: usize) -> Vec<(TokenId, f32)> {
    let mut order: Vec<TokenId> = (0..logits.len() as TokenId).collect();
    let before = |a: &TokenId, b: &TokenId| logits[*b as usize].total_cmp(&logits[*a as usize]).then(a.cmp(b));
    let n = n.min(order.len());
    if n > 0 && n < order.len() {
        order.select_nth_unstable_by(n - 1, before);
    }
    order.truncate(n);
    order.sort_unstable_by(before);
    order.into_iter().map(|id| (id, logits[id as usize])).collect()
}
