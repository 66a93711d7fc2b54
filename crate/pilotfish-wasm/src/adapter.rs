//! `Adapter`: low-rank changes to a loaded model, shared by the sessions that use them.

use std::rc::Rc;

use pilotfish::adapter;
use wasm_bindgen::prelude::*;

use crate::error::engine_error;
use crate::model::Model;

/// A handle to an adapter, fitted to a model.
#[wasm_bindgen]
#[derive(Debug)]
pub struct Adapter {
    pub(crate) adapter: Rc<adapter::Adapter>,
    /// The name of the model that it is fitted to.
    model: String,
}

#[wasm_bindgen]
impl Adapter {
    /// Reads a GGUF adapter and fits it to `model`.
    pub fn from_gguf(model: &Model, file: &[u8]) -> Result<Adapter, JsValue> {
        Self::fitted(model, adapter::Adapter::from_gguf(file))
    }

    /// Reads the two files of a PEFT directory and fits the adapter to `model`.
    pub fn from_peft(model: &Model, config: &str, safetensors: &[u8]) -> Result<Adapter, JsValue> {
        Self::fitted(model, adapter::Adapter::from_peft(config, safetensors))
    }

    /// An `AdapterInfo` as JSON.
    pub fn info(&self) -> String {
        serde_json::json!(self.adapter.info(&self.model)).to_string()
    }

    /// Another handle to the same adapter, to be given away.
    #[must_use]
    pub fn share(&self) -> Adapter {
        Self { adapter: Rc::clone(&self.adapter), model: self.model.clone() }
    }
}

impl Adapter {
    fn fitted(model: &Model, read: Result<adapter::Adapter, adapter::AdapterError>) -> Result<Self, JsValue> {
        let spec = &model.0.spec;
        let adapter = read.and_then(|adapter| adapter.fitted(spec)).map_err(|error| engine_error(error.into()))?;
        Ok(Self { adapter: Rc::new(adapter), model: spec.name.clone() })
    }
}
