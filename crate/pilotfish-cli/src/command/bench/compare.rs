//! `bench --compare`: the base alone and with one, two and three adapter guides, run by run in turn.
//!
//! The adapters are random, of rank 8 on q, k and v, as the reward models of `GenARM` are: what they hold changes no speed.

use std::rc::Rc;
use std::time::Instant;

use pilotfish::adapter::{Adapter, Component, Module, Pair, RowOrder};
use pilotfish::arch::ModelSpec;
use pilotfish::engine::{
    AdapterUse, Guide, GuideKind, Model, Models, Prompt, Returns, Session, SessionInfo, SessionOptions,
};
use serde::Serialize;

use crate::error::Result;
use crate::host::Host;
use crate::output::{Page, Table};
use crate::progress::Progress;
use crate::run::{self, Timing};
use crate::schedule::Schedule;
use crate::spread::Spread;
use crate::units::rate;

/// Adapter guides beside the base.
const GUIDES: std::ops::RangeInclusive<usize> = 0..=3;
pub(super) const RANK: u32 = 8;

/// One number of guides.
#[derive(Debug, Serialize)]
pub(super) struct Compared {
    guides: usize,
    rows: usize,
    dispatches_per_step: u32,
    adapter_bytes: u64,
    decode_tokens_per_second: Option<Spread>,
    /// A step's time over an unguided one's, run by run.
    step_over_unguided: Option<Spread>,
    /// The same where reports have nothing of single rows ([`Returns::Mix`]).
    mix_only_step_over_unguided: Option<Spread>,
    /// The prefill of all rows over that of the base alone, run by run.
    prefill_over_unguided: Option<Spread>,
}

/// Measures with the prompt of `options`, whose guides are left out.
pub(super) async fn run(host: &Host, base: &Rc<Model>, options: &SessionOptions, runs: u32) -> Result<Vec<Compared>> {
    let adapters: Vec<Rc<Adapter>> = GUIDES.skip(1).map(|seed| Rc::new(random(&base.spec, seed as u64))).collect();
    let models = Models { adapters: &adapters, ..Models::only(base) };
    let schedule = Schedule::default();
    let with = |guides: usize, returns: Returns| SessionOptions {
        guides: (0..guides).map(guide).collect(),
        returns,
        ..options.clone()
    };
    let once = async |options: &SessionOptions| run::generate(host, models, options, &schedule, |_| Ok(())).await;
    let mut infos: Vec<SessionInfo> = Vec::new();
    for guides in GUIDES {
        // Compiles what is missing.
        infos.push(once(&SessionOptions { max_tokens: 2, ..with(guides, Returns::Report) }).await?.info);
    }
    let mut progress = Progress::new("comparing".to_owned(), host.quiet);
    let mut timings: Vec<Vec<Timing>> = vec![Vec::new(); infos.len()];
    let mut mix_only = timings.clone();
    for at in 0..runs {
        progress.update(at.into(), runs.into());
        for guides in GUIDES {
            timings[guides].push(once(&with(guides, Returns::Report)).await?.timing);
            mix_only[guides].push(once(&with(guides, Returns::Mix)).await?.timing);
        }
    }
    let against = |timings: &[Vec<Timing>], guides: usize, ratio: &dyn Fn(&Timing, &Timing) -> Option<f64>| {
        Spread::of(timings[0].iter().zip(&timings[guides]).filter_map(|(plain, guided)| ratio(plain, guided)))
    };
    let steps = |plain: &Timing, guided: &Timing| Some(plain.decode_rate()? / guided.decode_rate()?);
    let compared = |(guides, info): (usize, SessionInfo)| Compared {
        guides,
        rows: info.rows.len(),
        dispatches_per_step: info.dispatches_per_step,
        adapter_bytes: info.memory.adapters,
        decode_tokens_per_second: Spread::of(timings[guides].iter().filter_map(Timing::decode_rate)),
        step_over_unguided: against(&timings, guides, &steps),
        mix_only_step_over_unguided: against(&mix_only, guides, &steps),
        prefill_over_unguided: against(&timings, guides, &|plain, guided| {
            (plain.prefill > 0.0).then_some(guided.prefill / plain.prefill)
        }),
    };
    Ok(infos.into_iter().enumerate().map(compared).collect())
}

