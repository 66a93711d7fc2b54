//! `golden`: a model against reference numbers: tokenization, logits, log-probabilities, greedy continuations.
//!
//! Logits are compared at the last prompt position and, the reference's greedy tokens given, at each of theirs; the
//! continuation is then made again by decoding. Distributions are compared over the 20 tokens that the reference lists and
//! one bucket for the rest.

mod adapted;
mod compare;
mod file;

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::rc::Rc;

use clap::Args;
use pilotfish::engine::{self, Model, Models, Precision, Prompt, SessionOptions};
use pilotfish::guidance::Sampling;
use pilotfish::tokenizer::{Encode, TokenId};
use serde::Serialize;

use crate::args::Global;
use crate::error::{CliError, FAILED, Result};
use crate::host::Host;
use crate::output::{self, Page, Table};
use crate::progress::Progress;
use crate::schedule::Schedule;
use crate::{input, interrupt, run};

use adapted::{Adapted, Mixed};
use compare::{Greedy, Top1, greedy};
use file::{Golden, GoldenCase};

/// What computing in f32 must keep to.
const EXACT: Bounds = Bounds { mean_kl: 1e-4, top1: 0.99 };

/// What activations of 8 bits must keep to. Their text may part where the reference is sure of its token, and it is not held against
/// them: the distributions are.
const FAST: Bounds = Bounds { mean_kl: 5e-3, top1: 0.97 };

/// Flags of `golden`.
#[derive(Debug, Args)]
pub(crate) struct GoldenArgs {
    /// The model the reference was made from: a GGUF file.
    #[arg(long, value_name = "FILE")]
    model: PathBuf,
    /// The reference.
    #[arg(long, value_name = "FILE")]
    golden: PathBuf,
    /// An adapter that the reference names: NAME=PATH, a GGUF file or PEFT directory. Any number of times.
    #[arg(long = "adapter", value_name = "NAME=PATH", value_parser = adapted::named)]
    adapters: Vec<(String, PathBuf)>,
    /// Compare only these cases.
    #[arg(long, value_name = "NAME,...", value_delimiter = ',')]
    cases: Vec<String>,
}

