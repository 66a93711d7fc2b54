//! Intervals by resampling: what a mean over prompts would have been with other prompts (Efron's percentile bootstrap).

use serde::Serialize;

/// The share that an interval leaves out on each side.
const TAIL: f64 = 0.025;

/// A figure and its 95 % interval.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub(super) struct Estimate {
    /// Over all prompts.
    pub(super) value: f64,
    /// The 2.5 % quantile of the resamples.
    pub(super) low: f64,
    /// The 97.5 % quantile.
    pub(super) high: f64,
}

/// Prompts drawn with replacement, the same draws for whatever is estimated, so that differences are paired.
#[derive(Debug)]
pub(super) struct Resamples {
    /// Each as many places as there are prompts.
    draws: Vec<Vec<usize>>,
    all: Vec<usize>,
}

impl Resamples {
    /// `count` draws of `n` prompts out of `n`.
    pub(super) fn new(n: usize, count: u32, seed: u64) -> Self {
        let mut state = seed;
        // Multiply-shift: the bias at these sizes is below 1e-15.
        let mut place = || ((u128::from(split_mix(&mut state)) * n as u128) >> 64) as usize;
        let draws = (0..count).map(|_| (0..n).map(|_| place()).collect()).collect();
        Self { draws, all: (0..n).collect() }
    }

    /// The figure that `statistic` makes of some prompts, given by place, each as often as it was drawn. `None` where it makes none of
    /// all of them; resamples of which it makes none are left out.
    pub(super) fn estimate(&self, statistic: impl Fn(&[usize]) -> Option<f64>) -> Option<Estimate> {
        let value = statistic(&self.all)?;
        let mut made: Vec<f64> = self.draws.iter().filter_map(|draw| statistic(draw)).collect();
        made.sort_by(f64::total_cmp);
        let at = |share: f64| quantile(&made, share).unwrap_or(value);
        Some(Estimate { value, low: at(TAIL), high: at(1.0 - TAIL) })
    }
}

/// Of sorted numbers, on straight lines between them (Hyndman and Fan's type 7, as R and `NumPy` have it).
fn quantile(sorted: &[f64], share: f64) -> Option<f64> {
    let place = share * (sorted.len().checked_sub(1)?) as f64;
    let (below, above) = (sorted[place.floor() as usize], sorted[place.ceil() as usize]);
    Some(below + (above - below) * place.fract())
}

/// The mean of what is there.
pub(super) fn mean(values: impl IntoIterator<Item = f64>) -> Option<f64> {
    let (sum, n) = values.into_iter().fold((0.0, 0u32), |(sum, n), value| (sum + value, n + 1));
    (n > 0).then(|| sum / f64::from(n))
}

/// `SplitMix64` (Steele, Lea and Flood, OOPSLA 2014): the same numbers everywhere.
fn split_mix(state: &mut u64) -> u64 {
    *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mut z = *state;
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_generator_is_the_published_one() {
        // The reference implementation's first numbers from 1234567.
        let mut state = 1_234_567;
        let made = [(); 3].map(|()| split_mix(&mut state));
        assert_eq!(made, [6_457_827_717_110_365_317, 3_203_168_211_198_807_973, 9_817_491_932_198_370_423]);
    }

    #[test]
    fn quantiles_lie_on_lines_between_the_numbers() {
        let sorted = [1.0, 2.0, 4.0, 8.0];
        // numpy.quantile([1, 2, 4, 8], [0, .25, .5, .9, 1])
        let expected = [(0.0, 1.0), (0.25, 1.75), (0.5, 3.0), (0.9, 6.8), (1.0, 8.0)];
        for (share, value) in expected {
            assert!((quantile(&sorted, share).expect("there are numbers") - value).abs() < 1e-12);
        }
        assert_eq!(quantile(&[], 0.5), None);
    }

    #[test]
    fn an_interval_of_a_mean_has_the_width_that_theory_gives() {
        // 400 numbers of standard deviation 1: the mean's standard error is 0.05, its interval 0.196 wide.
        let values: Vec<f64> = (0..400).map(|at| if at % 2 == 0 { 1.0 } else { -1.0 }).collect();
        let resamples = Resamples::new(400, 4000, 7);
        let made = resamples.estimate(|draw| mean(draw.iter().map(|at| values[*at]))).expect("there are numbers");
        assert!((made.high - made.low - 0.196).abs() < 0.012, "{made:?}");
        assert!(made.value.abs() < 1e-12 && (made.high + made.low).abs() < 0.02, "{made:?}");
        let again = Resamples::new(400, 4000, 7).estimate(|draw| mean(draw.iter().map(|at| values[*at])));
        assert_eq!(again, Some(made));
    }

    #[test]
    fn what_is_the_same_everywhere_has_no_width_and_nothing_has_no_estimate() {
        let resamples = Resamples::new(5, 100, 1);
        assert_eq!(resamples.estimate(|_| Some(3.0)), Some(Estimate { value: 3.0, low: 3.0, high: 3.0 }));
        assert_eq!(resamples.estimate(|_| None), None);
    }
}
