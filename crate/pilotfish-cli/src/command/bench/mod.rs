//! `bench`: speed and memory, the guided and the unguided run taking turns so that both see the same machine.

mod compare;
mod methods;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Instant;

use clap::Args;
use pilotfish::engine::{
    Backend, EngineInfo, Guide, GuideKind, ModelInfo, Precision, Prompt, SessionInfo, SessionOptions,
};
use pilotfish::guidance::Sampling;
use serde::Serialize;

use compare::{Compared, RANK};

use crate::args::Global;
use crate::error::Result;
use crate::guides::{self, Asked, GuideArgs, Loaded};
use crate::host::{Host, HostMemory};
use crate::output::{self, Page, Table};
use crate::progress::Progress;
use crate::run::{self, Timing};
use crate::schedule::Schedule;
use crate::spread::Spread;
use crate::units::{bytes, rate, seconds};
use crate::weight;

/// What prompts are cut from: plain prose, repeated until it is long enough.
const PROSE: &str = "The harbour wakes before the sun. Nets are carried down the stone steps, gulls argue over the first \
catch, and the baker sets out warm bread beside the quay. By noon the boats lie still, and the talk is of weather, of \
prices, and of the light that burns on the far point every night of the year. ";

/// Flags of `bench`.
#[derive(Debug, Args)]
pub(crate) struct BenchArgs {
    /// The base: a GGUF file.
    #[arg(long, value_name = "FILE")]
    model: PathBuf,
    #[command(flatten)]
    guides: GuideArgs,
    /// Tokens of the prompts to measure with.
    #[arg(long, value_name = "N,...", value_delimiter = ',', default_value = "128,512",
          value_parser = clap::value_parser!(u32).range(1..))]
    prompt_tokens: Vec<u32>,
    /// Tokens to make after each prompt.
    #[arg(long, value_name = "N", default_value_t = 64, value_parser = clap::value_parser!(u32).range(2..))]
    r#gen: u32,
    /// How often each is measured.
    #[arg(long, value_name = "N", default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..))]
    runs: u32,
    /// Steps submitted ahead of the one being read.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=8))]
    in_flight: Option<u32>,
    /// Compare the base alone with one, two and three adapter guides of rank 8 on q, k and v, and the methods with each other.
    #[arg(long)]
    compare: bool,
    /// Tokens to make with each method.
    #[arg(long, value_name = "N", default_value_t = 16, value_parser = clap::value_parser!(u32).range(1..))]
    method_tokens: u32,
}

#[derive(Debug, Serialize)]
struct Report {
    engine: EngineInfo,
    model: ModelInfo,
    guides: Vec<Guide>,
    guide_models: Vec<ModelInfo>,
    runs: u32,
    load_seconds: f64,
    host_memory: MemoryReport,
    /// Until a guide of a running session has another adapter of rank 8, where that was asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    adapter_swap_seconds: Option<Spread>,
    cases: Vec<Case>,
}

/// Of this process; a software GPU's memory is in it.
#[derive(Debug, Default, Serialize)]
struct MemoryReport {
    /// Resident when the GPU was open and nothing was loaded.
    before_load: Option<u64>,
    /// The most until the models were loaded.
    peak_of_load: Option<u64>,
    /// The most in all.
    peak: Option<u64>,
}

#[derive(Debug, Serialize)]
struct Case {
    prompt_tokens: u32,
    /// With adapter guides, where that was asked for.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    compared: Vec<Compared>,
    /// Each method, where that was asked for.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    methods: Vec<methods::Measured>,
    unguided: Measured,
    #[serde(skip_serializing_if = "Option::is_none")]
    guided: Option<Measured>,
    /// A guided step's time over an unguided one's, run by run.
    #[serde(skip_serializing_if = "Option::is_none")]
    guided_over_unguided: Option<Spread>,
}

#[derive(Debug, Serialize)]
struct Measured {
    /// Over all rows.
    prefill_tokens: usize,
    /// Least number made in a run: fewer than asked for where the model ended.
    tokens: usize,
    prefill_tokens_per_second: Option<Spread>,
    decode_tokens_per_second: Option<Spread>,
    first_token_seconds: Option<Spread>,
    rows: usize,
    dispatches_per_step: u32,
    weight_bytes_per_step: u64,
    /// `weight_bytes_per_step` by the median decode speed.
    weight_gigabytes_per_second: Option<f64>,
}

impl Measured {
    fn of(runs: &[Timing], info: &SessionInfo) -> Self {
        let decode = Spread::of(runs.iter().filter_map(Timing::decode_rate));
        let weight_bytes = info.weight_bytes_per_step;
        Self {
            prefill_tokens: runs.first().map_or(0, |run| run.prefill_tokens),
            tokens: runs.iter().map(|run| run.tokens).min().unwrap_or_default(),
            prefill_tokens_per_second: Spread::of(runs.iter().filter_map(Timing::prefill_rate)),
            decode_tokens_per_second: decode,
            first_token_seconds: Spread::of(runs.iter().map(|run| run.first_token)),
            rows: info.rows.len(),
            dispatches_per_step: info.dispatches_per_step,
            weight_bytes_per_step: weight_bytes,
            weight_gigabytes_per_second: decode.map(|speed| speed.median * weight_bytes as f64 / 1e9),
        }
    }
}

