//! What is summed up of a row of logits: its range, its normaliser, its entropy, and how far another row is from it.

use crate::{Isa, dispatch};

/// The extremes of a row.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Range {
    /// The smallest that is a number.
    pub min: f32,
    /// The largest that is a number.
    pub max: f32,
    /// One is no number.
    pub nan: bool,
}

impl Range {
    /// Of no numbers at all.
    pub const NOTHING: Self = Self { min: f32::INFINITY, max: f32::NEG_INFINITY, nan: false };

    /// Of these numbers and others.
    #[must_use]
    pub fn and(self, other: Self) -> Self {
        Self { min: self.min.min(other.min), max: self.max.max(other.max), nan: self.nan || other.nan }
    }
}

/// The extremes of `x`.
pub fn range(isa: Isa, x: &[f32]) -> Range {
    let [min, max, nans] = dispatch::range(isa, x);
    Range { min, max, nan: nans > 0.0 }
}

/// `[Σ e^d, Σ d e^d]` with `d = (x - max) scale`: the normaliser of a softmax and the mean of what goes into it. What lies 87 below
/// the largest, or further, adds nothing.
pub fn exp_sums(isa: Isa, x: &[f32], max: f32, scale: f32) -> [f64; 2] {
    dispatch::exp_sums(isa, x, max, scale)
}

/// `Σ (d - (y - y_max)) e^d` with `d = x - x_max`: of what a KL divergence is made.
pub fn cross_sum(isa: Isa, x: &[f32], x_max: f32, y: &[f32], y_max: f32) -> f64 {
    dispatch::cross_sum(isa, x, x_max, y, y_max)
}

/// What the instruction sets compile.
pub(crate) mod body {
    use crate::float::{exp, fma, larger};

    /// Below this a power of e is left out.
    const LEAST: f32 = -87.0;
    /// Elements whose sums are made in f32; so many of these are added up in f64.
    const RUN: usize = 4096;

    #[inline(always)]
    pub(crate) fn range<const FMA: bool>(x: &[f32]) -> [f32; 3] {
        let (blocks, rest) = x.as_chunks::<16>();
        let (mut min, mut max, mut nans) = ([f32::INFINITY; 16], [f32::NEG_INFINITY; 16], [0.0f32; 16]);
        for x in blocks {
            for i in 0..16 {
                min[i] = if x[i] < min[i] { x[i] } else { min[i] };
                max[i] = larger(x[i], max[i]);
                nans[i] += if x[i].is_nan() { 1.0 } else { 0.0 };
            }
        }
        for (i, x) in rest.iter().enumerate() {
            min[i] = min[i].min(*x);
            max[i] = max[i].max(*x);
            nans[i] += if x.is_nan() { 1.0 } else { 0.0 };
        }
        let min = min.into_iter().fold(f32::INFINITY, f32::min);
        let max = max.into_iter().fold(f32::NEG_INFINITY, f32::max);
        [min, max, nans.into_iter().sum()]
    }

    #[inline(always)]
    pub(crate) fn exp_sums<const FMA: bool>(x: &[f32], max: f32, scale: f32) -> [f64; 2] {
        let (mut sum, mut spread) = (0.0, 0.0);
        for run in x.chunks(RUN) {
            let (mut sums, mut spreads) = ([0.0f32; 16], [0.0f32; 16]);
            let (blocks, rest) = run.as_chunks::<16>();
            for x in blocks {
                for i in 0..16 {
                    let d = larger((x[i] - max) * scale, LEAST - 1.0);
                    let e = if d > LEAST { exp::<FMA>(d) } else { 0.0 };
                    sums[i] += e;
                    spreads[i] = fma::<FMA>(d, e, spreads[i]);
                }
            }
            for (i, x) in rest.iter().enumerate() {
                let d = larger((x - max) * scale, LEAST - 1.0);
                let e = if d > LEAST { exp::<FMA>(d) } else { 0.0 };
                sums[i] += e;
                spreads[i] += d * e;
            }
            sum += sums.into_iter().map(f64::from).sum::<f64>();
            spread += spreads.into_iter().map(f64::from).sum::<f64>();
        }
        [sum, spread]
    }

