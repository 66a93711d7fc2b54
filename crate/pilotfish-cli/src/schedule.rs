//! Sliders moved at given steps, so that a run with a live slider can be told again.
//!
//! A session submits several steps at its first call, and one at each further call. A weight written between two calls
//! acts on the next submitted step, so writes for the steps of that first batch would come too late: a schedule lowers how
//! many steps are in flight to its first step after 0.

use pilotfish::engine::{Guide, Session};

use crate::error::{CliError, Result};
use crate::spec::SliderWrite;

/// Writes by step.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Schedule {
    /// `(step, guide, weight)`, in the order of steps.
    writes: Vec<(u32, usize, f32)>,
}

impl Schedule {
    /// Finds the guides by name.
    pub(crate) fn new(writes: &[SliderWrite], guides: &[Guide]) -> Result<Self> {
        let place = |write: &SliderWrite| {
            let known = guides.iter().position(|guide| guide.name == write.guide);
            let unknown =
                || CliError::Usage(format!("--set names guide `{}`, which is not among the guides", write.guide));
            Ok((write.step, known.ok_or_else(unknown)?, write.weight))
        };
        let mut writes = writes.iter().map(place).collect::<Result<Vec<_>>>()?;
        // Stable: of two writes for one step, the later on the command line holds.
        writes.sort_by_key(|(step, ..)| *step);
        Ok(Self { writes })
    }

    /// How many steps may be in flight, of `wanted`. Where the device was to choose (0) and there are writes, it is one:
    /// when a step is submitted must be known.
    pub(crate) fn in_flight(&self, wanted: u32) -> u32 {
        if self.writes.is_empty() {
            return wanted;
        }
        let first = self.writes.iter().map(|(step, ..)| *step).find(|step| *step > 0);
        first.unwrap_or(u32::MAX).min(wanted.max(1))
    }

    /// Writes what the step that is submitted next is to have. `taken` steps have been taken, `in_flight` are in flight
    /// after each call.
    pub(crate) fn apply(&self, session: &mut Session, taken: u32, in_flight: u32) -> Result<()> {
        for (_, guide, weight) in self.due(taken, in_flight) {
            session.set_weight(guide, weight)?;
        }
        Ok(())
    }

    fn due(&self, taken: u32, in_flight: u32) -> impl Iterator<Item = (u32, usize, f32)> {
        let next = if taken == 0 { 0 } else { (taken + in_flight).saturating_sub(1) };
        self.writes.iter().copied().filter(move |(step, ..)| *step == next)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use pilotfish::engine::GuideKind;

    fn guide(name: &str) -> Guide {
        let kind = GuideKind::Context { context: String::new(), against: None };
        Guide { name: name.into(), weight: 1.0, kind }
    }

    fn schedule(writes: &[&str]) -> Schedule {
        let writes: Vec<SliderWrite> = writes.iter().map(|write| write.parse().expect("it parses")).collect();
        Schedule::new(&writes, &[guide("a"), guide("b")]).expect("the guides are known")
    }

    /// When each write is made, as the engine submits: the first call all that may be in flight, each further one more.
    #[test]
    fn every_write_comes_right_before_its_step_is_submitted() {
        let schedule = schedule(&["5:b=2", "0:a=0", "2:a=3", "5:b=4"]);
        for wanted in 0..=8 {
            let in_flight = schedule.in_flight(wanted);
            let mut submitted = 0;
            let mut made = Vec::new();
            for taken in 0..9 {
                made.extend(schedule.due(taken, in_flight).inspect(|(step, ..)| assert_eq!(*step, submitted)));
                submitted = taken + in_flight;
            }
            assert_eq!(made, [(0, 0, 0.0), (2, 0, 3.0), (5, 1, 2.0), (5, 1, 4.0)], "{in_flight} in flight");
        }
    }

    #[test]
    fn in_flight_is_lowered_only_where_it_must() {
        assert_eq!([schedule(&[]).in_flight(3), schedule(&[]).in_flight(0)], [3, 0]);
        assert_eq!([schedule(&["0:a=1"]).in_flight(0), schedule(&["9:a=1"]).in_flight(0)], [1, 1]);
        assert_eq!(schedule(&["0:a=1"]).in_flight(3), 3);
        assert_eq!(schedule(&["9:a=1", "0:a=1"]).in_flight(3), 3);
        assert_eq!(schedule(&["9:a=1", "1:a=1"]).in_flight(3), 1);
    }

    #[test]
    fn an_unknown_guide_is_refused() {
        let writes = ["1:c=1".parse().expect("it parses")];
        assert_eq!(Schedule::new(&writes, &[guide("a")]).map_err(|error| error.code()), Err("usage"));
    }
}
