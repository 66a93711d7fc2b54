//! `Model`: a loaded model, shared by the sessions that use it.

use std::rc::Rc;

use pilotfish::chat::Message;
use pilotfish::engine;
use pilotfish::tokenizer::{Bos, Encode};
use wasm_bindgen::prelude::*;

use crate::error::{bad_argument, engine_error};

/// A handle to a model on the GPU; the model goes when its last handle and session go.
#[wasm_bindgen]
#[derive(Debug)]
pub struct Model(pub(crate) Rc<engine::Model>);

impl Model {
    pub(crate) fn new(model: engine::Model) -> Self {
        Self(Rc::new(model))
    }
}

#[wasm_bindgen]
impl Model {
    /// A `ModelInfo` as JSON.
    pub fn info(&self) -> String {
        serde_json::json!(self.0.info()).to_string()
    }

    /// Another handle to the same model, to be given away.
    #[must_use]
    pub fn share(&self) -> Model {
        Self(Rc::clone(&self.0))
    }

    /// The ids of `text`; with `special`, names of special tokens in it stand for them. Nothing is put before it.
    pub fn tokenize(&self, text: &str, special: bool) -> Result<Vec<u32>, JsValue> {
        let how = Encode { special, bos: Bos::Never };
        self.0.tokenizer.encode(text, how).map_err(|error| engine_error(error.into()))
    }

    /// The text of `ids`, special tokens left out.
    pub fn detokenize(&self, ids: &[u32]) -> String {
        self.0.tokenizer.decode(ids)
    }

    /// What the chat template makes of `messages` (JSON, `[{"role", "content"}]`), up to the assistant's turn.
    pub fn chat(&self, messages: &str) -> Result<String, JsValue> {
        let messages: Vec<Message> =
            serde_json::from_str(messages).map_err(|error| bad_argument("messages", &error))?;
        self.0.chat.render(&messages, true).map_err(|error| engine_error(error.into()))
    }
}
