//! What a format file supplies: sizes and four functions over one row.

/// Values of whole blocks to their bytes in the file.
type Encode = fn(&[f32], &mut [u8]);

/// One block format: how it lies in the file, how it lies on the GPU, and the functions between.
///
/// The functions trust their lengths; [`super::rows`] checks them. A row holds `n` elements, `n` a multiple of
/// `block_len`; in the file it is `n / block_len * block_bytes` bytes, packed it is `ceil(n / unit_len) * unit_words`
/// words, the last unit padded with zeros.
#[derive(Debug)]
pub struct Format {
    /// Lower-case name, `q4_k`.
    pub name: &'static str,
    /// GGUF's number.
    pub ggml_id: u32,
    /// Elements in one block of the file.
    pub block_len: usize,
    /// Bytes of one block of the file.
    pub block_bytes: usize,
    /// Elements in one unit on the GPU.
    pub unit_len: usize,
    /// `u32` words of one unit on the GPU.
    pub unit_words: usize,
    /// File bytes to values; the rounding is the reference's, operation for operation.
    pub(super) decode: fn(&[u8], &mut [f32]),
    /// File bytes to GPU words; every word is written.
    pub(super) pack: fn(&[u8], &mut [u32]),
    /// GPU words to values, as the shaders read them.
    pub(super) unpack: fn(&[u32], &mut [f32]),
    /// Values to file bytes, where this crate can write the format.
    pub(super) encode: Option<Encode>,
}

/// Calls `each` with every block of a row and the values it stands for.
pub(super) fn per_block(
    row: &[u8],
    block_bytes: usize,
    out: &mut [f32],
    block_len: usize,
    mut each: impl FnMut(&[u8], &mut [f32]),
) {
    for (block, values) in row.chunks_exact(block_bytes).zip(out.chunks_exact_mut(block_len)) {
        each(block, values);
    }
}

/// Calls `each` with the blocks of every unit (fewer at a row's end) and its zeroed words.
pub(super) fn per_unit(
    row: &[u8],
    unit_bytes: usize,
    words: &mut [u32],
    unit_words: usize,
    mut each: impl FnMut(&[u8], &mut [u32]),
) {
    for (blocks, unit) in row.chunks(unit_bytes).zip(words.chunks_exact_mut(unit_words)) {
        unit.fill(0);
        each(blocks, unit);
    }
}

/// Calls `each` with the words of every unit and the values of the row they stand for (fewer at a row's end).
pub(super) fn per_packed(
    words: &[u32],
    unit_words: usize,
    out: &mut [f32],
    unit_len: usize,
    mut each: impl FnMut(&[u32], &mut [f32]),
) {
    for (unit, values) in words.chunks_exact(unit_words).zip(out.chunks_mut(unit_len)) {
        each(unit, values);
    }
}
