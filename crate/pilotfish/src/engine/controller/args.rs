//! ARGS: a step, and a reward for each of its likeliest tokens.

use super::{Controller, Trial, drawn};
use crate::Result;
use crate::engine::session::Session;

impl Controller {
    /// Chooses one token.
    pub(super) async fn args(&mut self, session: &mut Session) -> Result<()> {
        if session.lanes[0].ids != self.ids || session.depth as usize != self.ids.len() {
            self.go_on_after(session, vec![self.ids.clone()]).await?;
        }
        let Some(mut report) = self.run(session, 1).await?.pop() else { return Ok(()) };
        let telemetry = report.swap_remove(0);
        let candidates = &telemetry.candidates[..telemetry.candidates.len().min(self.method.tries() as usize)];
        let trial = |candidate: &crate::guidance::Candidate| Trial {
            ids: vec![candidate.id],
            reward: self.reward_of(&candidate.rows),
        };
        let trials: Vec<Trial> = candidates.iter().map(trial).collect();
        let rewards = self.rewards(session, &trials).await?;
        let best = self.choose(session, candidates, &rewards);
        self.sum += trials[best].reward;
        self.give(session, &drawn(&telemetry, &candidates[best]), rewards[best]);
        Ok(())
    }
}
