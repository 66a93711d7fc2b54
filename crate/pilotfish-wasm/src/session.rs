//! `Session`: a guided generation.

use std::rc::Rc;

use pilotfish::guidance::{Sampling, TokenRules};
use pilotfish::{adapter, engine};
use wasm_bindgen::prelude::*;

use crate::adapter::Adapter;
use crate::engine::Engine;
use crate::error::{bad_argument, engine_error};
use crate::model::Model;
use crate::progress::report;
use crate::scorer::JsScorer;

/// A generation under way. One call at a time: the worker waits for a step before it changes or frees anything.
#[wasm_bindgen]
#[derive(Debug)]
pub struct Session {
    session: engine::Session,
    /// By their places in the options.
    adapters: Vec<Rc<adapter::Adapter>>,
}

/// What reaches a session while a step is awaited.
#[wasm_bindgen]
#[derive(Debug)]
pub struct Remote(engine::Remote);

#[wasm_bindgen]
impl Remote {
    /// Ends the generation, until the session resumes or takes a turn.
    pub fn stop(&self) {
        self.0.stop();
    }

    /// A `Cost` as JSON.
    pub fn cost(&self) -> String {
        serde_json::json!(self.0.cost()).to_string()
    }
}

#[wasm_bindgen]
impl Session {
    /// Allocates and prefills. `options` is a `SessionOptions` as JSON, which names models and adapters by their place in
    /// `guide_models` and `adapters` (handles made by `share`, consumed here). `progress` is as in `Engine.load`, with phase `prefill`.
    pub async fn create(
        engine: &Engine,
        base: &Model,
        options: String,
        guide_models: Vec<Model>,
        adapters: Vec<Adapter>,
        progress: js_sys::Function,
    ) -> Result<Session, JsValue> {
        let options = read_options(&options)?;
        let guides: Vec<_> = guide_models.into_iter().map(|model| model.0).collect();
        let adapters: Vec<_> = adapters.into_iter().map(|adapter| adapter.adapter).collect();
        let models = engine::Models { base: &base.0, guides: &guides, adapters: &adapters };
        let made = engine::Session::new(&engine.0, models, &options, |at| {
            report(&progress, "prefill", at.done as u64, at.total as u64)
        });
        Ok(Self { session: made.await.map_err(engine_error)?, adapters })
    }

    /// A `SessionInfo` as JSON.
    pub fn info(&self) -> String {
        serde_json::json!(self.session.info()).to_string()
    }

    /// Sets the weight of the guide at this place in the options, and ends its schedule. Acts from the next submitted step.
    pub fn set_weight(&mut self, guide: usize, weight: f32) -> Result<(), JsValue> {
        self.session.set_weight(guide, weight).map_err(engine_error)
    }

    /// Sets the share of adapter `at` of a guide, or of the base where no guide is named. Acts from the next submitted step.
    pub fn set_share(&mut self, guide: Option<usize>, at: usize, share: f32) -> Result<(), JsValue> {
        self.session.set_share(guide, at, share).map_err(engine_error)
    }

    /// Sets the preference vector of adapter `at` of a guide, or of the base where no guide is named.
    pub fn set_preference(&mut self, guide: Option<usize>, at: usize, preference: &[f32]) -> Result<(), JsValue> {
        self.session.set_preference(guide, at, preference).map_err(engine_error)
    }

    /// Gives a guide a schedule: `[[step, weight], ..]` as JSON. Acts from the next submitted step.
    pub fn set_schedule(&mut self, guide: usize, points: &str) -> Result<(), JsValue> {
        let points: Vec<(u32, f32)> = serde_json::from_str(points).map_err(|error| bad_argument("schedule", &error))?;
        self.session.set_schedule(guide, &points).map_err(engine_error)
    }

    /// Sets scores, bans and the allowed set (a `TokenRules` as JSON). Acts from the next submitted step.
    pub fn set_tokens(&mut self, tokens: &str) -> Result<(), JsValue> {
        let tokens: TokenRules = serde_json::from_str(tokens).map_err(|error| bad_argument("tokens", &error))?;
        self.session.set_tokens(&tokens).map_err(engine_error)
    }

