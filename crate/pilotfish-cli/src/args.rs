//! The command line as types. Each subcommand's own flags lie in its file.

use std::process::ExitCode;

use clap::error::ErrorKind;
use clap::{Args, Parser, ValueEnum};
use pilotfish::engine::{self, EngineOptions, Precision};
use pilotfish::gpu::GpuOptions;
use pilotfish::ops::linear::MatvecShape;

use crate::command::Command;
use crate::error::{CliError, USAGE};

/// Steers a language model with others, token by token, on this machine's GPU or CPU.
#[derive(Debug, Parser)]
#[command(name = "pilotfish", version, propagate_version = true)]
pub(crate) struct Cli {
    #[command(flatten)]
    pub(crate) global: Global,
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// Flags of every subcommand.
#[derive(Debug, Clone, Args)]
pub(crate) struct Global {
    /// Print one JSON value on stdout.
    #[arg(long, global = true)]
    pub(crate) json: bool,
    /// Print nothing on stderr but errors.
    #[arg(long, global = true)]
    pub(crate) quiet: bool,
    /// What runs the models; `auto` takes the GPU, and where that is none or software whichever is measured to be faster.
    #[arg(long, global = true, value_name = "PROCESSOR", default_value = "auto")]
    pub(crate) backend: Backend,
    /// Compute in f32: the default on a GPU; a CPU otherwise rounds what it multiplies to 8 bits a block.
    #[arg(long, global = true)]
    pub(crate) precise: bool,
    /// Threads of the CPU, instead of one for each core.
    #[arg(long, global = true, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=256))]
    pub(crate) threads: Option<u32>,
    /// How matrices and vectors are multiplied on the GPU, instead of measuring which suits the GPU.
    #[arg(long, global = true, value_name = "SHAPE")]
    pub(crate) matvec: Option<Matvec>,
    /// Use WebGPU's default limits and no optional feature, as the weakest browser would.
    #[arg(long, global = true)]
    pub(crate) defaults_only: bool,
}

/// The processors.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Backend {
    Auto,
    Gpu,
    Cpu,
}

/// The shapes a matrix-vector kernel comes in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Matvec {
    /// A workgroup per few rows, with barriers: GPUs without subgroups.
    Workgroup,
    /// A subgroup per row.
    Subgroup,
    /// An invocation per row, no barrier: software adapters.
    Rows,
    /// The same over activations of 8 bits.
    Packed,
}

impl Global {
    /// What the engine is opened with.
    pub(crate) fn engine_options(&self) -> EngineOptions {
        EngineOptions {
            backend: match self.backend {
                Backend::Auto => engine::Backend::Auto,
                Backend::Gpu => engine::Backend::Gpu,
                Backend::Cpu => engine::Backend::Cpu,
            },
            precision: self.precise.then_some(Precision::Exact),
            threads: self.threads,
            gpu: GpuOptions { defaults_only: self.defaults_only, ..GpuOptions::default() },
            matvec: self.matvec.map(|shape| match shape {
                Matvec::Workgroup => MatvecShape::Workgroup,
                Matvec::Subgroup => MatvecShape::Subgroup,
                Matvec::Rows => MatvecShape::Rows,
                Matvec::Packed => MatvecShape::Packed,
            }),
            ..EngineOptions::default()
        }
    }
}

/// Prints what clap has to say: help on stdout, refusals on stderr (and as JSON on stdout where that was asked for).
pub(crate) fn refuse(refused: &clap::Error) -> ExitCode {
    if matches!(refused.kind(), ErrorKind::DisplayHelp | ErrorKind::DisplayVersion) {
        // Nothing can be done about a closed terminal.
        let _ = refused.print();
        return ExitCode::SUCCESS;
    }
    let text = refused.render().to_string();
    // clap's first line is the reason; the usage below it is for readers.
    let reason = text.lines().next().unwrap_or_default().trim_start_matches("error: ").to_owned();
    if std::env::args_os().any(|arg| arg == "--json") {
        return CliError::Usage(reason).report(true);
    }
    let _ = refused.print();
    ExitCode::from(USAGE)
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    fn kind(line: &str) -> ErrorKind {
        Cli::try_parse_from(line.split(' ')).expect_err("refused").kind()
    }

    #[test]
    fn global_flags_may_follow_the_subcommand() {
        let cli = Cli::try_parse_from("pilotfish inspect model.gguf --json --matvec rows --defaults-only".split(' '));
        let global = cli.expect("it parses").global;
        assert!(global.json && global.defaults_only && !global.quiet);
        assert_eq!(global.matvec, Some(Matvec::Rows));
    }

    #[test]
    fn a_generation_needs_exactly_one_prompt() {
        assert_eq!(kind("pilotfish generate --model m --prompt a --chat b"), ErrorKind::ArgumentConflict);
        assert_eq!(kind("pilotfish generate --model m --ids 1 --ids-file b"), ErrorKind::ArgumentConflict);
        assert_eq!(kind("pilotfish generate --model m --prompt a --system b"), ErrorKind::ArgumentConflict);
        assert_eq!(kind("pilotfish tokenize --model m"), ErrorKind::MissingRequiredArgument);
        assert_eq!(kind("pilotfish score --model m --ids 1,x"), ErrorKind::ValueValidation);
        assert_eq!(kind("pilotfish bench --model m --runs 0"), ErrorKind::ValueValidation);
        assert_eq!(kind("pilotfish generate --model m --prompt a --in-flight 9"), ErrorKind::ValueValidation);
        assert_eq!(kind("pilotfish swim"), ErrorKind::InvalidSubcommand);
    }

    #[test]
    fn a_negative_temperature_reaches_the_engine() {
        let line = "pilotfish generate --model m --prompt a --temperature -1 --guide a=model:b,weight=-2";
        assert!(Cli::try_parse_from(line.split(' ')).is_ok());
    }
}
