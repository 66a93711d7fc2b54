//! BF16: the upper halves of single-precision values, two a word, the first in the low half.

use super::Format;
use super::f16::pack_halves;
use super::format::{per_block, per_packed, per_unit};
use super::planes::half_bits;

const UNIT: usize = 8;

pub(super) const FORMAT: Format = Format {
    name: "bf16",
    ggml_id: 30,
    block_len: 1,
    block_bytes: 2,
    unit_len: UNIT,
    unit_words: 4,
    decode,
    pack,
    unpack,
    encode: Some(encode),
};

fn decode(row: &[u8], out: &mut [f32]) {
    per_block(row, 2, out, 1, |block, value| {
        value[0] = f32::from_bits(half_bits(block, 0) << 16);
    });
}

fn pack(row: &[u8], words: &mut [u32]) {
    per_unit(row, 2 * UNIT, words, 4, pack_halves);
}

fn unpack(words: &[u32], out: &mut [f32]) {
    per_packed(words, 4, out, UNIT, |unit, values| {
        for (e, value) in values.iter_mut().enumerate() {
            *value = f32::from_bits(unit[e / 2] >> (16 * (e % 2)) << 16);
        }
    });
}

fn encode(values: &[f32], out: &mut [u8]) {
    for (bytes, value) in out.chunks_exact_mut(2).zip(values) {
        bytes.copy_from_slice(&half::bf16::from_f32(*value).to_le_bytes());
    }
}
