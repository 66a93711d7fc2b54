//! Adapters against the reference: the base under each, and guided by them.

use std::path::PathBuf;
use std::rc::Rc;

use pilotfish::adapter::Adapter;
use pilotfish::engine::{self, AdapterUse, Guide, GuideKind, Model, Models, Prompt, SessionOptions};
use pilotfish::guidance::Sampling;
use pilotfish::model::RowAdapter;
use pilotfish::tokenizer::TokenId;
use serde::Serialize;

use super::compare::{self, Greedy, greedy};
use super::file::{GoldenCase, GoldenMix};
use crate::error::Result;
use crate::host::Host;
use crate::output::{Page, Table};
use crate::run;
use crate::schedule::Schedule;

/// The most that a listed probability of a mix may be off.
const MAX_PROBABILITY_DIFFERENCE: f64 = 1e-3;

/// `NAME=PATH`.
pub(super) fn named(argument: &str) -> Result<(String, PathBuf), String> {
    match argument.split_once('=') {
        Some((name, path)) if !name.is_empty() && !path.is_empty() => Ok((name.to_owned(), path.into())),
        _ => Err("expected NAME=PATH, such as upbeat=tests/golden/adapters/upbeat.gguf".into()),
    }
}

/// Adapters by name, in the order given.
pub(super) fn load(host: &Host, model: &Model, paths: &[(String, PathBuf)]) -> Result<Vec<(String, Rc<Adapter>)>> {
    let load = |(name, path): &(String, PathBuf)| Ok((name.clone(), Rc::new(host.load_adapter(path, model)?)));
    paths.iter().map(load).collect()
}

/// How the base under an adapter compares.
#[derive(Debug, Serialize)]
pub(super) struct Adapted {
    name: String,
    /// KL(reference || ours) at the last position.
    pub(super) kl: f64,
    /// The largest difference of a listed logit.
    max_logit_difference: f64,
    /// The largest difference of a log-probability of the prompt's tokens.
    max_logprob_difference: f64,
}

/// Scores the prompt under each adapter that the case names and was given.
pub(super) async fn score(
    host: &Host,
    model: &Rc<Model>,
    adapters: &[(String, Rc<Adapter>)],
    case: &GoldenCase,
) -> Result<Vec<Adapted>> {
    let mut all = Vec::new();
    for (name, adapter) in adapters {
        let Some(reference) = case.adapters.get(name) else { continue };
        let used = [RowAdapter { adapter, share: 1.0, preference: &[] }];
        let mut last = Vec::new();
        let mut logprobs = Vec::new();
        let take = |position: usize, logits: &[f32]| match case.ids.get(position + 1) {
            Some(next) => logprobs.push(f64::from(logits[*next as usize]) - engine::logsumexp(logits)),
            None => last = logits.to_vec(),
        };
        engine::each_logits(&host.engine, model, &used, &case.ids, take, |_, _| true).await?;
        let normaliser = engine::logsumexp(&last);
        let difference = |(id, logit): &(TokenId, f64)| (f64::from(last[*id as usize]) - logit).abs();
        let known = reference.top.iter().filter(|(id, _)| (*id as usize) < last.len());
        all.push(Adapted {
            name: name.clone(),
            kl: compare::kl(&reference.top, reference.logsumexp, |id| {
                Some(f64::from(*last.get(id as usize)?) - normaliser)
            }),
            max_logit_difference: compare::largest(known.map(difference)),
            max_logprob_difference: compare::largest(
                reference.logprobs.iter().zip(&logprobs).map(|(one, other)| (one - other).abs()),
            ),
        });
    }
    Ok(all)
}

/// How a mix compares.
#[derive(Debug, Serialize)]
pub(super) struct Mixed {
    name: String,
    /// The largest difference of a listed probability, of the weighted sum.
    sum: f64,
    /// The same of the weighted mean.
    normalised: f64,
    greedy: Greedy,
}

impl Mixed {
    /// What is outside the bounds.
    pub(super) fn failures(&self, case: &str) -> Vec<String> {
        let mut failures = Vec::new();
        for (what, off) in [("sum", self.sum), ("mean", self.normalised)] {
            if off.is_nan() || off > MAX_PROBABILITY_DIFFERENCE {
                failures.push(format!(
                    "{case}, {}: a probability of the {what} is off by {off:.1e}, {MAX_PROBABILITY_DIFFERENCE:.0e} is allowed",
                    self.name
                ));
            }
        }
        if let Greedy { parted_at: Some(at), near_tie: false, .. } = self.greedy {
            failures.push(format!(
                "{case}, {}: the greedy continuation parts at token {at}, which is no near-tie",
                self.name
            ));
        }
        failures
    }
}

