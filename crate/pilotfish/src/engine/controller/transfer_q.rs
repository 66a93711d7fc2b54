//! Transfer-Q: each of the likeliest tokens in a lane of its own, rolled out, and rewarded for where it leads.

use super::{Controller, Trial, drawn};
use crate::Result;
use crate::engine::session::Session;
use crate::guidance::Telemetry;

impl Controller {
    /// Chooses one token.
    pub(super) async fn transfer_q(&mut self, session: &mut Session) -> Result<()> {
        let lanes = session.lanes.len();
        let telemetry = if let Some(telemetry) = self.ahead.take() {
            telemetry
        } else {
            self.go_on_after(session, vec![self.ids.clone(); lanes]).await?;
            let Some(mut report) = self.run(session, 1).await?.pop() else { return Ok(()) };
            report.swap_remove(0)
        };
        let candidates = &telemetry.candidates[..telemetry.candidates.len().min(lanes)];
        // Where fewer tokens than lanes are possible, the last of them fills the others.
        let of_lane = |lane: usize| &candidates[lane.min(candidates.len() - 1)];
        let with = |lane: usize| [&self.ids[..], &[of_lane(lane).id]].concat();
        let texts = (0..lanes).map(with).collect();
        self.go_on_after(session, texts).await?;
        let steps = (self.method.rollout as usize).min(self.room(session) - 1);
        let reports = self.run(session, steps).await?;
        if reports.len() < steps {
            return Ok(());
        }
        let trials: Vec<Trial> =
            (0..candidates.len()).map(|lane| self.rolled(session, of_lane(lane), lane, &reports)).collect();
        let rewards = self.rewards(session, &trials).await?;
        let best = self.choose(session, candidates, &rewards);
        self.sum += self.reward_of(&candidates[best].rows);
        self.give(session, &drawn(&telemetry, &candidates[best]), rewards[best]);
        // The first step of its roll-out has what comes after it.
        self.ahead = reports.into_iter().next().map(|mut first| first.swap_remove(best));
        Ok(())
    }

    /// A candidate and its roll-out, up to where it ends.
    fn rolled(
        &self,
        session: &Session,
        candidate: &crate::guidance::Candidate,
        lane: usize,
        reports: &[Vec<Telemetry>],
    ) -> Trial {
        let tokenizer = &session.base.tokenizer;
        let mut trial = Trial { ids: vec![candidate.id], reward: self.reward_of(&candidate.rows) };
        for report in reports.iter().map(|report| &report[lane]) {
            if trial.ids.last().is_some_and(|id| tokenizer.is_end(*id)) {
                break;
            }
            trial.ids.push(report.token);
            trial.reward += self.reward_of(&report.log_probs);
        }
        trial
    }
}
