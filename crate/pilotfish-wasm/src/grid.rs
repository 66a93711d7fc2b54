//! The kernel grid in a browser: the same cases against the same twins as the native test, one at a time, so that the page
//! can share them out and time them.

use pilotfish::gpu::{Gpu, GpuOptions};
use pilotfish::ops::grid::{Case, Verdict, cases};
use wasm_bindgen::prelude::*;

use crate::error::{bad_argument, js_error};

/// The cases, and a GPU to run them on.
#[wasm_bindgen]
#[derive(Debug)]
pub struct Grid {
    gpu: Gpu,
    cases: Vec<Case>,
}

#[wasm_bindgen]
impl Grid {
    /// Opens a GPU with `options` (a `GpuOptions` as JSON).
    pub async fn open(options: String) -> Result<Grid, JsValue> {
        let options: GpuOptions = serde_json::from_str(&options).map_err(|error| bad_argument("Grid.open", &error))?;
        let gpu = Gpu::open(&options).await.map_err(|error| js_error(error.code(), &error.to_string()))?;
        Ok(Self { gpu, cases: cases() })
    }

    /// A `GpuInfo` as JSON.
    pub fn gpu(&self) -> String {
        serde_json::json!(self.gpu.info()).to_string()
    }

    /// The names of all cases.
    pub fn names(&self) -> Vec<String> {
        self.cases.iter().map(|case| case.name.clone()).collect()
    }

    /// Runs the case at this place in `names`: answers `passed`, `skipped`, or what is wrong.
    pub async fn run(&self, index: usize) -> Result<String, JsValue> {
        let case = self.cases.get(index).ok_or_else(|| js_error("argument", &format!("there is no case {index}")))?;
        Ok(match case.run(&self.gpu).await {
            Verdict::Held => "passed".into(),
            Verdict::Skipped => "skipped".into(),
            Verdict::Off(complaint) => complaint,
        })
    }
}