/// Measures and prints.
pub(crate) async fn run(args: &BenchArgs, global: &Global) -> Result<()> {
    let Asked { mix, guides: specs, adapters } = args.guides.read()?;
    let host = Host::open(global).await?;
    let before_load = HostMemory::now().resident;
    let started = Instant::now();
    let loaded = guides::load(&host, &args.model, &specs, &adapters).await?;
    let load_seconds = started.elapsed().as_secs_f64();
    let peak_of_load = HostMemory::now().peak;

    let mut options = SessionOptions::new(Prompt::Text(String::new()));
    options.sampling = Sampling { temperature: 0.0, ..mix.sampling.unwrap_or_default() };
    options.adapters.clone_from(&loaded.base_adapters);
    options.tokens = mix.tokens;
    options.schedules = weight::schedules(&specs);
    options.normalize = mix.normalize;
    options.filter = mix.filter;
    options.max_tokens = args.r#gen;
    options.in_flight = args.in_flight.unwrap_or(options.in_flight);
    let mut cases = Vec::new();
    for prompt_tokens in &args.prompt_tokens {
        options.prompt = Prompt::Text(prompt(&loaded, *prompt_tokens)?);
        let mut case = case(&host, &loaded, &options, *prompt_tokens, args.runs).await?;
        if args.compare {
            let plain = SessionOptions { filter: None, schedules: BTreeMap::default(), ..options.clone() };
            case.compared = compare::run(&host, &loaded.base, &plain, args.runs).await?;
            case.methods = methods::run(&host, &loaded.base, &plain, args.method_tokens, args.runs).await?;
        }
        cases.push(case);
    }
    let swap = if args.compare { compare::swap(&host, &loaded.base, args.runs).await? } else { None };
    let report = Report {
        engine: host.engine.info(),
        model: loaded.base.info(),
        guide_models: loaded.models.iter().map(|model| model.info()).collect(),
        guides: loaded.guides,
        runs: args.runs,
        load_seconds,
        host_memory: MemoryReport { before_load, peak_of_load, peak: HostMemory::now().peak },
        adapter_swap_seconds: swap,
        cases,
    };
    if global.json { output::json(&report) } else { describe(&report).print() }
}

/// A text of so many tokens, or a token or two off where text and ids do not correspond exactly.
fn prompt(loaded: &Loaded, tokens: u32) -> Result<String> {
    let tokenizer = &loaded.base.tokenizer;
    // No vocabulary needs more than a token a byte, and a repetition has at least ten tokens.
    let text = PROSE.repeat(tokens as usize / 10 + 1);
    let mut ids = tokenizer.encode(&text, pilotfish::tokenizer::Encode::default())?;
    ids.truncate(tokens as usize);
    Ok(tokenizer.decode(&ids))
}

/// One prompt length: a warm-up that compiles what is missing, then the runs.
async fn case(host: &Host, loaded: &Loaded, options: &SessionOptions, prompt_tokens: u32, runs: u32) -> Result<Case> {
    // A filter may go by a guide's row, so it belongs to the guided runs only.
    let unguided = SessionOptions { filter: None, ..options.clone() };
    let guided = SessionOptions { guides: loaded.guides.clone(), ..options.clone() };
    let schedule = Schedule::default();
    let once =
        async |options: &SessionOptions| run::generate(host, loaded.models(), options, &schedule, |_| Ok(())).await;
    let with_guides = !loaded.guides.is_empty();
    let warm_up = |options: &SessionOptions| SessionOptions { max_tokens: 2, ..options.clone() };
    let unguided_info = once(&warm_up(&unguided)).await?.info;
    let guided_info = if with_guides { Some(once(&warm_up(&guided)).await?.info) } else { None };
    let mut progress = Progress::new(format!("measuring with {prompt_tokens} prompt tokens"), host.quiet);
    let (mut without, mut with) = (Vec::new(), Vec::new());
    for at in 0..runs {
        progress.update(at.into(), runs.into());
        without.push(once(&unguided).await?.timing);
        if with_guides {
            with.push(once(&guided).await?.timing);
        }
    }
    let ratio = |(without, with): (&Timing, &Timing)| Some(without.decode_rate()? / with.decode_rate()?);
    Ok(Case {
        prompt_tokens,
        compared: Vec::new(),
        methods: Vec::new(),
        unguided: Measured::of(&without, &unguided_info),
        guided: guided_info.map(|info| Measured::of(&with, &info)),
        guided_over_unguided: Spread::of(without.iter().zip(&with).filter_map(ratio)),
    })
}

