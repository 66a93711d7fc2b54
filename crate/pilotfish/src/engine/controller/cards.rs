//! CARDS: the text grows by segments that end where the base is uncertain; a segment is accepted for its reward or drawn again.
//!
//! All draws of a segment run at once, in lanes: taking the first that is accepted is the same as drawing one after the other.

use super::{Controller, Trial};
use crate::Result;
use crate::engine::session::Session;
use crate::guidance::Telemetry;
use crate::ops::pick::noise_bits;

impl Controller {
    /// Chooses one segment.
    pub(super) async fn cards(&mut self, session: &mut Session) -> Result<()> {
        let lanes = session.lanes.len();
        let tries = self.method.tries() as usize;
        let room = self.room(session);
        let start = self.ids.len();
        let mut best: Option<(f64, Trial, Vec<Telemetry>)> = None;
        'drawing: for first in (0..tries).step_by(lanes) {
            session.reseed(first as u64)?;
            self.go_on_after(session, vec![self.ids.clone(); lanes]).await?;
            let mut segments: Vec<(Trial, Vec<Telemetry>, bool)> =
                (0..lanes.min(tries - first)).map(|_| Default::default()).collect();
            while segments.iter().any(|(.., done)| !done) && !session.stopping() {
                let Some(report) = self.run(session, 1).await?.pop() else { break };
                for ((trial, reports, done), telemetry) in segments.iter_mut().zip(report) {
                    // The entropy that ends a segment is that of what would come next.
                    *done = *done || !reports.is_empty() && telemetry.base_entropy >= self.method.entropy;
                    if *done {
                        continue;
                    }
                    let end = session.base.tokenizer.is_end(telemetry.token);
                    trial.ids.push(telemetry.token);
                    trial.reward += self.reward_of(&telemetry.log_probs);
                    reports.push(telemetry);
                    *done = end || reports.len() == room || reports.len() == self.method.segment as usize;
                }
            }
            if session.stopping() {
                return Ok(());
            }
            let trials: Vec<Trial> = segments.iter_mut().map(|(trial, ..)| std::mem::take(trial)).collect();
            let rewards = self.rewards(session, &trials).await?;
            for (at, (((_, reports, _), trial), reward)) in segments.into_iter().zip(trials).zip(rewards).enumerate() {
                let length = start + trial.ids.len();
                let accepted = self.accepts(session, reward, length, start, first + at);
                if accepted || best.as_ref().is_none_or(|(most, ..)| reward > *most) {
                    best = Some((reward, trial, reports));
                }
                if accepted {
                    break 'drawing;
                }
            }
        }
        let Some((reward, trial, reports)) = best else { return Ok(()) };
        self.sum += trial.reward;
        for telemetry in &reports {
            if self.ended.is_none() {
                self.give(session, telemetry, reward);
            }
        }
        Ok(())
    }

    /// Whether draw number `attempt` of a segment that began after `start` tokens and ends after `length` is accepted.
    fn accepts(&self, session: &Session, reward: f64, length: usize, start: usize, attempt: usize) -> bool {
        let goal = f64::from(self.method.goal) * length as f64 / f64::from(session.options.max_tokens);
        // Above the vocabulary, so that no token's noise is the same.
        let bits = noise_bits(session.options.sampling.seed, start as u32, u32::MAX - attempt as u32);
        let uniform = (f64::from(bits) + 0.5) / 4_294_967_296.0;
        uniform < ((reward - goal) / f64::from(self.method.beta)).exp()
    }
}
