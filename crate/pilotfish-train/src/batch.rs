//! A batch of pairs: its loss, gradients and scores, worked in forests that fit the caches, on as many threads as there are.

use std::sync::Mutex;
use std::sync::PoisonError;
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::base::Base;
use crate::error::Result;
use crate::forest::{Forest, Tree};
use crate::forward::{Leaves, Pass, log_probs};
use crate::lora::Lora;
use crate::objective::{AnswerScore, Objective, PairScore};

/// Tokens of a forest: enough rows for a matrix product to reach its speed, few enough that a batch leaves some to each thread.
const FOREST_TOKENS: usize = 192;

/// Recursion over the tape takes stack.
const STACK: usize = 16 << 20;

/// One pair of a batch.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Item<'p> {
    /// Its prompt and answers: two, or the chosen one for SFT.
    pub(crate) tree: &'p Tree,
    /// The base's scores, where the objective needs them.
    pub(crate) reference: Option<&'p PairScore>,
    /// What its loss is multiplied with; those of a batch add up to one.
    pub(crate) weight: f64,
}

/// What a batch gives.
#[derive(Debug, Clone)]
pub(crate) struct BatchResult {
    /// Sum of the items' losses by their weights.
    pub(crate) loss: f64,
    /// Of that sum, in the order of [`Lora::slices`].
    pub(crate) gradients: Vec<Vec<f32>>,
    /// Each pair's answers' scores; SFT has chosen ones only.
    pub(crate) scores: Vec<Vec<AnswerScore>>,
}

/// The weighed loss over `items` and its gradients, under a preference vector (empty for plain LoRA). Forests depend on the items alone and are added up in their order, so that the
/// result does not depend on `threads`.
pub(crate) fn gradients(
    base: &Base,
    (lora, preference): (&Lora, &[f32]),
    items: &[Item<'_>],
    objective: &Objective,
    seed: u64,
    threads: usize,
) -> Result<BatchResult> {
    let groups = groups(&items.iter().map(|item| item.tree.tokens()).collect::<Vec<_>>());
    let results = in_threads(&groups, threads, |index, group| {
        let leaves = Leaves::new(lora, preference)?;
        let forest = Forest::new(group.iter().map(|item| items[*item].tree));
        let seed = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15).wrapping_add(index as u64);
        let log_probs = log_probs(base, Some(&leaves), &forest, Pass::Train { seed })?;
        let mut total: Option<candle_core::Tensor> = None;
        for (item, answers) in group.iter().zip(&forest.answers) {
            let answers = answers.iter().map(|range| log_probs.narrow(0, range.start, range.len()));
            let Item { reference, weight, .. } = items[*item];
            let loss = (objective.loss(&answers.collect::<Result<Vec<_>, _>>()?, reference)? * weight)?;
            total = Some(total.map_or(Ok(loss.clone()), |total| total + loss)?);
        }
        let mut gradients = Vec::new();
        let mut loss = 0.0;
        if let Some(total) = total {
            loss = f64::from(total.to_scalar::<f32>()?);
            let mut store = total.backward()?;
            for var in leaves.iter() {
                let gradient =
                    store.remove(var).map_or(Ok(vec![0.0; var.elem_count()]), |g| g.flatten_all()?.to_vec1())?;
                gradients.push(gradient);
            }
        }
        Ok((loss, gradients, scores(&log_probs, &forest)?))
    })?;
    let mut sum = BatchResult {
        loss: 0.0,
        gradients: lora.slices().map(|slice| vec![0.0; slice.len()]).collect(),
        scores: vec![Vec::new(); items.len()],
    };
    for (group, (loss, gradients, scores)) in groups.iter().zip(results) {
        sum.loss += loss;
        for (sum, gradient) in sum.gradients.iter_mut().zip(gradients) {
            sum.iter_mut().zip(gradient).for_each(|(sum, value)| *sum += value);
        }
        for (item, score) in group.iter().zip(scores) {
            sum.scores[*item] = score;
        }
    }
    Ok(sum)
}

