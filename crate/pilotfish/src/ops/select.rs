//! Exact thresholds: the k-th largest value, or the value down to which a share of the probability lies.
//!
//! A radix selection over sortable float keys, eight bits a level, so four dispatches. Masses are integers of 2^-26 of the
//! largest, so sums do not depend on the order in which workgroups run; over 262,144 tokens the rounding is at most 2^-9 of
//! the most likely token's probability, and that only if nearly every token is too unlikely to be counted.

use super::elementary::{exp_below, sort_key};
use super::mixing::{Mixing, Stage};
use crate::gpu::{Dispatch, Gpu, GpuError};

/// Which values.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Selection {
    /// The k largest logits of the filter's row.
    RowCount,
    /// The share p of the filter's row; after `row_max`.
    RowMass,
    /// The share p of the filter's row, the most typical first; after `row_max` with its spread.
    RowTypical,
    /// The k largest z; after `mix`.
    TopK,
    /// The share p of z; after `mix`.
    TopP,
    /// The share p of what [`Selection::TopK`] kept.
    TopPAfterTopK,
    /// The share p of z, in the order of how far log p lies from its mean; after `mix`. While typical-p is on in the controls,
    /// the selections over z choose among what this one kept.
    Typical,
}

const BY_MASS: u32 = 1;
const AFTER_TOP_K: u32 = 2;
const BY_DISTANCE: u32 = 4;
/// No selection over z; the row filter's number, which `pick` does not look at.
pub(super) const NONE: u32 = 0;

impl Selection {
    pub(super) fn number(self) -> u32 {
        match self {
            Self::RowCount | Self::RowMass | Self::RowTypical => 0,
            Self::TopK => 1,
            Self::TopP | Self::TopPAfterTopK => 2,
            Self::Typical => 3,
        }
    }

    pub(super) fn flags(self) -> u32 {
        match self {
            Self::RowCount | Self::TopK => 0,
            Self::RowMass | Self::TopP | Self::Typical => BY_MASS,
            Self::RowTypical => BY_MASS | BY_DISTANCE,
            Self::TopPAfterTopK => BY_MASS | AFTER_TOP_K,
        }
    }
}

/// The four dispatches of a selection, in order.
pub fn select(gpu: &Gpu, mixing: &Mixing<'_>, selection: Selection) -> Result<[Dispatch; 4], GpuError> {
    let level = |level| {
        let stage = Stage { flags: selection.flags(), selection: selection.number(), level };
        mixing.dispatch(gpu, "select", stage, &[1, 2, 3, 4], &[], mixing.shape.groups)
    };
    Ok([level(0)?, level(1)?, level(2)?, level(3)?])
}

/// The key of the k-th largest of `values`; 0 if there are not as many. Everything from this key on is kept, so values that
/// tie with the k-th are kept too.
pub fn count_key(values: impl Iterator<Item = f32>, k: u32) -> u32 {
    let mut keys: Vec<u32> = values.map(sort_key).collect();
    let place = k.saturating_sub(1) as usize;
    if place >= keys.len() {
        return 0;
    }
    *keys.select_nth_unstable_by(place, |a, b| b.cmp(a)).1
}

/// The largest key from which on the values hold at least the share `p` of exp((value - max) * `inv_t`).
pub fn mass_key(values: impl Iterator<Item = f32>, max: f32, inv_t: f32, p: f32) -> u32 {
    mass_key_by(values, max, inv_t, p, sort_key)
}

/// As [`mass_key`], the values in the order of `key`.
pub fn mass_key_by(values: impl Iterator<Item = f32>, max: f32, inv_t: f32, p: f32, key: impl Fn(f32) -> u32) -> u32 {
    let units = |value: f32| match (value - max).max(-1e30) * inv_t {
        // Less than half a unit.
        below if below < -18.8 => 0,
        below => u64::from((exp_below(below) * 67_108_864.0 + 0.5) as u32),
    };
    // What has no unit reaches no share.
    let counted = values.map(|value| (key(value), units(value))).filter(|(_, units)| *units > 0);
    let mut masses: Vec<(u32, u64)> = counted.collect();
    let total: u64 = masses.iter().map(|(_, units)| units).sum();
    // As the shader: the two halves added in f32, truncated to whole units.
    let total = (total >> 13) as f32 * 8192.0 + (total & 0x1fff) as f32;
    let target = (p * total).max(1.0) as u64;
    let (mut rest, mut sum) = (&mut masses[..], 0);
    // Few hold most of it: only these are put in order.
    let mut at_once = 64;
    while !rest.is_empty() {
        if at_once < rest.len() {
            rest.select_nth_unstable_by(at_once, |a, b| b.cmp(a));
        }
        let (first, others) = rest.split_at_mut(at_once.min(rest.len()));
        first.sort_unstable_by(|a, b| b.cmp(a));
        for (key, units) in first.iter() {
            sum += units;
            if sum >= target {
                return *key;
            }
        }
        rest = others;
        at_once *= 4;
    }
    0
}

