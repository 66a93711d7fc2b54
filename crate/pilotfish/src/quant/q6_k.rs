//! `Q6_K`: `w = d * scale * (q - 32)`, 256 elements a block, 8-bit signed scale per 16.
//!
//! File: 128 bytes of low nibbles split within each 128 elements, 64 bytes of high pairs, 16 signed bytes of scales,
//! `d` f16. GPU unit: one block, `d`, scales in 4 words, 2-bit plane of 16, nibble plane of 32.

use super::Format;
use super::format::{per_block, per_packed, per_unit};
use super::planes::{byte, half_at, half_bits, half_of, nibble, pack_bytes, pack_nibbles, pack_pairs, pair};

const BLOCK: usize = 256;
const BYTES: usize = 210;
const WORDS: usize = 53;

pub(super) const FORMAT: Format = Format {
    name: "q6_k",
    ggml_id: 14,
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
        let (low, high, scales) = (&block[..128], &block[128..192], &block[192..208]);
        let d = half_at(block, 208);
        for (s, sub) in values.chunks_exact_mut(16).enumerate() {
            let scale = d * f32::from(scales[s] as i8);
            let (half, within) = (s / 8, s % 8);
            let (nibbles, shift) = (half * 64 + within % 4 * 16, within / 4 * 4);
            let (pairs, pair_shift) = (half * 32 + within % 2 * 16, within / 2 * 2);
            for (l, value) in sub.iter_mut().enumerate() {
                let q = (low[nibbles + l] >> shift & 15) | ((high[pairs + l] >> pair_shift & 3) << 4);
                *value = scale * f32::from(q as i8 - 32);
            }
        }
    });
}

fn pack(row: &[u8], words: &mut [u32]) {
    per_unit(row, BYTES, words, WORDS, |block, unit| {
        unit[0] = half_bits(block, 208);
        pack_bytes(&block[192..208], &mut unit[1..5]);
        for half in 0..2 {
            pack_pairs(&block[128 + 32 * half..160 + 32 * half], &mut unit[5 + 8 * half..13 + 8 * half]);
            pack_nibbles(&block[64 * half..64 + 64 * half], &mut unit[21 + 16 * half..37 + 16 * half]);
        }
    });
}

fn unpack(words: &[u32], out: &mut [f32]) {
    per_packed(words, WORDS, out, BLOCK, |unit, values| {
        let d = half_of(unit[0], 0);
        for (e, value) in values.iter_mut().enumerate() {
            let scale = d * f32::from(byte(&unit[1..5], e / 16));
            let q = nibble(&unit[21..], e) | (pair(&unit[5..21], e) << 4);
            *value = scale * (q as i32 - 32) as f32;
        }
    });
}
