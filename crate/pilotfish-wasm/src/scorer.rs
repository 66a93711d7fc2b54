//! A JavaScript function as the engine's scorer.

use pilotfish::Error;
use pilotfish::engine::{Scorer, Scoring};
use wasm_bindgen::prelude::*;
use wasm_bindgen_futures::JsFuture;

/// `(texts: string[]) => Float32Array | Promise<Float32Array>`, or an array of numbers.
#[derive(Debug)]
pub(crate) struct JsScorer(pub(crate) js_sys::Function);

impl Scorer for JsScorer {
    fn score<'a>(&'a mut self, texts: &'a [String]) -> Scoring<'a> {
        Box::pin(async move { self.ask(texts).await.map_err(failed) })
    }
}

impl JsScorer {
    async fn ask(&self, texts: &[String]) -> Result<Vec<f32>, JsValue> {
        let texts: js_sys::Array = texts.iter().map(|text| JsValue::from_str(text)).collect();
        let answer = self.0.call1(&JsValue::NULL, &texts)?;
        let scores = JsFuture::from(js_sys::Promise::resolve(&answer)).await?;
        Ok(js_sys::Float32Array::new(&scores).to_vec())
    }
}

/// What a scorer threw, in its own words.
#[expect(clippy::needless_pass_by_value, reason = "made for map_err")]
fn failed(thrown: JsValue) -> Error {
    let message = thrown.dyn_ref::<js_sys::Error>().map(|error| String::from(error.message()));
    Error::Scorer { message: message.or_else(|| thrown.as_string()).unwrap_or_default() }
}
