//! `pilotfish-bindgen IN.wasm OUT_DIR`: writes `pilotfish.js` and `pilotfish_bg.wasm`.
fn main() {}
