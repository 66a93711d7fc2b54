//! F32: the values themselves, eight a unit so that a unit is one pair of `vec4` loads.

use super::Format;
use super::format::{per_block, per_packed, per_unit};
use super::planes::{pack_bytes, word};

const UNIT: usize = 8;

pub(super) const FORMAT: Format = Format {
    name: "f32",
    ggml_id: 0,
    block_len: 1,
    block_bytes: 4,
    unit_len: UNIT,
    unit_words: 8,
    decode,
    pack,
    unpack,
    encode: Some(encode),
};

fn decode(row: &[u8], out: &mut [f32]) {
    per_block(row, 4, out, 1, |block, value| {
        value[0] = f32::from_bits(word(block, 0));
    });
}

fn pack(row: &[u8], words: &mut [u32]) {
    per_unit(row, 4 * UNIT, words, 8, pack_bytes);
}

fn unpack(words: &[u32], out: &mut [f32]) {
    per_packed(words, 8, out, UNIT, |unit, values| {
        for (value, &bits) in values.iter_mut().zip(unit) {
            *value = f32::from_bits(bits);
        }
    });
}

fn encode(values: &[f32], out: &mut [u8]) {
    for (bytes, value) in out.chunks_exact_mut(4).zip(values) {
        bytes.copy_from_slice(&value.to_le_bytes());
    }
}
