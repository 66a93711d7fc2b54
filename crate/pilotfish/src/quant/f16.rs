//! F16: half-precision values, two a word, the first in the low half (what WGSL's `unpack2x16float` reads).

use super::Format;
use super::format::{per_block, per_packed, per_unit};
use super::planes::{half_at, half_bits, half_of};

const UNIT: usize = 8;

pub(super) const FORMAT: Format = Format {
    name: "f16",
    ggml_id: 1,
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
    per_block(row, 2, out, 1, |block, value| value[0] = half_at(block, 0));
}

fn pack(row: &[u8], words: &mut [u32]) {
    per_unit(row, 2 * UNIT, words, 4, pack_halves);
}

/// Two 16-bit values a word; an odd last one is alone in its word.
pub(super) fn pack_halves(src: &[u8], words: &mut [u32]) {
    for (e, half) in src.chunks_exact(2).enumerate() {
        words[e / 2] |= half_bits(half, 0) << (16 * (e % 2));
    }
}

fn unpack(words: &[u32], out: &mut [f32]) {
    per_packed(words, 4, out, UNIT, |unit, values| {
        for (e, value) in values.iter_mut().enumerate() {
            *value = half_of(unit[e / 2], e % 2);
        }
    });
}

fn encode(values: &[f32], out: &mut [u8]) {
    for (bytes, value) in out.chunks_exact_mut(2).zip(values) {
        bytes.copy_from_slice(&half::f16::from_f32(*value).to_le_bytes());
    }
}
