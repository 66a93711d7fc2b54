//! The golden file: `{"model", "sha256", "reference", "cases": [...], "tokenize": [[text, ids], ...]}`.

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
    /// Under LoRA adapters.
    #[serde(default)]
    adapters: serde_json::Map<String, serde_json::Value>,
    /// Guided by them.
    #[serde(default)]
    mixes: serde_json::Map<String, serde_json::Value>,
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
    /// What the chosen cases hold that is not compared: guides made of adapters.
    pub(super) fn skipped(&self, chosen: &[String]) -> Vec<String> {
        let mut skipped = Vec::new();
        for case in self.cases.iter().filter(|case| chosen.is_empty() || chosen.contains(&case.name)) {
            let adapters = case.adapters.keys().map(|name| format!("{}: adapter {name}", case.name));
            skipped.extend(adapters.chain(case.mixes.keys().map(|name| format!("{}: mix {name}", case.name))));
        }
        skipped
    }
}
