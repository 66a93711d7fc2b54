//! The subcommands, one file each: their flags, what they do, what they print.

mod bench;
mod convert_adapter;
mod detokenize;
mod eval;
mod generate;
mod golden;
mod inspect;
mod merge;
mod pairs;
mod prune;
mod score;
mod tokenize;
mod train;

use std::path::Path;
use std::process::ExitCode;

use clap::Subcommand;
use pilotfish::engine::read_header;
use pilotfish::tokenizer::Tokenizer;

use crate::args::Cli;
use crate::error::{CliError, Result};
use crate::{host, input};

/// What to do.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Show what a GGUF file holds and what it will take to run it.
    Inspect(inspect::InspectArgs),
    /// Turn text into token ids.
    Tokenize(tokenize::TokenizeArgs),
    /// Turn token ids into text.
    Detokenize(detokenize::DetokenizeArgs),
    /// Give the log-probability of each token of a text.
    Score(score::ScoreArgs),
    /// Continue a prompt, steered by guides.
    Generate(Box<generate::GenerateArgs>),
    /// Turn a PEFT adapter into a GGUF one.
    ConvertAdapter(convert_adapter::ConvertAdapterArgs),
    /// Put an adapter into a model's weights.
    Merge(merge::MergeArgs),
    /// Make a smaller model of some of a model's layers.
    Prune(prune::PruneArgs),
    /// Make preference pairs from a model's own answers.
    Pairs(pairs::PairsArgs),
    /// Train a guide from preference pairs.
    #[command(subcommand)]
    Train(Box<train::TrainCommand>),
    /// Measure whether guides steer, and what that costs.
    Eval(eval::EvalArgs),
    /// Measure speed and memory.
    Bench(bench::BenchArgs),
    /// Compare a model with reference numbers.
    Golden(golden::GoldenArgs),
}

/// Does what was asked. The exit code is that of a check; errors have their own.
pub(crate) async fn run(cli: &Cli) -> Result<ExitCode> {
    let global = &cli.global;
    match &cli.command {
        Command::Inspect(args) => return inspect::run(args, global).await,
        Command::Tokenize(args) => tokenize::run(args, global).await?,
        Command::Detokenize(args) => detokenize::run(args, global).await?,
        Command::Score(args) => score::run(args, global).await?,
        Command::Generate(args) => generate::run(args, global).await?,
        Command::ConvertAdapter(args) => convert_adapter::run(args, global).await?,
        Command::Merge(args) => merge::run(args, global).await?,
        Command::Prune(args) => prune::run(args, global)?,
        Command::Pairs(args) => pairs::run(args, global)?,
        Command::Train(command) => train::run(command, global)?,
        Command::Eval(args) => eval::run(args, global).await?,
        Command::Bench(args) => bench::run(args, global).await?,
        Command::Golden(args) => return golden::run(args, global).await,
    }
    Ok(ExitCode::SUCCESS)
}

/// The tokenizer of a GGUF file, whose tensors are not read, or of a `tokenizer.json`.
async fn tokenizer(path: &Path) -> Result<Tokenizer> {
    if path.extension().is_some_and(|extension| extension.eq_ignore_ascii_case("json")) {
        return Ok(Tokenizer::from_json(&input::bytes(path)?)?);
    }
    let header = read_header(&mut host::open(path)?).await?;
    Ok(Tokenizer::from_gguf(&header.metadata)?)
}

/// Says what no engine sees: that there is nothing to work on.
fn no_input(flags: &str) -> CliError {
    CliError::Usage(format!("nothing to work on: give one of {flags}"))
}
