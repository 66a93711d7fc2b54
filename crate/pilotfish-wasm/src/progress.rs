//! Progress, and the caller's answer to it.

use wasm_bindgen::JsValue;

/// Tells `progress` how far `phase` is, as JSON; false when it answers false (abort).
pub(crate) fn report(progress: &js_sys::Function, phase: &str, done: u64, total: u64) -> bool {
    let json = serde_json::json!({ "phase": phase, "done": done, "total": total }).to_string();
    // A callback that throws asks for no more work either.
    progress.call1(&JsValue::NULL, &json.into()).is_ok_and(|answer| answer.as_bool() != Some(false))
}
