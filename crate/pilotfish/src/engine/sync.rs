//! What the caches hold made what they are to hold: after a prompt, a turn, a fork, a way back, or when the context is full.

use super::options::WhenFull;
use super::rows::Row;
use super::session::{PrefillProgress, Session};
use super::step::Stop;
use super::stop::StopStrings;
use crate::tokenizer::TokenId;
use crate::{Error, Result};

impl Session {
    /// Makes `texts` what the lanes have said: all to the same length, but for those that have ended. The caches follow with
    /// [`Session::sync`].
    pub(super) fn go_on_after(&mut self, texts: &[Vec<TokenId>]) -> Result<()> {
        self.check_texts(texts)?;
        let depth = texts.iter().map(Vec::len).max().unwrap_or_default();
        for at in 0..self.lanes.len() {
            // A search has one text, and starts every lane from there.
            let of = if self.searches() { 0 } else { at };
            let text = texts.get(of).map(Vec::as_slice).unwrap_or_default();
            let stops = StopStrings::new(&self.options.stop)?;
            let lane = &mut self.lanes[at];
            lane.text = lane.text.after(text, stops);
            lane.ids = text.to_vec();
            lane.ended = (text.len() < depth).then_some(Stop::End);
            self.runner.mix(at).restart(&self.rows.rows[0].ids, text);
        }
        self.depth = depth as u32;
        Ok(())
    }

    /// Refuses tokens that there are not, and more texts than samples.
    pub(super) fn check_texts(&self, texts: &[Vec<TokenId>]) -> Result<()> {
        let vocab = self.base.vocab();
        if let Some(found) = texts.iter().flatten().copied().find(|id| *id >= vocab) {
            return Err(Error::TokenId { found, expected: vocab });
        }
        let (found, most) = (texts.len(), self.lanes.len());
        if found > most { Err(Error::Continued { found, most }) } else { Ok(()) }
    }

    /// Notes what the steps have put into the caches. No step may be in flight.
    pub(super) fn settle(&mut self) {
        // After a sync that failed no step followed.
        if self.faulty {
            return;
        }
        for set in 0..self.sets.len() {
            for row in 0..self.sets[set].sizes.rows as usize {
                let mut history = self.history(set, row);
                // The last token that was drawn is in no cache yet.
                let prompt = self.prompt_of(set, row).len();
                history.truncate((prompt + self.depth as usize - self.dropped as usize).saturating_sub(1));
                self.sets[set].streams.holds(row, history);
            }
        }
    }

    /// Fills the caches with what the lanes are to go on after, as far as it is not there, and makes the last tokens the next
    /// step's input. Returns how many positions were there.
    pub(super) async fn sync(&mut self, progress: &mut impl FnMut(PrefillProgress) -> bool) -> Result<usize> {
        let mut wanted: Vec<Vec<Vec<TokenId>>> = Vec::new();
        for set in 0..self.sets.len() {
            wanted.push((0..self.sets[set].sizes.rows as usize).map(|row| self.history(set, row)).collect());
        }
        let total = wanted.iter().flatten().map(Vec::len).sum();
        let context = self.info.context_length;
        for (set, rows) in wanted.iter().enumerate() {
            if let Some((at, ids)) = rows.iter().enumerate().find(|(_, row)| row.len() > context as usize) {
                let row = self.row(set, at).map(|row| row.name.clone()).unwrap_or_default();
                return Err(Error::PromptTooLong { row, found: ids.len(), expected: context });
            }
        }
        let (mut done, mut reused) = (0, 0);
        // Until all is there, no step can follow.
        self.faulty = true;
        // Everything is planned: what follows is the prefill alone, so that callers can time it.
        if !progress(PrefillProgress { done, total }) {
            return Err(Error::Aborted);
        }
        for (at, (set, wanted)) in self.sets.iter_mut().zip(&wanted).enumerate() {
            let missing = set.streams.hold(wanted)?;
            set.streams.slots().for_each(|(row, slots)| self.runner.write_slots(at, row, 0, slots));
            done += missing.reused;
            reused += missing.reused;
            for batch in missing.tokens.chunks(self.chunk as usize) {
                let read = self.runner.prefill(at, batch).await;
                done += batch.len();
                let go_on = progress(PrefillProgress { done, total });
                if let Err(error) = read.and(if go_on { Ok(()) } else { Err(Error::Aborted) }) {
                    // What is in the caches is not what was meant to be.
                    set.streams.forget();
                    return Err(error);
                }
            }
            done += missing.last.len();
            self.runner.write_decode(at, &missing.last);
            self.remote.count(|cost| cost.prefilled += missing.tokens.len() as u64);
        }
        self.remote.count(|cost| cost.reused += reused as u64);
        if !progress(PrefillProgress { done: total, total }) {
            return Err(Error::Aborted);
        }
        self.faulty = false;
        Ok(reused)
    }

    /// Drops the middle of every row's text and computes the rest anew, where the options ask for that and something can be
    /// dropped; otherwise the session stays full.
    pub(super) async fn shift(&mut self) -> Result<()> {
        if self.drop_middle() {
            self.sync(&mut |_| true).await?;
        }
        Ok(())
    }

    /// The first half of [`Session::shift`]: the caches follow with [`Session::sync`].
    pub(super) fn drop_middle(&mut self) -> bool {
        let n = self.droppable().filter(|_| self.room() == Some(Stop::Context));
        self.dropped += n.unwrap_or_default();
        self.shifted += n.unwrap_or_default();
        n.is_some()
    }

    /// Whether [`Session::shift`] would make room.
    pub(super) fn can_shift(&self) -> bool {
        self.room() == Some(Stop::Context) && self.droppable().is_some()
    }

    /// How many tokens to drop: half of what the shortest row has beyond what it keeps.
    fn droppable(&self) -> Option<u32> {
        let WhenFull::Shift { .. } = self.options.when_full else { return None };
        if self.searches() {
            return None;
        }
        let beyond = |ids: &Vec<TokenId>| (ids.len() - self.kept(ids.len())) as u32;
        let rows = self.rows.rows.iter().map(|row| beyond(&row.ids));
        let left = rows.min()? + self.depth - self.dropped;
        (left >= 2).then_some(left / 2)
    }

    /// How many of a prompt's first tokens stay.
    fn kept(&self, prompt: usize) -> usize {
        match self.options.when_full {
            WhenFull::Shift { keep: Some(keep) } => prompt.min(keep as usize),
            _ => prompt,
        }
    }

    /// What a row of a weight set goes on after: its prompt and what its lane said, without what was dropped.
    fn history(&self, set: usize, row: usize) -> Vec<TokenId> {
        let lane = &self.lanes[row / self.sets[set].per_lane];
        let prompt = self.prompt_of(set, row);
        let mut history = [prompt, &lane.ids].concat();
        let kept = self.kept(prompt.len());
        // A lane that ended early has less than was dropped of the others.
        let end = (kept + self.dropped as usize).min(history.len() - 1).max(kept);
        history.drain(kept..end);
        history
    }

    fn row(&self, set: usize, row: usize) -> Option<&Row> {
        let Self { sets, rows, .. } = self;
        rows.of_model(sets[set].model).nth(row % sets[set].per_lane)
    }

    fn prompt_of(&self, set: usize, row: usize) -> &[TokenId] {
        self.row(set, row).map(|row| &row.ids[..]).unwrap_or_default()
    }
}