/// What runs the model, and why.
fn describe_engine(engine: &EngineInfo, page: &mut Page) {
    if let Some(gpu) = &engine.gpu {
        let features: Vec<&str> =
            [(gpu.features.f16, "f16"), (gpu.features.subgroups, "subgroups"), (gpu.features.timestamps, "timestamps")]
                .into_iter()
                .filter_map(|(has, name)| has.then_some(name))
                .collect();
        page.line(format_args!(
            "GPU      {} ({}, {}{}); features: {}",
            gpu.name,
            gpu.backend,
            gpu.driver,
            if gpu.software { ", software" } else { "" },
            if features.is_empty() { "none".to_owned() } else { features.join(", ") },
        ));
    }
    if let Some(shape) = engine.matvec {
        match &engine.calibration {
            Some(measured) => page.line(format_args!("matvec   {shape}, as measured: {}", json(measured))),
            None => page.line(format_args!("matvec   {shape}, as told")),
        }
    }
    if let Some(cpu) = &engine.cpu {
        let precision = if cpu.precision == Precision::Exact { "f32" } else { "8 bits a block" };
        page.line(format_args!("CPU      {} threads, {}; activations in {precision}", cpu.threads, cpu.instructions));
    }
    if let Some(processor) = engine.processor {
        let why = engine.why.as_deref().map_or(String::new(), |why| format!(": {why}"));
        page.line(format_args!("runs on  the {}{why}", if processor == Backend::Cpu { "CPU" } else { "GPU" }));
    }
}

fn describe(report: &Report) -> Page {
    let memory = |value: Option<u64>| value.map_or("unknown".to_owned(), bytes);
    let mut page = Page::default();
    describe_engine(&report.engine, &mut page);
    page.line(format_args!(
        "model    {} ({}), {} in memory, loaded in {}",
        report.model.name,
        report.model.architecture,
        bytes(report.model.weight_bytes),
        seconds(report.load_seconds),
    ));
    for Guide { name, weight, kind } in &report.guides {
        page.line(format_args!("guide    {name} at {weight}: {}", guide_kind(kind, &report.guide_models)));
    }
    page.line(format_args!(
        "memory   {} before loading, at most {} while loading, at most {} in all (of this process)",
        memory(report.host_memory.before_load),
        memory(report.host_memory.peak_of_load),
        memory(report.host_memory.peak),
    ));
    let mut table = Table::new(&[
        "prompt",
        "rows",
        "prefill tok/s",
        "decode tok/s",
        "first token",
        "dispatches",
        "weights read",
        "GB/s",
        "ratio",
    ]);
    let spread = |spread: Option<Spread>, show: fn(f64) -> String| {
        spread.map_or("-".to_owned(), |Spread { median, min, max }| {
            format!("{} [{}..{}]", show(median), show(min), show(max))
        })
    };
    for case in &report.cases {
        let guided = case.guided.iter().map(|measured| (measured, case.guided_over_unguided));
        for (measured, ratio) in [(&case.unguided, None)].into_iter().chain(guided) {
            table.row([
                case.prompt_tokens.to_string(),
                measured.rows.to_string(),
                spread(measured.prefill_tokens_per_second, rate),
                spread(measured.decode_tokens_per_second, rate),
                spread(measured.first_token_seconds, seconds),
                measured.dispatches_per_step.to_string(),
                bytes(measured.weight_bytes_per_step),
                measured.weight_gigabytes_per_second.map_or("-".to_owned(), rate),
                spread(ratio, rate),
            ]);
        }
    }
    page.table(&table);
    for case in report.cases.iter().filter(|case| !case.compared.is_empty()) {
        compare::describe(&case.compared, case.prompt_tokens, &mut page);
        methods::describe(&case.methods, case.prompt_tokens, &mut page);
    }
    if let Some(Spread { median, min, max }) = report.adapter_swap_seconds {
        let [median, min, max] = [median, min, max].map(seconds);
        page.line(format_args!("another adapter of rank {RANK} in a running session: {median} [{min}..{max}]"));
    }
    page.line(format_args!(
        "median [least..most] of {} runs; ratio: a guided step's time over an unguided one's",
        report.runs
    ));
    page
}

fn json(value: &impl Serialize) -> String {
    serde_json::to_string(value).unwrap_or_default()
}

fn guide_kind(kind: &GuideKind, models: &[ModelInfo]) -> String {
    match kind {
        GuideKind::Context { context, against: None } => format!("context {context:?}"),
        GuideKind::Context { context, against: Some(against) } => format!("context {context:?} against {against:?}"),
        GuideKind::Adapter { adapters, model, .. } => {
            let on = model.and_then(|model| models.get(model)).map_or("the base", |model| model.name.as_str());
            format!("{} adapter{} on {on}", adapters.len(), if adapters.len() == 1 { "" } else { "s" })
        }
        GuideKind::Model { model, .. } => {
            format!("model {}", models.get(*model).map_or("", |model| model.name.as_str()))
        }
    }
}
