//! Two instructions of `AArch64` that Rust 1.95 has no stable function for, or none that asks for no more than they need.

#![allow(unsafe_code, reason = "instructions written out, each in a function compiled for them")]

use std::arch::aarch64::{float32x4_t, int8x16_t, int32x4_t, uint16x4_t};
use std::arch::asm;

/// `sums[i] + a[4 i] b[4 i] + .. + a[4 i + 3] b[4 i + 3]`: `vdotq_s32`, which is unstable (rust-lang/rust issue 117224).
#[target_feature(enable = "neon,dotprod")]
#[inline]
pub(super) fn dot(mut sums: int32x4_t, a: int8x16_t, b: int8x16_t) -> int32x4_t {
    // SAFETY: the instruction reads and writes these registers alone, and the function is compiled for machines that have it.
    unsafe {
        asm!("sdot {0:v}.4s, {1:v}.16b, {2:v}.16b", inout(vreg) sums, in(vreg) a, in(vreg) b,
            options(pure, nomem, nostack, preserves_flags));
    }
    sums
}

/// f16 numbers as f32: `vcvt_f32_f16`, which asks for `fp16` though every `AArch64` has the instruction.
#[target_feature(enable = "neon")]
#[inline]
pub(super) fn floats(halves: uint16x4_t) -> float32x4_t {
    let floats: float32x4_t;
    // SAFETY: as above.
    unsafe {
        asm!("fcvtl {0:v}.4s, {1:v}.4h", lateout(vreg) floats, in(vreg) halves,
            options(pure, nomem, nostack, preserves_flags));
    }
    floats
}
