//! `detokenize`: ids to text, by the model file's own vocabulary.

use std::path::PathBuf;

use clap::Args;
use serde_json::json;

use crate::args::Global;
use crate::error::Result;
use crate::input::IdsArgs;
use crate::output;

/// Flags of `detokenize`.
#[derive(Debug, Args)]
pub(crate) struct DetokenizeArgs {
    /// A GGUF file, or a tokenizer.json.
    #[arg(long, value_name = "FILE")]
    model: PathBuf,
    #[command(flatten)]
    ids: IdsArgs,
    /// Show control tokens by their names.
    #[arg(long)]
    special: bool,
}

/// Prints `{"text"}`, or the text. Ids outside the vocabulary are refused rather than shown as U+FFFD.
pub(crate) async fn run(args: &DetokenizeArgs, global: &Global) -> Result<()> {
    let ids = args.ids.read()?.ok_or_else(|| super::no_input("--ids, --ids-file"))?;
    let tokenizer = super::tokenizer(&args.model).await?;
    if let Some(found) = ids.iter().copied().find(|id| *id >= tokenizer.n_vocab()) {
        return Err(pilotfish::Error::TokenId { found, expected: tokenizer.n_vocab() }.into());
    }
    let text = if args.special { tokenizer.decode_with_special(&ids) } else { tokenizer.decode(&ids) };
    if global.json { output::json(&json!({ "text": text })) } else { output::text(&format!("{text}\n")) }
}
