//! `generate`: continues a prompt under guidance; streams the text, or gives everything as JSON.

use std::path::PathBuf;

use clap::Args;
use pilotfish::engine::{Prompt, Returns, SessionOptions, SessionPlan, Step, Stop, WhenFull};
use pilotfish::guidance::{MixRule, Schedule as Points, Term};
use serde_json::json;

use crate::args::Global;
use crate::color::{self, Color};
use crate::error::{CliError, Result};
use crate::guides::{self, Asked, GuideArgs};
use crate::host::Host;
use crate::input::PromptArgs;
use crate::method::{self, MethodArgs};
use crate::mix::Mix;
use crate::output;
use crate::run::{self, Generated};
use crate::sampling::{SamplingArgs, TokenArgs};
use crate::schedule::Schedule;
use crate::spec::{GuideSpec, SliderWrite};
use crate::units::{bytes, rate, seconds};
use crate::weight;

/// Flags of `generate`.
#[derive(Debug, Args)]
pub(crate) struct GenerateArgs {
    /// The base: a GGUF file.
    #[arg(long, value_name = "FILE")]
    model: PathBuf,
    #[command(flatten)]
    prompt: PromptArgs,
    #[command(flatten)]
    guides: GuideArgs,
    /// Tokens to make at most.
    #[arg(long, value_name = "N")]
    max_tokens: Option<u32>,
    #[command(flatten)]
    sampling: SamplingArgs,
    #[command(flatten)]
    tokens: TokenArgs,
    #[command(flatten)]
    method: MethodArgs,
    /// Texts to make at once, each with a draw of its own: sample i has the seed plus i.
    #[arg(long, value_name = "N")]
    samples: Option<u32>,
    /// When the context is full: stop, or shift, or shift:KEEP, which drops half of what follows the first KEEP tokens of each row (its
    /// whole prompt by default) and goes on.
    #[arg(long, value_name = "HOW", value_parser = method::when_full)]
    when_full: Option<WhenFull>,
    /// End the text where this appears; it is not printed. Any number of times.
    #[arg(long, value_name = "TEXT")]
    stop: Vec<String>,
    /// Divide the mix by the sum of all weights.
    #[arg(long)]
    normalize: bool,
    /// Positions per row; what the prompts and --max-tokens need, if left out.
    #[arg(long, value_name = "N")]
    context: Option<u32>,
    /// Steps submitted ahead of the one being read.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=8))]
    in_flight: Option<u32>,
    /// Move a slider when that step (from 0) is submitted. Any number of times.
    ///
    /// Fewer steps are in flight where a write for one of the first steps would come too late.
    #[arg(long = "set", value_name = "STEP:GUIDE=WEIGHT")]
    writes: Vec<SliderWrite>,
    /// With --json: every step brings the mixed logits of the whole vocabulary (null where a token was left out).
    #[arg(long)]
    logits: bool,
    /// Report of each token only what is the mix's: on the CPU guides cost less then, for the output matrix is multiplied once and not for
    /// each row.
    #[arg(long, conflicts_with_all = ["logits", "color"])]
    mix_only: bool,
    /// Colour tokens by how far the guides moved them.
    #[arg(long, value_name = "WHEN", num_args = 0..=1, require_equals = true, default_missing_value = "auto",
          default_value = "never")]
    color: Color,
}

impl GenerateArgs {
    /// What to ask of the session, but for the guides: flags over the mix file over the engine's defaults.
    fn options(&self, mix: Mix) -> Result<SessionOptions> {
        let prompt = self.prompt.read()?.or(mix.prompt);
        let flags = "--prompt, --chat, --ids, --ids-file, or a `prompt` in the mix file";
        let defaults = SessionOptions::new(prompt.ok_or_else(|| super::no_input(flags))?);
        let in_flight = self.in_flight.or(mix.in_flight).unwrap_or(defaults.in_flight);
        if in_flight > 8 {
            return Err(CliError::Usage(format!(
                "`in_flight` of the mix file is {in_flight}, expected 1 to 8, or 0 for what suits the device"
            )));
        }
        Ok(SessionOptions {
            sampling: self.sampling.over(mix.sampling.unwrap_or_default()),
            tokens: self.tokens.over(mix.tokens),
            forced: mix.forced,
            samples: self.samples.or(mix.samples).unwrap_or(defaults.samples),
            method: self.method.over(mix.method),
            when_full: self.when_full.unwrap_or(mix.when_full),
            stop: mix.stop.into_iter().chain(self.stop.iter().cloned()).collect(),
            returns: match (self.logits, self.mix_only) {
                (true, _) => Returns::Logits,
                (false, true) => Returns::Mix,
                (false, false) => Returns::Report,
            },
            normalize: self.normalize || mix.normalize,
            filter: mix.filter,
            context_length: self.context.or(mix.context_length).unwrap_or(defaults.context_length),
            max_tokens: self.max_tokens.or(mix.max_tokens).unwrap_or(defaults.max_tokens),
            in_flight,
            ..defaults
        })
    }
}

