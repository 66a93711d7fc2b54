//! What chooses above the step: searches over lanes that fork from one text and are taken back to it.
//!
//! A lane draws from the mix as ever; a controller says what each lane goes on after, lets them run for some steps, reads what
//! they report, and gives out the tokens it decides for. Nothing that lanes have in common is computed twice: going back to a
//! text that any lane has in its cache costs a table of slots.

mod args;
mod best_of_n;
mod cards;
mod transfer_q;

use std::collections::VecDeque;

use super::lane::Text;
use super::method::{Method, MethodName};
use super::options::SessionOptions;
use super::reward::Scorer;
use super::rows::Rows;
use super::session::Session;
use super::step::{Step, Stop};
use crate::guidance::{Candidate, Telemetry};
use crate::ops::pick::{gumbel, noise_bits};
use crate::tokenizer::TokenId;
use crate::{Error, Result};

/// A search under way.
#[derive(Debug)]
pub(super) struct Controller {
    method: Method,
    reward: Reward,
    /// What was given out; nothing before the first step.
    text: Option<Text>,
    ids: Vec<TokenId>,
    /// Its reward, where a guide gives it.
    sum: f64,
    /// What comes after it, where that is known already.
    ahead: Option<Telemetry>,
    /// Chosen and not given out.
    ready: VecDeque<Step>,
    ended: Option<Stop>,
}

/// A row that rewards.
#[derive(Debug)]
struct RewardRow {
    row: usize,
    /// Among the rows that a step reports.
    place: usize,
    sign: f32,
}

/// Where rewards come from.
#[derive(Debug)]
enum Reward {
    /// Rows of the session, each with its place in a report and its sign: the sum of log-probabilities.
    Rows(Vec<RewardRow>),
    /// Whatever was handed over.
    Scorer(Option<Box<dyn Scorer>>),
}

impl RewardRow {
    /// Those of a guide.
    fn all(rows: &Rows, guide: usize) -> Vec<Self> {
        let terms = &rows.guides[guide].terms;
        let reported = rows.reported(terms.iter().map(|(row, _)| *row).collect());
        let place = |row: usize| reported.iter().position(|other| *other == row).unwrap_or_default();
        terms.iter().map(|(row, sign)| Self { row: *row, place: place(*row), sign: *sign }).collect()
    }
}

impl Controller {
    /// The search that options ask for, if any.
    pub(super) fn new(options: &SessionOptions, rows: &Rows) -> Result<Option<Self>> {
        let method = options.method.clone();
        if method.name == MethodName::Genarm {
            return Ok(None);
        }
        let reward = match &method.reward {
            Some(name) => match options.guides.iter().position(|guide| guide.name == *name) {
                Some(guide) => Reward::Rows(RewardRow::all(rows, guide)),
                None => return Err(Error::RewardGuide { name: name.clone() }),
            },
            None => Reward::Scorer(None),
        };
        Ok(Some(Self {
            method,
            reward,
            text: None,
            ids: Vec::new(),
            sum: 0.0,
            ahead: None,
            ready: VecDeque::new(),
            ended: None,
        }))
    }

    /// The candidates that a step must report.
    pub(super) fn candidates(method: &Method) -> u32 {
        match method.name {
            MethodName::Args | MethodName::TransferQ => method.tries(),
            _ => 0,
        }
    }

    /// The rows that reward.
    pub(super) fn reward_rows(&self) -> Vec<usize> {
        match &self.reward {
            Reward::Rows(rows) => rows.iter().map(|reward| reward.row).collect(),
            Reward::Scorer(_) => Vec::new(),
        }
    }

    /// Takes over a scorer.
    pub(super) fn set_scorer(&mut self, scorer: Box<dyn Scorer>) {
        self.reward = Reward::Scorer(Some(scorer));
    }

    /// Begins anew after `ids`.
    pub(super) fn restart(&mut self, ids: &[TokenId]) {
        self.ids = ids.to_vec();
        self.text = None;
        self.sum = 0.0;
        self.ahead = None;
        self.ready.clear();
        self.ended = None;
    }

    /// What was given out, once there was a first step.
    pub(super) fn given(&self) -> Option<&[TokenId]> {
        self.text.as_ref().map(|_| &self.ids[..])
    }

    /// Takes over what another search has chosen and not given out.
    pub(super) fn take_over(&mut self, of: &Self) {
        self.ready.clone_from(&of.ready);
        self.sum = of.sum;
        self.ended = of.ended;
    }

    /// Goes on after a stop that is no end.
    pub(super) fn go_on(&mut self) {
        self.ended = self.ended.filter(|stop| matches!(stop, Stop::End | Stop::StopString));
        // The caches may hold something else by now.
        self.ahead = None;
    }

    /// The next chosen token.
    pub(super) async fn next(&mut self, session: &mut Session) -> Result<Option<Step>> {
        if matches!(self.reward, Reward::Scorer(None)) {
            return Err(Error::NoReward { method: self.method.name.name() });
        }
        if self.text.is_none() {
            self.ids.clone_from(&session.lanes[0].ids);
            let text = &session.lanes[0].text;
            self.text = Some(text.after(&self.ids, super::stop::StopStrings::new(&session.options.stop)?));
        }
        while self.ready.is_empty() && self.ended.is_none() && !session.stopping() && !session.faulty {
            if self.room(session) == 0 {
                break;
            }
            match self.method.name {
                MethodName::Genarm => break,
                MethodName::Args => self.args(session).await?,
                MethodName::TransferQ => self.transfer_q(session).await?,
                MethodName::BestOfN => self.best_of_n(session).await?,
                MethodName::Cards => self.cards(session).await?,
            }
        }
        Ok(self.ready.pop_front())
    }

