//! `Engine`: a GPU, and models loaded onto it.

use pilotfish::engine;
use wasm_bindgen::prelude::*;

use crate::error::{bad_argument, engine_error};
use crate::model::Model;
use crate::progress::report;
use crate::source::{JsSource, Source};

#[wasm_bindgen]
extern "C" {
    /// Milliseconds since the worker began.
    #[wasm_bindgen(js_namespace = performance)]
    fn now() -> f64;
}

/// What runs models, and what was measured of it.
#[wasm_bindgen]
#[derive(Debug)]
pub struct Engine(pub(crate) engine::Engine);

#[wasm_bindgen]
impl Engine {
    /// Opens what runs the models. `options` is an `EngineOptions` as JSON; `pause` gives a promise, which is awaited between two steps of
    /// the CPU so that the worker hears what it is told.
    pub async fn open(options: String, pause: js_sys::Function) -> Result<Engine, JsValue> {
        let options: engine::EngineOptions =
            serde_json::from_str(&options).map_err(|error| bad_argument("engine options", &error))?;
        let host = engine::Host::new(|| now()).with_pause(move || {
            let paused = pause.call0(&JsValue::NULL).map(|promise| js_sys::Promise::resolve(&promise));
            Box::pin(async move {
                // A pause that fails is none, and the next one may be.
                if let Ok(promise) = paused {
                    let _ = wasm_bindgen_futures::JsFuture::from(promise).await;
                }
            })
        });
        Ok(Self(engine::Engine::open(&options, host).await.map_err(engine_error)?))
    }

    /// An `EngineInfo` as JSON.
    pub fn info(&self) -> String {
        serde_json::json!(self.0.info()).to_string()
    }

    /// Makes the GPU's queue look at what has finished; for browsers that would otherwise look rarely.
    pub fn nudge(&self) {
        if let Some(gpu) = self.0.gpu() {
            gpu.nudge();
        }
    }

    /// Loads a GGUF file. `progress({"phase":"upload","done":..,"total":..})` gets JSON and answers false to abort.
    pub async fn load(&self, source: JsSource, progress: js_sys::Function) -> Result<Model, JsValue> {
        let mut source = Source::new(source);
        let loaded = self.0.load(&mut source, |at| report(&progress, "upload", at.done, at.total)).await;
        loaded.map(Model::new).map_err(|error| source.thrown().unwrap_or_else(|| engine_error(error)))
    }
}
