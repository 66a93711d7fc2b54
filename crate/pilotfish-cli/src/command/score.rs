//! `score`: how likely a model finds each token of a text.

use std::path::PathBuf;

use clap::Args;
use pilotfish::engine;
use serde_json::json;

use crate::args::Global;
use crate::error::Result;
use crate::host::Host;
use crate::input::{EncodeArgs, IdsArgs};
use crate::interrupt;
use crate::output::{self, Table};
use crate::progress::Progress;

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
}

/// Prints `{"ids", "logprobs", "top", "logsumexp"}`, or tables. Log-probabilities are natural, one fewer than ids.
pub(crate) async fn run(args: &ScoreArgs, global: &Global) -> Result<()> {
    let given = args.ids.read()?;
    if given.is_none() && args.text.is_none() {
        return Err(super::no_input("--ids, --ids-file, --text"));
    }
    let host = Host::open(global).await?;
    let model = host.load(&args.model).await?;
    let ids = match (given, &args.text) {
        (None, Some(text)) => model.tokenizer.encode(text, args.encode.how())?,
        (ids, _) => ids.unwrap_or_default(),
    };
    let mut progress = Progress::new("scoring", global.quiet);
    let scores = engine::score(&host.engine, &model, &ids, args.top, |done, total| {
        progress.update(done as u64, total as u64);
        !interrupt::asked()
    });
    let scores = scores.await?;
    drop(progress);
    if global.json {
        return output::json(&json!({
            "ids": ids, "logprobs": scores.logprobs, "top": scores.top, "logsumexp": scores.logsumexp,
        }));
    }
    let text = |id: u32| output::shown(&model.tokenizer.token_text(id).unwrap_or_default());
    let mut table = Table::new(&["id", "log-prob", "text"]).left(2);
    for (id, logprob) in ids.iter().skip(1).zip(&scores.logprobs) {
        table.row([id.to_string(), format!("{logprob:.4}"), text(*id)]);
    }
    let mut page = table.render();
    if !scores.logprobs.is_empty() {
        let mean =
            scores.logprobs.iter().map(|logprob| f64::from(*logprob)).sum::<f64>() / scores.logprobs.len() as f64;
        page += &format!("\nmean {mean:.4}, perplexity {:.3}\n", (-mean).exp());
    }
    let mut table = Table::new(&["next", "logit", "log-prob", "text"]).left(3);
    for (id, logit) in &scores.top {
        table.row([id.to_string(), format!("{logit:.4}"), format!("{:.4}", logit - scores.logsumexp), text(*id)]);
    }
    output::text(&format!("{page}\n{}", table.render()))
}
