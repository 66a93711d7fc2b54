//! The mix: many rows of logits become one, and what a step reports about them is summed up on the way.

use super::elementary::sort_key;
use super::mixing::{IMPOSSIBLE, MASKED, Mixing, Stage, is_possible, logit};
use super::select::{Selection, typical_key};
use crate::gpu::{Dispatch, Gpu, GpuError};

/// How the row that filters decides what may be said at all.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RowKeep {
    /// No row filters.
    All,
    /// Its logit is at least its largest plus ln(alpha); after `row_max`.
    Plausible,
    /// What this selection kept.
    Selected(Selection),
}

/// What a mix does besides mixing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Mix {
    /// The filter by a row.
    pub keep: RowKeep,
    /// Draws a token too: when no filter on z follows and the choice is not greedy.
    pub pick: bool,
}

impl Mix {
    /// The dispatch.
    pub fn dispatch(self, gpu: &Gpu, mixing: &Mixing<'_>) -> Result<Dispatch, GpuError> {
        let keep = match self.keep {
            RowKeep::All => 0,
            RowKeep::Plausible => 1,
            RowKeep::Selected(selection) => 2 | (selection.flags() & 1) << 2 | (selection.flags() & 4) << 2,
        };
        let stage = Stage { flags: keep | u32::from(self.pick) << 3, ..Default::default() };
        mixing.dispatch(gpu, "mix", stage, &[1, 2, 3, 4, 7], &[mixing.report()], mixing.shape.groups)
    }
}

/// The twin's row filter: the row, the smallest logit and the smallest key it keeps.
#[derive(Debug, Clone, Copy)]
pub struct Kept<'a> {
    /// Its logits.
    pub row: &'a [f32],
    /// From this logit on.
    pub lowest: f32,
    /// From this key on.
    pub lowest_key: u32,
    /// The largest logit and the mean below it, where keys are those of typicality.
    pub typical: Option<(f32, f32)>,
}

/// The twin: z of every id, [`MASKED`] where the base or a row with weight says -inf or NaN, or the filter leaves it out.
pub fn twin(base: &[f32], terms: &[(&[f32], f32)], normalize: bool, kept: Option<Kept<'_>>) -> Vec<f32> {
    let scale = if normalize { 1.0 / terms.iter().fold(0.0f32, |sum, (_, weight)| sum + weight) } else { 1.0 };
    (0..base.len())
        .map(|id| {
            let mut z = 0.0f32;
            let mut possible = is_possible(logit(base[id]));
            for (row, weight) in terms.iter().filter(|(_, weight)| *weight != 0.0) {
                let l = logit(row[id]);
                possible &= is_possible(l);
                z += weight * l.max(IMPOSSIBLE);
            }
            if let Some(kept) = kept {
                let l = logit(kept.row[id]);
                let key = kept.typical.map_or(sort_key(l), |(max, mean)| typical_key(l, max, 1.0, mean));
                possible &= is_possible(l) && l >= kept.lowest && key >= kept.lowest_key;
            }
            let z = (z.clamp(IMPOSSIBLE, -IMPOSSIBLE) * scale).clamp(IMPOSSIBLE, -IMPOSSIBLE);
            if possible { z } else { MASKED }
        })
        .collect()
}

#[cfg(any(test, feature = "grid"))]
pub(super) mod cases {
    use bytemuck::Zeroable;

    use super::super::grid::{Case, Comparison, run};
    use super::super::mixing::Controls;
    use super::super::mixing::lab::{Kind, Lab, rows_of};
    use super::super::row_max;
    use super::{Kept, Mix, RowKeep};

    /// What is masked is told apart from every number, so both are compared.
    pub(crate) fn cases() -> Vec<Case> {
        let mut cases = Vec::new();
        for (vocab, rows) in [(1, 1), (255, 2), (1000, 8), (49_152, 3)] {
            for kind in [Kind::Random, Kind::Holes, Kind::Nan] {
                for (normalize, plausible) in [(false, false), (true, false), (false, true)] {
                    let name = format!(
                        "mix/vocab={vocab}/rows={rows}/kind={kind:?}/normalize={normalize}/plausible={plausible}"
                    );
                    cases.push(Case::new(name, move |gpu| {
                        Box::pin(async move {
                            let weights = &[1.0, -0.5, 0.75, 0.0, 2.0, -1.0, 0.125, 0.3][..rows];
                            let logits = rows_of(vocab, rows, kind);
                            let controls = Controls {
                                inv_temperature: 1.0,
                                normalize: u32::from(normalize),
                                filter_row: rows as u32 - 1,
                                filter_value: 0.05f32.ln().to_bits(),
                                ..Controls::zeroed()
                            };
                            let lab = Lab::new(gpu, &logits, weights, &controls)?;
                            let mixing = lab.mixing();
                            let keep = if plausible { RowKeep::Plausible } else { RowKeep::All };
                            let mix = Mix { keep, pick: true }.dispatch(gpu, &mixing)?;
                            run(gpu, &[row_max::row_max(gpu, &mixing, false)?, mix], 1);
                            let row = &logits[rows - 1][..];
                            let lowest = row_max::twin(row) + 0.05f32.ln();
                            let kept = plausible.then_some(Kept { row, lowest, lowest_key: 0, typical: None });
                            let terms: Vec<(&[f32], f32)> =
                                logits.iter().map(Vec::as_slice).zip(weights.iter().copied()).collect();
                            let want = super::twin(&logits[0], &terms, normalize, kept);
                            let got = lab.z(gpu).await?;
                            let masks =
                                |z: &[f32]| z.iter().map(|z| f32::from(u8::from(*z < -2e38))).collect::<Vec<_>>();
                            let shown = |z: &[f32]| [masks(z), z.iter().map(|z| z.max(-100.0)).collect()].concat();
                            Ok(Comparison::close(shown(&got), shown(&want), 1e-6))
                        })
                    }));
                }
            }
        }
        cases
    }
}
