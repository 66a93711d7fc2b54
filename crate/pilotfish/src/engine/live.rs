//! What may be changed while a session runs: weights, shares, rules, the draw. Each acts on the next submitted step, by a small
//! write to the GPU and no rebuild.

use std::rc::Rc;

use super::options::AdapterUse;
use super::rows::Row;
use super::session::Session;
use crate::guidance::{Sampling, TokenRules};
use crate::model::RowAdapter;
use crate::tokenizer::TokenId;
use crate::{Error, Result};

impl Session {
    /// Sets a guide's weight, and ends its schedule. Acts on the next submitted step: within [`super::SessionOptions::in_flight`]
    /// tokens.
    pub fn set_weight(&mut self, guide: usize, weight: f32) -> Result<()> {
        self.check_guide(guide)?;
        let weights: Vec<(usize, f32)> = self.rows.terms(guide).map(|(term, sign)| (term, sign * weight)).collect();
        Ok(self.mixer.set_weights(&self.gpu, &weights)?)
    }

    /// Sets the share of adapter `at` among those of a guide (`None`: of the base). Acts on the next submitted step, and on what
    /// that step adds to the caches: earlier positions keep the keys and values they were made with.
    pub fn set_share(&mut self, guide: Option<usize>, at: usize, share: f32) -> Result<()> {
        self.set_adapter(guide, at, |used| used.share = share)
    }

    /// Sets the preference vector of adapter `at` among those of a guide (`None`: of the base). Acts as [`Session::set_share`].
    pub fn set_preference(&mut self, guide: Option<usize>, at: usize, preference: &[f32]) -> Result<()> {
        self.set_adapter(guide, at, |used| used.preference = preference.to_vec())
    }

    /// Gives a guide a schedule, as in [`super::SessionOptions::schedules`]; steps count from the session's first. Acts on the next
    /// submitted step.
    pub fn set_schedule(&mut self, guide: usize, points: &[(u32, f32)]) -> Result<()> {
        self.check_guide(guide)?;
        let schedules: Vec<_> = self.rows.schedules(guide, points).collect();
        Ok(self.mixer.set_schedules(&self.gpu, &schedules)?)
    }

    /// Sets scores, bans and the allowed set. Acts on the next submitted step.
    pub fn set_tokens(&mut self, tokens: &TokenRules) -> Result<()> {
        Ok(self.mixer.set_tokens(&self.gpu, tokens)?)
    }

    /// Gives the tokens of the next submitted steps, at most 256, whatever the mix says; what was given before and is not
    /// submitted yet is forgotten.
    pub fn force(&mut self, ids: &[TokenId]) -> Result<()> {
        Ok(self.mixer.force(&self.gpu, self.submitted, ids)?)
    }

    /// Sets temperature, filters, penalties and seed. Acts on the next submitted step.
    pub fn set_sampling(&mut self, sampling: &Sampling) -> Result<()> {
        Ok(self.mixer.set_sampling(&self.gpu, sampling)?)
    }

    fn set_adapter(&mut self, guide: Option<usize>, at: usize, change: impl Fn(&mut AdapterUse)) -> Result<()> {
        guide.map_or(Ok(()), |guide| self.check_guide(guide))?;
        // A model guide's row has no owner either, and no adapters.
        let changed = |row: &Row| row.owner == guide && !row.adapters.is_empty();
        let rows = &mut self.rows;
        if !rows.rows.iter().any(changed) {
            let row = guide.map_or(0, |guide| rows.guides[guide].terms[0].0);
            return Err(Error::NoSuchShare { row: rows.rows[row].name.clone(), index: at, given: 0 });
        }
        for set in &self.sets {
            let Some(adapters) = &set.adapters else { continue };
            let batch = rows.rows.iter_mut().filter(|row| row.model == set.model).enumerate();
            for (place, row) in batch.filter(|(_, row)| changed(row)) {
                let given = row.adapters.len();
                let none = || Error::NoSuchShare { row: row.name.clone(), index: at, given };
                let mut new = row.adapters.get(at).cloned().ok_or_else(none)?;
                change(&mut new);
                let on = |used: &AdapterUse| Rc::clone(&self.adapters[used.adapter]);
                let used = RowAdapter { adapter: &on(&new), share: new.share, preference: &new.preference };
                let shares = used.shares()?;
                let segment = row.adapters[..at].iter().map(|used| 1 + on(used).preferences.len() as u32).sum();
                adapters.set_shares(&self.gpu, place, segment, &shares);
                row.adapters[at] = new;
            }
        }
        Ok(())
    }

    fn check_guide(&self, guide: usize) -> Result<()> {
        let given = self.rows.guides.len();
        if guide < given { Ok(()) } else { Err(Error::Guide { index: guide, given }) }
    }
}