#[derive(Debug, Serialize)]
struct Report {
    model: PathBuf,
    golden: PathBuf,
    reference: String,
    cases: Vec<Case>,
    /// Of texts outside the cases.
    tokenize: Tokenized,
    mean_kl: f64,
    max_kl: f64,
    top1: Top1,
    /// What the file holds and this does not compare yet.
    skipped: Vec<String>,
    bounds: Bounds,
    /// What is outside the bounds.
    failures: Vec<String>,
    passed: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
struct Bounds {
    mean_kl: f64,
    top1: f64,
}

/// How many texts gave the reference's ids.
#[derive(Debug, Default, Serialize)]
struct Tokenized {
    same: usize,
    of: usize,
    /// The first text that did not.
    #[serde(skip_serializing_if = "Option::is_none")]
    first_difference: Option<String>,
}

/// How one case compares.
#[derive(Debug, Default, Serialize)]
struct Case {
    name: String,
    tokens: usize,
    /// Whether the text gives the ids; absent where there is no text.
    same_ids: Option<bool>,
    /// KL(reference || ours) at the last position, from scoring.
    kl: f64,
    /// The same from the first decoded step, over the candidates that its telemetry has.
    decode_kl: f64,
    /// The largest difference of a listed logit.
    max_logit_difference: f64,
    logsumexp_difference: f64,
    /// The largest difference of a log-probability of the prompt's tokens, where the reference has them.
    max_logprob_difference: Option<f64>,
    /// With the reference's greedy tokens given: where the likeliest token is the reference's.
    top1: Top1,
    greedy: Greedy,
    /// Under adapters.
    adapters: Vec<Adapted>,
    /// Guided by them.
    mixes: Vec<Mixed>,
}

/// Compares and prints; exits with 1 outside the bounds.
pub(crate) async fn run(args: &GoldenArgs, global: &Global) -> Result<ExitCode> {
    let golden: Golden = input::json(&args.golden, "a golden file")?;
    let known = |name: &String| golden.cases.iter().any(|case| case.name == *name);
    if let Some(unknown) = args.cases.iter().find(|name| !known(name)) {
        let names: Vec<&str> = golden.cases.iter().map(|case| case.name.as_str()).collect();
        return Err(CliError::Usage(format!("there is no case `{unknown}`; there are {}", names.join(", "))));
    }
    let host = Host::open(global).await?;
    let model = Rc::new(host.load(&args.model).await?);
    let adapters = adapted::load(&host, &model, &args.adapters)?;
    let mut cases = Vec::new();
    for case in golden.cases.iter().filter(|case| args.cases.is_empty() || args.cases.contains(&case.name)) {
        let mut compared = compare_case(&host, &model, &args.golden, case).await?;
        compared.adapters = adapted::score(&host, &model, &adapters, case).await?;
        compared.mixes = adapted::mix(&host, &model, &adapters, case).await?;
        cases.push(compared);
    }
    let tokenize = if args.cases.is_empty() { compare_tokens(&model, &golden)? } else { Tokenized::default() };
    let fast = host.engine.info().precision() == Some(Precision::Fast);
    let report = judge(args, &golden, cases, tokenize, if fast { FAST } else { EXACT });
    if global.json {
        output::json(&report)?;
    } else {
        describe(&report).print()?;
    }
    Ok(if report.passed { ExitCode::SUCCESS } else { ExitCode::from(FAILED) })
}

async fn compare_case(host: &Host, model: &Rc<Model>, file: &Path, case: &GoldenCase) -> Result<Case> {
    case.check(model.spec.n_vocab).map_err(|found| CliError::Content {
        path: file.to_owned(),
        expected: "ids of the model's vocabulary, 1 to 20 or so top tokens, and as many margins as greedy tokens",
        found: format!("case `{}` {found}", case.name),
    })?;
    let mut compared = Case { name: case.name.clone(), tokens: case.ids.len(), ..Case::default() };
    if let Some(text) = &case.text {
        let how = Encode { special: true, ..Encode::default() };
        compared.same_ids = Some(model.tokenizer.encode(text, how)? == case.ids);
    }
    score(host, model, case, &mut compared).await?;

    let mut options = SessionOptions::new(Prompt::Ids(case.ids.clone()));
    options.sampling = Sampling::greedy();
    options.max_tokens = case.greedy.len() as u32;
    let made = run::generate(host, Models::only(model), &options, &Schedule::default(), |_| Ok(())).await?;
    let ids: Vec<TokenId> = made.steps.iter().map(|step| step.id).collect();
    let ended = ids.last().is_some_and(|id| model.tokenizer.is_end(*id));
    compared.greedy = greedy(&case.greedy, &case.margins, &ids, ended);
    if let Some(step) = made.steps.first() {
        let ours =
            |id| step.candidates.iter().find(|candidate| candidate.id == id).map(|c| f64::from(c.log_probs.base));
        compared.decode_kl = compare::kl(&case.top, case.logsumexp, ours);
    }
    Ok(compared)
}

/// The logits of the prompt and of the reference's greedy tokens in one pass.
async fn score(host: &Host, model: &Rc<Model>, case: &GoldenCase, compared: &mut Case) -> Result<()> {
    let last = case.ids.len() - 1;
    let given = case.greedy.len().saturating_sub(1);
    let ids: Vec<TokenId> = case.ids.iter().chain(&case.greedy[..given]).copied().collect();
    let mut logprob_differences: Vec<f64> = Vec::new();
    let mut progress = Progress::new(format!("comparing {}", case.name), host.quiet);
    let take = |position: usize, logits: &[f32]| {
        let lse = engine::logsumexp(logits);
        if let (Some(reference), Some(next)) = (case.logprobs.get(position), ids.get(position + 1)) {
            logprob_differences.push((f64::from(logits[*next as usize]) - lse - reference).abs());
        }
        if position == last {
            compared.kl = compare::kl(&case.top, case.logsumexp, |id| Some(f64::from(logits[id as usize]) - lse));
            let difference = |(id, logit): &(TokenId, f64)| (f64::from(logits[*id as usize]) - logit).abs();
            compared.max_logit_difference = compare::largest(case.top.iter().map(difference));
            compared.logsumexp_difference = (lse - case.logsumexp).abs();
        }
        if let Some(expected) = position.checked_sub(last).and_then(|at| case.greedy.get(at)) {
            let likeliest = engine::highest(logits, 1).first().map(|(id, _)| *id);
            compared.top1.count(likeliest == Some(*expected), case.margins[position - last]);
        }
    };
    let scored = engine::each_logits(&host.engine, model, &[], &ids, take, |done, total| {
        progress.update(done as u64, total as u64);
        !interrupt::asked()
    });
    scored.await?;
    if !case.logprobs.is_empty() {
        compared.max_logprob_difference = Some(compare::largest(logprob_differences));
    }
    Ok(())
}

fn compare_tokens(model: &Model, golden: &Golden) -> Result<Tokenized> {
    let mut tokenized = Tokenized { of: golden.tokenize.len(), ..Tokenized::default() };
    for (text, ids) in &golden.tokenize {
        let ours = model.tokenizer.encode(text, Encode::default())?;
        if ours == *ids {
            tokenized.same += 1;
        } else if tokenized.first_difference.is_none() {
            tokenized.first_difference = Some(format!("{text:?} gave {ours:?}, expected {ids:?}"));
        }
    }
    Ok(tokenized)
}

/// Counts, and holds against the bounds.
fn judge(args: &GoldenArgs, golden: &Golden, cases: Vec<Case>, tokenize: Tokenized, bounds: Bounds) -> Report {
    let kls = || {
        let plain = cases.iter().flat_map(|case| [case.kl, case.decode_kl]);
        plain.chain(cases.iter().flat_map(|case| case.adapters.iter().map(|adapted| adapted.kl)))
    };
    let mean_kl = kls().sum::<f64>() / kls().count().max(1) as f64;
    let max_kl = compare::largest(kls());
    let mut top1 = Top1::default();
    for case in &cases {
        top1.add(case.top1);
    }
    let mut failures = Vec::new();
    if mean_kl.is_nan() || mean_kl > bounds.mean_kl {
        failures.push(format!("mean KL is {mean_kl:.2e}, at most {:.0e} is allowed", bounds.mean_kl));
    }
    if top1.of > 0 && top1.rate() < bounds.top1 {
        failures.push(format!(
            "top-1 agreement is {:.2} %, at least {:.0} % is expected",
            100.0 * top1.rate(),
            100.0 * bounds.top1
        ));
    }
    if let Some(difference) = &tokenize.first_difference {
        failures.push(format!("tokenization: {difference}"));
    }
    for case in &cases {
        if case.same_ids == Some(false) {
            failures.push(format!("{}: the text gives other ids", case.name));
        }
        if bounds == FAST {
            continue;
        }
        if let Greedy { parted_at: Some(at), near_tie: false, .. } = case.greedy {
            failures.push(format!("{}: the greedy continuation parts at token {at}, which is no near-tie", case.name));
        }
        failures.extend(case.mixes.iter().flat_map(|mixed| mixed.failures(&case.name)));
    }
    Report {
        model: args.model.clone(),
        golden: args.golden.clone(),
        reference: golden.reference.clone(),
        passed: failures.is_empty(),
        cases,
        tokenize,
        mean_kl,
        max_kl,
        top1,
        skipped: golden.skipped(&args.cases, &args.adapters),
        bounds,
        failures,
    }
}

fn describe(report: &Report) -> Page {
    let mut table = Table::new(&[
        "case",
        "tokens",
        "ids",
        "KL",
        "KL decoding",
        "max |logit|",
        "|logsumexp|",
        "max |log-prob|",
        "top-1",
        "greedy",
    ])
    .left(2)
    .left(9);
    for case in &report.cases {
        table.row([
            case.name.clone(),
            case.tokens.to_string(),
            match case.same_ids {
                Some(true) => "same".into(),
                Some(false) => "differ".into(),
                None => "no text".into(),
            },
            format!("{:.2e}", case.kl),
            format!("{:.2e}", case.decode_kl),
            format!("{:.2e}", case.max_logit_difference),
            format!("{:.2e}", case.logsumexp_difference),
            case.max_logprob_difference.map_or("-".into(), |difference| format!("{difference:.2e}")),
            format!("{}/{}", case.top1.agree, case.top1.of),
            case.greedy.to_string(),
        ]);
    }
    let mut page = Page::default();
    page.table(&table);
    adapted::describe(
        report.cases.iter().map(|case| (case.name.as_str(), &case.adapters[..], &case.mixes[..])),
        &mut page,
    );
    page.line(format_args!(
        "mean KL {:.2e}, max {:.2e}; top-1 agreement {:.2} % ({} of {}; {} of the others near-ties)",
        report.mean_kl,
        report.max_kl,
        100.0 * report.top1.rate(),
        report.top1.agree,
        report.top1.of,
        report.top1.near_ties,
    ));
    if report.tokenize.of > 0 {
        page.line(format_args!("{} of {} texts tokenized the same", report.tokenize.same, report.tokenize.of));
    }
    if !report.skipped.is_empty() {
        page.line(format_args!("not compared: {}", report.skipped.join(", ")));
    }
    for failure in &report.failures {
        page.line(format_args!("outside the bounds: {failure}"));
    }
    page.line(if report.passed { "passed" } else { "FAILED" });
    page
}
