//! `train`: a guide from preference pairs.

use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};

use clap::{Args, Subcommand, ValueEnum};
use pilotfish_train::output::{About, Results, write_results};
use pilotfish_train::pairs::{self, EncodeOptions, EndOfTurn, Pair, PairReport, Reason, Strings};
use pilotfish_train::run::{self, Evaluation, Event, Outcome, RunFolder, RunOptions, StepMetrics, Stopped};
use pilotfish_train::{Base, LoraOptions, Objective, OptimizerOptions, Target};
use serde_json::json;

use crate::args::Global;
use crate::error::{CliError, Result};
use crate::interrupt;
use crate::output;
use crate::progress::Progress;

/// What to train.
#[derive(Debug, Subcommand)]
pub(crate) enum TrainCommand {
    /// An autoregressive reward model: a guide (GenARM, arXiv 2410.08193).
    Arm {
        #[command(flatten)]
        train: TrainArgs,
        /// Multiplies the difference of summed log-probabilities; times their spread (tens of nats) it should stay below about 1.
        #[arg(long, value_name = "BETA", default_value_t = 0.02)]
        beta: f32,
        /// Compare means over an answer's tokens in place of sums.
        #[arg(long)]
        length_normalised: bool,
        /// The margin by which the chosen answer is to win.
        #[arg(long, value_name = "M", default_value_t = 0.0, allow_negative_numbers = true)]
        margin: f32,
        /// Share of pairs taken to be labelled wrongly.
        #[arg(long, value_name = "SHARE", default_value_t = 0.0)]
        label_smoothing: f32,
    },
    /// Direct preference optimisation, with the frozen base as reference (arXiv 2305.18290).
    Dpo {
        #[command(flatten)]
        train: TrainArgs,
        /// How hard the base is held on to.
        #[arg(long, value_name = "BETA", default_value_t = 0.1)]
        beta: f32,
        /// Share of pairs taken to be labelled wrongly.
        #[arg(long, value_name = "SHARE", default_value_t = 0.0)]
        label_smoothing: f32,
    },
    /// Likelihood of the chosen answers.
    Sft {
        #[command(flatten)]
        train: TrainArgs,
    },
}

/// Flags of every objective.
#[derive(Debug, Args)]
pub(crate) struct TrainArgs {
    /// The model to make a guide for: a GGUF file. It stays as it is.
    #[arg(long, value_name = "FILE")]
    base: PathBuf,
    /// Pairs: JSON lines, plain or gzipped, of {prompt, chosen, rejected} with strings or message lists, or HH-RLHF transcripts.
    #[arg(long, value_name = "FILE")]
    pairs: PathBuf,
    /// A folder for the adapter (PEFT and GGUF), its card, metrics and checkpoint.
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
    /// The guide's name; the folder's unless given.
    #[arg(long, value_name = "NAME")]
    name: Option<String>,
    /// The base as PEFT finds it, such as HuggingFaceTB/SmolLM2-135M-Instruct; the file's own name unless given.
    #[arg(long, value_name = "NAME")]
    base_name: Option<String>,
    /// What the guide does, for its card.
    #[arg(long, value_name = "TEXT")]
    description: Option<String>,
    /// Where the pairs come from, for its card.
    #[arg(long, value_name = "TEXT")]
    data: Option<String>,
    /// The guide's licence, for its card; the base's unless given.
    #[arg(long, value_name = "LICENCE")]
    license: Option<String>,
    /// Go on from the folder's checkpoint.
    #[arg(long)]
    resume: bool,
    /// Prompts that are strings are what a user says, through the chat template; else texts to continue.
    #[arg(long)]
    chat: bool,
    /// Whether answers are followed by the end of the turn.
    #[arg(long, value_enum, default_value_t = End::Auto)]
    end_of_turn: End,
    /// Pairs whose prompt and longer answer have more tokens are left out.
    #[arg(long, value_name = "N", default_value_t = 512)]
    max_tokens: usize,
    /// Share of the pairs to judge by, where lines have no "split".
    #[arg(long, value_name = "SHARE", default_value_t = 0.1)]
    held_out: f64,
    /// Pass over lines that cannot be read, and count them.
    #[arg(long)]
    skip_bad_lines: bool,
    /// Matrices to change: some of q,k,v,o,gate,up,down.
    #[arg(long, value_name = "NAME,...", value_delimiter = ',', default_value = "q,k,v")]
    targets: Vec<Target>,
    /// Rank of the change.
    #[arg(long, value_name = "N", default_value_t = 8)]
    rank: u32,
    /// The change is alpha / rank * B A.
    #[arg(long, value_name = "ALPHA", default_value_t = 16.0)]
    alpha: f32,
    /// Share of inputs dropped while training.
    #[arg(long, value_name = "SHARE", default_value_t = 0.0)]
    dropout: f32,
    /// Pairs of a step.
    #[arg(long, value_name = "N", default_value_t = 4)]
    batch: usize,
    /// Times that every pair is seen.
    #[arg(long, value_name = "N", default_value_t = 1.0, conflicts_with = "steps")]
    epochs: f64,
    /// Steps in all, instead of epochs.
    #[arg(long, value_name = "N")]
    steps: Option<usize>,
    /// The highest learning rate.
    #[arg(long = "lr", value_name = "RATE", default_value_t = 2e-3)]
    learning_rate: f64,
    /// Share of the steps over which the rate rises.
    #[arg(long, value_name = "SHARE", default_value_t = 0.1)]
    warmup: f64,
    /// Decoupled weight decay.
    #[arg(long, value_name = "DECAY", default_value_t = 0.0)]
    weight_decay: f64,
    /// Scale gradients down to this norm; 0 leaves them.
    #[arg(long, value_name = "NORM", default_value_t = 1.0)]
    clip: f64,
    /// Judge by the held-out pairs every N steps, besides before and after.
    #[arg(long, value_name = "N", default_value_t = 0)]
    eval_every: usize,
    /// Stop after N evaluations in a row that are no better, and keep the best.
    #[arg(long, value_name = "N", default_value_t = 0)]
    patience: usize,
    /// Write a checkpoint every N steps, besides at the end and at Ctrl-C.
    #[arg(long, value_name = "N", default_value_t = 50)]
    save_every: usize,
    /// Of the first weights, the order of pairs, dropout and the held-out share.
    #[arg(long, value_name = "SEED", default_value_t = 0)]
    seed: u64,
    /// Threads; as many as there are cores unless given. Results do not depend on it.
    #[arg(long, value_name = "N")]
    threads: Option<usize>,
}

