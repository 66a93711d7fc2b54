//! `Q5_K`: `w = d * scale * q - dmin * min`, 256 elements a block, 6-bit scale and minimum per 32.
//!
//! File: `d`, `dmin` f16, 12 bytes of scales and minimums, 32 bytes of high bits, 128 bytes of low nibbles split
//! within each 64 elements. GPU unit: one block, `d | dmin << 16`, 4 words of scales and minimums, 1-bit plane of 8,
//! nibble plane of 32.

use super::Format;
use super::format::{per_block, per_packed, per_unit};
use super::planes::{
    bit, half_at, half_of, k_scales, nibble, pack_bits, pack_k_scales, pack_nibbles, unpack_k_scale, word,
};

const BLOCK: usize = 256;
const BYTES: usize = 176;
const WORDS: usize = 45;

pub(super) const FORMAT: Format = Format {
    name: "q5_k",
    ggml_id: 13,
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
        let (high, low) = (&block[16..48], &block[48..]);
        for (s, sub) in values.chunks_exact_mut(32).enumerate() {
            let (scale, min) = (d * f32::from(scales[s]), dmin * f32::from(mins[s]));
            let (first, shift) = (s / 2 * 32, s % 2 * 4);
            for (l, value) in sub.iter_mut().enumerate() {
                let q = (low[first + l] >> shift & 15) | ((high[l] >> s & 1) << 4);
                *value = scale * f32::from(q) - min;
            }
        }
    });
}

fn pack(row: &[u8], words: &mut [u32]) {
    per_unit(row, BYTES, words, WORDS, |block, unit| {
        unit[0] = word(block, 0);
        pack_k_scales(&block[4..16], &mut unit[1..5]);
        pack_bits(&block[16..48], &mut unit[5..13]);
        for (src, words) in block[48..].chunks_exact(32).zip(unit[13..].chunks_exact_mut(8)) {
            pack_nibbles(src, words);
        }
    });
}

fn unpack(words: &[u32], out: &mut [f32]) {
    per_packed(words, WORDS, out, BLOCK, |unit, values| {
        let (d, dmin) = (half_of(unit[0], 0), half_of(unit[0], 1));
        for (e, value) in values.iter_mut().enumerate() {
            let (scale, min) = unpack_k_scale(&unit[1..5], e / 32);
            let q = nibble(&unit[13..], e) | (bit(&unit[5..13], e) << 4);
            *value = d * scale * q as f32 - dmin * min;
        }
    });
}
