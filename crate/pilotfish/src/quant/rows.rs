//! The public operations: rows of weights, with every length checked before a format's functions see it.

use super::{QuantError, TensorType};

/// Elements of one GPU unit.
pub const fn unit_len(ty: TensorType) -> usize {
    ty.format().unit_len
}

/// Words of one GPU unit.
pub const fn unit_words(ty: TensorType) -> usize {
    ty.format().unit_words
}

/// Words of one packed row of `row_len` elements.
pub const fn row_words(ty: TensorType, row_len: usize) -> usize {
    row_len.div_ceil(unit_len(ty)) * unit_words(ty)
}

/// Bytes of one row of `row_len` elements in the file.
pub const fn row_bytes(ty: TensorType, row_len: usize) -> usize {
    row_len / ty.block_len() * ty.block_bytes()
}

/// Decodes file bytes to values: `bytes` holds whole blocks, `out` exactly their elements.
///
/// Equal bit for bit to the reference (`ggml`, and the `gguf` Python package's `dequantize`).
pub fn dequantize(ty: TensorType, bytes: &[u8], out: &mut [f32]) -> Result<(), QuantError> {
    whole_blocks(ty, out.len())?;
    length(ty, "bytes", bytes.len(), row_bytes(ty, out.len()))?;
    (ty.format().decode)(bytes, out);
    Ok(())
}

/// Packs whole rows for the GPU: `src` is `[rows, row_bytes]`, `out` is `[rows, row_words]`.
pub fn pack_rows(ty: TensorType, row_len: usize, src: &[u8], out: &mut [u32]) -> Result<(), QuantError> {
    whole_blocks(ty, row_len)?;
    let (bytes, words) = (row_bytes(ty, row_len), row_words(ty, row_len));
    let rows = whole_rows(ty, row_len, "bytes, in whole rows", src.len(), bytes)?;
    length(ty, "packed words", out.len(), product(ty, rows, words)?)?;
    for (row, packed) in src.chunks_exact(bytes).zip(out.chunks_exact_mut(words)) {
        (ty.format().pack)(row, packed);
    }
    Ok(())
}

/// Reads packed rows back as the shaders do: `words` is `[rows, row_words]`, `out` is `[rows, row_len]`.
pub fn dequantize_packed(ty: TensorType, row_len: usize, words: &[u32], out: &mut [f32]) -> Result<(), QuantError> {
    whole_blocks(ty, row_len)?;
    let per_row = row_words(ty, row_len);
    let rows = whole_rows(ty, row_len, "packed words, in whole rows", words.len(), per_row)?;
    length(ty, "values", out.len(), product(ty, rows, row_len)?)?;
    for (packed, row) in words.chunks_exact(per_row).zip(out.chunks_exact_mut(row_len)) {
        (ty.format().unpack)(packed, row);
    }
    Ok(())
}

/// Encodes values to file bytes by rounding to the nearest level; for making test models and converting adapters.
pub fn encode(ty: TensorType, values: &[f32]) -> Result<Vec<u8>, QuantError> {
    whole_blocks(ty, values.len())?;
    let encode = ty.format().encode.ok_or(QuantError::NoEncoder { ty })?;
    let mut bytes = vec![0; row_bytes(ty, values.len())];
    encode(values, &mut bytes);
    Ok(bytes)
}

/// A row must hold at least one block and only whole ones, and stay far from overflowing a `usize`.
fn whole_blocks(ty: TensorType, row_len: usize) -> Result<(), QuantError> {
    if row_len > usize::MAX / 64 {
        return Err(QuantError::TooLarge { ty, row_len });
    }
    if row_len.is_multiple_of(ty.block_len()) && row_len > 0 {
        Ok(())
    } else {
        Err(QuantError::RowLength { ty, row_len })
    }
}

fn whole_rows(
    ty: TensorType,
    row_len: usize,
    what: &'static str,
    found: usize,
    per_row: usize,
) -> Result<usize, QuantError> {
    let rows = found / per_row;
    length(ty, what, found, product_of(ty, row_len, rows, per_row)?)?;
    Ok(rows)
}

fn product(ty: TensorType, rows: usize, per_row: usize) -> Result<usize, QuantError> {
    product_of(ty, per_row, rows, per_row)
}

fn product_of(ty: TensorType, row_len: usize, rows: usize, per_row: usize) -> Result<usize, QuantError> {
    rows.checked_mul(per_row).ok_or(QuantError::TooLarge { ty, row_len })
}

fn length(ty: TensorType, what: &'static str, found: usize, expected: usize) -> Result<(), QuantError> {
    if found == expected { Ok(()) } else { Err(QuantError::Length { ty, what, found, expected }) }
}
