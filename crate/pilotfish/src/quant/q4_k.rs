//! `Q4_K`: `w = d * scale * q - dmin * min`, 256 elements a block, 6-bit scale and minimum per 32.
//!
//! File: `d`, `dmin` f16, 12 bytes of scales and minimums, 128 bytes of nibbles split within each 64 elements.
//! GPU unit: one block, `d | dmin << 16`, 4 words of scales and minimums, nibble plane of 32.

use super::Format;
use super::format::{per_block, per_packed, per_unit};
use super::planes::{half_at, half_of, k_scales, nibble, pack_k_scales, pack_nibbles, unpack_k_scale, word};

const BLOCK: usize = 256;
const BYTES: usize = 144;
const WORDS: usize = 37;

pub(super) const FORMAT: Format = Format {
    name: "q4_k",
    ggml_id: 12,
    block_len: BLOCK,
    block_bytes: BYTES,
    unit_len: BLOCK,
    unit_words: WORDS,
    decode,
    pack,
    unpack,
    encode: None,
};

fn decode(row: &[u8], out: &mut [f32]) {
    per_block(row, BYTES, out, BLOCK, |block, values| {
        let (d, dmin) = (half_at(block, 0), half_at(block, 2));
        let (scales, mins) = k_scales(&block[4..16]);
        for (s, sub) in values.chunks_exact_mut(32).enumerate() {
            let (scale, min) = (d * f32::from(scales[s]), dmin * f32::from(mins[s]));
            let (first, shift) = (16 + s / 2 * 32, s % 2 * 4);
            for (value, both) in sub.iter_mut().zip(&block[first..]) {
                *value = scale * f32::from(both >> shift & 15) - min;
            }
        }
    });
}

fn pack(row: &[u8], words: &mut [u32]) {
    per_unit(row, BYTES, words, WORDS, |block, unit| {
        unit[0] = word(block, 0);
        pack_k_scales(&block[4..16], &mut unit[1..5]);
        for (src, words) in block[16..].chunks_exact(32).zip(unit[5..].chunks_exact_mut(8)) {
            pack_nibbles(src, words);
        }
    });
}

fn unpack(words: &[u32], out: &mut [f32]) {
    per_packed(words, WORDS, out, BLOCK, |unit, values| {
        let (d, dmin) = (half_of(unit[0], 0), half_of(unit[0], 1));
        for (e, value) in values.iter_mut().enumerate() {
            let (scale, min) = unpack_k_scale(&unit[1..5], e / 32);
            *value = d * scale * nibble(&unit[5..], e) as f32 - dmin * min;
        }
    });
}
