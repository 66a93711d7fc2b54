//! A JavaScript object with `size` and `read` as the engine's source of bytes.

use pilotfish::model::{ByteSource, SourceError};
use wasm_bindgen::prelude::*;

use crate::error::from_callback;

#[wasm_bindgen(typescript_custom_section)]
const TYPES: &str = r"
export interface JsSource {
  readonly size: number;
  read(offset: number, length: number): Promise<Uint8Array>;
}
";

#[wasm_bindgen]
extern "C" {
    /// `{ size: number, read(offset: number, length: number): Promise<Uint8Array> }`.
    #[wasm_bindgen(typescript_type = "JsSource")]
    pub type JsSource;

    #[wasm_bindgen(method, getter)]
    fn size(this: &JsSource) -> f64;

    #[wasm_bindgen(method, catch)]
    fn read(this: &JsSource, offset: f64, length: f64) -> Result<js_sys::Promise, JsValue>;
}

pub(crate) struct Source {
    source: JsSource,
    thrown: Option<JsValue>,
}

impl Source {
    pub(crate) fn new(source: JsSource) -> Self {
        Self { source, thrown: None }
    }

    /// What a read threw: it says more than the engine can repeat.
    pub(crate) fn thrown(self) -> Option<JsValue> {
        self.thrown
    }

    async fn bytes(&self, offset: u64, length: usize) -> Result<js_sys::Uint8Array, JsValue> {
        let promise = self.source.read(offset as f64, length as f64)?;
        let bytes = wasm_bindgen_futures::JsFuture::from(promise).await?;
        bytes.dyn_into().map_err(|_| JsValue::from_str("read gave no Uint8Array"))
    }
}

impl ByteSource for Source {
    fn size(&self) -> u64 {
        self.source.size() as u64
    }

    async fn read(&mut self, offset: u64, into: &mut [u8]) -> Result<(), SourceError> {
        match self.bytes(offset, into.len()).await {
            Ok(bytes) if bytes.length() as usize == into.len() => {
                bytes.copy_to(into);
                Ok(())
            }
            Ok(bytes) => Err(SourceError::Short { offset, found: bytes.length() as usize, expected: into.len() }),
            Err(thrown) => {
                self.thrown = Some(from_callback(thrown));
                Err(SourceError::Read { offset, length: into.len(), message: "the page's reader threw".into() })
            }
        }
    }
}
