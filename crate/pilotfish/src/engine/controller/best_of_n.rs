//! Best of N: whole texts from the mix, as many at once as there are lanes, and the one with the highest reward.

use super::{Controller, Trial};
use crate::Result;
use crate::engine::session::Session;
use crate::engine::step::Stop;
use crate::guidance::Telemetry;

/// A whole text.
#[derive(Default)]
struct Drawn {
    trial: Trial,
    reports: Vec<Telemetry>,
}

impl Controller {
    /// Chooses the whole text.
    pub(super) async fn best_of_n(&mut self, session: &mut Session) -> Result<()> {
        let lanes = session.lanes.len();
        let tries = self.method.tries() as usize;
        let mut best: Option<(f64, Drawn)> = None;
        for first in (0..tries).step_by(lanes) {
            session.reseed(first as u64)?;
            self.go_on_after(session, vec![self.ids.clone(); lanes]).await?;
            let mut texts: Vec<Drawn> = (0..lanes.min(tries - first)).map(|_| Drawn::default()).collect();
            let room = self.room(session);
            for _ in 0..room {
                let open = |text: &Drawn| !ended(session, text);
                if session.stopping() || !texts.iter().any(open) {
                    break;
                }
                // A few at a time: the GPU is kept busy, and little is computed past the last end.
                for report in self.run(session, 4.min(room - session.depth as usize + self.ids.len())).await? {
                    for (text, telemetry) in texts.iter_mut().zip(report) {
                        if !ended(session, text) {
                            text.trial.ids.push(telemetry.token);
                            text.trial.reward += self.reward_of(&telemetry.log_probs);
                            text.reports.push(telemetry);
                        }
                    }
                }
            }
            let trials: Vec<Trial> = texts.iter_mut().map(|text| std::mem::take(&mut text.trial)).collect();
            let rewards = self.rewards(session, &trials).await?;
            for ((text, trial), reward) in texts.into_iter().zip(trials).zip(rewards) {
                if best.as_ref().is_none_or(|(most, _)| reward > *most) {
                    best = Some((reward, Drawn { trial, ..text }));
                }
            }
        }
        let Some((reward, text)) = best else { return Ok(()) };
        for telemetry in &text.reports {
            if self.ended.is_none() {
                self.give(session, telemetry, reward);
            }
        }
        // Where it was stopped, the text is as long as it got.
        self.ended = self.ended.or(Some(Stop::Stopped));
        Ok(())
    }
}

fn ended(session: &Session, text: &Drawn) -> bool {
    text.trial.ids.last().is_some_and(|id| session.base.tokenizer.is_end(*id))
}
