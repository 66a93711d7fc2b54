//! What can be wrong with a GGUF file or with a question about its metadata.

use super::MAX_HEADER_BYTES;
use crate::quant::TensorType;

/// Why a header could not be read, or a metadata value not be had.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum GgufError {
    /// Not an error of the file: the prefix ends before the header does.
    #[error("the header goes on: at least {at_least} bytes of the file are needed to read it")]
    NeedMore {
        /// Bytes from the file's start to have before trying again; never more than the file has. It grows by half
        /// at least, so trying again costs in all no more than three parses.
        at_least: u64,
    },
    /// The first four bytes are something else.
    #[error("not a GGUF file: it begins with {found:02x?}, expected \"GGUF\"{}", hint(*.found))]
    NotGguf {
        /// The bytes.
        found: [u8; 4],
    },
    /// A version this reader does not know.
    #[error("GGUF version {found} cannot be read, expected 2 or 3; convert the model again with a current converter")]
    Version {
        /// The version in the file.
        found: u32,
    },
    /// The numbers are written most significant byte first.
    #[error("this GGUF file is big-endian, expected little-endian; convert it with gguf-py's gguf_convert_endian")]
    BigEndian,
    /// The file ends inside the header.
    #[error("the file is truncated: {what} needs {needed} bytes, the file has {file_len}; download it again")]
    Truncated {
        /// What was being read.
        what: String,
        /// Bytes the file would have to have.
        needed: u64,
        /// Bytes it has.
        file_len: u64,
    },
    /// A header of a size no model has; a length in it is damaged.
    #[error(
        "the header claims {needed} bytes for {what}, more than the {MAX_HEADER_BYTES} a header may have; the file is damaged"
    )]
    HeaderTooLarge {
        /// What was being read.
        what: String,
        /// Bytes claimed.
        needed: u64,
    },
    /// Text that is not UTF-8.
    #[error("{what} is not valid UTF-8; the file is damaged or was written by a faulty converter")]
    Utf8 {
        /// Where.
        what: String,
    },
    /// A value type outside the format, or an array of arrays.
    #[error(
        "metadata key {key:?} has a value of unknown type {found}, expected 0 to 12 and no nested arrays; the file is damaged"
    )]
    ValueType {
        /// The key.
        key: String,
        /// The type's number.
        found: u32,
    },
    /// A boolean that is neither 0 nor 1.
    #[error("metadata key {key:?}: a boolean is stored as {found}, expected 0 or 1; the file is damaged")]
    Bool {
        /// The key.
        key: String,
        /// The byte.
        found: u8,
    },
    /// The same metadata key twice.
    #[error("metadata key {key:?} appears twice")]
    DuplicateKey {
        /// The key.
        key: String,
    },
    /// `general.alignment` is not a power of two from 1 to 2^16.
    #[error("general.alignment is {found}, expected a power of two of at most 65536")]
    Alignment {
        /// The value.
        found: u32,
    },
    /// Two tensors with one name.
    #[error("tensor {tensor:?} appears twice")]
    DuplicateTensor {
        /// The name.
        tensor: String,
    },
    /// A shape with no dimensions, more than four, a zero, or a product beyond 2^63.
    #[error(
        "tensor {tensor:?} has the shape {shape:?}, expected 1 to 4 dimensions of at least 1 and fewer than 2^63 bytes; the file is damaged"
    )]
    Shape {
        /// The tensor.
        tensor: String,
        /// Its dimensions; empty when there are more than four.
        shape: Vec<u64>,
    },
    /// A `ggml_type` that cannot be run here.
    #[error(
        "tensor {tensor:?} is stored as {found}, which is not supported; supported are {}; use a file quantized to one of those",
        supported()
    )]
    TensorType {
        /// The tensor.
        tensor: String,
        /// The type's name, or its number.
        found: String,
    },
    /// Rows that do not divide into blocks.
    #[error("tensor {tensor:?} has rows of {row_len} elements, expected a multiple of {} for {ty}; the file is damaged", ty.block_len())]
    RowLength {
        /// The tensor.
        tensor: String,
        /// Its format.
        ty: TensorType,
        /// Elements in a row.
        row_len: u64,
    },
    /// A tensor begins off the alignment.
    #[error(
        "tensor {tensor:?} begins at byte {offset} of the tensor data, expected a multiple of {alignment}; the file is damaged"
    )]
    Misaligned {
        /// The tensor.
        tensor: String,
        /// Its offset, counted from the start of the tensor data.
        offset: u64,
        /// The file's alignment.
        alignment: u32,
    },
    /// A tensor ends beyond the file.
    #[error(
        "tensor {tensor:?} ends at byte {end}, but the file has {file_len}; the file is truncated: download it again"
    )]
    TensorOutOfFile {
        /// The tensor.
        tensor: String,
        /// One past its last byte.
        end: u64,
        /// Bytes of the file.
        file_len: u64,
    },
    /// Two tensors share bytes.
    #[error("tensors {first:?} and {second:?} overlap in the file; the file is damaged")]
    Overlap {
        /// The one that begins first.
        first: String,
        /// The one that begins inside it.
        second: String,
    },
    /// A key that is needed is not there.
    #[error("metadata key {key:?} is missing, expected {expected}; the file is incomplete: convert the model again")]
    MissingKey {
        /// The key.
        key: String,
        /// The type asked for.
        expected: &'static str,
    },
    /// A key has a value of another type, or one out of range.
    #[error("metadata key {key:?} holds {found}, expected {expected}; convert the model again")]
    WrongType {
        /// The key.
        key: String,
        /// What it holds.
        found: String,
        /// The type asked for.
        expected: &'static str,
    },
}

