//! Makes the texts that are missing. Ways that differ by weights and temperature alone share a session, and a prompt's keys and values
//! are computed once for all of them.

use std::rc::Rc;
use std::time::Instant;

use pilotfish::adapter::Adapter;
use pilotfish::engine::{Model, Models, Prompt, Rows, Session, SessionOptions, Step};
use pilotfish::guidance::Sampling;

use super::log::{self, Identity, Log, Speed, Written};
use super::prompts;
use super::settings::{Files, Setting, Way};
use super::spec::Spec;
use crate::error::Result;
use crate::host::Host;
use crate::progress::Progress;
use crate::units::{rate, seconds};
use crate::{interrupt, output};

/// Tokens whose time is taken, and how often.
const TIMED: (u32, usize) = (16, 3);
/// The length that times are told for.
const TOLD: f64 = 128.0;

/// What texts are made with.
#[derive(Debug)]
pub(super) struct Writer<'a> {
    host: &'a Host,
    base: Rc<Model>,
    models: Vec<Rc<Model>>,
    adapters: Vec<Rc<Adapter>>,
    identity: &'a Identity,
    prompts: &'a [Prompt],
    tokens: u32,
}

/// How far a run came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ended {
    /// Everything is there.
    Whole,
    /// Ctrl-C.
    Interrupted,
}

impl<'a> Writer<'a> {
    /// Loads the base and what the ways name.
    pub(super) async fn new(
        host: &'a Host,
        spec: &Spec,
        files: &Files,
        identity: &'a Identity,
        prompts: &'a [Prompt],
    ) -> Result<Self> {
        let base = Rc::new(host.load(&spec.base).await?);
        let mut models = Vec::new();
        for path in &files.models {
            models.push(Rc::new(host.load(path).await?));
        }
        let mut adapters = Vec::new();
        for (path, on) in &files.adapters {
            let model = on.map_or(&base, |on| &models[on]);
            adapters.push(Rc::new(host.load_adapter(path, model)?));
        }
        Ok(Self { host, base, models, adapters, identity, prompts, tokens: spec.tokens })
    }

    /// What steers, and what is steered.
    pub(super) fn models(&self) -> Models<'_> {
        Models { base: &self.base, guides: &self.models, adapters: &self.adapters }
    }

    /// Makes what the log does not have.
    pub(super) async fn write(&self, settings: &[Setting], log: &mut Log) -> Result<Ended> {
        let missing =
            |setting: &&Setting, log: &Log| (0..setting.prompts).any(|at| log.text(&self.key(setting, at)).is_none());
        let total: usize = settings.iter().map(|setting| setting.prompts).sum();
        let mut meter = Meter::new(settings, total, self.host.quiet);
        let mut rest: Vec<&Setting> = settings.iter().filter(|setting| missing(setting, log)).collect();
        meter.made = total - rest.iter().map(|setting| self.missing(setting, log)).sum::<usize>();
        while let Some(first) = rest.first() {
            let session = first.way.session();
            let (group, others): (Vec<&Setting>, Vec<&Setting>) =
                rest.iter().copied().partition(|setting| setting.way.session() == session);
            if self.group(&group, log, &mut meter).await? == Ended::Interrupted {
                return Ok(Ended::Interrupted);
            }
            rest = others;
        }
        Ok(Ended::Whole)
    }

    fn missing(&self, setting: &Setting, log: &Log) -> usize {
        (0..setting.prompts).filter(|at| log.text(&self.key(setting, *at)).is_none()).count()
    }

    fn key(&self, setting: &Setting, prompt: usize) -> String {
        self.identity.key(&setting.way, &self.prompts[prompt], prompt)
    }

    fn options(&self, way: &Way, prompt: &Prompt) -> SessionOptions {
        let prompt = way.instruction.as_ref().map_or(prompt.clone(), |text| prompts::instructed(prompt, text));
        SessionOptions {
            adapters: way.adapters.clone(),
            guides: way.guides.clone(),
            normalize: way.normalize,
            method: way.method.clone(),
            sampling: Sampling { temperature: way.temperature, ..Sampling::default() },
            max_tokens: self.tokens,
            candidates: 1,
            ..SessionOptions::new(prompt)
        }
    }

    /// The texts of ways that share a session, prompt by prompt.
    async fn group(&self, group: &[&Setting], log: &mut Log, meter: &mut Meter) -> Result<Ended> {
        let way = &group[0].way;
        let mut options = self.options(way, &self.prompts[0]);
        // One context for all prompts, so that one session has room for each.
        let mut longest = 0;
        for prompt in self.prompts {
            let rows = Rows::plan(self.models(), &SessionOptions { prompt: prompt.clone(), ..options.clone() })?;
            longest = rows.rows.iter().map(|row| row.ids.len()).max().unwrap_or_default().max(longest);
        }
        options.context_length = longest as u32 + self.tokens;
        let mut session = Session::new(&self.host.engine, self.models(), &options, |_| !interrupt::asked()).await?;
        interrupt::also(session.remote().stop_flag());
        for (at, prompt) in self.prompts.iter().enumerate() {
            options = SessionOptions { prompt: prompt.clone(), ..options };
            for setting in group.iter().filter(|setting| at < setting.prompts) {
                let key = self.key(setting, at);
                if log.text(&key).is_some() {
                    continue;
                }
                session.turn(&options, |_| !interrupt::asked()).await?;
                for (guide, asked) in setting.way.guides.iter().enumerate() {
                    session.set_weight(guide, asked.weight)?;
                }
                let seed = self.identity.seed(at);
                session.set_sampling(&Sampling {
                    temperature: setting.way.temperature,
                    seed,
                    ..Sampling::default()
                })?;
                let text = text(&mut session, key).await?;
                if interrupt::asked() {
                    return Ok(Ended::Interrupted);
                }
                meter.add(&setting.name, text.tokens);
                log.keep(text)?;
            }
        }
        meter.finished(group);
        Ok(Ended::Whole)
    }

    /// Takes the times that the log does not have, in rounds, so that all see the same machine.
    pub(super) async fn time(&self, settings: &[Setting], log: &mut Log) -> Result<Ended> {
        let native =
            |setting: &Setting| setting.native.as_ref().map(|way| (speed_key(self.identity, way), way.clone()));
        let missing: Vec<(String, Way)> =
            settings.iter().filter_map(native).filter(|(key, _)| log.speed(key).is_none()).collect();
        let mut times: Vec<Vec<f64>> = missing.iter().map(|_| Vec::new()).collect();
        let mut progress = Progress::new("timing the methods", self.host.quiet);
        // The first round compiles what is missing.
        for round in 0..=TIMED.1 {
            for (at, (_, way)) in missing.iter().enumerate() {
                progress.update((round * missing.len() + at) as u64, ((TIMED.1 + 1) * missing.len()) as u64);
                let time = self.seconds_per_token(way, &self.prompts[round % self.prompts.len()]).await?;
                if interrupt::asked() {
                    return Ok(Ended::Interrupted);
                }
                times[at].extend(time.filter(|_| round > 0));
            }
        }
        for ((key, _), mut times) in missing.into_iter().zip(times) {
            times.sort_by(f64::total_cmp);
            if let Some(median) = times.get(times.len() / 2) {
                log.keep_speed(Speed { key, seconds_per_128_tokens: median * TOLD })?;
            }
        }
        Ok(Ended::Whole)
    }

    /// After the prompt, over some tokens of a text that may have 128.
    async fn seconds_per_token(&self, way: &Way, prompt: &Prompt) -> Result<Option<f64>> {
        let mut options = self.options(way, prompt);
        options.sampling.ignore_eos = true;
        // Roll-outs are as long as they would be; whole texts are as long as what is timed.
        let whole = way.method.name == pilotfish::engine::MethodName::BestOfN;
        options.max_tokens = if whole { TIMED.0 } else { TOLD as u32 };
        let mut session = Session::new(&self.host.engine, self.models(), &options, |_| !interrupt::asked()).await?;
        interrupt::also(session.remote().stop_flag());
        let started = Instant::now();
        let mut made = 0;
        while made < TIMED.0 && session.next().await?.is_some() {
            made += 1;
        }
        Ok((made > 0).then(|| started.elapsed().as_secs_f64() / f64::from(made)))
    }
}