    /// Tokens that may still be made.
    fn room(&self, session: &Session) -> usize {
        let most = session.options.max_tokens as usize;
        let context = (session.info.context_length + 1).saturating_sub(session.longest_prompt) as usize;
        most.min(context).saturating_sub(self.ids.len())
    }

    /// Makes the lanes go on after `texts`, each as long as the others.
    async fn go_on_after(&self, session: &mut Session, texts: Vec<Vec<TokenId>>) -> Result<()> {
        session.settle();
        session.depth = texts.first().map_or(0, Vec::len) as u32;
        for (at, (lane, ids)) in session.lanes.iter_mut().zip(texts).enumerate() {
            session.runner.mix(at).restart(&session.rows.rows[0].ids, &ids);
            lane.ids = ids;
        }
        session.sync(&mut |_| true).await?;
        Ok(())
    }

    /// Runs `steps` steps, fewer where a stop is asked for, and returns what each reported, lane by lane. What was drawn joins the
    /// lanes' texts.
    async fn run(&self, session: &mut Session, steps: usize) -> Result<Vec<Vec<Telemetry>>> {
        let mut reports = Vec::new();
        for at in 0..steps {
            if session.stopping() {
                session.drain().await?;
                break;
            }
            while session.may_submit(steps - at) {
                session.submit()?;
            }
            let Some(step) = session.reports().await? else { break };
            let step: Vec<Telemetry> = step.into_iter().map(|(telemetry, _)| telemetry).collect();
            session.lanes.iter_mut().zip(&step).for_each(|(lane, telemetry)| lane.ids.push(telemetry.token));
            reports.push(step);
        }
        Ok(reports)
    }

    /// What a token adds to the reward, by its log-probabilities in the reported rows.
    fn reward_of(&self, log_probs: &[f32]) -> f64 {
        let Reward::Rows(rows) = &self.reward else { return 0.0 };
        rows.iter().map(|RewardRow { place, sign, .. }| f64::from(*sign) * f64::from(log_probs[*place])).sum()
    }

    /// The rewards of texts that go on from what was given out: by the log-probabilities of what they add, or by the scorer.
    async fn rewards(&mut self, session: &mut Session, trials: &[Trial]) -> Result<Vec<f64>> {
        if let Reward::Rows(_) = self.reward {
            return Ok(trials.iter().map(|trial| self.sum + trial.reward).collect());
        }
        let end = |id: &TokenId| session.base.tokenizer.is_end(*id);
        let text = |trial: &Trial| {
            let said: Vec<TokenId> = self.ids.iter().chain(&trial.ids).copied().filter(|id| !end(id)).collect();
            session.base.tokenizer.decode(&said)
        };
        let texts: Vec<String> = trials.iter().map(text).collect();
        let Reward::Scorer(Some(scorer)) = &mut self.reward else {
            return Err(Error::NoReward { method: self.method.name.name() });
        };
        let scores = scorer.score(&texts).await?;
        if scores.len() != texts.len() || scores.iter().any(|score| !score.is_finite()) {
            let found = scores.iter().find(|score| !score.is_finite()).copied();
            return Err(Error::Score { texts: texts.len(), scores: scores.len(), found });
        }
        session.remote.count(|cost| cost.scored += texts.len() as u64);
        Ok(scores.into_iter().map(f64::from).collect())
    }

    /// Gives out the token of a report; its text has `reward`.
    fn give(&mut self, session: &Session, telemetry: &Telemetry, reward: f64) {
        let last = (self.room(session) == 1).then(|| {
            let full = self.ids.len() + 1 < session.options.max_tokens as usize;
            if full { Stop::Context } else { Stop::Length }
        });
        let Some(text) = &mut self.text else { return };
        let mut step = text.take(telemetry, self.ids.len(), 0, last);
        step.reward = Some(reward as f32);
        step.weights = session.weights_of(telemetry);
        self.ids.push(telemetry.token);
        self.ended = step.stop;
        self.ready.push_back(step);
    }

    /// Which candidate is taken, by log-probability and reward: the best at temperature 0, otherwise a draw.
    fn choose(&self, session: &Session, candidates: &[Candidate], rewards: &[f64]) -> usize {
        let sampling = &session.options.sampling;
        let score = |at: usize| {
            let Candidate { id, mix, .. } = candidates[at];
            let score = f64::from(mix) + f64::from(self.method.weight) * rewards[at];
            match sampling.temperature {
                0.0 => score,
                t => score / f64::from(t) + f64::from(gumbel(noise_bits(sampling.seed, self.ids.len() as u32, id))),
            }
        };
        // Of equals the likelier, which comes first.
        (1..candidates.len()).fold(0, |best, at| if score(at) > score(best) { at } else { best })
    }
}

/// What a text adds to what was given out.
#[derive(Debug, Default)]
struct Trial {
    ids: Vec<TokenId>,
    /// By the rows that reward.
    reward: f64,
}

/// A report as if `candidate` had been drawn.
fn drawn(telemetry: &Telemetry, candidate: &Candidate) -> Telemetry {
    Telemetry {
        token: candidate.id,
        log_probs: candidate.rows.clone(),
        mix_log_prob: candidate.mix,
        sampled_log_prob: candidate.sampled,
        ..telemetry.clone()
    }
}