/// Each tree's answers' scores under the base with an adapter and its preference vector, or by itself. `progress(done)` is told after each forest and answers
/// `false` to abort: then what is missing has no scores.
pub(crate) fn evaluate(
    base: &Base,
    lora: Option<(&Lora, &[f32])>,
    trees: &[&Tree],
    threads: usize,
    progress: &(dyn Fn(usize) -> bool + Sync),
) -> Result<Vec<Vec<AnswerScore>>> {
    let groups = groups(&trees.iter().map(|tree| tree.tokens()).collect::<Vec<_>>());
    let done = AtomicUsize::new(0);
    let aborted = std::sync::atomic::AtomicBool::new(false);
    let results = in_threads(&groups, threads, |_, group| {
        if aborted.load(Ordering::Relaxed) {
            return Ok(Vec::new());
        }
        let leaves = lora.map(|(lora, preference)| Leaves::new(lora, preference)).transpose()?;
        let forest = Forest::new(group.iter().map(|tree| trees[*tree]));
        let log_probs = log_probs(base, leaves.as_ref(), &forest, Pass::Evaluate)?;
        if !progress(done.fetch_add(group.len(), Ordering::Relaxed) + group.len()) {
            aborted.store(true, Ordering::Relaxed);
        }
        scores(&log_probs.detach(), &forest)
    })?;
    let mut all = vec![Vec::new(); trees.len()];
    for (group, scores) in groups.iter().zip(results) {
        for (tree, score) in group.iter().zip(scores) {
            all[*tree] = score;
        }
    }
    Ok(all)
}

fn scores(log_probs: &candle_core::Tensor, forest: &Forest) -> Result<Vec<Vec<AnswerScore>>> {
    let values: Vec<f32> = log_probs.to_vec1()?;
    let score = |range: &std::ops::Range<usize>| AnswerScore {
        sum: values[range.clone()].iter().map(|value| f64::from(*value)).sum(),
        tokens: range.len(),
    };
    Ok(forest.answers.iter().map(|answers| answers.iter().map(score).collect()).collect())
}

/// Indices of items in forests of about [`FOREST_TOKENS`]: longest first, each into the lightest forest.
fn groups(tokens: &[usize]) -> Vec<Vec<usize>> {
    let total: usize = tokens.iter().sum();
    // Two at least: any machine has that many cores.
    let count = total.div_ceil(FOREST_TOKENS).max(2).min(tokens.len());
    let mut groups: Vec<(usize, Vec<usize>)> = vec![(0, Vec::new()); count];
    let mut order: Vec<usize> = (0..tokens.len()).collect();
    order.sort_by_key(|item| std::cmp::Reverse(tokens[*item]));
    for item in order {
        if let Some(lightest) = groups.iter_mut().min_by_key(|(weight, _)| *weight) {
            lightest.0 += tokens[item];
            lightest.1.push(item);
        }
    }
    groups.into_iter().map(|(_, items)| items).collect()
}

/// `work(index, job)` of every job, in the jobs' order, on up to `threads` threads.
fn in_threads<J: Sync, R: Send>(
    jobs: &[J],
    threads: usize,
    work: impl Fn(usize, &J) -> Result<R> + Sync,
) -> Result<Vec<R>> {
    let next = AtomicUsize::new(0);
    let results: Vec<Mutex<Option<Result<R>>>> = jobs.iter().map(|_| Mutex::new(None)).collect();
    std::thread::scope(|scope| {
        for _ in 0..threads.clamp(1, jobs.len().max(1)) {
            let run = || {
                loop {
                    let index = next.fetch_add(1, Ordering::Relaxed);
                    let Some(job) = jobs.get(index) else { break };
                    let result = work(index, job);
                    *results[index].lock().unwrap_or_else(PoisonError::into_inner) = Some(result);
                }
            };
            // Where no thread can be had, this one works.
            if std::thread::Builder::new().stack_size(STACK).spawn_scoped(scope, run).is_err() {
                run();
            }
        }
    });
    let result = |slot: Mutex<Option<Result<R>>>| slot.into_inner().unwrap_or_else(PoisonError::into_inner);
    results.into_iter().filter_map(result).collect()
}
