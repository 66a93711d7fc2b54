//! A guide's weight: a number, or points that it moves along.
//!
//! ```text
//! weight = number                          1.5
//!        | number "@" step (";" ...)*      0@0;2@20     0 at step 0, 2 from step 20 on, on a straight line between
//! ```
//!
//! In a mix file it is `1.5`, or `[[0, 0], [20, 2]]`: step and weight of each point.

use std::collections::BTreeMap;
use std::str::FromStr;

use serde::Deserialize;

use crate::spec::GuideSpec;

/// A weight as the command line or a mix file gives it.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(untagged)]
pub(crate) enum Weight {
    /// The same at every step, until a slider moves it.
    Constant(f32),
    /// `(step, weight)`.
    Points(Vec<(u32, f32)>),
}

impl Default for Weight {
    fn default() -> Self {
        Self::Constant(1.0)
    }
}

impl Weight {
    /// What a guide begins with, and its schedule.
    pub(crate) fn parts(self) -> (f32, Vec<(u32, f32)>) {
        match self {
            Self::Constant(weight) => (weight, Vec::new()),
            Self::Points(points) => (points.first().map_or(1.0, |(_, weight)| *weight), points),
        }
    }
}

impl FromStr for Weight {
    type Err = String;

    fn from_str(argument: &str) -> Result<Self, String> {
        let number = |text: &str| text.trim().parse().map_err(|_| format!("the weight `{text}` is not a number"));
        if !argument.contains('@') {
            return Ok(Self::Constant(number(argument)?));
        }
        let point = |point: &str| {
            let (weight, step) =
                point.split_once('@').ok_or_else(|| format!("`{point}` is not WEIGHT@STEP, such as 2@20"))?;
            let step = step.trim().parse().map_err(|_| format!("the step `{step}` is not a number from 0 on"))?;
            Ok((step, number(weight)?))
        };
        argument.split(';').map(point).collect::<Result<_, String>>().map(Self::Points)
    }
}

/// The schedules of `guides`, by name, as the engine takes them.
pub(crate) fn schedules(guides: &[GuideSpec]) -> BTreeMap<String, Vec<(u32, f32)>> {
    let scheduled = guides.iter().filter(|guide| !guide.schedule.is_empty());
    scheduled.map(|guide| (guide.name.clone(), guide.schedule.clone())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_weight_is_a_number_or_points() {
        let parts = |text: &str| text.parse::<Weight>().map(Weight::parts);
        assert_eq!(parts(" -1.5"), Ok((-1.5, vec![])));
        assert_eq!(parts("0@0;2@20"), Ok((0.0, vec![(0, 0.0), (20, 2.0)])));
        assert_eq!(parts("3@5"), Ok((3.0, vec![(5, 3.0)])));
        for wrong in ["heavy", "1@x", "1@-1", "1@2;", "1@2;3", "@2"] {
            assert!(parts(wrong).is_err(), "{wrong}");
        }
        let json = |text: &str| serde_json::from_str::<Weight>(text).map(Weight::parts);
        assert_eq!(json("2").expect("a number"), (2.0, vec![]));
        assert_eq!(json("[[0, 1], [9, -1]]").expect("points"), (1.0, vec![(0, 1.0), (9, -1.0)]));
        assert!(json("\"2\"").is_err());
    }
}
