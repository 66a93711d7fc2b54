//! What may be changed while a session runs: weights, shares, rules, the draw. Each acts on the next submitted step, on the GPU by
//! a small write and no rebuild; other adapters take a new record of one weight set's steps.

use std::rc::Rc;

use super::Models;
use super::assemble::of_every_lane;
use super::options::{AdapterUse, GuideKind, WhenFull};
use super::plan::RowInfo;
use super::rows::Row;
use super::session::Session;
use crate::adapter::Adapter;
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
        for lane in 0..self.lanes.len() {
            self.runner.mix(lane).set_weights(&weights)?;
        }
        let guide = &mut self.options.guides[guide];
        guide.weight = weight;
        self.options.schedules.remove(&guide.name);
        Ok(())
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
        for lane in 0..self.lanes.len() {
            self.runner.mix(lane).set_schedules(&schedules)?;
        }
        self.options.schedules.insert(self.options.guides[guide].name.clone(), points.to_vec());
        Ok(())
    }

    /// Sets scores, bans and the allowed set. Acts on the next submitted step.
    pub fn set_tokens(&mut self, tokens: &TokenRules) -> Result<()> {
        for lane in 0..self.lanes.len() {
            self.runner.mix(lane).set_tokens(tokens)?;
        }
        self.options.tokens = tokens.clone();
        Ok(())
    }

    /// Gives the tokens of the next submitted steps, at most 256, whatever the mix says; what was given before and is not
    /// submitted yet is forgotten.
    pub fn force(&mut self, ids: &[TokenId]) -> Result<()> {
        for lane in 0..self.lanes.len() {
            self.runner.mix(lane).force(self.depth, ids)?;
        }
        Ok(())
    }

    /// Sets what happens when the context is full. A text that has ended for it goes on with [`Session::resume`].
    pub fn set_when_full(&mut self, when_full: WhenFull) {
        self.options.when_full = when_full;
    }

    /// Sets temperature, filters, penalties and seed. Acts on the next submitted step.
    pub fn set_sampling(&mut self, sampling: &Sampling) -> Result<()> {
        self.options.sampling = *sampling;
        self.reseed(0)
    }

    /// Gives every lane the settings, with a seed of its own: the seed plus `first` plus its place.
    pub(super) fn reseed(&mut self, first: u64) -> Result<()> {
        for lane in 0..self.lanes.len() {
            let seed = self.options.sampling.seed.wrapping_add(first + lane as u64);
            self.runner.mix(lane).set_sampling(&Sampling { seed, ..self.options.sampling })?;
        }
        Ok(())
    }

    /// Gives a guide (`None`: the base) other adapters, or none, while everything else stays: `adapters` is what options name from
    /// now on, those still in use at the places they had. The rows concerned compute their texts anew with the next step; the
    /// keys and values of all others stay.
    ///
    /// Fails, with everything as it was, where an adapter does not fit the row's model.
    pub async fn set_adapters(
        &mut self,
        guide: Option<usize>,
        adapters: &[Rc<Adapter>],
        used: &[AdapterUse],
    ) -> Result<()> {
        guide.map_or(Ok(()), |guide| self.check_guide(guide))?;
        let mut rows = self.rows.clone();
        let model = guide.map_or(0, |guide| rows.rows[rows.guides[guide].terms[0].0].model);
        let changed = |row: &Row| row.owner == guide && row.model == model;
        rows.set_adapters(Models { adapters, ..self.models() }, changed, used)?;
        self.pause().await?;
        let set = self.sets.iter().position(|set| set.model == model).unwrap_or_default();
        let models = Models { base: &self.base, guides: &self.guides, adapters };
        let of_lane = rows.adapters(models, model);
        let of_all = of_every_lane(of_lane, self.lanes.len());
        self.runner.set_adapters(set, &of_all)?;
        let own = &mut self.sets[set];
        for (local, row) in rows.of_model(model).enumerate() {
            if changed(row) {
                for lane in 0..self.lanes.len() {
                    own.streams.forget_row(lane * own.per_lane + local);
                }
            }
        }
        self.rows = rows;
        self.adapters = adapters.to_vec();
        match guide.map(|guide| &mut self.options.guides[guide].kind) {
            Some(GuideKind::Adapter { adapters, .. }) => *adapters = used.to_vec(),
            Some(_) => {}
            None => self.options.adapters = used.to_vec(),
        }
        self.info.rows = self.rows.rows.iter().map(RowInfo::of).collect();
        self.go_on(self.options.max_tokens).await
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
        for (index, set) in self.sets.iter().enumerate() {
            let batch = rows.rows.iter_mut().filter(|row| row.model == set.model).enumerate();
            let lanes = self.lanes.len();
            for (place, row) in batch.filter(|(_, row)| changed(row)) {
                let given = row.adapters.len();
                let none = || Error::NoSuchShare { row: row.name.clone(), index: at, given };
                let mut new = row.adapters.get(at).cloned().ok_or_else(none)?;
                change(&mut new);
                let on = |used: &AdapterUse| Rc::clone(&self.adapters[used.adapter]);
                let used = RowAdapter { adapter: &on(&new), share: new.share, preference: &new.preference };
                let shares = used.shares()?;
                let segment = row.adapters[..at].iter().map(|used| 1 + on(used).preferences.len() as u32).sum();
                for lane in 0..lanes {
                    self.runner.set_shares(index, lane * set.per_lane + place, segment, &shares);
                }
                row.adapters[at] = new;
            }
        }
        let own = match guide.map(|guide| &mut self.options.guides[guide].kind) {
            Some(GuideKind::Adapter { adapters, .. }) => adapters.get_mut(at),
            Some(_) => None,
            None => self.options.adapters.get_mut(at),
        };
        if let Some(own) = own {
            change(own);
        }
        Ok(())
    }

    fn check_guide(&self, guide: usize) -> Result<()> {
        let given = self.rows.guides.len();
        if guide < given { Ok(()) } else { Err(Error::Guide { index: guide, given }) }
    }
}
