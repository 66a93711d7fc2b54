//! Threads of the CPU backend: the host starts workers on the same module and memory, and each joins the program's crew.

use pilotfish::cpu::{Crew, Isa};
use wasm_bindgen::prelude::*;

/// Makes this worker one of the engine's threads, if there is room for one; it must [`serve`] next.
#[wasm_bindgen]
pub fn join() -> Option<usize> {
    Crew::of_program().join()
}

/// Computes what the engine shares out, for ever. To be called in a worker that has nothing else to do, with its place of [`join`].
#[wasm_bindgen]
pub fn serve(place: usize) {
    Crew::of_program().serve(place, || false);
}

/// Threads that compute, the engine's own included.
#[wasm_bindgen]
pub fn threads() -> usize {
    Crew::of_program().threads()
}

/// The instructions that the kernels use: `relaxed-simd-u8`, where its dot product takes eight bits of both factors, `relaxed-simd`,
/// `simd128` or `portable`.
#[wasm_bindgen]
pub fn instructions() -> String {
    Isa::best().name().to_owned()
}
