//! The loop.

use std::path::{Path, PathBuf};
use std::time::Instant;

use serde::Serialize;

use super::checkpoint::{Checkpoint, State};
use super::metrics::{Entry, MetricsFile};
use super::order::Orders;
use super::reference::{fingerprint, pair_scores, reference};
use super::{Evaluation, RunOptions, StepMetrics};
use crate::base::Base;
use crate::batch::{Item, evaluate, gradients};
use crate::error::{Result, TrainError};
use crate::forest::Tree;
use crate::lora::Lora;
use crate::objective::{AnswerScore, PairScore};
use crate::optimizer::{AdamW, clip};
use crate::pairs::Pair;
use crate::parm::{self, corner};

/// What is told while a run goes on.
#[derive(Debug, Clone, Copy)]
#[non_exhaustive]
pub enum Event<'e> {
    /// The run goes on from a checkpoint after so many steps.
    Resumed {
        /// Steps that were taken before.
        step: usize,
    },
    /// Pairs are being scored, `done` of `total`: by the base, or to evaluate.
    Scoring {
        /// Pairs so far.
        done: usize,
        /// Pairs in all.
        total: usize,
    },
    /// An evaluation after so many steps.
    Evaluated {
        /// Steps taken.
        step: usize,
        /// What it found.
        evaluation: &'e Evaluation,
    },
    /// A step was taken.
    Step {
        /// Its numbers.
        metrics: &'e StepMetrics,
        /// Steps in all.
        total: usize,
        /// Tokens a second over the steps of this process.
        tokens_per_second: f64,
        /// Seconds that the remaining steps will take.
        left: f64,
    },
    /// A checkpoint was written.
    Saved {
        /// Steps taken.
        step: usize,
    },
}

/// Why a run ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Stopped {
    /// All steps were taken.
    Finished,
    /// Evaluations got no better; the adapter is that of the best.
    Early,
    /// The observer said so. The checkpoint goes on from here.
    Interrupted,
}

/// What a run gave.
#[derive(Debug, Clone)]
pub struct Outcome {
    /// Why it ended.
    pub stopped: Stopped,
    /// The trained changes, multiplied with their strength.
    pub lora: Lora,
    /// The step that they are from.
    pub step: usize,
    /// On the held-out pairs before the first step, if there are any.
    pub before: Option<Evaluation>,
    /// On the held-out pairs at the end, if there are any.
    pub after: Option<Evaluation>,
    /// For each dimension of preference: its name, and its held-out pairs before and at the end, if both were judged.
    pub dimensions: Vec<(String, (Evaluation, Evaluation))>,
    /// Tokens read by all steps.
    pub tokens: usize,
    /// Seconds spent on all steps.
    pub seconds: f64,
    /// All steps' numbers.
    pub steps: Vec<StepMetrics>,
    /// All evaluations, with the steps taken before.
    pub evaluations: Vec<(usize, Evaluation)>,
}

/// Where a run keeps its files.
#[derive(Debug, Clone, Copy)]
pub struct RunFolder<'f> {
    /// A folder that exists.
    pub path: &'f Path,
    /// Go on from the checkpoint that is there; without, one that is there is refused.
    pub resume: bool,
}

/// Where a run's own files are.
struct Files {
    checkpoint: PathBuf,
    metrics: PathBuf,
    reference: PathBuf,
}

