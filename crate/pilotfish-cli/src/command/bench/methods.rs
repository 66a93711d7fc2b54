//! `bench --compare`: what each way of choosing costs, as the field's papers tell it: seconds for 128 tokens.
//!
//! One random adapter of rank 8 is the reward everywhere, on the base's own weights; candidates are the methods' usual numbers. A text
//! may have 128 tokens, so that roll-outs are as long as they would be, and is left after fewer; the best of N whole texts is that of N
//! shorter ones.

use std::rc::Rc;
use std::time::Instant;

use pilotfish::engine::{AdapterUse, Cost, Method, MethodName, Model, Models, Session, SessionOptions};
use serde::Serialize;

use super::compare::{guide, random};
use crate::error::Result;
use crate::host::Host;
use crate::interrupt;
use crate::output::{Page, Table};
use crate::progress::Progress;
use crate::spread::Spread;
use crate::units::{bytes, rate};

/// The length that times are told for.
const TOKENS: u32 = 128;

/// One way of choosing.
#[derive(Debug, Serialize)]
pub(super) struct Measured {
    method: &'static str,
    /// Texts, or trials, that run at once.
    lanes: usize,
    tokens: u32,
    /// After the prompt.
    seconds_per_128_tokens: Option<Spread>,
    /// The time over that of the base alone, run by run.
    over_base: Option<Spread>,
    /// Positions computed for each token that is given out, over all rows.
    positions_per_token: f64,
    /// The most keys and values that were held at once.
    kv_peak_bytes: u64,
}

/// One run.
struct Made {
    tokens: u32,
    /// After the prompt.
    seconds: f64,
    lanes: usize,
    cost: Cost,
}

/// The ways: the base alone, tuned by an adapter (as DPO would have it), guided by it, and the searches it rewards.
fn ways() -> [(&'static str, Option<MethodName>); 7] {
    [
        ("base", None),
        ("adapter on the base", None),
        ("genarm", Some(MethodName::Genarm)),
        ("args", Some(MethodName::Args)),
        ("transfer-q", Some(MethodName::TransferQ)),
        ("best-of-n", Some(MethodName::BestOfN)),
        ("cards", Some(MethodName::Cards)),
    ]
}

/// Measures `tokens` tokens of each with the prompt of `options`, whose guides are left out.
pub(super) async fn run(
    host: &Host,
    base: &Rc<Model>,
    options: &SessionOptions,
    tokens: u32,
    runs: u32,
) -> Result<Vec<Measured>> {
    let adapters = [Rc::new(random(&base.spec, 1))];
    let models = Models { adapters: &adapters, ..Models::only(base) };
    let with = |at: usize, tokens: u32| {
        let (_, method) = ways()[at];
        let max_tokens = if method == Some(MethodName::BestOfN) { tokens } else { TOKENS.max(tokens) };
        let mut options = SessionOptions { max_tokens, candidates: 1, ..options.clone() };
        options.sampling.temperature = 1.0;
        options.sampling.ignore_eos = true;
        if let Some(name) = method {
            let mut arm = guide(0);
            if name != MethodName::Genarm {
                arm.weight = 0.0;
                options.method = Method { name, reward: Some(arm.name.clone()), ..Method::default() };
            }
            options.guides = vec![arm];
        } else if at == 1 {
            options.adapters = vec![AdapterUse::whole(0)];
        }
        options
    };
    let once = async |at: usize, tokens: u32| -> Result<Made> {
        let mut session = Session::new(&host.engine, models, &with(at, tokens), |_| !interrupt::asked()).await?;
        interrupt::also(session.remote().stop_flag());
        let started = Instant::now();
        let mut made = 0;
        while made < tokens && session.next().await?.is_some() {
            made += 1;
        }
        let seconds = started.elapsed().as_secs_f64();
        Ok(Made { tokens: made, seconds, lanes: session.info().samples, cost: session.cost() })
    };
    let mut progress = Progress::new("comparing methods".to_owned(), host.quiet);
    let rounds = runs as usize * ways().len();
    let mut made: Vec<Vec<Made>> = ways().map(|_| Vec::new()).into();
    for at in 0..ways().len() {
        // Compiles what is missing.
        once(at, 2).await?;
    }
    for run in 0..runs as usize {
        for (at, made) in made.iter_mut().enumerate() {
            progress.update((run * ways().len() + at) as u64, rounds as u64);
            made.push(once(at, tokens).await?);
        }
    }
    let seconds = |made: &Made| made.seconds / f64::from(made.tokens.max(1)) * f64::from(TOKENS);
    let of = |at: usize, made: &[Made], base: &[Made]| {
        let Cost { decoded, kv_peak, .. } = made[0].cost;
        Measured {
            method: ways()[at].0,
            lanes: made[0].lanes,
            tokens: made[0].tokens,
            seconds_per_128_tokens: Spread::of(made.iter().map(seconds)),
            over_base: Spread::of(base.iter().zip(made).map(|(base, made)| seconds(made) / seconds(base))),
            positions_per_token: decoded as f64 / f64::from(made[0].tokens.max(1)),
            kv_peak_bytes: kv_peak,
        }
    };
    Ok(made.iter().enumerate().map(|(at, own)| of(at, own, &made[0])).collect())
}

/// Adds the table.
pub(super) fn describe(measured: &[Measured], prompt_tokens: u32, page: &mut Page) {
    let mut table =
        Table::new(&["method", "at once", "s / 128 tokens", "over base", "positions / token", "keys, values"]);
    let spread = |spread: Option<Spread>| {
        spread.map_or("-".to_owned(), |Spread { median, min, max }| {
            format!("{} [{}..{}]", rate(median), rate(min), rate(max))
        })
    };
    for one in measured {
        table.row([
            one.method.to_owned(),
            one.lanes.to_string(),
            spread(one.seconds_per_128_tokens),
            spread(one.over_base),
            rate(one.positions_per_token),
            bytes(one.kv_peak_bytes),
        ]);
    }
    page.line(format_args!("methods (one random adapter as the reward), {prompt_tokens} prompt tokens"));
    page.table(&table);
    page.line("time after the prompt; over base: run by run; keys and values: the most at once");
}
