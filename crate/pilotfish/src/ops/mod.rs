//! One file per kernel, named as its shader: bindings, dispatch, CPU twin.
//!
//! An op is made once, when a session is planned, and gives a [`crate::gpu::Dispatch`]; its twin is a plain function over
//! slices that says what the kernel computes. The twins together are a complete forward pass on the CPU: the oracle.

pub mod attend;
pub mod attend_combine;
pub mod attend_prefill;
pub mod calibrate;
pub mod elementary;
pub mod embed;
pub mod finish;
pub mod glu;
#[cfg(any(test, feature = "grid"))]
pub mod grid;
pub mod linear;
pub mod linear_rows;
pub mod lora;
pub mod lora_down;
pub mod lora_up;
pub mod matmul;
pub mod matrix;
pub mod matvec;
pub mod mix;
pub mod mixing;
pub mod norm;
pub mod pick;
pub mod prepare;
pub mod quantise;
pub mod rope;
pub mod row_max;
pub mod select;

/// Activation rows are this many floats apart, rounded up, with zeros in the padding: then a packed weight row, whose last
/// unit is zero-padded, can be multiplied without looking at its end.
pub const ROW_ALIGN: u32 = 256;

/// The distance in floats between activation rows of `n` values.
pub fn stride(n: u32) -> u32 {
    n.next_multiple_of(ROW_ALIGN)
}