/// Trains on `train` and judges by `held_out`. `observe` answers `false` to stop: the step that is under way is finished, and a checkpoint written.
///
/// # Errors
/// [`TrainError::Diverged`] where the loss or a gradient is no number: the checkpoint of the last good step stays.
/// [`TrainError::Write`] where a file cannot be written: what was written before stays.
pub fn train(
    base: &Base,
    train: &[Pair],
    held_out: &[Pair],
    options: &RunOptions,
    folder: &RunFolder<'_>,
    threads: usize,
    observe: &(dyn Fn(Event<'_>) -> bool + Sync),
) -> Result<Outcome> {
    options.check()?;
    let files = Files {
        checkpoint: folder.path.join("checkpoint.safetensors"),
        metrics: folder.path.join("metrics.jsonl"),
        reference: folder.path.join("base-scores.json"),
    };
    let all: Vec<&Pair> = train.iter().chain(held_out).collect();
    let fingerprint = fingerprint(base, &all);
    let mut at = begin(base, options, &fingerprint, &files, folder.resume)?;
    if at.state.step > 0 {
        observe(Event::Resumed { step: at.state.step });
    }
    // SFT and ARM need the base's scores of held-out pairs alone.
    let scored = if options.objective.needs_reference() { &all[..] } else { &all[train.len()..] };
    let progress = |done| observe(Event::Scoring { done, total: scored.len() });
    let known = reference(base, scored, &files.reference, threads, &progress)?;
    let Some(known) = known else { return Ok(outcome(Stopped::Interrupted, &at, None)) };
    let (references, held_references) = known.split_at(known.len() - held_out.len());
    let run = Run { base, train, held_out, references, held_references, options, threads, observe };
    let mut metrics = MetricsFile::open(&files.metrics, at.state.step, at.state.evaluated)?;
    let dimension_of: Vec<usize> = train.iter().map(|pair| pair.dimension).collect();
    let mut order = Orders::new(&dimension_of, at.lora.dimensions.max(1), options.batch, options.seed);
    let (started, first, tokens_before) = (Instant::now(), at.state.step, at.state.tokens);
    let stopped = loop {
        let step = at.state.step;
        if run.evaluation_due(step) && at.state.evaluated != Some(step) && !run.judge(&mut at, &mut metrics)? {
            break Stopped::Interrupted;
        }
        if options.patience > 0 && at.state.worse >= options.patience {
            break Stopped::Early;
        }
        if step == options.steps {
            break Stopped::Finished;
        }
        if options.save_every > 0 && step.is_multiple_of(options.save_every) && step > first {
            at.write(&files.checkpoint)?;
            observe(Event::Saved { step });
        }
        let taken = run.step(&mut at, &mut order, &files)?;
        metrics.push(Entry::Step(taken.clone()))?;
        let seconds = started.elapsed().as_secs_f64();
        let event = Event::Step {
            metrics: &taken,
            total: options.steps,
            tokens_per_second: (at.state.tokens - tokens_before) as f64 / seconds,
            left: seconds * (options.steps - at.state.step) as f64 / (at.state.step - first) as f64,
        };
        if !observe(event) {
            break Stopped::Interrupted;
        }
    };
    at.write(&files.checkpoint)?;
    observe(Event::Saved { step: at.state.step });
    if options.patience > 0 && stopped != Stopped::Interrupted {
        at.take_best();
    }
    Ok(outcome(stopped, &at, Some(&metrics)))
}

/// A new run, or the one in the folder.
fn begin(base: &Base, options: &RunOptions, fingerprint: &str, files: &Files, resume: bool) -> Result<Checkpoint> {
    let path = &files.checkpoint;
    let refuse = |message: String| Err(TrainError::Checkpoint { path: path.clone(), message });
    let new = |options: &RunOptions| Lora::new(&base.spec, &options.lora, options.parm.as_ref(), options.seed);
    match (path.exists(), resume) {
        (true, false) => refuse("a run has left its checkpoint here: resume it, or choose another folder".into()),
        (false, true) => refuse("there is no checkpoint to resume".into()),
        (false, false) => {
            let lora = new(options)?;
            let adam = AdamW::new(lora.slices().map(<[f32]>::len));
            let (options, fingerprint) = (options.clone(), fingerprint.to_owned());
            let state =
                State { step: 0, options, fingerprint, tokens: 0, seconds: 0.0, best: None, worse: 0, evaluated: None };
            Ok(Checkpoint { state, lora, adam, best: None })
        }
        (true, true) => {
            let at = Checkpoint::read(path, new)?;
            if at.state.fingerprint != fingerprint {
                return refuse(
                    "it was made with another base or other pairs: resume with the same, or choose another folder"
                        .into(),
                );
            }
            if at.state.options != *options {
                let said = |options| serde_json::to_string(options).unwrap_or_default();
                let (then, now) = (said(&at.state.options), said(options));
                return refuse(format!("it was made with other options: {then}, now {now}"));
            }
            Ok(at)
        }
    }
}

impl Checkpoint {
    /// Goes back to the best evaluation's numbers.
    fn take_best(&mut self) {
        for (slice, best) in self.lora.slices_mut().zip(self.best.iter().flatten()) {
            slice.copy_from_slice(best);
        }
    }
}

fn outcome(stopped: Stopped, at: &Checkpoint, metrics: Option<&MetricsFile>) -> Outcome {
    let entries = || metrics.iter().flat_map(|file| &file.entries);
    let steps = entries().filter_map(|entry| if let Entry::Step(step) = entry { Some(step.clone()) } else { None });
    let evaluations: Vec<(usize, Evaluation)> = entries()
        .filter_map(|entry| {
            if let Entry::Evaluation { step, evaluation, .. } = entry { Some((*step, *evaluation)) } else { None }
        })
        .collect();
    let dimensions_after = |step: usize| {
        let of = |entry: &Entry| match entry {
            Entry::Evaluation { step: at, dimensions, .. } if *at == step => Some(dimensions.clone()),
            _ => None,
        };
        entries().find_map(of).unwrap_or_default()
    };
    let best = at.state.best.filter(|_| at.best.is_some() && stopped != Stopped::Interrupted);
    let last = evaluations.last().filter(|(step, _)| *step == at.state.step).map(|(_, evaluation)| *evaluation);
    let step = best.map_or(at.state.step, |(_, step)| step);
    let names = at.state.options.parm.iter().flat_map(|parm| parm.dimensions.iter().cloned());
    let found = dimensions_after(0).into_iter().zip(dimensions_after(step));
    Outcome {
        stopped,
        lora: at.lora.times(at.state.options.lora.strength),
        step,
        before: evaluations.first().filter(|(step, _)| *step == 0).map(|(_, evaluation)| *evaluation),
        after: best.map(|(evaluation, _)| evaluation).or(last),
        dimensions: names.zip(found).collect(),
        tokens: at.state.tokens,
        seconds: at.state.seconds,
        steps: steps.collect(),
        evaluations,
    }
}

/// What does not change in a run.
struct Run<'r> {
    base: &'r Base,
    train: &'r [Pair],
    held_out: &'r [Pair],
    /// The base's scores of the pairs to learn from; empty where they are not needed.
    references: &'r [PairScore],
    held_references: &'r [PairScore],
    options: &'r RunOptions,
    threads: usize,
    observe: &'r (dyn Fn(Event<'_>) -> bool + Sync),
}