    /// Gives the tokens of the next submitted steps.
    pub fn force(&mut self, ids: &[u32]) -> Result<(), JsValue> {
        self.session.force(ids).map_err(engine_error)
    }

    /// Begins anew with the prompts, `max_tokens`, `stop` and `forced` of `options` (a `SessionOptions` as JSON). Answers how many positions
    /// the caches held already.
    pub async fn turn(&mut self, options: String, progress: js_sys::Function) -> Result<usize, JsValue> {
        let options = read_options(&options)?;
        let turned = self.session.turn(&options, |at| report(&progress, "prefill", at.done as u64, at.total as u64));
        turned.await.map_err(engine_error)
    }

    /// Sets what happens when the context is full: a `WhenFull` as JSON.
    pub fn set_when_full(&mut self, when_full: &str) -> Result<(), JsValue> {
        let when_full = serde_json::from_str(when_full).map_err(|error| bad_argument("when_full", &error))?;
        self.session.set_when_full(when_full);
        Ok(())
    }

    /// Goes on after a stop, up to `max_tokens` tokens in all.
    pub async fn resume(&mut self, max_tokens: u32) -> Result<(), JsValue> {
        self.session.resume(max_tokens).await.map_err(engine_error)
    }

    /// Another session at the same place, over the same keys and values.
    pub async fn fork(&mut self) -> Result<Session, JsValue> {
        let session = self.session.fork().await.map_err(engine_error)?;
        Ok(Self { session, adapters: self.adapters.clone() })
    }

    /// The `SessionOptions` of a session that goes on from here, as JSON.
    pub fn save(&self) -> String {
        serde_json::json!(self.session.save()).to_string()
    }

    /// Gives a guide, or the base where none is named, other adapters: `used` is `[AdapterUse, ..]` as JSON. `adapters` are put at
    /// `places` (at most one beyond the last), in the stead of what was there.
    pub async fn set_adapters(
        &mut self,
        guide: Option<usize>,
        adapters: Vec<Adapter>,
        places: Vec<u32>,
        used: String,
    ) -> Result<(), JsValue> {
        let used: Vec<engine::AdapterUse> =
            serde_json::from_str(&used).map_err(|error| bad_argument("adapters", &error))?;
        let mut all = self.adapters.clone();
        for (place, adapter) in places.into_iter().zip(adapters) {
            match all.get_mut(place as usize) {
                Some(old) => *old = adapter.adapter,
                None => all.push(adapter.adapter),
            }
        }
        self.session.set_adapters(guide, &all, &used).await.map_err(engine_error)?;
        self.adapters = all;
        Ok(())
    }

    /// Makes `score(texts)` the reward of a method that names no guide: it answers with numbers, or a promise of them, one for each text.
    pub fn set_scorer(&mut self, score: js_sys::Function) {
        self.session.set_scorer(Box::new(JsScorer(score)));
    }

    /// What reaches this session while a step is awaited.
    pub fn remote(&self) -> Remote {
        Remote(self.session.remote())
    }

    /// The text that was held back as a possible beginning of a stop string, when the generation was stopped.
    pub fn rest(&mut self) -> String {
        self.session.rest()
    }

    /// Sets all sampler settings (a `Sampling` as JSON). Acts from the next submitted step.
    pub fn set_sampling(&mut self, sampling: &str) -> Result<(), JsValue> {
        let sampling: Sampling = serde_json::from_str(sampling).map_err(|error| bad_argument("sampling", &error))?;
        self.session.set_sampling(&sampling).map_err(engine_error)
    }

    /// The next `Step` as JSON; undefined when the generation has ended.
    pub async fn next(&mut self) -> Result<Option<String>, JsValue> {
        let step = self.session.next().await.map_err(engine_error)?;
        Ok(step.map(|step| serde_json::json!(step).to_string()))
    }

    /// Computes the next step before it is asked for, if a step is over when it was begun; for when nothing else is asked.
    pub fn read_ahead(&mut self) {
        self.session.read_ahead();
    }
}

fn read_options(json: &str) -> Result<engine::SessionOptions, JsValue> {
    serde_json::from_str(json).map_err(|error| bad_argument("session options", &error))
}
