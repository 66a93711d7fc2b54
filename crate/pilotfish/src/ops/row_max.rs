//! The largest logit of the row that filters, and how its distribution spreads.

use super::mixing::{Mixing, Stage, logit};
use crate::gpu::{Dispatch, Gpu, GpuError};

/// The dispatch, before a filter by probability ([`super::mix::RowKeep::Plausible`], or a selection by mass); with the `spread`, for
/// [`super::select::Selection::RowTypical`].
pub fn row_max(gpu: &Gpu, mixing: &Mixing<'_>, spread: bool) -> Result<Dispatch, GpuError> {
    let stage = Stage { flags: u32::from(spread), ..Stage::default() };
    mixing.dispatch(gpu, "row_max", stage, &[1, 2, 3], &[], mixing.shape.groups)
}

/// The twin: the largest logit that is neither NaN nor +inf.
pub fn twin(row: &[f32]) -> f32 {
    row.iter().fold(super::mixing::MASKED, |top, l| top.max(logit(*l)))
}

#[cfg(any(test, feature = "grid"))]
pub(super) mod cases {
    use bytemuck::Zeroable;

    use super::super::grid::{Case, Comparison, run};
    use super::super::mixing::lab::{Kind, Lab, rows_of};
    use super::super::mixing::{Controls, MASKED};

    /// Where a record holds the largest logit.
    const FIELD: usize = 7;

    pub(crate) fn cases() -> Vec<Case> {
        let mut cases = Vec::new();
        for vocab in [1, 63, 64, 257, 49_152] {
            for kind in [Kind::Random, Kind::Holes, Kind::Nan, Kind::Impossible] {
                cases.push(Case::new(format!("row_max/vocab={vocab}/kind={kind:?}"), move |gpu| {
                    Box::pin(async move {
                        let rows = rows_of(vocab, 2, kind);
                        let controls = Controls { filter_row: 1, ..Controls::zeroed() };
                        let lab = Lab::new(gpu, &rows, &[], &controls)?;
                        run(gpu, &[super::row_max(gpu, &lab.mixing(), false)?], 1);
                        let parts = lab.field(gpu, FIELD).await?;
                        let got = parts.into_iter().map(f32::from_bits).fold(MASKED, f32::max);
                        Ok(Comparison::exact(vec![got], vec![super::twin(&rows[1])]))
                    })
                }));
            }
        }
        cases
    }
}
