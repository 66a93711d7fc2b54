//! `merge`: an adapter put into a model's weights, for checking and for programs that know no adapters.

use std::path::PathBuf;

use clap::Args;
use pilotfish::arch::ModelSpec;
use pilotfish::engine::read_header;
use pilotfish::model::{RowAdapter, merge};

use crate::args::Global;
use crate::error::{CliError, Result};
use crate::host::{self, read_adapter};
use crate::spec::AdapterSpec;
use crate::units::bytes;
use crate::{input, output};

/// Flags of `merge`.
#[derive(Debug, Args)]
pub(crate) struct MergeArgs {
    /// The model: a GGUF file.
    #[arg(long, value_name = "FILE")]
    model: PathBuf,
    /// A GGUF adapter or a PEFT directory; PATH,share=0.5 takes a part of it, PATH,preference=0.8;0.2 sets its preferences.
    #[arg(long, value_name = "PATH")]
    adapter: AdapterSpec,
    /// The GGUF file to write; matrices that change are stored in F32.
    #[arg(value_name = "OUT.gguf")]
    to: PathBuf,
}

/// Merges and says what was written.
pub(crate) async fn run(args: &MergeArgs, global: &Global) -> Result<()> {
    let header = read_header(&mut host::open(&args.model)?).await?;
    let spec = ModelSpec::from_header(&header).map_err(pilotfish::Error::from)?;
    let AdapterSpec { path, share, preference } = &args.adapter;
    let fitted = read_adapter(path)?.fitted(&spec).map_err(pilotfish::Error::from)?;
    let used = RowAdapter { adapter: &fitted, share: *share, preference };
    let file = merge(&input::bytes(&args.model)?, &spec, &used).map_err(pilotfish::Error::from)?;
    std::fs::write(&args.to, &file).map_err(|source| CliError::Write { path: args.to.clone(), source })?;
    if global.json {
        return output::json(&serde_json::json!({ "path": args.to, "bytes": file.len() }));
    }
    output::text(&format!("{}: {}\n", args.to.display(), bytes(file.len() as u64)))
}