/// Whether answers are followed by the token that ends a turn.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum End {
    /// After messages and transcripts, not after strings.
    Auto,
    /// After all.
    Always,
    /// After none.
    Never,
}

/// Trains, and writes what came of it.
pub(crate) fn run(command: &TrainCommand, global: &Global) -> Result<()> {
    let (args, objective) = match command {
        TrainCommand::Arm { train, beta, length_normalised, margin, label_smoothing } => {
            let (beta, length_normalised) = (*beta, *length_normalised);
            (train, Objective::Arm { beta, length_normalised, margin: *margin, label_smoothing: *label_smoothing })
        }
        TrainCommand::Dpo { train, beta, label_smoothing } => {
            (train, Objective::Dpo { beta: *beta, label_smoothing: *label_smoothing })
        }
        TrainCommand::Sft { train } => (train, Objective::Sft),
    };
    let base = Base::read(&args.base).map_err(CliError::Train)?;
    let (train, held_out, report) = read_pairs(args, &base)?;
    if !global.quiet {
        report.sentences().iter().for_each(|line| output::diagnostic(line));
    }
    let options = options(args, objective, train.len());
    std::fs::create_dir_all(&args.out).map_err(|source| CliError::Write { path: args.out.clone(), source })?;
    let threads = args.threads.or_else(|| std::thread::available_parallelism().ok().map(usize::from)).unwrap_or(1);
    let shown = Shown { quiet: global.quiet, progress: Mutex::new(Progress::new("", global.quiet)) };
    let observe = |event: Event<'_>| {
        shown.event(event);
        !interrupt::asked()
    };
    let folder = RunFolder { path: &args.out, resume: args.resume };
    let outcome = run::train(&base, &train, &held_out, &options, &folder, threads, &observe);
    drop(shown);
    finish(args, global, &base, &options, &report, &outcome.map_err(CliError::Train)?)
}

fn read_pairs(args: &TrainArgs, base: &Base) -> Result<(Vec<Pair>, Vec<Pair>, PairReport)> {
    let mut report = PairReport::default();
    let records = pairs::read(&args.pairs, |error| match error {
        pilotfish_train::TrainError::Line { line, .. } if args.skip_bad_lines => {
            report.drop(Reason::Bad, line);
            report.lines += 1;
            Ok(())
        }
        error => Err(error),
    });
    let options = EncodeOptions {
        strings: if args.chat { Strings::Chat } else { Strings::Text },
        end_of_turn: match args.end_of_turn {
            End::Auto => EndOfTurn::Auto,
            End::Always => EndOfTurn::Always,
            End::Never => EndOfTurn::Never,
        },
        max_tokens: args.max_tokens,
        held_out: args.held_out,
        seed: args.seed,
    };
    let encoded = pairs::encode(base, &records.map_err(CliError::Train)?, &options, &mut report);
    let (train, held_out) = encoded.map_err(CliError::Train)?;
    if train.is_empty() {
        let message = report.sentences().join("; ");
        return Err(CliError::Train(pilotfish_train::TrainError::NoPairs { path: args.pairs.clone(), message }));
    }
    Ok((train, held_out, report))
}

