//! `pairs`: preference pairs out of a model's own answers, the best against the worst by a rule.

mod answers;

use std::path::PathBuf;

use clap::Args;
use pilotfish::chat::Message;
use pilotfish_train::pairs::Prompt;
use pilotfish_train::rules::Rule;
use pilotfish_train::{SampleOptions, Sampler, sha256};
use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::args::Global;
use crate::error::{CliError, Result};
use crate::progress::Progress;
use crate::{input, interrupt, output};
use answers::{Answers, Made};

/// Flags of `pairs`.
#[derive(Debug, Args)]
pub(crate) struct PairsArgs {
    /// The model that answers: a GGUF file.
    #[arg(long, value_name = "FILE")]
    model: PathBuf,
    /// Prompts: JSON lines of {"prompt": a text to continue, or a list of messages}; a "split" is passed on.
    #[arg(long, value_name = "FILE")]
    prompts: PathBuf,
    /// The file of pairs to write.
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
    /// The file that keeps the answers, so that a lost run goes on and other rules choose from them; beside the pairs unless given.
    #[arg(long, value_name = "FILE")]
    answers: Option<PathBuf>,
    /// What is preferred: sentiment, readability, grade (Flesch-Kincaid), length, regex:PATTERN, words:FILE or command:PROGRAM; -RULE turns it round.
    #[arg(long, value_name = "RULE", allow_hyphen_values = true)]
    rule: String,
    /// Answers to each prompt.
    #[arg(long, value_name = "N", default_value_t = 4, value_parser = clap::value_parser!(u32).range(2..=64))]
    samples: u32,
    /// Tokens of an answer.
    #[arg(long, value_name = "N", default_value_t = 48)]
    max_tokens: u32,
    /// The temperature they are sampled at.
    #[arg(long, value_name = "T", default_value_t = 1.0)]
    temperature: f32,
    /// Pairs of a prompt at most: the best answer with the worst, the second best with the second worst, and so on.
    #[arg(long, value_name = "N", default_value_t = 1)]
    per_prompt: usize,
    /// The least difference between the scores of the best and the worst.
    #[arg(long, value_name = "M", default_value_t = 0.0)]
    margin: f64,
    /// Of the samples.
    #[arg(long, value_name = "SEED", default_value_t = 0)]
    seed: u64,
}

/// A line of prompts.
#[derive(Debug, Deserialize)]
struct Line {
    prompt: Asked,
    split: Option<String>,
}

#[derive(Debug, Clone, Deserialize, Serialize)]
#[serde(untagged, expecting = "a string or a list of {role, content}")]
enum Asked {
    Text(String),
    Chat(Vec<Message>),
}

/// Samples what is not answered yet, scores, and writes the pairs; Ctrl-C ends with what there is.
pub(crate) fn run(args: &PairsArgs, global: &Global) -> Result<()> {
    let rule = Rule::parse(&args.rule).map_err(CliError::Train)?;
    let prompts = read_prompts(args)?;
    let answers = answer(args, &prompts, global)?;
    let (mut pairs, mut close, mut text) = (0, 0, String::new());
    for (line, answers) in prompts.iter().zip(&answers.known) {
        let scores = answers.iter().map(|answer| rule.score(answer).map_err(CliError::Train));
        let mut scored: Vec<(f64, &String)> = scores.collect::<Result<Vec<_>>>()?.into_iter().zip(answers).collect();
        scored.sort_by(|one, other| one.0.total_cmp(&other.0));
        // The best with the worst, the second best with the second worst, and so on.
        for (worst, best) in scored.iter().zip(scored.iter().rev()).take(args.per_prompt.min(scored.len() / 2)) {
            if best.0 - worst.0 < args.margin || best.0 <= worst.0 {
                close += 1;
                continue;
            }
            let mut pair = json!({
                "prompt": line.prompt, "chosen": best.1, "rejected": worst.1, "score_chosen": best.0, "score_rejected": worst.0,
            });
            if let Some(split) = &line.split {
                pair["split"] = json!(split);
            }
            text += &format!("{pair}\n");
            pairs += 1;
        }
    }
    std::fs::write(&args.out, text).map_err(|source| CliError::Write { path: args.out.clone(), source })?;
    let (all, answered) = (prompts.len(), answers.known.len());
    if global.json {
        return output::json(&json!({
            "path": args.out, "prompts": all, "answered": answered, "pairs": pairs, "too_close": close,
        }));
    }
    let rest = if answered < all { "; the same command goes on" } else { "" };
    output::text(&format!(
        "{}: {pairs} pairs of {answered} of {all} prompts, {close} were too close{rest}\n",
        args.out.display()
    ))
}

/// The file of answers, with all of them unless Ctrl-C came.
fn answer(args: &PairsArgs, prompts: &[Line], global: &Global) -> Result<Answers> {
    let read = |source| CliError::File { path: args.model.clone(), source };
    let options = SampleOptions {
        samples: args.samples,
        max_tokens: args.max_tokens,
        temperature: args.temperature,
        seed: args.seed,
    };
    let made = Made {
        model: args.model.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default(),
        bytes: std::fs::metadata(&args.model).map_err(read)?.len(),
        prompts: sha256(prompts.iter().map(|line| json!(line.prompt).to_string())),
        options,
    };
    let beside = || args.out.with_extension("answers.jsonl");
    let mut answers = Answers::open(&args.answers.clone().unwrap_or_else(beside), &made)?;
    if answers.known.len() >= prompts.len() {
        return Ok(answers);
    }
    let mut sampler = Sampler::open(&args.model).map_err(CliError::Train)?;
    let mut progress = Progress::new("answering prompt", global.quiet);
    for (at, line) in prompts.iter().enumerate().skip(answers.known.len()) {
        progress.update(at as u64, prompts.len() as u64);
        let prompt = match &line.prompt {
            Asked::Text(text) => Prompt::Text(text.clone()),
            Asked::Chat(messages) => Prompt::Chat(messages.clone()),
        };
        let found = sampler.answers(&prompt, at, &options, &|| !interrupt::asked()).map_err(CliError::Train)?;
        if interrupt::asked() {
            break;
        }
        answers.push(found)?;
    }
    Ok(answers)
}

fn read_prompts(args: &PairsArgs) -> Result<Vec<Line>> {
    let text = input::text(&args.prompts)?;
    let lines = text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty());
    let parse = |(index, line): (usize, &str)| {
        serde_json::from_str(line).map_err(|error| CliError::Content {
            path: args.prompts.clone(),
            expected: "lines of {\"prompt\": a text or a list of messages}",
            found: format!("line {}: {error}", index + 1),
        })
    };
    let prompts: Vec<Line> = lines.map(parse).collect::<Result<_>>()?;
    if prompts.is_empty() {
        let (path, expected) = (args.prompts.clone(), "lines of {\"prompt\": a text or a list of messages}");
        return Err(CliError::Content { path, expected, found: "it is empty".into() });
    }
    Ok(prompts)
}
