//! `Session`: a guided generation.

use pilotfish::engine;
use pilotfish::guidance::{Sampling, TokenRules};
use wasm_bindgen::prelude::*;

use crate::adapter::Adapter;
use crate::engine::Engine;
use crate::error::{bad_argument, engine_error};
use crate::model::Model;
use crate::progress::report;

/// A generation under way. One call at a time: the worker waits for a step before it changes or frees anything.
#[wasm_bindgen]
#[derive(Debug)]
pub struct Session(engine::Session);

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
        let options: engine::SessionOptions =
            serde_json::from_str(&options).map_err(|error| bad_argument("session options", &error))?;
        let guides: Vec<_> = guide_models.into_iter().map(|model| model.0).collect();
        let adapters: Vec<_> = adapters.into_iter().map(|adapter| adapter.adapter).collect();
        let models = engine::Models { base: &base.0, guides: &guides, adapters: &adapters };
        let made = engine::Session::new(&engine.0, models, &options, |at| {
            report(&progress, "prefill", at.done as u64, at.total as u64)
        });
        Ok(Self(made.await.map_err(engine_error)?))
    }

    /// A `SessionInfo` as JSON.
    pub fn info(&self) -> String {
        serde_json::json!(self.0.info()).to_string()
    }

    /// Sets the weight of the guide at this place in the options, and ends its schedule. Acts from the next submitted step.
    pub fn set_weight(&mut self, guide: usize, weight: f32) -> Result<(), JsValue> {
        self.0.set_weight(guide, weight).map_err(engine_error)
    }

    /// Sets the share of adapter `at` of a guide, or of the base where no guide is named. Acts from the next submitted step.
    pub fn set_share(&mut self, guide: Option<usize>, at: usize, share: f32) -> Result<(), JsValue> {
        self.0.set_share(guide, at, share).map_err(engine_error)
    }

    /// Sets the preference vector of adapter `at` of a guide, or of the base where no guide is named.
    pub fn set_preference(&mut self, guide: Option<usize>, at: usize, preference: &[f32]) -> Result<(), JsValue> {
        self.0.set_preference(guide, at, preference).map_err(engine_error)
    }

    /// Gives a guide a schedule: `[[step, weight], ..]` as JSON. Acts from the next submitted step.
    pub fn set_schedule(&mut self, guide: usize, points: &str) -> Result<(), JsValue> {
        let points: Vec<(u32, f32)> = serde_json::from_str(points).map_err(|error| bad_argument("schedule", &error))?;
        self.0.set_schedule(guide, &points).map_err(engine_error)
    }

    /// Sets scores, bans and the allowed set (a `TokenRules` as JSON). Acts from the next submitted step.
    pub fn set_tokens(&mut self, tokens: &str) -> Result<(), JsValue> {
        let tokens: TokenRules = serde_json::from_str(tokens).map_err(|error| bad_argument("tokens", &error))?;
        self.0.set_tokens(&tokens).map_err(engine_error)
    }

    /// Gives the tokens of the next submitted steps.
    pub fn force(&mut self, ids: &[u32]) -> Result<(), JsValue> {
        self.0.force(ids).map_err(engine_error)
    }

    /// The text that was held back as a possible beginning of a stop string, when the generation was stopped.
    pub fn rest(&mut self) -> String {
        self.0.rest()
    }

    /// Sets all sampler settings (a `Sampling` as JSON). Acts from the next submitted step.
    pub fn set_sampling(&mut self, sampling: &str) -> Result<(), JsValue> {
        let sampling: Sampling = serde_json::from_str(sampling).map_err(|error| bad_argument("sampling", &error))?;
        self.0.set_sampling(&sampling).map_err(engine_error)
    }

    /// The next `Step` as JSON; undefined when the generation has ended.
    pub async fn next(&mut self) -> Result<Option<String>, JsValue> {
        let step = self.0.next().await.map_err(engine_error)?;
        Ok(step.map(|step| serde_json::json!(step).to_string()))
    }

    /// Ends the generation.
    pub fn stop(&mut self) {
        self.0.stop();
    }
}
