//! What can be wrong with a request to decode, pack or encode weights.

use super::TensorType;

/// Why weights could not be decoded, packed or encoded.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum QuantError {
    /// A row does not divide into the format's blocks.
    #[error("a row of {row_len} elements cannot be {}: its blocks hold {} elements; the row length must be a multiple of that", ty.name(), ty.block_len())]
    RowLength {
        /// The format.
        ty: TensorType,
        /// Elements in the row.
        row_len: usize,
    },
    /// A slice has another length than the format asks for.
    #[error("{} {what}: found {found}, expected {expected}", ty.name())]
    Length {
        /// The format.
        ty: TensorType,
        /// What was measured, with its unit.
        what: &'static str,
        /// The slice's length.
        found: usize,
        /// The length that fits the other arguments.
        expected: usize,
    },
    /// A size does not fit this machine's address space.
    #[error("a {} row of {row_len} elements is too long for this machine", ty.name())]
    TooLarge {
        /// The format.
        ty: TensorType,
        /// Elements in the row.
        row_len: usize,
    },
    /// There is a decoder for the format but no encoder.
    #[error("no encoder for {}; formats that can be written: {}", ty.name(), encodable())]
    NoEncoder {
        /// The format.
        ty: TensorType,
    },
}

impl QuantError {
    /// A stable code, the same in every release.
    pub fn code(&self) -> &'static str {
        match self {
            Self::RowLength { .. } => "quant.row_length",
            Self::Length { .. } => "quant.length",
            Self::TooLarge { .. } => "quant.too_large",
            Self::NoEncoder { .. } => "quant.no_encoder",
        }
    }
}

fn encodable() -> String {
    let names: Vec<_> = TensorType::ALL.iter().filter(|ty| ty.format().encode.is_some()).map(|ty| ty.name()).collect();
    names.join(", ")
}