impl Run<'_> {
    /// Before, after, and between as often as asked.
    fn evaluation_due(&self, step: usize) -> bool {
        let options = self.options;
        let between = options.eval_every > 0 && step.is_multiple_of(options.eval_every);
        !self.held_out.is_empty() && (step == 0 || step == options.steps || between)
    }

    /// Takes a step.
    fn step(&self, at: &mut Checkpoint, order: &mut Orders, files: &Files) -> Result<StepMetrics> {
        let started = Instant::now();
        let (options, step) = (self.options, at.state.step);
        let seed = options.seed.wrapping_mul(0x2545_f491_4f6c_dd1d).wrapping_add(step as u64);
        let preference = match at.lora.dimensions {
            0 => Vec::new(),
            dimensions => parm::draw(dimensions, options.seed, step),
        };
        let (batch, weights): (Vec<usize>, Vec<f64>) =
            order.batch(step, if preference.is_empty() { &[1.0] } else { &preference }).into_iter().unzip();
        // SFT reads no rejected answers.
        let alone =
            |pair: &Pair| Tree { prompt: pair.tree.prompt.clone(), answers: vec![pair.tree.answers[0].clone()] };
        let trees: Vec<Tree> = batch
            .iter()
            .map(|pair| {
                if options.objective.needs_rejected() {
                    self.train[*pair].tree.clone()
                } else {
                    alone(&self.train[*pair])
                }
            })
            .collect();
        let items: Vec<Item<'_>> = batch
            .iter()
            .zip(&trees)
            .zip(&weights)
            .map(|((pair, tree), weight)| Item { tree, reference: self.references.get(*pair), weight: *weight })
            .collect();
        let lora = (&at.lora, &preference[..]);
        let mut found = gradients(self.base, lora, &items, &options.objective, seed, self.threads)?;
        let norm = clip(&mut found.gradients, options.optimizer.clip);
        for (what, value) in [("loss", found.loss), ("gradient norm", norm)] {
            if !value.is_finite() {
                return Err(self.diverged(at, files, &batch, what, value));
            }
        }
        let rate = options.optimizer.rate(step, options.steps);
        at.adam.step(at.lora.slices_mut(), &found.gradients, rate, &options.optimizer);
        let tokens = trees.iter().map(Tree::tokens).sum();
        let seconds = started.elapsed().as_secs_f64();
        at.state.step += 1;
        at.state.tokens += tokens;
        at.state.seconds += seconds;
        let margins: Option<Vec<f64>> = found.scores.iter().map(|answers| Some(margin(answers.get(..2)?))).collect();
        let mean = |of: &dyn Fn(f64) -> f64| {
            margins
                .as_ref()
                .map(|margins| margins.iter().zip(&weights).map(|(value, weight)| of(*value) * weight).sum())
        };
        Ok(StepMetrics {
            step: at.state.step,
            loss: found.loss,
            accuracy: mean(&|margin| f64::from(margin > 0.0)),
            margin: mean(&|margin| margin),
            gradient_norm: norm,
            rate,
            tokens,
            seconds,
        })
    }

    /// The account of a step that cannot be taken; the state before it is good, and is kept.
    fn diverged(&self, at: &Checkpoint, files: &Files, batch: &[usize], what: &'static str, value: f64) -> TrainError {
        let good = at.lora.slices().flatten().all(|value| value.is_finite());
        let path = files.checkpoint.display();
        let kept = match at.state.step {
            0 => "nothing was learned yet".to_owned(),
            step if good && at.write(&files.checkpoint).is_ok() => format!("{path} holds the state after step {step}"),
            _ => format!("{path}, if it is there, holds the last state that was written"),
        };
        let lines = batch.iter().map(|pair| self.train[*pair].line).collect();
        TrainError::Diverged { step: at.state.step + 1, what, value, lines, kept }
    }

    /// Of the held-out pairs, each with all weight on its own dimension; `None` where the observer stopped it.
    fn scores(&self, lora: &Lora) -> Result<Option<Vec<PairScore>>> {
        let mut scores = vec![None; self.held_out.len()];
        let mut before = 0;
        for dimension in 0..lora.dimensions.max(1) {
            let pairs: Vec<usize> =
                (0..self.held_out.len()).filter(|pair| self.held_out[*pair].dimension == dimension).collect();
            let trees: Vec<&Tree> = pairs.iter().map(|pair| &self.held_out[*pair].tree).collect();
            let progress = |done| (self.observe)(Event::Scoring { done: before + done, total: self.held_out.len() });
            let preference = corner(dimension, lora.dimensions);
            let found = evaluate(self.base, Some((lora, &preference)), &trees, self.threads, &progress)?;
            let Some(found) = pair_scores(found) else { return Ok(None) };
            before += pairs.len();
            pairs.into_iter().zip(found).for_each(|(pair, score)| scores[pair] = Some(score));
        }
        Ok(scores.into_iter().collect())
    }

    /// Evaluates, and notes whether it is the best so far. `false` where the observer stopped it: then nothing is noted.
    fn judge(&self, at: &mut Checkpoint, metrics: &mut MetricsFile) -> Result<bool> {
        let step = at.state.step;
        let scores = if step == 0 {
            // Nothing is changed yet.
            self.held_references.to_vec()
        } else {
            match self.scores(&at.lora.times(self.options.lora.strength))? {
                Some(scores) => scores,
                None => return Ok(false),
            }
        };
        at.state.evaluated = Some(step);
        let evaluation = Evaluation::of(&scores, self.held_references, &self.options.objective);
        let dimensions = (0..at.lora.dimensions).map(|dimension| {
            let of = |scores: &[PairScore]| -> Vec<PairScore> {
                let pairs = self.held_out.iter().zip(scores).filter(|(pair, _)| pair.dimension == dimension);
                pairs.map(|(_, score)| *score).collect()
            };
            Evaluation::of(&of(&scores), &of(self.held_references), &self.options.objective)
        });
        metrics.push(Entry::Evaluation { step, evaluation, dimensions: dimensions.collect() })?;
        if self.options.patience > 0 {
            if at.state.best.is_none_or(|(best, _)| evaluation.loss < best.loss) {
                at.state.best = Some((evaluation, step));
                at.state.worse = 0;
                at.best = Some(at.lora.slices().map(<[f32]>::to_vec).collect());
            } else {
                at.state.worse += 1;
            }
        }
        Ok((self.observe)(Event::Evaluated { step, evaluation: &evaluation }))
    }
}

fn margin(answers: &[AnswerScore]) -> f64 {
    answers[0].sum - answers[1].sum
}
