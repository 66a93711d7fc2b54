//! The golden file: `{"model", "sha256", "reference", "cases": [...], "tokenize": [[text, ids], ...]}`.

use std::collections::BTreeMap;
use std::path::PathBuf;

use pilotfish::tokenizer::TokenId;
use serde::Deserialize;

/// Reference numbers of one model. Fields this does not know are left alone.
#[derive(Debug, Deserialize)]
pub(super) struct Golden {
    /// Who computed them, and how.
    #[serde(default)]
    pub(super) reference: String,
    /// The cases.
    pub(super) cases: Vec<GoldenCase>,
    /// Texts with the ids they give.
    #[serde(default)]
    pub(super) tokenize: Vec<(String, Vec<TokenId>)>,
}

/// One prompt.
#[derive(Debug, Deserialize)]
pub(super) struct GoldenCase {
    /// Its name.
    pub(super) name: String,
    /// What gives `ids`, control tokens in it taken as such.
    pub(super) text: Option<String>,
    /// The prompt.
    pub(super) ids: Vec<TokenId>,
    /// The likeliest tokens after it with their logits.
    pub(super) top: Vec<(TokenId, f64)>,
    /// `ln Σ exp(logit)` there.
    pub(super) logsumexp: f64,
    /// `log p(ids[t + 1] | ids[..=t])`.
    #[serde(default)]
    pub(super) logprobs: Vec<f64>,
    /// The likeliest continuation, token by token.
    #[serde(default)]
    pub(super) greedy: Vec<TokenId>,
    /// For each of `greedy`, how far its logit is above the next.
    #[serde(default)]
    pub(super) margins: Vec<f64>,
    /// Under adapters, by name.
    #[serde(default)]
    pub(super) adapters: BTreeMap<String, GoldenAdapter>,
    /// Guided by them.
    #[serde(default)]
    pub(super) mixes: BTreeMap<String, GoldenMix>,
}

/// The same prompt under an adapter.
#[derive(Debug, Deserialize)]
pub(super) struct GoldenAdapter {
    /// The likeliest tokens after it with their logits.
    pub(super) top: Vec<(TokenId, f64)>,
    /// `ln Σ exp(logit)` there.
    pub(super) logsumexp: f64,
    /// `log p(ids[t + 1] | ids[..=t])`.
    #[serde(default)]
    pub(super) logprobs: Vec<f64>,
}

/// The same prompt, guided by adapters.
#[derive(Debug, Deserialize)]
pub(super) struct GoldenMix {
    /// By adapter; `base` is 1.
    pub(super) weights: BTreeMap<String, f32>,
    /// The likeliest tokens with their probabilities, of the weighted sum of logits.
    pub(super) sum: Vec<(TokenId, f64)>,
    /// The same of the weighted mean.
    pub(super) normalised: Vec<(TokenId, f64)>,
    /// The likeliest continuation under the sum.
    pub(super) greedy: GoldenGreedy,
}

impl GoldenMix {
    /// The adapters that it needs.
    pub(super) fn adapters(&self) -> impl Iterator<Item = (&str, f32)> {
        self.weights.iter().filter(|(name, _)| *name != "base").map(|(name, weight)| (name.as_str(), *weight))
    }
}

/// A continuation, token by token.
#[derive(Debug, Deserialize)]
pub(super) struct GoldenGreedy {
    /// The tokens.
    pub(super) ids: Vec<TokenId>,
    /// For each, how far its logit is above the next.
    pub(super) gap: Vec<f64>,
}

impl GoldenCase {
    /// What makes this case useless for a model of `n_vocab` tokens, if anything does.
    pub(super) fn check(&self, n_vocab: u32) -> Result<(), String> {
        let all = self.ids.iter().chain(&self.greedy).chain(self.top.iter().map(|(id, _)| id));
        match all.copied().find(|id| *id >= n_vocab) {
            Some(id) => Err(format!("has token {id}, the model has {n_vocab}")),
            None if self.ids.is_empty() => Err("has no ids".into()),
            None if self.top.is_empty() => Err("has no top tokens".into()),
            None if self.margins.len() != self.greedy.len() => {
                Err(format!("has {} margins for {} greedy tokens", self.margins.len(), self.greedy.len()))
            }
            None => Ok(()),
        }
    }
}

impl Golden {
    /// What the chosen cases hold that is not compared, because its adapters were not given.
    pub(super) fn skipped(&self, chosen: &[String], given: &[(String, PathBuf)]) -> Vec<String> {
        let missing = |name: &str| given.iter().all(|(known, _)| known != name);
        let mut skipped = Vec::new();
        for case in self.cases.iter().filter(|case| chosen.is_empty() || chosen.contains(&case.name)) {
            let adapters = case.adapters.keys().filter(|name| missing(name));
            skipped.extend(adapters.map(|name| format!("{}: adapter {name}", case.name)));
            let mixes = case.mixes.iter().filter(|(_, mix)| mix.adapters().any(|(name, _)| missing(name)));
            skipped.extend(mixes.map(|(name, _)| format!("{}: mix {name}", case.name)));
        }
        skipped
    }
}
