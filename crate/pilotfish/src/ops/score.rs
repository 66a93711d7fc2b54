//! Scores rows of logits against targets: what a text's log-probs are made of.

use bytemuck::{Pod, Zeroable};

use super::mixing::{MASKED, logit};
use crate::gpu::{Binding, Dispatch, Extent, Gpu, GpuError};

/// Words that [`Score`] writes for each output; see [`ScoreOf`].
pub const SCORE_WORDS: u32 = 4;

#[repr(C)]
#[derive(Debug, Clone, Copy, Pod, Zeroable)]
struct Params {
    vocab: u32,
    stride: u32,
    pad: [u32; 2],
}

/// What one output's score says, as the kernel writes it.
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Pod, Zeroable)]
pub struct ScoreOf {
    /// The log-sum-exp of the row; with it, `target - lse` is the target's log-prob.
    pub lse: f32,
    /// The target's logit; [`MASKED`] if the target is beyond the vocabulary.
    pub target: f32,
    /// The argmax, the lowest id on ties; `u32::MAX` if every logit is NaN or +inf.
    pub greedy: u32,
    /// How many logits are NaN or +inf.
    pub bad: u32,
}

/// What the kernel reads and writes.
#[derive(Debug, Clone, Copy)]
pub struct Score<'a> {
    /// Ids of the vocabulary.
    pub vocab: u32,
    /// Floats between rows.
    pub stride: u32,
    /// `[outputs, stride]` in f32.
    pub logits: &'a wgpu::Buffer,
    /// `[outputs]` ids.
    pub targets: &'a wgpu::Buffer,
    /// `[outputs]` of [`ScoreOf`].
    pub scores: &'a wgpu::Buffer,
}

impl Score<'_> {
    /// The dispatch over the outputs of a batch.
    pub fn dispatch(&self, gpu: &Gpu) -> Result<Dispatch, GpuError> {
        let params = Params { vocab: self.vocab, stride: self.stride, pad: [0; 2] };
        let params = gpu.uniform_of("score params", &params)?;
        let bindings = [
            Binding::whole(0, &params),
            Binding::whole(1, self.targets),
            Binding::whole(2, self.logits),
            Binding::whole(3, self.scores),
        ];
        let size = if gpu.info().software { 64 } else { 256 };
        let count = [Extent::Outputs(1), Extent::Fixed(1), Extent::Fixed(1)];
        Dispatch::new(gpu, "score", &[], &[("SIZE", size)], &bindings, count)
    }
}

/// The twin, for one row.
pub fn score(row: &[f32], target: u32) -> ScoreOf {
    let mut greedy = (MASKED, u32::MAX);
    for (id, l) in (0u32..).zip(row) {
        let l = logit(*l);
        if l > greedy.0 {
            greedy = (l, id);
        }
    }
    let sum: f64 = row.iter().map(|l| f64::from(logit(*l) - greedy.0).exp()).sum();
    ScoreOf {
        lse: greedy.0 + sum.ln() as f32,
        target: row.get(target as usize).map_or(MASKED, |l| logit(*l)),
        greedy: greedy.1,
        bad: row.iter().filter(|l| logit(**l) == MASKED).count() as u32,
    }
}

/// The `k` largest of a row as (id, logit), largest first, the lowest id first on ties. NaN comes last.
pub fn top(row: &[f32], k: usize) -> Vec<(u32, f32)> {
    let mut all: Vec<(u32, f32)> = (0u32..).zip(row.iter().copied()).collect();
    let order = |a: &(u32, f32), b: &(u32, f32)| {
        let key = |l: f32| if l.is_nan() { f32::NEG_INFINITY } else { l + 0.0 };
        key(b.1).total_cmp(&key(a.1)).then(a.0.cmp(&b.0))
    };
    let k = k.min(all.len());
    if k > 0 && k < all.len() {
        all.select_nth_unstable_by(k - 1, order);
    }
    all.truncate(k);
    all.sort_unstable_by(order);
    all
}

#[cfg(any(test, feature = "grid"))]
pub(super) mod cases {
    use super::super::grid::{Case, Comparison, run};
    use super::super::mixing::lab::{Kind, rows_of};
    use super::{Score, ScoreOf};

    pub(crate) fn cases() -> Vec<Case> {
        let mut cases = Vec::new();
        for (vocab, rows) in [(1, 1), (2, 3), (257, 8), (49_152, 2)] {
            for kind in [Kind::Random, Kind::Ties, Kind::Spread, Kind::Holes, Kind::Nan] {
                cases.push(Case::new(format!("score/vocab={vocab}/rows={rows}/kind={kind:?}"), move |gpu| {
                    Box::pin(async move {
                        let logits = rows_of(vocab, rows, kind);
                        // One target is beyond the vocabulary.
                        let targets: Vec<u32> = (0..rows as u32).map(|row| (row * 97) % (vocab as u32 + 1)).collect();
                        let buffers = (
                            gpu.storage_of("logits", &logits.concat())?,
                            gpu.storage_of("targets", &targets)?,
                            gpu.storage_of("scores", &vec![0u32; 4 * rows])?,
                        );
                        let op = Score {
                            vocab: vocab as u32,
                            stride: vocab as u32,
                            logits: &buffers.0,
                            targets: &buffers.1,
                            scores: &buffers.2,
                        };
                        run(gpu, &[op.dispatch(gpu)?], rows as u32);
                        let got: Vec<ScoreOf> = gpu.read(&buffers.2, rows).await?;
                        let want: Vec<ScoreOf> =
                            logits.iter().zip(&targets).map(|(row, target)| super::score(row, *target)).collect();
                        let shown = |scores: &[ScoreOf]| {
                            let of = |s: &ScoreOf| [s.lse.max(-1e5), s.target.max(-1e5), s.bad as f32];
                            scores.iter().flat_map(of).collect::<Vec<f32>>()
                        };
                        let ids = |scores: &[ScoreOf]| scores.iter().map(|score| score.greedy).collect::<Vec<_>>();
                        let (mut got, mut want) = ((shown(&got), ids(&got)), (shown(&want), ids(&want)));
                        got.0.push(f32::from(u8::from(got.1 == want.1)));
                        want.0.push(1.0);
                        Ok(Comparison::close(got.0, want.0, 1e-6))
                    })
                }));
            }
        }
        cases
    }

    #[cfg(test)]
    mod tests {
        use super::super::top;

        #[test]
        fn the_top_is_sorted_with_low_ids_first_and_nan_last() {
            let row = [1.0, 3.0, f32::NAN, 3.0, -0.0, 0.0];
            assert_eq!(top(&row, 4), [(1, 3.0), (3, 3.0), (0, 1.0), (4, 0.0)]);
            assert_eq!(top(&row, 99).len(), 6);
            assert_eq!(top(&row, 99)[5].0, 2);
            assert!(top(&[], 3).is_empty());
        }
    }
}