pub(super) fn guide(at: usize) -> Guide {
    let kind = GuideKind::Adapter { adapters: vec![AdapterUse::whole(at)], relative: false, model: None, prompt: None };
    Guide { name: format!("arm{at}"), weight: 0.1, kind }
}

/// Seconds that a session takes to give a guide another adapter: packed, uploaded, the steps recorded anew. Its row has one token, so
/// that nothing is computed again.
pub(super) async fn swap(host: &Host, base: &Rc<Model>, runs: u32) -> Result<Option<Spread>> {
    let adapters = [1, 2].map(|seed| Rc::new(random(&base.spec, seed)));
    let models = Models { adapters: &adapters, ..Models::only(base) };
    let options = SessionOptions { guides: vec![guide(0)], ..SessionOptions::new(Prompt::Ids(vec![0])) };
    let mut session = Session::new(&host.engine, models, &options, |_| true).await?;
    let mut seconds = Vec::new();
    for run in 0..=runs {
        let started = Instant::now();
        session.set_adapters(Some(0), &adapters, &[AdapterUse::whole(run as usize % 2)]).await?;
        seconds.push(started.elapsed().as_secs_f64());
    }
    // The first compiles what is missing.
    Ok(Spread::of(seconds.into_iter().skip(1)))
}

/// Small numbers of either sign (a linear congruential generator: nothing depends on their quality).
pub(super) fn random(spec: &ModelSpec, seed: u64) -> Adapter {
    let mut state = seed;
    let mut numbers = |n: u64| -> Vec<f32> {
        let mut next = || {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            ((state >> 40) as f32 / (1u32 << 24) as f32 - 0.5) * 0.02
        };
        (0..n).map(|_| next()).collect()
    };
    let mut fixed = Component::default();
    for (at, layer) in spec.layers.iter().enumerate() {
        for module in [Module::Q, Module::K, Module::V] {
            let tensor = &spec.tensors[module.tensor(layer)];
            let (a, b) = (numbers(tensor.row_len() * u64::from(RANK)), numbers(tensor.rows() * u64::from(RANK)));
            fixed.pairs.insert((at as u32, module), Pair { scale: 2.0, rank: RANK, a, b });
        }
    }
    Adapter {
        name: format!("random {seed}"),
        architecture: None,
        base: None,
        row_order: RowOrder::Model,
        fixed,
        preferences: Vec::new(),
    }
}

/// Adds the table.
pub(super) fn describe(compared: &[Compared], prompt_tokens: u32, page: &mut Page) {
    let mut table = Table::new(&["adapters", "rows", "decode tok/s", "step", "mix-only step", "prefill", "dispatches"]);
    let spread = |spread: Option<Spread>| {
        spread.map_or("-".to_owned(), |Spread { median, min, max }| {
            format!("{} [{}..{}]", rate(median), rate(min), rate(max))
        })
    };
    for one in compared {
        table.row([
            one.guides.to_string(),
            one.rows.to_string(),
            spread(one.decode_tokens_per_second),
            spread(one.step_over_unguided),
            spread(one.mix_only_step_over_unguided),
            spread(one.prefill_over_unguided),
            one.dispatches_per_step.to_string(),
        ]);
    }
    page.line(format_args!("adapter guides (random, rank {RANK} on q, k, v), {prompt_tokens} prompt tokens"));
    page.table(&table);
    page.line(
        "steps and prefill: the time over that of the base alone, run by run; mix-only: nothing reported of single rows",
    );
}
