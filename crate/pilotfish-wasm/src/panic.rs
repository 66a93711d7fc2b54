//! A panic becomes a message instead of a promise that never settles.
//!
//! With `panic = "abort"` a panic traps, and a trap inside a future leaves its promise pending for ever. The hook runs before
//! the trap, so the worker learns what happened and its page can reject whatever is waiting.

use std::cell::RefCell;

use wasm_bindgen::prelude::*;

thread_local! {
    static CALLBACK: RefCell<Option<js_sys::Function>> = const { RefCell::new(None) };
}

/// Calls `callback(message)` when the engine panics. After that the module must not be used again.
#[wasm_bindgen]
pub fn on_panic(callback: js_sys::Function) {
    CALLBACK.set(Some(callback));
    std::panic::set_hook(Box::new(|info| {
        let message = info.to_string();
        CALLBACK.with_borrow(|callback| {
            if let Some(callback) = callback {
                // Nothing is left to do if telling fails: the trap that follows reaches the worker's `error` event.
                let _ = callback.call1(&JsValue::NULL, &message.as_str().into());
            }
        });
    }));
}