/// The mean of (z - max) / T under softmax(z / T). As entropy = log-sum-exp - mean of z / T, typical-p measures from it:
/// |-log p - entropy| = |mean - z / T|.
pub fn mean_below(z: impl Iterator<Item = f32>, max: f32, inv_t: f32) -> f32 {
    let (mut sum, mut spread) = (0.0f64, 0.0f64);
    for below in z.map(|z| (z - max).max(-1e30) * inv_t) {
        let e = f64::from(exp_below(below));
        if e > 0.0 {
            sum += e;
            spread += e * f64::from(below);
        }
    }
    (spread / sum.max(1e-30)) as f32
}

/// The key by which [`Selection::Typical`] orders: the most typical highest.
pub fn typical_key(z: f32, max: f32, inv_t: f32, mean: f32) -> u32 {
    sort_key(-((z - max) * inv_t - mean).abs())
}

#[cfg(any(test, feature = "grid"))]
pub(super) mod cases {
    use bytemuck::Zeroable;

    use super::super::grid::{Case, Comparison, run};
    use super::super::mix::{Mix, RowKeep};
    use super::super::mixing::lab::{Kind, Lab, rows_of};
    use super::super::mixing::{Controls, MASKED, is_possible, logit};
    use super::super::{mix, row_max};
    use super::{Selection, count_key, mass_key, mass_key_by, mean_below, select, sort_key, typical_key};

    /// The key that a finished selection stands for, from its last level's bins and state.
    fn key_of(words: &[u32]) -> u32 {
        let (bins, state) = (&words[3 * 512..4 * 512], &words[4 * 512 + 12..]);
        let left = u64::from(state[1]) << 13 | u64::from(state[2]);
        let mut sum = 0;
        for digit in (0..256).rev() {
            sum += (u64::from(bins[2 * digit]) << 13) + u64::from(bins[2 * digit + 1]);
            if sum >= left {
                return state[0] << 8 | digit as u32;
            }
        }
        state[0] << 8
    }

    /// A key as two numbers that f32 holds exactly.
    fn halves(key: u32) -> Vec<f32> {
        vec![(key >> 16) as f32, (key & 0xffff) as f32]
    }

    pub(crate) fn cases() -> Vec<Case> {
        let mut cases = Vec::new();
        let kinds = [Kind::Random, Kind::Ties, Kind::Equal, Kind::Spread, Kind::Holes];
        for (vocab, kinds) in [(1, 1), (1000, 5), (49_152, 2)].map(|(vocab, n)| (vocab, &kinds[..n])) {
            for kind in kinds.iter().copied() {
                for (k, p) in [(1, 0.001), (40, 0.5), (900, 0.99)] {
                    for by_row in [true, false] {
                        for by_mass in [true, false] {
                            let how = if by_mass { format!("p={p}") } else { format!("k={k}") };
                            let name = format!("select/vocab={vocab}/kind={kind:?}/by_row={by_row}/{how}");
                            cases.push(Case::new(name, move |gpu| {
                                Box::pin(async move {
                                    let rows = rows_of(vocab, 2, kind);
                                    let inv_t = if by_row { 1.0 } else { 1.25 };
                                    let controls = Controls {
                                        inv_temperature: inv_t,
                                        top_k: k,
                                        top_p: p,
                                        filter_row: 1,
                                        filter_value: if by_mass { p.to_bits() } else { k },
                                        ..Controls::zeroed()
                                    };
                                    let lab = Lab::new(gpu, &rows, &[1.0, 0.5], &controls)?;
                                    let mixing = lab.mixing();
                                    let selection = match (by_row, by_mass) {
                                        (true, true) => Selection::RowMass,
                                        (true, false) => Selection::RowCount,
                                        (false, true) => Selection::TopP,
                                        (false, false) => Selection::TopK,
                                    };
                                    let mut all = vec![
                                        row_max::row_max(gpu, &mixing, false)?,
                                        Mix { keep: RowKeep::All, pick: false }.dispatch(gpu, &mixing)?,
                                    ];
                                    all.extend(select(gpu, &mixing, selection)?);
                                    run(gpu, &all, 1);
                                    let got = key_of(&lab.selection(gpu, selection.number()).await?);
                                    let values: Vec<f32> = if by_row {
                                        rows[1].iter().map(|l| logit(*l)).filter(|l| is_possible(*l)).collect()
                                    } else {
                                        let terms = [(&rows[0][..], 1.0), (&rows[1][..], 0.5)];
                                        let z = mix::twin(&rows[0], &terms, false, None);
                                        z.into_iter().filter(|z| *z != MASKED).collect()
                                    };
                                    let max = values.iter().copied().fold(MASKED, f32::max);
                                    let values = values.into_iter();
                                    let want =
                                        if by_mass { mass_key(values, max, inv_t, p) } else { count_key(values, k) };
                                    Ok(Comparison::exact(halves(got), halves(want)))
                                })
                            }));
                        }
                    }
                }
            }
        }
        cases.extend(typical_cases());
        cases
    }

