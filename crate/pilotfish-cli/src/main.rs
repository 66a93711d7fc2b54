//! `pilotfish`: the engine on a native GPU, from the command line.
//!
//! Answers go to stdout (one JSON value with `--json`), everything else to stderr. Exit codes: 0 done, 1 the engine
//! refused or a check failed, 2 the command line was wrong. One file per subcommand in [`command`]; what they share lies
//! beside this file.

mod args;
mod color;
mod command;
mod error;
mod guides;
mod host;
mod input;
mod interrupt;
mod method;
mod mix;
mod output;
mod progress;
mod run;
mod sampling;
mod schedule;
mod spec;
mod spread;
mod units;
mod weight;

use std::process::ExitCode;

use clap::Parser;

use args::Cli;
use error::CliError;

#[expect(unsafe_code, reason = "the environment is changed before any thread could read it")]
fn main() -> ExitCode {
    // The trainer's threads each work on sequences of their own. candle would besides share every addition out to a pool behind one
    // lock and a spinning barrier, where perf saw 30 % of the samples (2026-11-24, candle 0.11.1); one thread is no pool.
    // SAFETY: this is the only thread.
    unsafe { std::env::set_var("CANDLE_NUM_THREADS", "1") };
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(refused) => return args::refuse(&refused),
    };
    interrupt::listen();
    match pollster::block_on(command::run(&cli)) {
        Ok(code) => code,
        // Whoever read our output has enough: that is a good end.
        Err(CliError::Closed) => ExitCode::SUCCESS,
        Err(error) => error.report(cli.global.json),
    }
}