/// Generates and prints.
pub(crate) async fn run(args: &GenerateArgs, global: &Global) -> Result<()> {
    let Asked { mix, guides: specs, adapters } = args.guides.read()?;
    let mut options = args.options(mix)?;
    if args.logits && !global.json {
        return Err(CliError::Usage("--logits needs --json, in whose `steps` the logits are given".into()));
    }
    options.schedules = weight::schedules(&specs);
    refuse_early(&options, &specs)?;
    args.method.check(&options.method)?;
    let host = Host::open(global).await?;
    let loaded = guides::load(&host, &args.model, &specs, &adapters).await?;
    options.guides.clone_from(&loaded.guides);
    options.adapters.clone_from(&loaded.base_adapters);
    let schedule = Schedule::new(&args.writes, &options.guides)?;
    let color = args.color.on() && !global.json;
    let terminal = output::on_terminal();
    let stream = |step: &Step| {
        // Texts that are made at once are printed one after the other.
        if global.json || options.samples > 1 {
            return Ok(());
        }
        let text = if terminal { output::tame(&step.text) } else { step.text.clone() };
        output::text(&if color { color::paint(&text, step.kl) } else { text })
    };
    if !global.quiet && !global.json {
        let plan = SessionPlan::new(&host.engine, loaded.models(), &options)?;
        output::diagnostic(&memory(&plan));
    }
    let scorer = args.method.scorer(&host, &options.prompt).await?;
    let made = run::search(&host, loaded.models(), &options, &schedule, scorer, stream).await?;
    if global.json {
        return output::json(&report(&host, &options, &made));
    }
    if options.samples > 1 {
        for (at, text) in made.texts(&options).iter().enumerate() {
            output::text(&format!("[{at}] {}\n", if terminal { output::tame(text) } else { text.clone() }))?;
        }
    } else {
        output::text(&made.rest)?;
        output::text("\n")?;
    }
    if !global.quiet {
        if color {
            output::diagnostic(&color::legend());
        }
        output::diagnostic(&summary(&made));
    }
    Ok(())
}

/// What the session would refuse whatever the models are: loading them takes longer than saying no.
fn refuse_early(options: &SessionOptions, guides: &[GuideSpec]) -> Result<()> {
    // Any vocabulary is smaller than this; the real one is checked by the session.
    options.sampling.validate(u32::MAX)?;
    options.tokens.validate(u32::MAX)?;
    let weights = std::iter::once(1.0).chain(guides.iter().map(|guide| guide.weight));
    let terms = weights.map(|weight| Term { row: 0, weight }).collect();
    let scheduled = |(at, guide): (usize, &GuideSpec)| Points { term: at + 1, points: guide.schedule.clone() };
    let schedules = guides.iter().enumerate().map(scheduled).filter(|points| !points.points.is_empty()).collect();
    MixRule { terms, schedules, ..MixRule::default() }.validate(1, u32::MAX)?;
    match &options.prompt {
        Prompt::Ids(ids) if ids.is_empty() => Err(pilotfish::Error::EmptyPrompt { row: "base".into() }.into()),
        _ => Ok(()),
    }
}

