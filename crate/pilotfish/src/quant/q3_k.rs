//! `Q3_K`: `w = d * scale * (q - 4)`, 256 elements a block, 6-bit signed scale per 16.
//!
//! File: 32 bytes of high bits, 64 bytes of low pairs, 12 bytes of scales, `d` f16.
//! GPU unit: one block, `d`, 16 signed bytes of scales in 4 words, 1-bit plane of 8, 2-bit plane of 16.

use super::Format;
use super::format::{per_block, per_packed, per_unit};
use super::planes::{bit, byte, half_at, half_bits, half_of, pack_bits, pack_bytes, pack_pairs, pair};

const BLOCK: usize = 256;
const BYTES: usize = 110;
const WORDS: usize = 29;

pub(super) const FORMAT: Format = Format {
    name: "q3_k",
    ggml_id: 11,
    block_len: BLOCK,
    block_bytes: BYTES,
    unit_len: BLOCK,
    unit_words: WORDS,
    decode,
    pack,
    unpack,
    encode: None,
};

/// Sixteen scales out of 12 bytes: low nibbles in bytes 0..8 (low, then high halves), high pairs in bytes 8..12.
fn scales(bytes: &[u8]) -> [i8; 16] {
    std::array::from_fn(|s| {
        let low = bytes[s % 8] >> (s / 8 * 4) & 15;
        let high = bytes[8 + s % 4] >> (s / 4 * 2) & 3;
        (low | high << 4) as i8 - 32
    })
}

fn decode(row: &[u8], out: &mut [f32]) {
    per_block(row, BYTES, out, BLOCK, |block, values| {
        let (high, quants) = (&block[..32], &block[32..96]);
        let (scales, d) = (scales(&block[96..108]), half_at(block, 108));
        for (s, sub) in values.chunks_exact_mut(16).enumerate() {
            let scale = d * f32::from(scales[s]);
            let (first, shift) = (s / 8 * 32 + s % 2 * 16, s / 2 % 4 * 2);
            for (l, value) in sub.iter_mut().enumerate() {
                let low = quants[first + l] >> shift & 3;
                let top = high[s % 2 * 16 + l] >> (s / 2) & 1;
                *value = scale * f32::from((low | top << 2) as i8 - 4);
            }
        }
    });
}

fn pack(row: &[u8], words: &mut [u32]) {
    per_unit(row, BYTES, words, WORDS, |block, unit| {
        unit[0] = half_bits(block, 108);
        let scales = scales(&block[96..108]).map(|s| s as u8);
        pack_bytes(&scales, &mut unit[1..5]);
        pack_bits(&block[..32], &mut unit[5..13]);
        pack_pairs(&block[32..64], &mut unit[13..21]);
        pack_pairs(&block[64..96], &mut unit[21..29]);
    });
}

fn unpack(words: &[u32], out: &mut [f32]) {
    per_packed(words, WORDS, out, BLOCK, |unit, values| {
        let d = half_of(unit[0], 0);
        for (e, value) in values.iter_mut().enumerate() {
            let scale = d * f32::from(byte(&unit[1..5], e / 16));
            let q = pair(&unit[13..], e) | (bit(&unit[5..13], e) << 2);
            *value = scale * (q as i32 - 4) as f32;
        }
    });
}
