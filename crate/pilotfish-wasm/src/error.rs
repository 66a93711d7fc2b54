//! One mapping from the engine's errors to what JavaScript catches: an `Error` with a stable `code`.

use wasm_bindgen::{JsCast, JsValue};

/// `new Error(message)` with `name = "PilotfishError"` and the given `code`; what every function of this crate throws.
pub(crate) fn js_error(code: &str, message: &str) -> JsValue {
    let error = js_sys::Error::new(message);
    error.set_name("PilotfishError");
    // Setting a property on a fresh, extensible object cannot fail.
    let _ = js_sys::Reflect::set(&error, &"code".into(), &code.into());
    error.into()
}

/// An error of the engine with its own code.
#[expect(clippy::needless_pass_by_value, reason = "made for map_err")]
pub(crate) fn engine_error(error: pilotfish::Error) -> JsValue {
    js_error(error.code(), &error.to_string())
}

/// What a JavaScript callback threw, kept as it is when it already is an `Error`, so that its code and stack survive.
pub(crate) fn from_callback(thrown: JsValue) -> JsValue {
    if thrown.is_instance_of::<js_sys::Error>() {
        return thrown;
    }
    let shown = thrown.as_string().unwrap_or_else(|| format!("{thrown:?}"));
    js_error("internal", &format!("a callback threw something that is not an Error: {shown}"))
}

/// Options that are no JSON of the expected shape: a number where a whole one is wanted, say.
pub(crate) fn bad_argument(what: &str, error: &serde_json::Error) -> JsValue {
    js_error("argument.invalid", &format!("{what}: {error}"))
}
