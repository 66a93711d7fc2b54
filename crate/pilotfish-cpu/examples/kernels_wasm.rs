//! The kernels' cases for a host of WebAssembly: `node kernels_wasm.mjs FILE.wasm`.

#![allow(unsafe_code, reason = "exports by name")]

#[path = "../tests/cases/mod.rs"]
mod cases;

/// Runs case `at` and gives how many numbers it compared, or 0 if there is no such case. What is wrong traps.
#[unsafe(no_mangle)]
pub extern "C" fn run(at: u32) -> u32 {
    let compared = match at {
        0 => cases::integer_products_are_exact(),
        1 => cases::products_are_those_of_the_blocks(),
        2 => cases::activations_are_off_by_half_a_level(),
        3 => cases::attention_is_the_softmax_of_what_a_token_sees(),
        4 => cases::elements_are_those_of_the_formulas(),
        _ => 0,
    };
    compared as u32
}

/// How many instruction sets were compared: the one compiled for, and plain code.
#[unsafe(no_mangle)]
pub extern "C" fn sets() -> u32 {
    pilotfish_cpu::Isa::available().len() as u32
}
