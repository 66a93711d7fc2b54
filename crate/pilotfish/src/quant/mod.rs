//! Block formats, one file each: layout in the file, CPU decode, lossless packing for the GPU.
//!
//! A new format is one file with a [`Format`] in it, one variant of [`TensorType`] and one decoder in the shaders.
//! Nothing here knows where the bytes came from or what the tensor means.

mod bf16;
mod error;
mod f16;
mod f32;
mod format;
mod iq4_nl;
mod planes;
mod q2_k;
mod q3_k;
mod q4_0;
mod q4_1;
mod q4_k;
mod q5_0;
mod q5_1;
mod q5_k;
mod q6_k;
mod q8_0;
mod rows;
mod tensor_type;

pub use error::QuantError;
pub use format::Format;
pub use rows::{dequantize, dequantize_packed, encode, pack_rows, row_bytes, row_words, unit_len, unit_words};
pub use tensor_type::{GGML_TYPE_NAMES, TensorType};

#[cfg(test)]
mod tests;