    /// Typical-p: the distance up to which it keeps. The mean is a sum whose last bits depend on the device, so it is close, not equal.
    fn typical_cases() -> impl Iterator<Item = Case> {
        let kinds = [Kind::Random, Kind::Ties, Kind::Equal, Kind::Spread, Kind::Holes];
        let points = kinds.into_iter().flat_map(|kind| [0.05f32, 0.5, 0.95].map(|p| (kind, p)));
        let points = points.flat_map(|(kind, p)| [true, false].map(|by_row| (kind, p, by_row)));
        points.map(|(kind, p, by_row)| {
            Case::new(format!("select/vocab=1000/kind={kind:?}/by_row={by_row}/typical={p}"), move |gpu| {
                Box::pin(async move {
                    let rows = rows_of(1000, 1, kind);
                    let inv_t = if by_row { 1.0 } else { 1.25 };
                    let (typical_p, filter_value) = if by_row { (0.0, p.to_bits()) } else { (p, 0) };
                    let controls = Controls { inv_temperature: inv_t, typical_p, filter_value, ..Controls::zeroed() };
                    let lab = Lab::new(gpu, &rows, &[1.0], &controls)?;
                    let mixing = lab.mixing();
                    let selection = if by_row { Selection::RowTypical } else { Selection::Typical };
                    let mut all = vec![
                        row_max::row_max(gpu, &mixing, true)?,
                        Mix { keep: RowKeep::All, pick: false }.dispatch(gpu, &mixing)?,
                    ];
                    all.extend(select(gpu, &mixing, selection)?);
                    run(gpu, &all, 1);
                    let got = key_of(&lab.selection(gpu, selection.number()).await?);
                    let z = mix::twin(&rows[0], &[(&rows[0], 1.0)], false, None);
                    let there = || z.iter().copied().filter(|z| *z != MASKED);
                    let max = there().fold(MASKED, f32::max);
                    let mean = mean_below(there(), max, inv_t);
                    let key = |z: f32| typical_key(z, max, inv_t, mean);
                    let want = mass_key_by(there(), max, inv_t, p, key);
                    // Distances are kept as negative numbers, whose keys are their bits inverted.
                    let distance = |key: u32| if key < 0x8000_0000 { -f32::from_bits(!key) } else { 0.0 };
                    Ok(Comparison::close(vec![distance(got), 1.0], vec![distance(want), 1.0], 1e-5))
                })
            })
        })
    }

    #[cfg(test)]
    mod tests {
        use super::*;

        #[test]
        fn thresholds_mean_what_they_say() {
            let values = [3.0, 1.0, 2.0, 2.0, -1.0];
            let kept = |key| values.iter().filter(|value| sort_key(**value) >= key).count();
            assert_eq!(kept(count_key(values.into_iter(), 1)), 1);
            assert_eq!(kept(count_key(values.into_iter(), 2)), 3, "what ties with the last is kept");
            assert_eq!(kept(count_key(values.into_iter(), 9)), 5);
            assert_eq!(kept(mass_key(values.into_iter(), 3.0, 1.0, 0.01)), 1);
            assert_eq!(kept(mass_key(values.into_iter(), 3.0, 1.0, 0.6)), 3);
            assert_eq!(kept(mass_key(values.into_iter(), 3.0, 1.0, 1.0)), 5);
        }
    }
}
