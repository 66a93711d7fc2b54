//! Readies a step: weights on a schedule, counts of what was said, tokens that would repeat an n-gram.
//!
//! Only sessions that use one of these run it. Its twins are [`scheduled`] and `guidance::twin`, which sees the whole past.

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
}