/// Generates under each mix of the case whose adapters were all given.
pub(super) async fn mix(
    host: &Host,
    model: &Rc<Model>,
    adapters: &[(String, Rc<Adapter>)],
    case: &GoldenCase,
) -> Result<Vec<Mixed>> {
    let given: Vec<Rc<Adapter>> = adapters.iter().map(|(_, adapter)| Rc::clone(adapter)).collect();
    let models = Models { adapters: &given, ..Models::only(model) };
    let place = |name: &str| adapters.iter().position(|(known, _)| known == name);
    let guide = |(name, weight): (&str, f32)| {
        let adapters = vec![AdapterUse::whole(place(name)?)];
        Some(Guide {
            name: name.to_owned(),
            weight,
            kind: GuideKind::Adapter { adapters, relative: false, model: None, prompt: None },
        })
    };
    let mut all = Vec::new();
    for (name, reference) in &case.mixes {
        let Some(guides) = reference.adapters().map(guide).collect::<Option<Vec<_>>>() else { continue };
        let mut options = SessionOptions {
            guides,
            sampling: Sampling::greedy(),
            max_tokens: reference.greedy.ids.len() as u32,
            candidates: reference.sum.len() as u32,
            ..SessionOptions::new(Prompt::Ids(case.ids.clone()))
        };
        let made = run::generate(host, models, &options, &Schedule::default(), |_| Ok(())).await?;
        let ids: Vec<TokenId> = made.steps.iter().map(|step| step.id).collect();
        let ended = ids.last().is_some_and(|id| model.tokenizer.is_end(*id));
        let GoldenMix { sum, normalised, greedy: expected, .. } = reference;
        let sum = off(sum, &made);
        options.normalize = true;
        options.max_tokens = 1;
        let made = run::generate(host, models, &options, &Schedule::default(), |_| Ok(())).await?;
        let greedy = greedy(&expected.ids, &expected.gap, &ids, ended);
        all.push(Mixed { name: name.clone(), sum, normalised: off(normalised, &made), greedy });
    }
    Ok(all)
}

/// The largest difference between the listed probabilities and those of the first step. A token that only one of the two lists
/// counts as impossible in the other.
fn off(reference: &[(TokenId, f64)], made: &run::Generated) -> f64 {
    let Some(step) = made.steps.first() else { return f64::NAN };
    let ours = |id: TokenId| {
        let found = step.candidates.iter().find(|candidate| candidate.id == id);
        found.map_or(0.0, |candidate| f64::from(candidate.log_probs.mix).exp())
    };
    compare::largest(reference.iter().map(|(id, probability)| (ours(*id) - probability).abs()))
}

/// Adds a table of adapters and one of mixes, where there are any.
pub(super) fn describe<'a>(
    cases: impl Iterator<Item = (&'a str, &'a [Adapted], &'a [Mixed])> + Clone,
    page: &mut Page,
) {
    let mut table = Table::new(&["case", "adapter", "KL", "max |logit|", "max |log-prob|"]).left(2);
    let mut any = false;
    for (case, adapted, _) in cases.clone() {
        for adapted in adapted {
            any = true;
            table.row([
                case.to_owned(),
                adapted.name.clone(),
                format!("{:.2e}", adapted.kl),
                format!("{:.2e}", adapted.max_logit_difference),
                format!("{:.2e}", adapted.max_logprob_difference),
            ]);
        }
    }
    if any {
        page.table(&table);
    }
    let mut table = Table::new(&["case", "mix", "sum", "mean", "greedy"]).left(2);
    any = false;
    for (case, _, mixes) in cases {
        for mixed in mixes {
            any = true;
            table.row([
                case.to_owned(),
                mixed.name.clone(),
                format!("{:.2e}", mixed.sum),
                format!("{:.2e}", mixed.normalised),
                mixed.greedy.to_string(),
            ]);
        }
    }
    if any {
        page.table(&table);
    }
}
