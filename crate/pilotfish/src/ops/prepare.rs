//! Readies a step: weights on a schedule, counts of what was said, tokens that would repeat an n-gram.
//!
//! Only sessions that use one of these run it. Its twins are [`scheduled`], [`window`] and [`repeating`].

use super::mixing::{LANES, Mixing, Stage};
use crate::gpu::{Dispatch, Gpu, GpuError};

/// The dispatch, before `mix`: one workgroup.
pub fn prepare(gpu: &Gpu, mixing: &Mixing<'_>) -> Result<Dispatch, GpuError> {
    mixing.dispatch(gpu, "prepare", Stage::default(), &[1, 3, 7], &[("SIZE", LANES)], 1)
}

/// The weight at `step`: on straight lines between the points, and level before the first and after the last.
pub fn scheduled(points: &[(u32, f32)], step: u32) -> f32 {
    let after = points.partition_point(|(at, _)| *at <= step);
    match (after.checked_sub(1).and_then(|last| points.get(last)), points.get(after)) {
        (Some((from, weight)), Some((to, next))) => {
            weight + (step - from) as f32 / (to - from) as f32 * (next - weight)
        }
        (Some((_, weight)), None) | (None, Some((_, weight))) => *weight,
        (None, None) => 0.0,
    }
}

/// The twin's past: of `ids` from `first` on the last `last_n`, or all if that is 0.
pub fn window(ids: &[u32], first: usize, last_n: u32) -> &[u32] {
    let ids = &ids[first..];
    if last_n == 0 { ids } else { &ids[ids.len().saturating_sub(last_n as usize)..] }
}

/// The twin's n-grams: every token that stood after an earlier occurrence of the last `n - 1` tokens of `past`.
pub fn repeating(past: &[u32], n: u32) -> Vec<u32> {
    let n = n as usize;
    if n < 2 || past.len() < n {
        return Vec::new();
    }
    let last = &past[past.len() - (n - 1)..];
    past.windows(n).filter(|ngram| ngram[..n - 1] == *last).map(|ngram| ngram[n - 1]).collect()
}

#[cfg(any(test, feature = "grid"))]
pub(super) mod cases {
    use bytemuck::Zeroable;

    use super::super::grid::{Case, Comparison, Numbers, run};
    use super::super::mixing::lab::{Kind, Lab, rows_of};
    use super::super::mixing::{Controls, edits};

    /// `last_n`, whether the prompt counts, and the length of n-grams.
    const SETTINGS: [(u32, u32, u32); 4] = [(0, 0, 2), (5, 1, 2), (40, 1, 3), (0, 1, 0)];

    pub(crate) fn cases() -> Vec<Case> {
        let mut cases = Vec::new();
        for (vocab, prompt, said) in [(1, 0, 0), (4, 3, 1), (7, 40, 90), (300, 500, 200)] {
            for first in 0..SETTINGS.len() {
                let name = format!("prepare/vocab={vocab}/prompt={prompt}/said={said}/settings={first}");
                cases.push(Case::new(name, move |gpu| {
                    Box::pin(async move {
                        let mut numbers = Numbers::new((vocab + prompt + said) as u64);
                        let ids: Vec<u32> =
                            (0..prompt + said).map(|_| (numbers.bits() % vocab as u64) as u32).collect();
                        let rows = rows_of(vocab, 1, Kind::Random);
                        let (mut got, mut want) = (Vec::new(), Vec::new());
                        let lab = Lab::new(gpu, &rows, &[1.0], &Controls::zeroed())?.with_past(gpu, &ids, prompt)?;
                        // One after another over the same counts: they must follow.
                        for at in [first, first + 1] {
                            let (last_n, with_prompt, ngram) = SETTINGS[at % SETTINGS.len()];
                            let edits = edits::PENALTIES;
                            lab.set(gpu, &Controls { edits, last_n, with_prompt, ngram, ..Controls::zeroed() });
                            run(gpu, &[super::prepare(gpu, &lab.mixing())?], 1);
                            let (counts, marks) = lab.past(gpu).await?;
                            let past = super::window(&ids, if with_prompt == 1 { 0 } else { prompt }, last_n);
                            let repeating = super::repeating(past, ngram);
                            for id in 0..vocab as u32 {
                                got.push(counts[id as usize] as f32);
                                want.push(past.iter().filter(|said| **said == id).count() as f32);
                                // The second time is the same step, whose marks still stand.
                                if at == first {
                                    got.push(f32::from(u8::from(marks[id as usize] == said as u32 + 1)));
                                    want.push(f32::from(u8::from(repeating.contains(&id))));
                                }
                            }
                        }
                        Ok(Comparison::exact(got, want))
                    })
                }));
            }
        }
        cases
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_schedule_is_straight_between_its_points_and_level_outside() {
        let points = [(2, 0.0), (6, 2.0), (7, -1.0)];
        let weights: Vec<f32> = (0..9).map(|step| scheduled(&points, step)).collect();
        assert_eq!(weights, [0.0, 0.0, 0.0, 0.5, 1.0, 1.5, 2.0, -1.0, -1.0]);
        assert_eq!(scheduled(&[(5, 3.0)], 0), 3.0);
    }

    #[test]
    fn an_n_gram_is_found_within_the_window_only() {
        let ids = [1, 2, 3, 1, 2, 4, 1, 2];
        assert_eq!(repeating(&ids, 3), [3, 4]);
        assert_eq!(repeating(window(&ids, 0, 5), 3), [4]);
        assert_eq!(repeating(window(&ids, 3, 0), 2), [4]);
        assert!(repeating(&ids, 4).is_empty());
        assert!(repeating(&ids[..2], 3).is_empty());
    }
}
