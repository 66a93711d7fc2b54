//! `pairs`: preference pairs out of a model's own answers, the best against the worst by a rule.

use std::fs::File;
use std::io::Write as _;
use std::path::PathBuf;
use std::rc::Rc;

use clap::Args;
use pilotfish::chat::Message;
use pilotfish::engine::{Models, Prompt, SessionOptions};
use pilotfish::guidance::Sampling;
use pilotfish_train::rules::Rule;
use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::args::Global;
use crate::error::{CliError, Result};
use crate::host::Host;
use crate::progress::Progress;
use crate::schedule::Schedule;
use crate::{input, interrupt, output, run};

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
    /// What is preferred: sentiment, readability, length, regex:PATTERN, words:FILE or command:PROGRAM; -RULE turns it round.
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
    /// The least difference between the scores of the best and the worst.
    #[arg(long, value_name = "M", default_value_t = 0.0)]
    margin: f64,
    /// Of the samples.
    #[arg(long, value_name = "SEED", default_value_t = 0)]
    seed: u64,
}

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

/// Samples, scores, and writes each pair at once; Ctrl-C ends with what there is.
pub(crate) async fn run(args: &PairsArgs, global: &Global) -> Result<()> {
    let rule = Rule::parse(&args.rule).map_err(CliError::Train)?;
    let prompts = read_prompts(args)?;
    let failed = |source| CliError::Write { path: args.out.clone(), source };
    let mut file = File::create(&args.out).map_err(failed)?;
    let host = Host::open(global).await?;
    let model = Rc::new(host.load(&args.model).await?);
    let mut progress = Progress::new("answering prompt", global.quiet);
    let (mut pairs, mut close) = (0, 0);
    for (at, line) in prompts.iter().enumerate() {
        let mut answers: Vec<(f64, String)> = Vec::new();
        for sample in 0..args.samples {
            progress.update((at as u32 * args.samples + sample).into(), prompts.len() as u64 * u64::from(args.samples));
            let prompt = match &line.prompt {
                Asked::Text(text) => Prompt::Text(text.clone()),
                Asked::Chat(messages) => Prompt::Chat(messages.clone()),
            };
            // Each answer has a seed of its own, that of the prompt's place and the sample's.
            let seed = args.seed.wrapping_mul(1 << 32).wrapping_add((at as u64) * 64 + u64::from(sample));
            let options = SessionOptions {
                sampling: Sampling { temperature: args.temperature, seed, ..Sampling::default() },
                max_tokens: args.max_tokens,
                ..SessionOptions::new(prompt)
            };
            let made = run::generate(&host, Models::only(&model), &options, &Schedule::default(), |_| Ok(())).await?;
            let text: String = made.steps.iter().map(|step| step.text.as_str()).chain([made.rest.as_str()]).collect();
            answers.push((rule.score(&text).map_err(CliError::Train)?, text));
            if interrupt::asked() {
                break;
            }
        }
        if interrupt::asked() {
            break;
        }
        answers.sort_by(|one, other| one.0.total_cmp(&other.0));
        let (Some(worst), Some(best)) = (answers.first(), answers.last()) else { continue };
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
        writeln!(file, "{pair}").map_err(failed)?;
        pairs += 1;
    }
    drop(progress);
    if global.json {
        return output::json(
            &json!({ "path": args.out, "prompts": prompts.len(), "pairs": pairs, "too_close": close }),
        );
    }
    let (path, all) = (args.out.display(), prompts.len());
    output::text(&format!("{path}: {pairs} pairs of {all} prompts; the answers to {close} were too close\n"))
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