    #[inline(always)]
    pub(crate) fn cross_sum<const FMA: bool>(x: &[f32], x_max: f32, y: &[f32], y_max: f32) -> f64 {
        let mut sum = 0.0;
        for (x, y) in x.chunks(RUN).zip(y.chunks(RUN)) {
            let mut sums = [0.0f32; 16];
            let ((xs, x_rest), (ys, y_rest)) = (x.as_chunks::<16>(), y.as_chunks::<16>());
            for (x, y) in xs.iter().zip(ys) {
                // One step at a time: all in one loop, WebAssembly's vectors are not found.
                let (mut d, mut e) = ([0.0; 16], [0.0; 16]);
                for i in 0..16 {
                    d[i] = larger(x[i] - x_max, LEAST - 1.0);
                }
                for i in 0..16 {
                    e[i] = if d[i] > LEAST { exp::<FMA>(d[i]) } else { 0.0 };
                }
                for i in 0..16 {
                    sums[i] += (d[i] - larger(y[i] - y_max, -1e30)) * e[i];
                }
            }
            for (i, (x, y)) in x_rest.iter().zip(y_rest).enumerate() {
                let d = larger(x - x_max, LEAST - 1.0);
                let apart = d - larger(y - y_max, -1e30);
                sums[i] += if d > LEAST { apart * exp::<FMA>(d) } else { 0.0 };
            }
            sum += sums.into_iter().map(f64::from).sum::<f64>();
        }
        sum
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Some logits, of any sign; one far out, one impossible.
    fn row(n: usize, salt: u32) -> Vec<f32> {
        let mut state = salt;
        let mut next = || {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (state >> 8) as f32 / 16_777_216.0 * 24.0 - 12.0
        };
        let mut row: Vec<f32> = (0..n).map(|_| next()).collect();
        row[n / 2] = -3e38;
        row[n / 3] = f32::NEG_INFINITY;
        row
    }

    #[test]
    fn sums_are_those_of_f64_on_every_instruction_set() {
        for isa in Isa::available() {
            for n in [3, 16, 257, 10_000] {
                let (x, y) = (row(n, 1), row(n, 2));
                let found = range(isa, &x);
                let max = x.iter().copied().fold(f32::NEG_INFINITY, f32::max);
                assert_eq!(found, Range { min: f32::NEG_INFINITY, max, nan: false });
                let y_max = range(isa, &y).max;
                for scale in [1.0, 0.5, 3.0] {
                    let d = |x: f32| (f64::from(x) - f64::from(max)) * f64::from(scale);
                    let e: f64 = x.iter().map(|x| d(*x).exp()).sum();
                    let de: f64 = x.iter().map(|x| d(*x)).filter(|d| *d > -87.0).map(|d| d * d.exp()).sum();
                    let [sum, spread] = exp_sums(isa, &x, max, scale);
                    let off = ((sum - e) / e).abs().max((spread - de).abs() / e);
                    assert!(off < 2e-6, "{isa:?}, {n}: off by {off:e}");
                }
                let apart = |(x, y): (&f32, &f32)| {
                    let d = f64::from(*x) - f64::from(max);
                    if d > -87.0 { (d - (f64::from(*y) - f64::from(y_max)).max(-1e30)) * d.exp() } else { 0.0 }
                };
                let want: f64 = x.iter().zip(&y).map(apart).sum();
                let got = cross_sum(isa, &x, max, &y, y_max);
                assert!((got - want).abs() <= 1e-5 * want.abs().max(1.0), "{isa:?}, {n}: {got} is not {want}");
            }
            assert!(range(isa, &[1.0, f32::NAN, 2.0]).nan);
            assert_eq!(range(isa, &[1.0; 40]), Range { min: 1.0, max: 1.0, nan: false });
        }
    }
}
