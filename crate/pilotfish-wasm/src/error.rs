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

/// What a JavaScript callback threw, kept as it is when it already is an `Error`, so that its code and stack survive.
pub(crate) fn from_callback(thrown: JsValue) -> JsValue {
    if thrown.is_instance_of::<js_sys::Error>() {
        return thrown;
    }
    let shown = thrown.as_string().unwrap_or_else(|| format!("{thrown:?}"));
    js_error("internal", &format!("a callback threw something that is not an Error: {shown}"))
}

/// A malformed argument from the JavaScript side: the package never sends one, so this names a bug there.
pub(crate) fn bad_argument(what: &str, error: &serde_json::Error) -> JsValue {
    js_error("internal", &format!("{what}: {error}"))
}
