//! `RewardModel`: a model with a classifier head, ready for the texts that follow a prompt.

use pilotfish::engine::{self, Scorer};
use wasm_bindgen::prelude::*;

use crate::engine::Engine;
use crate::error::{bad_argument, engine_error};
use crate::model::Model;

/// Rewards texts. One call at a time.
#[wasm_bindgen]
#[derive(Debug)]
pub struct RewardModel(engine::RewardHead);

#[wasm_bindgen]
impl RewardModel {
    /// Allocates. `prompt` is a `Prompt` as JSON; `class` and `context_length` are those of the engine's `RewardHead`.
    pub fn create(
        engine: &Engine,
        model: &Model,
        prompt: &str,
        class: Option<String>,
        context_length: u32,
    ) -> Result<RewardModel, JsValue> {
        let prompt = serde_json::from_str(prompt).map_err(|error| bad_argument("prompt", &error))?;
        let class = class.unwrap_or_default();
        let named = Some(class.as_str()).filter(|class| !class.is_empty());
        let head = engine::RewardHead::new(&engine.0, &model.0, &prompt, named, context_length);
        Ok(Self(head.map_err(engine_error)?))
    }

    /// The rewards of `texts`, in order.
    pub async fn score(&mut self, texts: Vec<String>) -> Result<Vec<f32>, JsValue> {
        self.0.score(&texts).await.map_err(engine_error)
    }
}
