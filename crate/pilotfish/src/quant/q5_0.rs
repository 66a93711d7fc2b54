//! `Q5_0`: `w = d * (q - 16)`, 32 elements a block.
//!
//! File: `d` f16, 32 high bits in element order, 16 bytes of split low nibbles.
//! GPU unit: two blocks, `d0 | d1 << 16`, 1-bit plane of 2 words, nibble plane of 8.

use super::Format;
use super::format::{per_block, per_packed, per_unit};
use super::planes::{bit, half_at, half_bits, half_of, nibble, pack_bits_in_order, pack_nibbles, word};

const BLOCK: usize = 32;
const BYTES: usize = 22;
const UNIT: usize = 64;
const WORDS: usize = 11;

pub(super) const FORMAT: Format = Format {
    name: "q5_0",
    ggml_id: 6,
    block_len: BLOCK,
    block_bytes: BYTES,
    unit_len: UNIT,
    unit_words: WORDS,
    decode,
    pack,
    unpack,
    encode: Some(encode),
};

fn decode(row: &[u8], out: &mut [f32]) {
    per_block(row, BYTES, out, BLOCK, |block, values| {
        let (d, high) = (half_at(block, 0), word(block, 2));
        let value = |low: u8, e: usize| {
            let q = u32::from(low) | ((high >> e & 1) << 4);
            (q as i32 - 16) as f32 * d
        };
        for (j, &both) in block[6..].iter().enumerate() {
            values[j] = value(both & 15, j);
            values[j + 16] = value(both >> 4, j + 16);
        }
    });
}

fn pack(row: &[u8], words: &mut [u32]) {
    per_unit(row, 2 * BYTES, words, WORDS, |blocks, unit| {
        for (b, block) in blocks.chunks_exact(BYTES).enumerate() {
            unit[0] |= half_bits(block, 0) << (16 * b);
            unit[1 + b] = pack_bits_in_order(word(block, 2));
            pack_nibbles(&block[6..], &mut unit[3 + 4 * b..7 + 4 * b]);
        }
    });
}

fn unpack(words: &[u32], out: &mut [f32]) {
    per_packed(words, WORDS, out, UNIT, |unit, values| {
        for (e, value) in values.iter_mut().enumerate() {
            let q = nibble(&unit[3..], e) | (bit(&unit[1..], e) << 4);
            *value = (q as i32 - 16) as f32 * half_of(unit[0], e / BLOCK);
        }
    });
}

fn encode(values: &[f32], out: &mut [u8]) {
    for (block, x) in out.chunks_exact_mut(BYTES).zip(values.chunks_exact(BLOCK)) {
        let extreme = x.iter().fold(0.0f32, |m, v| if v.abs() > m.abs() { *v } else { m });
        let d = half::f16::from_f32(extreme / -16.0);
        let level = |v: f32| (v / d.to_f32() + 16.0).round().clamp(0.0, 31.0) as u8;
        let level = |v: f32| if d.to_f32() == 0.0 { 16 } else { level(v) };
        block[..2].copy_from_slice(&d.to_le_bytes());
        write_quants(x, &mut block[2..], level);
    }
}

/// Writes 32 five-bit quants as the file has them: high bits in order, then split low nibbles.
pub(super) fn write_quants(x: &[f32], out: &mut [u8], level: impl Fn(f32) -> u8) {
    let high = (0..BLOCK).fold(0u32, |acc, e| acc | (u32::from(level(x[e]) >> 4) << e));
    out[..4].copy_from_slice(&high.to_le_bytes());
    for j in 0..16 {
        out[4 + j] = (level(x[j]) & 15) | (level(x[j + 16]) << 4);
    }
}
