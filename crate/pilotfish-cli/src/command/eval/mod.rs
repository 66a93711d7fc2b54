//! `eval`: does a guide steer, and what does it cost? Writes held-out texts in every way that a specification names, judges them, and
//! makes a report of it.
//!
//! Texts are kept as they are made ([`log`]); everything else is a function of them: figures ([`summary`], [`bootstrap`], [`frontier`]),
//! plots ([`plots`], [`svg`]) and the page ([`report`]).

mod bootstrap;
mod frontier;
mod grades;
mod log;
mod machine;
mod measure;
mod pattern;
mod plots;
mod prompts;
mod report;
mod settings;
mod spec;
mod summary;
mod svg;
mod write;

use std::path::PathBuf;

use clap::Args;

use crate::args::Global;
use crate::error::{CliError, Result};
use crate::host::Host;
use crate::output;

use log::{Identity, Log};
use machine::Machine;
use prompts::Prompts;
use report::Report;
use settings::Part;
use spec::Spec;
use summary::Table;
use write::{Ended, Writer};

/// Flags of `eval`.
#[derive(Debug, Args)]
pub(crate) struct EvalArgs {
    /// What to evaluate: a TOML file, such as models/recipes/evaluation.toml.
    #[arg(value_name = "FILE")]
    spec: PathBuf,
    /// The folder for the report, and for the texts, which a run that was stopped goes on with.
    #[arg(long, value_name = "FOLDER")]
    out: PathBuf,
    /// The base, instead of the file's: a GGUF file.
    #[arg(long, value_name = "FILE")]
    base: Option<PathBuf>,
    /// At most so many prompts.
    #[arg(long, value_name = "N")]
    prompts: Option<usize>,
    /// Tokens of a text, instead of the file's.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=4096))]
    tokens: Option<u32>,
    /// Make the texts of these parts alone; the report has whatever texts there are.
    #[arg(long, value_name = "PART", value_delimiter = ',')]
    only: Vec<Part>,
    /// Make the texts of these rows alone, by the beginning of their names: base, sharp/1, upbeat/sum.
    #[arg(long, value_name = "ROW", value_delimiter = ',', conflicts_with = "only")]
    rows: Vec<String>,
    /// Make no texts: write the report of those that are there.
    #[arg(long, conflicts_with_all = ["only", "rows"])]
    report_only: bool,
}

/// Makes what is missing, and writes the report.
pub(crate) async fn run(args: &EvalArgs, global: &Global) -> Result<()> {
    let mut spec = Spec::read(&args.spec)?;
    spec.base = args.base.clone().unwrap_or(spec.base);
    spec.tokens = args.tokens.unwrap_or(spec.tokens);
    for path in spec.without_missing().iter().filter(|_| !global.quiet) {
        output::diagnostic(&format!("left out, since it is not there: {}", path.display()));
    }
    let Prompts { held_out, left_out } = Prompts::read(&spec.prompts, args.prompts)?;
    // Everything may be in the report; what is made is what was asked for.
    let (settings, files) = settings::settings(&spec, held_out.len(), &[]);
    let identity = Identity::new(&spec.base, &files, spec.tokens, spec.seed)?;
    let failed = |source| CliError::Write { path: args.out.clone(), source };
    std::fs::create_dir_all(&args.out).map_err(failed)?;
    let mut log = Log::open(&args.out.join("texts.jsonl"))?;
    let mut host = None;
    if !args.report_only {
        let (wanted, _) = settings::settings(&spec, held_out.len(), &args.only);
        let named = |name: &str| args.rows.is_empty() || args.rows.iter().any(|row| name.starts_with(row.as_str()));
        let wanted: Vec<_> = settings
            .iter()
            .filter(|setting| named(&setting.name) && wanted.iter().any(|other| other.name == setting.name))
            .cloned()
            .collect();
        let host = host.insert(Host::open(global).await?);
        let writer = Writer::new(host, &spec, &files, &identity, &held_out).await?;
        let mut ended = writer.write(&wanted, &mut log).await?;
        if ended == Ended::Whole {
            ended = writer.time(&wanted, &mut log).await?;
        }
        if ended == Ended::Interrupted && !global.quiet {
            output::diagnostic("stopped; the report has what there is, and the same command goes on");
        }
    }
    let table = Table::new(&spec, &settings, &log, &identity, &held_out)?;
    let report = Report::new(&spec, &table, held_out.len(), Machine::here(host.as_ref()));
    report.write(&args.out, &spec, &table, &held_out)?;
    if global.json {
        return output::json(&report);
    }
    let met = report.goals.iter().filter(|goal| goal.met == Some(true)).count();
    output::text(&format!(
        "{}: {} rows on {} prompts ({left_out} of another split left out); {met} of {} goals met\n",
        args.out.join("README.md").display(),
        table.rows.len(),
        held_out.len(),
        report.goals.len(),
    ))
}
