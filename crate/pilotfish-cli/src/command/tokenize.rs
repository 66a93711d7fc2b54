//! `tokenize`: text to ids, by the model file's own vocabulary.

use std::path::PathBuf;

use clap::Args;
use serde_json::json;

use crate::args::Global;
use crate::error::Result;
use crate::input::{self, EncodeArgs};
use crate::output::{self, Table};

/// Flags of `tokenize`.
#[derive(Debug, Args)]
pub(crate) struct TokenizeArgs {
    /// A GGUF file, or a tokenizer.json.
    #[arg(long, value_name = "FILE")]
    model: PathBuf,
    /// The text.
    #[arg(long, required_unless_present = "file", conflicts_with = "file")]
    text: Option<String>,
    /// A file that holds the text.
    #[arg(long)]
    file: Option<PathBuf>,
    #[command(flatten)]
    encode: EncodeArgs,
}

/// Prints `{"ids"}`, or a table.
pub(crate) async fn run(args: &TokenizeArgs, global: &Global) -> Result<()> {
    let text = match (&args.text, &args.file) {
        (Some(text), _) => text.clone(),
        (None, Some(path)) => input::text(path)?,
        (None, None) => return Err(super::no_input("--text, --file")),
    };
    let tokenizer = super::tokenizer(&args.model).await?;
    let ids = tokenizer.encode(&text, args.encode.how())?;
    if global.json {
        return output::json(&json!({ "ids": ids }));
    }
    let mut table = Table::new(&["id", "name", "text"]).left(1).left(2);
    for id in &ids {
        let text = tokenizer.token_text(*id).unwrap_or_default();
        table.row([id.to_string(), tokenizer.token_name(*id).unwrap_or_default().to_owned(), output::shown(&text)]);
    }
    output::text(&table.render())
}
