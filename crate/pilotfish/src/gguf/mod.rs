//! The GGUF container: header, metadata, tensor directory. No tensor data is interpreted here.
//!
//! Format: <https://github.com/ggml-org/ggml/blob/master/docs/gguf.md>, versions 2 and 3, little-endian.
//! A loader feeds [`Header::parse`] a growing prefix of the file until it stops asking for more, then streams tensors.

mod cursor;
mod error;
mod header;
mod metadata;
mod tensor;
mod value;
mod write;

pub use error::GgufError;
pub use header::{Header, MAX_HEADER_BYTES};
pub use metadata::Metadata;
pub use tensor::TensorInfo;
pub use value::{Array, Scalar, StringArray, Value, ValueType};
pub use write::Writer;

#[cfg(test)]
mod tests;
