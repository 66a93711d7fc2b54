//! `train`: a guide from preference pairs.

mod job;
mod recipe;
mod shown;

use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum};
use pilotfish_train::output::About;
use pilotfish_train::pairs::{EncodeOptions, EndOfTurn, Strings};
use pilotfish_train::run::RunOptions;
use pilotfish_train::{LoraOptions, Objective, OptimizerOptions, ParmOptions, Target};

use crate::args::Global;
use crate::error::Result;
use job::{Job, Length};

/// What to train.
#[derive(Debug, Subcommand)]
pub(crate) enum TrainCommand {
    /// An autoregressive reward model: a guide (GenARM, arXiv 2410.08193).
    Arm {
        /// Pairs: JSON lines, plain or gzipped, of {prompt, chosen, rejected} with strings or message lists, or HH-RLHF transcripts.
        #[arg(long, value_name = "FILE")]
        pairs: PathBuf,
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
    /// A preference-aware reward model: one guide for several dimensions of preference, whose weights are set while it writes (PARM,
    /// arXiv 2505.06274).
    Parm {
        /// A dimension of preference and its pairs, as for arm; two or more.
        #[arg(long, value_name = "NAME=FILE", value_parser = dimension, required = true)]
        pairs: Vec<(String, PathBuf)>,
        #[command(flatten)]
        train: TrainArgs,
        /// Rank of the part that turns with the preference; --rank is that of the part that does not.
        #[arg(long, value_name = "N", default_value_t = 4)]
        preference_rank: u32,
        /// As for arm.
        #[arg(long, value_name = "BETA", default_value_t = 0.02)]
        beta: f32,
        /// Compare means over an answer's tokens in place of sums.
        #[arg(long)]
        length_normalised: bool,
    },
    /// Direct preference optimisation, with the frozen base as reference (arXiv 2305.18290).
    Dpo {
        /// Pairs: JSON lines, plain or gzipped, of {prompt, chosen, rejected} with strings or message lists, or HH-RLHF transcripts.
        #[arg(long, value_name = "FILE")]
        pairs: PathBuf,
        #[command(flatten)]
        train: TrainArgs,
        /// How hard the base is held on to.
        #[arg(long, value_name = "BETA", default_value_t = 0.1)]
        beta: f32,
        /// Share of pairs taken to be labelled wrongly.
        #[arg(long, value_name = "SHARE", default_value_t = 0.0)]
        label_smoothing: f32,
    },
    /// A guide again from its recipe, which says everything: a TOML file as in models/recipes.
    Recipe(recipe::RecipeArgs),
    /// Likelihood of the chosen answers.
    Sft {
        /// Pairs: JSON lines, plain or gzipped, of {prompt, chosen, rejected} with strings or message lists, or HH-RLHF transcripts.
        #[arg(long, value_name = "FILE")]
        pairs: PathBuf,
        #[command(flatten)]
        train: TrainArgs,
    },
}

/// Flags of every objective.
#[derive(Debug, Args)]
#[allow(clippy::struct_excessive_bools, reason = "each is a flag")]
pub(crate) struct TrainArgs {
    /// The model to make a guide for: a GGUF file. It stays as it is.
    #[arg(long, value_name = "FILE")]
    base: PathBuf,
    /// A folder for the adapter (PEFT and GGUF), its card, metrics and checkpoint.
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
    /// The guide's name; the folder's unless given.
    #[arg(long, value_name = "NAME")]
    name: Option<String>,
    /// The base as PEFT finds it, such as HuggingFaceTB/SmolLM2-135M-Instruct; the file's name unless given.
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
    /// Tokens that prompt and longer answer may have: pairs with more are left out.
    #[arg(long, value_name = "N", default_value_t = 512)]
    max_tokens: usize,
    /// Shorten such pairs instead: first a chat loses its oldest turns, then answers their ends.
    #[arg(long)]
    shorten: bool,
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
    /// What the learned change is multiplied with to be judged and written: below 1, a guide that goes less far and writes more fluently.
    #[arg(long, value_name = "FACTOR", default_value_t = 1.0)]
    strength: f32,
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

/// `NAME=FILE`.
fn dimension(text: &str) -> Result<(String, PathBuf), String> {
    match text.split_once('=') {
        Some((name, file)) if !name.is_empty() && !file.is_empty() => Ok((name.to_owned(), file.into())),
        _ => Err("expected NAME=FILE, such as upbeat=pairs.jsonl".into()),
    }
}

/// Trains, and says what came of it.
pub(crate) fn run(command: &TrainCommand, global: &Global) -> Result<()> {
    let alone = |pairs: &PathBuf| vec![(String::new(), pairs.clone())];
    let job = match command {
        TrainCommand::Arm { pairs, train, beta, length_normalised, margin, label_smoothing } => {
            let (beta, length_normalised) = (*beta, *length_normalised);
            let objective =
                Objective::Arm { beta, length_normalised, margin: *margin, label_smoothing: *label_smoothing };
            train.job(alone(pairs), objective, None)
        }
        TrainCommand::Parm { pairs, train, preference_rank, beta, length_normalised } => {
            let (beta, length_normalised) = (*beta, *length_normalised);
            let objective = Objective::Arm { beta, length_normalised, margin: 0.0, label_smoothing: 0.0 };
            let dimensions = pairs.iter().map(|(name, _)| name.clone()).collect();
            train.job(pairs.clone(), objective, Some(ParmOptions { dimensions, rank: *preference_rank }))
        }
        TrainCommand::Dpo { pairs, train, beta, label_smoothing } => {
            train.job(alone(pairs), Objective::Dpo { beta: *beta, label_smoothing: *label_smoothing }, None)
        }
        TrainCommand::Recipe(args) => return recipe::run(args, global),
        TrainCommand::Sft { pairs, train } => train.job(alone(pairs), Objective::Sft, None),
    };
    job.run(global)?.tell(global)
}

impl TrainArgs {
    fn job(&self, pairs: Vec<(String, PathBuf)>, objective: Objective, parm: Option<ParmOptions>) -> Job {
        Job {
            base: self.base.clone(),
            pairs,
            skip_bad_lines: self.skip_bad_lines,
            encode: EncodeOptions {
                strings: if self.chat { Strings::Chat } else { Strings::Text },
                end_of_turn: match self.end_of_turn {
                    End::Auto => EndOfTurn::Auto,
                    End::Always => EndOfTurn::Always,
                    End::Never => EndOfTurn::Never,
                },
                max_tokens: self.max_tokens,
                shorten: self.shorten,
                held_out: self.held_out,
                seed: self.seed,
                dimension: 0,
            },
            options: self.options(objective, parm),
            length: self.steps.map_or(Length::Epochs(self.epochs), Length::Steps),
            out: self.out.clone(),
            name: self.name.clone(),
            about: About {
                description: self.description.clone(),
                data: self.data.clone(),
                license: self.license.clone(),
                base_name: self.base_name.clone().unwrap_or_default(),
            },
            resume: self.resume,
        }
    }

    /// All but the steps, which the pairs may decide.
    fn options(&self, objective: Objective, parm: Option<ParmOptions>) -> RunOptions {
        RunOptions {
            objective,
            lora: LoraOptions {
                rank: self.rank,
                alpha: self.alpha,
                strength: self.strength,
                dropout: self.dropout,
                targets: self.targets.clone(),
            },
            optimizer: OptimizerOptions {
                learning_rate: self.learning_rate,
                warmup: self.warmup,
                weight_decay: self.weight_decay,
                clip: self.clip,
                ..OptimizerOptions::default()
            },
            parm,
            batch: self.batch,
            steps: 0,
            eval_every: self.eval_every,
            patience: self.patience,
            save_every: self.save_every,
            seed: self.seed,
        }
    }
}