/// Of a way's time.
pub(super) fn speed_key(identity: &Identity, way: &Way) -> String {
    format!("time-{}", identity.key(way, &Prompt::Text(String::new()), 0))
}

/// Writes what the session stands before.
async fn text(session: &mut Session, key: String) -> Result<Written> {
    let mut made = Written { key, text: String::new(), tokens: 0, ended: false, base_log_prob: 0.0, kl: 0.0 };
    while let Some(Step { text, stop, log_probs, kl, temperature, .. }) = session.next().await? {
        made.text += &text;
        made.tokens += 1;
        made.ended = log::ended(stop);
        made.base_log_prob += f64::from(log_probs.base);
        made.kl += f64::from(if temperature == 1.0 { kl } else { log_probs.sampled - log_probs.base });
    }
    made.text += &session.rest();
    made.kl /= f64::from(made.tokens.max(1));
    Ok(made)
}

/// Tells how far the texts are: a line that moves on a terminal, a line for each session elsewhere.
#[derive(Debug)]
struct Meter {
    progress: Progress,
    quiet: bool,
    total: usize,
    made: usize,
    here: usize,
    tokens: u64,
    started: Instant,
    shown: bool,
}

impl Meter {
    fn new(settings: &[Setting], total: usize, quiet: bool) -> Self {
        let progress = Progress::new(format!("{} rows", settings.len()), quiet);
        Self { progress, quiet, total, made: 0, here: 0, tokens: 0, started: Instant::now(), shown: false }
    }

    fn add(&mut self, name: &str, tokens: u32) {
        self.made += 1;
        self.here += 1;
        self.tokens += u64::from(tokens);
        let line = self.line(name);
        self.shown = self.progress.say(&line);
    }

    fn line(&self, name: &str) -> String {
        let spent = self.started.elapsed().as_secs_f64();
        let left = spent / self.here.max(1) as f64 * (self.total - self.made.min(self.total)) as f64;
        let speed = rate(self.tokens as f64 / spent.max(1e-9));
        format!("{name}: {} of {} texts, {speed} tokens/s, {} left", self.made, self.total, seconds(left))
    }

    fn finished(&mut self, group: &[&Setting]) {
        if !self.shown && !self.quiet {
            output::diagnostic(&self.line(&group[group.len() - 1].name));
        }
    }
}
