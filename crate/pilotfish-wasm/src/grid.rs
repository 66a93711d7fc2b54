//! The kernel grid in a browser: the same cases against the same twins as the native test.

use pilotfish::gpu::{Gpu, GpuOptions};
use wasm_bindgen::prelude::*;

use crate::error::{bad_argument, js_error};

/// Runs the cases whose names contain `filter` on a GPU opened with `options` (a `GpuOptions` as JSON). Calls
/// `report(name, complaint)` after each, with null for none; answers `{"gpu", "passed", "skipped", "failed": [..]}` as JSON.
#[wasm_bindgen]
pub async fn run_grid(options: String, filter: String, report: js_sys::Function) -> Result<String, JsValue> {
    let options: GpuOptions = serde_json::from_str(&options).map_err(|error| bad_argument("run_grid", &error))?;
    let gpu = Gpu::open(&options).await.map_err(|error| js_error(error.code(), &error.to_string()))?;
    let outcome = pilotfish::ops::grid::run_grid(&gpu, &filter, |name, complaint| {
        // A test page that fails to take a report notices by itself.
        let _ = report.call2(&JsValue::NULL, &name.into(), &complaint.map_or(JsValue::NULL, Into::into));
    })
    .await;
    let mut answer = serde_json::json!(outcome);
    answer["gpu"] = serde_json::json!(gpu.info());
    Ok(answer.to_string())
}
