//! `score`: how likely a model, under an adapter or not, finds each token of a text; and what guides make of its last position.

use std::path::PathBuf;

use clap::Args;
use pilotfish::engine::{self, Prompt, Scores, SessionOptions};
use pilotfish::guidance::Sampling;
use pilotfish::model::RowAdapter;
use pilotfish::tokenizer::TokenId;
use serde_json::json;

use crate::args::Global;
use crate::error::{CliError, Result};
use crate::guides::{self, Asked, GuideArgs, Loaded};
use crate::host::Host;
use crate::input::{EncodeArgs, IdsArgs};
use crate::interrupt;
use crate::mix::Mix;
use crate::output::{self, Page, Table};
use crate::progress::Progress;
use crate::run;
use crate::schedule::Schedule;

/// The most tokens that a step lists.
const MOST_CANDIDATES: usize = 64;

/// Flags of `score`.
#[derive(Debug, Args)]
pub(crate) struct ScoreArgs {
    /// A GGUF file.
    #[arg(long, value_name = "FILE")]
    model: PathBuf,
    #[command(flatten)]
    ids: IdsArgs,
    /// A text, instead of ids.
    #[arg(long, conflicts_with_all = ["ids", "ids_file"])]
    text: Option<String>,
    #[command(flatten)]
    encode: EncodeArgs,
    /// Tokens to list after the last position, likeliest first.
    #[arg(long, value_name = "N", default_value_t = 20)]
    top: usize,
    #[command(flatten)]
    guides: GuideArgs,
    /// Divide the mix by the sum of all weights.
    #[arg(long)]
    normalize: bool,
    /// The temperature of the mix.
    #[arg(long, value_name = "T", default_value_t = 1.0, allow_negative_numbers = true)]
    temperature: f32,
}

/// Prints `{"ids", "logprobs", "top", "logsumexp"}`, with guides also `"mix": {"top": [[id, probability]]}`; or tables.
/// Log-probabilities are natural, one fewer than ids.
pub(crate) async fn run(args: &ScoreArgs, global: &Global) -> Result<()> {
    let given = args.ids.read()?;
    if given.is_none() && args.text.is_none() {
        return Err(super::no_input("--ids, --ids-file, --text"));
    }
    let Asked { mix, guides: specs, adapters } = args.guides.read()?;
    if !specs.is_empty() && args.top > MOST_CANDIDATES {
        return Err(CliError::Usage(format!("--top is {}, a mix lists at most {MOST_CANDIDATES} tokens", args.top)));
    }
    let host = Host::open(global).await?;
    let loaded = guides::load(&host, &args.model, &specs, &adapters).await?;
    let model = &loaded.base;
    let ids = match (given, &args.text) {
        (None, Some(text)) => model.tokenizer.encode(text, args.encode.how())?,
        (ids, _) => ids.unwrap_or_default(),
    };
    let scores = score(&host, &loaded, &ids, args.top).await?;
    let mixed = if specs.is_empty() { None } else { Some(mix_top(args, &mix, &host, &loaded, &ids).await?) };
    if global.json {
        let mut report = json!({
            "ids": ids, "logprobs": scores.logprobs, "top": scores.top, "logsumexp": scores.logsumexp,
        });
        if let Some(top) = mixed {
            report["mix"] = json!({ "top": top });
        }
        return output::json(&report);
    }
    let text = |id: u32| output::shown(&model.tokenizer.token_text(id).unwrap_or_default());
    let mut table = Table::new(&["id", "log-prob", "text"]).left(2);
    for (id, logprob) in ids.iter().skip(1).zip(&scores.logprobs) {
        table.row([id.to_string(), format!("{logprob:.4}"), text(*id)]);
    }
    let mut page = Page::default();
    page.table(&table);
    if !scores.logprobs.is_empty() {
        let mean =
            scores.logprobs.iter().map(|logprob| f64::from(*logprob)).sum::<f64>() / scores.logprobs.len() as f64;
        page.line(format_args!("mean {mean:.4}, perplexity {:.3}", (-mean).exp()));
    }
    let mut table = Table::new(&["next", "logit", "log-prob", "text"]).left(3);
    for (id, logit) in &scores.top {
        table.row([id.to_string(), format!("{logit:.4}"), format!("{:.4}", logit - scores.logsumexp), text(*id)]);
    }
    page.table(&table);
    if let Some(top) = mixed {
        let mut table = Table::new(&["mix", "probability", "text"]).left(2);
        for (id, probability) in top {
            table.row([id.to_string(), format!("{probability:.4}"), text(id)]);
        }
        page.table(&table);
    }
    page.print()
}

/// The base under its own adapters.
async fn score(host: &Host, loaded: &Loaded, ids: &[TokenId], top: usize) -> Result<Scores> {
    let used: Vec<RowAdapter<'_>> = loaded.base_adapters.iter().map(|used| loaded.models().used(used)).collect();
    let mut progress = Progress::new("scoring", host.quiet);
    let scores = engine::score(&host.engine, &loaded.base, &used, ids, top, |done, total| {
        progress.update(done as u64, total as u64);
        !interrupt::asked()
    });
    Ok(scores.await?)
}

/// The likeliest tokens after the last position under the mix, with their probabilities: the first step of a session.
async fn mix_top(
    args: &ScoreArgs,
    mix: &Mix,
    host: &Host,
    loaded: &Loaded,
    ids: &[TokenId],
) -> Result<Vec<(TokenId, f32)>> {
    // A context goes before a text; ids stand for themselves.
    let prompt = match &args.text {
        Some(text) if !args.encode.special && !args.encode.no_bos => Prompt::Text(text.clone()),
        _ => Prompt::Ids(ids.to_vec()),
    };
    let options = SessionOptions {
        guides: loaded.guides.clone(),
        adapters: loaded.base_adapters.clone(),
        normalize: args.normalize || mix.normalize,
        filter: mix.filter.clone(),
        sampling: Sampling { temperature: args.temperature, ..Sampling::default() },
        max_tokens: 1,
        candidates: args.top as u32,
        ..SessionOptions::new(prompt)
    };
    let made = run::generate(host, loaded.models(), &options, &Schedule::default(), |_| Ok(())).await?;
    let candidates = made.steps.first().map_or(&[][..], |step| &step.candidates);
    Ok(candidates.iter().map(|candidate| (candidate.id, candidate.log_probs.mix.exp())).collect())
}