fn options(args: &TrainArgs, objective: Objective, pairs: usize) -> RunOptions {
    let epoch = pairs.div_ceil(args.batch.max(1));
    RunOptions {
        objective,
        lora: LoraOptions { rank: args.rank, alpha: args.alpha, dropout: args.dropout, targets: args.targets.clone() },
        optimizer: OptimizerOptions {
            learning_rate: args.learning_rate,
            warmup: args.warmup,
            weight_decay: args.weight_decay,
            clip: args.clip,
            ..OptimizerOptions::default()
        },
        batch: args.batch,
        steps: args.steps.unwrap_or((args.epochs * epoch as f64).round() as usize),
        eval_every: args.eval_every,
        patience: args.patience,
        save_every: args.save_every,
        seed: args.seed,
    }
}

/// What people see while it runs.
struct Shown {
    quiet: bool,
    progress: Mutex<Progress>,
}

impl Shown {
    fn event(&self, event: Event<'_>) {
        let mut progress = self.progress.lock().unwrap_or_else(PoisonError::into_inner);
        match event {
            Event::Scoring { done, total } => {
                progress.say(&format!("scoring pair {done} of {total}"));
            }
            Event::Step { metrics, total, tokens_per_second, left } => {
                let line = step_line(metrics, total);
                let line = format!("{line}, {tokens_per_second:.0} tok/s, {} left", time(left));
                // Where there is no terminal, a line now and then.
                if !progress.say(&line) && !self.quiet && (metrics.step == 1 || metrics.step % 10 == 0) {
                    output::diagnostic(&line);
                }
            }
            _ if self.quiet => {}
            Event::Evaluated { step, evaluation } => {
                progress.clear();
                output::diagnostic(&format!("after step {step}, held out: {}", evaluation_line(evaluation)));
            }
            Event::Resumed { step } => output::diagnostic(&format!("going on after step {step}")),
            _ => {}
        }
    }
}

fn step_line(metrics: &StepMetrics, total: usize) -> String {
    let mut line = format!("step {} of {total}: loss {:.4}", metrics.step, metrics.loss);
    if let (Some(accuracy), Some(margin)) = (metrics.accuracy, metrics.margin) {
        line += &format!(", accuracy {accuracy:.2}, margin {margin:+.1}");
    }
    line
}

fn evaluation_line(found: &Evaluation) -> String {
    let Evaluation { pairs, loss, accuracy, accuracy_over_base, margin, margin_deviation } = found;
    format!(
        "loss {loss:.4}, accuracy {accuracy:.3} ({accuracy_over_base:.3} over the base), margin {margin:+.1} (sd {margin_deviation:.1}), {pairs} pairs"
    )
}

/// `1:02:03`, `2:03`.
fn time(seconds: f64) -> String {
    let seconds = seconds.round() as u64;
    let (hours, minutes, seconds) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
    if hours > 0 { format!("{hours}:{minutes:02}:{seconds:02}") } else { format!("{minutes}:{seconds:02}") }
}

/// Writes the adapter and says what it is.
fn finish(
    args: &TrainArgs,
    global: &Global,
    base: &Base,
    options: &RunOptions,
    report: &PairReport,
    outcome: &Outcome,
) -> Result<()> {
    let named = || args.out.file_name().map(|name| name.to_string_lossy().into_owned());
    let name = args.name.clone().or_else(named).unwrap_or_else(|| "guide".into());
    let about = About {
        description: args.description.clone(),
        data: args.data.clone(),
        license: args.license.clone(),
        base_name: args.base_name.clone().unwrap_or_else(|| base.spec.name.clone()),
    };
    let results = Results { name: &name, about: &about, base, options, report, outcome };
    let files = write_results(&args.out, &results).map_err(CliError::Train)?;
    let speed = outcome.tokens as f64 / outcome.seconds.max(f64::MIN_POSITIVE);
    if global.json {
        return output::json(&json!({
            "stopped": outcome.stopped, "step": outcome.step, "before": outcome.before, "after": outcome.after,
            "tokens": outcome.tokens, "seconds": outcome.seconds, "tokens_per_second": speed, "pairs": report,
            "files": files,
        }));
    }
    let ended = match outcome.stopped {
        Stopped::Finished => "",
        Stopped::Early => " (the best; stopped early)",
        Stopped::Interrupted => " (interrupted: --resume goes on)",
    };
    let (step, tokens, seconds) = (outcome.step, outcome.tokens, time(outcome.seconds));
    let mut text =
        format!("{name}: step {step} of {}{ended}, {tokens} tokens in {seconds}, {speed:.0} tok/s\n", options.steps);
    for (when, evaluation) in [("before", &outcome.before), ("after", &outcome.after)] {
        if let Some(evaluation) = evaluation {
            text += &format!("{when:6}  {}\n", evaluation_line(evaluation));
        }
    }
    for file in &files {
        text += &format!("{}\n", file.display());
    }
    output::text(&text)
}