impl GgufError {
    /// A stable code, the same in every release.
    pub fn code(&self) -> &'static str {
        match self {
            Self::NeedMore { .. } => "gguf.need_more",
            Self::NotGguf { .. } => "gguf.not_gguf",
            Self::Version { .. } => "gguf.version",
            Self::BigEndian => "gguf.big_endian",
            Self::Truncated { .. } | Self::TensorOutOfFile { .. } => "gguf.truncated",
            Self::HeaderTooLarge { .. } => "gguf.header_too_large",
            Self::Utf8 { .. } => "gguf.utf8",
            Self::ValueType { .. } => "gguf.value_type",
            Self::Bool { .. } => "gguf.bool",
            Self::DuplicateKey { .. } => "gguf.duplicate_key",
            Self::Alignment { .. } => "gguf.alignment",
            Self::DuplicateTensor { .. } => "gguf.duplicate_tensor",
            Self::Shape { .. } => "gguf.shape",
            Self::TensorType { .. } => "gguf.tensor_type",
            Self::RowLength { .. } => "gguf.row_length",
            Self::Misaligned { .. } => "gguf.misaligned",
            Self::Overlap { .. } => "gguf.overlap",
            Self::MissingKey { .. } => "gguf.missing_key",
            Self::WrongType { .. } => "gguf.wrong_type",
        }
    }
}

/// What people open instead of a model.
fn hint(found: [u8; 4]) -> &'static str {
    match &found {
        b"<!DO" | b"<htm" | b"<HTM" => " (this is a web page: check the address)",
        b"vers" => " (this is a Git LFS pointer: fetch the file itself)",
        [b'P', b'K', ..] => " (this is a zip archive or a torch checkpoint: convert it to GGUF)",
        b"ggjt" | b"ggla" | b"lmgg" | b"tjgg" | b"algg" => " (this is an older ggml format: convert the model again)",
        [_, _, 0, 0] => " (this may be a safetensors file: convert it to GGUF)",
        _ => "",
    }
}

fn supported() -> String {
    TensorType::ALL.map(TensorType::name).join(", ").to_uppercase()
}