/// What will be taken, told before it is.
fn memory(plan: &SessionPlan) -> String {
    let rows = plan.rows.rows.len();
    format!(
        "memory: weights {}, keys and values {} ({} positions, {rows} row{}), activations {}",
        bytes(plan.memory.weights),
        bytes(plan.memory.kv),
        plan.context,
        if rows == 1 { "" } else { "s" },
        bytes(plan.memory.activations),
    )
}

fn report(host: &Host, options: &SessionOptions, made: &Generated) -> serde_json::Value {
    let first = || made.steps.iter().filter(|step| step.sample == 0);
    json!({
        "text": first().map(|step| step.text.as_str()).chain([made.rest.as_str()]).collect::<String>(),
        "texts": if options.samples > 1 { made.texts(options) } else { Vec::new() },
        "method": options.method,
        "cost": made.cost,
        "ids": first().map(|step| step.id).collect::<Vec<_>>(),
        "stop": made.stop,
        "guides": options.guides.iter().map(|guide| guide.name.as_str()).collect::<Vec<_>>(),
        "sampling": options.sampling,
        "normalize": options.normalize,
        "steps": made.steps,
        "session": made.info,
        "timing": made.timing,
        "engine": host.engine.info(),
    })
}

fn summary(made: &Generated) -> String {
    let Generated { info, timing, cost, .. } = made;
    let why = match made.stop {
        Some(Stop::End) => "the model ended",
        Some(Stop::Length) => "as many as asked for",
        Some(Stop::Context) => "the context is full",
        Some(Stop::Stopped) => "stopped",
        Some(Stop::StopString) => "a stop string came",
        None => "nothing was to be made",
    };
    // What a search costs is what it computes for each token that it gives out.
    let mut search = String::new();
    if let Some(reward) = made.steps.last().and_then(|step| step.reward) {
        let per_token = cost.decoded as f64 / timing.tokens.max(1) as f64;
        search = format!("; {} positions computed for each token, reward {reward:.2}", rate(per_token));
    }
    let dispatches = match info.dispatches_per_step {
        0 => String::new(),
        n => format!("; {n} dispatches a step"),
    };
    let speed = |rate_of: Option<f64>| rate_of.map_or(String::new(), |value| format!(" ({} tok/s)", rate(value)));
    format!(
        "{} tokens{}; first after {}, prompt of {} tokens in {} row{}{}{dispatches}; at most {} of keys and values{}; {why}",
        timing.tokens,
        speed(timing.decode_rate()),
        seconds(timing.first_token),
        info.rows.iter().map(|row| row.prompt_tokens).sum::<usize>(),
        info.rows.len(),
        if info.rows.len() == 1 { "" } else { "s" },
        speed(timing.prefill_rate()),
        bytes(cost.kv_peak),
        search,
    )
}

#[cfg(test)]
mod tests {
    use clap::Parser;
    use pilotfish::guidance::Sampling;

    use super::*;

    #[derive(Debug, Parser)]
    struct Line {
        #[command(flatten)]
        args: GenerateArgs,
    }

    fn options(line: &str, mix: &str) -> Result<SessionOptions> {
        let line = Line::try_parse_from(line.split(' ')).expect("the line is right");
        line.args.options(serde_json::from_str(mix).expect("the mix is right"))
    }

    #[test]
    fn flags_go_before_the_mix_file_and_that_before_the_defaults() {
        let mix = r#"{"prompt": {"text": "mix"}, "max_tokens": 7, "in_flight": 2, "context_length": 99}"#;
        let made = options("x --model m --max-tokens 9 --seed 5", mix).expect("they agree");
        assert_eq!((made.prompt, made.max_tokens), (Prompt::Text("mix".into()), 9));
        assert_eq!((made.in_flight, made.context_length, made.sampling.seed), (2, 99, 5));
        let made = options("x --model m --prompt flag --context 50", mix).expect("they agree");
        assert_eq!((made.prompt, made.context_length), (Prompt::Text("flag".into()), 50));
        assert_eq!(made.sampling, Sampling::default());
    }

    #[test]
    fn a_prompt_must_come_from_somewhere() {
        assert_eq!(options("x --model m", "{}").map_err(|error| error.code()), Err("usage"));
        assert_eq!(
            options("x --model m --prompt a", r#"{"in_flight": 9}"#).map_err(|error| error.code()),
            Err("usage")
        );
    }
}
