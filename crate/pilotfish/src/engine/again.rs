//! Going on with a session: the next turn of a conversation, after a stop, as a fork, from saved text. What the caches hold of
//! a row's new text is not computed again.

use std::rc::Rc;

use super::Models;
use super::assemble::Parts;
use super::options::SessionOptions;
use super::plan::SessionPlan;
use super::rows::Rows;
use super::session::{PrefillProgress, Session};
use super::step::Stop;
use super::stop::StopStrings;
use crate::guidance::check_forced;
use crate::model::SlotPool;
use crate::{Error, Result};

impl Session {
    /// Begins anew with another prompt: a conversation's next turn. Steps count from 0 again. The base's prompt, the guides' own prompts
    /// and contexts, `max_tokens`, `stop`, `forced` and `continued` are taken from `options`; all else stays as it is, live changes
    /// included. Rows keep what their caches hold of the new prompts. Returns how many positions that were.
    ///
    /// Fails with [`Error::OtherRows`] where the new prompts need other rows, and with [`Error::PromptTooLong`]; the session is then
    /// as it was. After [`Error::Aborted`] it waits for another turn.
    pub async fn turn(
        &mut self,
        options: &SessionOptions,
        mut progress: impl FnMut(PrefillProgress) -> bool,
    ) -> Result<usize> {
        let mut next = SessionOptions {
            prompt: options.prompt.clone(),
            forced: options.forced.clone(),
            stop: options.stop.clone(),
            max_tokens: options.max_tokens,
            continued: options.continued.clone(),
            ..self.options.clone()
        };
        for (guide, new) in next.guides.iter_mut().zip(&options.guides) {
            guide.kind = guide.kind.with_prompt_of(&new.kind);
        }
        let rows = Rows::plan(self.models(), &next)?;
        if !rows.alike(&self.rows) {
            return Err(Error::OtherRows { found: rows.names(), expected: self.rows.names() });
        }
        let context = self.info.context_length;
        rows.check_lengths(context)?;
        StopStrings::new(&next.stop)?;
        self.check_texts(&next.continued)?;
        check_forced(&next.forced, self.vocab)?;
        self.pause().await?;
        for lane in 0..self.lanes.len() {
            self.runner.mix(lane).force(0, &next.forced)?;
        }
        self.rows.take_prompts(rows);
        self.longest_prompt = self.rows.longest();
        self.dropped = 0;
        self.options = next;
        let continued = std::mem::take(&mut self.options.continued);
        self.go_on_after(&continued)?;
        self.restart();
        for (info, row) in self.info.rows.iter_mut().zip(&self.rows.rows) {
            info.prompt_tokens = row.ids.len();
        }
        self.sync(&mut progress).await
    }

    /// Goes on after [`Session::stop`], or after [`Stop::Length`], up to `max_tokens` tokens in all; after [`Stop::Context`], where
    /// [`Session::set_when_full`] lets it. What had been computed ahead and was not given out is dropped, so that the text is the one
    /// that an uninterrupted session makes.
    pub async fn resume(&mut self, max_tokens: u32) -> Result<()> {
        self.pause().await?;
        self.go_on(max_tokens).await
    }

    /// Goes on after [`Session::pause`] with what was given out.
    pub(super) async fn go_on(&mut self, max_tokens: u32) -> Result<()> {
        self.options.max_tokens = max_tokens;
        let texts = self.given();
        let ended: Vec<Option<Stop>> = self.lanes.iter().map(|lane| lane.ended).collect();
        self.go_on_after(&texts)?;
        for (lane, ended) in self.lanes.iter_mut().zip(ended) {
            lane.ended = ended.filter(|stop| matches!(stop, Stop::End | Stop::StopString));
        }
        self.drop_middle();
        self.sync(&mut |_| true).await?;
        self.go_on_searching();
        Ok(())
    }

    /// Another session at the same place, which goes its own way. It has the same prefix in the same pool of keys and values, and takes
    /// what it adds from there: [`SessionOptions::pool_length`] must leave room for it, or it fails with [`Error::PoolFull`].
    pub async fn fork(&mut self) -> Result<Self> {
        self.pause().await?;
        let texts = self.given();
        let models = self.models();
        let pools: Vec<Rc<SlotPool>> = self.sets.iter().map(|set| Rc::clone(&set.streams.pool)).collect();
        let plan = SessionPlan {
            rows: self.rows.clone(),
            context: self.info.context_length,
            memory: self.info.memory,
            lanes: self.lanes.len(),
            vocab: self.vocab,
            vocab_stride: self.vocab_stride,
            used: self.sets.iter().map(|set| (set.model, set.sizes.slots)).collect(),
        };
        let parts = Parts { chunk: self.chunk, pools: Some(&pools) };
        let mut fork = Self::assemble(&parts, models, &self.options, plan, |plan| self.runner.fork(plan))?;
        for (own, of) in fork.sets.iter_mut().zip(&self.sets) {
            own.streams = of.streams.fork();
        }
        fork.dropped = self.dropped;
        fork.go_on_after(&texts)?;
        for (own, of) in fork.lanes.iter_mut().zip(&self.lanes) {
            own.ended = of.ended;
        }
        fork.pending.clone_from(&self.pending);
        if let (Some(own), Some(of)) = (&mut fork.controller, &self.controller) {
            own.take_over(of);
        }
        fork.sync(&mut |_| true).await?;
        self.go_on(self.options.max_tokens).await?;
        Ok(fork)
    }

    /// What a session needs to go on from here: its options with every live change, and the text of each sample. Models and adapters
    /// are named by their place, as always. A new session of these options makes the same text as this one would.
    pub fn save(&self) -> SessionOptions {
        SessionOptions { continued: self.given(), ..self.options.clone() }
    }

    /// The models, as options name them.
    pub(super) fn models(&self) -> Models<'_> {
        Models { base: &self.base, guides: &self.guides, adapters: &self.adapters }
    }

    /// Lets nothing be in flight and notes what the caches hold.
    pub(super) async fn pause(&mut self) -> Result<()> {
        self.drain().await?;
        self.settle();
        self.reopen();
        Ok(())
    }
}
