//! `Q2_K`: `w = d * scale * q - dmin * min`, 256 elements a block, 4-bit scale and minimum per 16.
//!
//! File: 16 bytes (low nibble scale, high nibble minimum), 64 bytes of quants, `d`, `dmin` f16.
//! GPU unit: one block, `d | dmin << 16`, the 16 bytes in 4 words, 2-bit plane of 16.

use super::Format;
use super::format::{per_block, per_packed, per_unit};
use super::planes::{byte, half_at, half_of, pack_bytes, pack_pairs, pair, word};

const BLOCK: usize = 256;
const BYTES: usize = 84;
const WORDS: usize = 21;

pub(super) const FORMAT: Format = Format {
    name: "q2_k",
    ggml_id: 10,
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
        let (scales, quants) = (&block[..16], &block[16..80]);
        let (d, dmin) = (half_at(block, 80), half_at(block, 82));
        for (s, sub) in values.chunks_exact_mut(16).enumerate() {
            let scale = d * f32::from(scales[s] & 15);
            let min = dmin * f32::from(scales[s] >> 4);
            // Halves of 128 elements in 32 bytes; within one, each pair of bits is 32 elements.
            let (first, shift) = (s / 8 * 32 + s % 2 * 16, s / 2 % 4 * 2);
            for (value, q) in sub.iter_mut().zip(&quants[first..]) {
                *value = scale * f32::from(q >> shift & 3) - min;
            }
        }
    });
}

fn pack(row: &[u8], words: &mut [u32]) {
    per_unit(row, BYTES, words, WORDS, |block, unit| {
        unit[0] = word(block, 80);
        pack_bytes(&block[..16], &mut unit[1..5]);
        pack_pairs(&block[16..48], &mut unit[5..13]);
        pack_pairs(&block[48..80], &mut unit[13..21]);
    });
}

fn unpack(words: &[u32], out: &mut [f32]) {
    per_packed(words, WORDS, out, BLOCK, |unit, values| {
        let (d, dmin) = (half_of(unit[0], 0), half_of(unit[0], 1));
        for (e, value) in values.iter_mut().enumerate() {
            let both = byte(&unit[1..5], e / 16) as u8;
            let scale = d * f32::from(both & 15);
            let min = dmin * f32::from(both >> 4);
            *value = scale * pair(&unit[5..], e) as f32 - min;
        }
    });
}
