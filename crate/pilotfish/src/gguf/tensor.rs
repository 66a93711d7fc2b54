//! The tensor directory: where each tensor lies and what it is made of, checked before anybody trusts an offset.

use std::collections::HashSet;

use serde::Serialize;

use super::GgufError;
use super::cursor::Cursor;
use crate::quant::{GGML_TYPE_NAMES, TensorType};

/// The least a directory entry takes: lengths, one dimension, type, offset.
const MIN_ENTRY_BYTES: u64 = 8 + 4 + 8 + 4 + 8;

/// One tensor of the file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct TensorInfo {
    /// Its name, `blk.0.attn_q.weight`.
    pub name: String,
    /// Dimensions in GGUF's order, the fastest first: a matrix is `[columns, rows]`.
    pub shape: Vec<u64>,
    /// How its elements are stored.
    pub ty: TensorType,
    /// First byte, counted from the start of the file.
    pub offset: u64,
    /// Length in bytes.
    pub bytes: u64,
}

impl TensorInfo {
    /// Elements of a row, the fastest dimension.
    pub fn row_len(&self) -> u64 {
        self.shape.first().copied().unwrap_or(0)
    }

    /// Rows: the product of the other dimensions.
    pub fn rows(&self) -> u64 {
        self.shape.iter().skip(1).product()
    }
}

/// Reads `count` entries; offsets stay relative to the tensor data.
pub(super) fn read(cursor: &mut Cursor<'_>, count: u64, alignment: u32) -> Result<Vec<TensorInfo>, GgufError> {
    let directory = || format!("the directory of {count} tensors");
    cursor.ensure(count.saturating_mul(MIN_ENTRY_BYTES), directory)?;
    let mut tensors = Vec::with_capacity(count as usize);
    for index in 0..count {
        tensors.push(read_one(cursor, index, alignment)?);
    }
    let mut names = HashSet::with_capacity(tensors.len());
    for tensor in &tensors {
        if !names.insert(tensor.name.as_str()) {
            return Err(GgufError::DuplicateTensor { tensor: tensor.name.clone() });
        }
    }
    Ok(tensors)
}

fn read_one(cursor: &mut Cursor<'_>, index: u64, alignment: u32) -> Result<TensorInfo, GgufError> {
    let name = cursor.text(|| format!("the name of tensor {index}"))?;
    let what = || format!("the directory entry of tensor {name:?}");
    let shape_error = |shape: &[u64]| GgufError::Shape { tensor: name.to_owned(), shape: shape.to_vec() };
    let dims = cursor.u32(what)?;
    if !(1..=4).contains(&dims) {
        return Err(shape_error(&[]));
    }
    let mut shape = Vec::with_capacity(dims as usize);
    for _ in 0..dims {
        shape.push(cursor.u64(what)?);
    }
    let ty = tensor_type(name, cursor.u32(what)?)?;
    let offset = cursor.u64(what)?;
    if !offset.is_multiple_of(u64::from(alignment)) {
        return Err(GgufError::Misaligned { tensor: name.to_owned(), offset, alignment });
    }
    let bytes = byte_len(&shape, ty).ok_or_else(|| shape_error(&shape))?;
    if !shape[0].is_multiple_of(ty.block_len() as u64) {
        return Err(GgufError::RowLength { tensor: name.to_owned(), ty, row_len: shape[0] });
    }
    Ok(TensorInfo { name: name.to_owned(), shape, ty, offset, bytes })
}

fn tensor_type(tensor: &str, id: u32) -> Result<TensorType, GgufError> {
    TensorType::from_ggml(id).ok_or_else(|| GgufError::TensorType {
        tensor: tensor.to_owned(),
        found: GGML_TYPE_NAMES
            .iter()
            .find(|(known, _)| *known == id)
            .map_or_else(|| format!("ggml type {id}"), |(_, name)| (*name).to_owned()),
    })
}

/// Bytes of a tensor; `None` for a zero dimension or 2^63 elements and more.
fn byte_len(shape: &[u64], ty: TensorType) -> Option<u64> {
    let elements =
        shape.iter().try_fold(1u64, |product, &dim| product.checked_mul(dim)).filter(|&n| n > 0 && n < 1 << 60)?;
    let blocks = elements / ty.block_len() as u64;
    blocks.checked_mul(ty.block_bytes() as u64)
}

/// Turns offsets into file positions, and checks that every tensor lies in the file and alone.
pub(super) fn place(tensors: &mut [TensorInfo], data_offset: u64, file_len: u64) -> Result<(), GgufError> {
    for tensor in tensors.iter_mut() {
        let start = data_offset.saturating_add(tensor.offset);
        let end = start.saturating_add(tensor.bytes);
        if end > file_len || end == u64::MAX {
            return Err(GgufError::TensorOutOfFile { tensor: tensor.name.clone(), end, file_len });
        }
        tensor.offset = start;
    }
    let mut order: Vec<&TensorInfo> = tensors.iter().collect();
    order.sort_by_key(|tensor| tensor.offset);
    for pair in order.windows(2) {
        if pair[0].offset + pair[0].bytes > pair[1].offset {
            return Err(GgufError::Overlap { first: pair[0].name.clone(), second: pair[1].name.clone() });
        }
    }
    Ok(())
}
