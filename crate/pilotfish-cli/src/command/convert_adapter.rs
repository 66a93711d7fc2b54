//! `convert-adapter`: a PEFT directory as one GGUF file, half the size.

use std::path::PathBuf;

use clap::Args;
use pilotfish::arch::ModelSpec;
use pilotfish::engine::read_header;

use crate::args::Global;
use crate::error::{CliError, Result};
use crate::host::{self, read_adapter};
use crate::output;
use crate::units::bytes;

/// Flags of `convert-adapter`.
#[derive(Debug, Args)]
pub(crate) struct ConvertAdapterArgs {
    /// What PEFT wrote: a directory with `adapter_config.json` and `adapter_model.safetensors`.
    #[arg(value_name = "PEFT_DIR")]
    from: PathBuf,
    /// The GGUF file to write.
    #[arg(value_name = "OUT.gguf")]
    to: PathBuf,
    /// The model it is for: checks that it fits, and puts its rows in that file's order, so that llama.cpp reads it too.
    #[arg(long, value_name = "FILE")]
    model: Option<PathBuf>,
}

/// Converts and says what was written.
pub(crate) async fn run(args: &ConvertAdapterArgs, global: &Global) -> Result<()> {
    let mut adapter = read_adapter(&args.from)?;
    let mut model_name = String::new();
    if let Some(model) = &args.model {
        let header = read_header(&mut host::open(model)?).await?;
        let spec = ModelSpec::from_header(&header).map_err(pilotfish::Error::from)?;
        adapter = adapter.fitted(&spec).map_err(pilotfish::Error::from)?;
        adapter.architecture = Some(spec.family.to_owned());
        model_name = spec.name;
    }
    let file = adapter.to_gguf().map_err(pilotfish::Error::from)?;
    std::fs::write(&args.to, &file).map_err(|source| CliError::Write { path: args.to.clone(), source })?;
    let info = adapter.info(&model_name);
    if global.json {
        return output::json(&serde_json::json!({ "path": args.to, "bytes": file.len(), "adapter": info }));
    }
    let modules: Vec<&str> = info.modules.iter().map(|module| module.peft_name()).collect();
    let (layers, rank) = (info.layers, info.rank);
    output::text(&format!(
        "{}: {}, rank {rank} on {} of {layers} layers\n",
        args.to.display(),
        bytes(file.len() as u64),
        modules.join(", "),
    ))?;
    if args.model.is_none() && !global.quiet {
        output::diagnostic("its rows are in the order of transformers; with --model FILE llama.cpp could read it too");
    }
    Ok(())
}
