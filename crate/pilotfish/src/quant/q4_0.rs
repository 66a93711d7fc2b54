//! `Q4_0`: `w = d * (q - 8)`, 32 elements a block.
//!
//! File: `d` f16, 16 bytes of split nibbles. GPU unit: two blocks, `d0 | d1 << 16`, nibble plane of 8 words.

use super::Format;
use super::format::{per_block, per_packed, per_unit};
use super::planes::{half_at, half_bits, half_of, nibble, pack_nibbles};

const BLOCK: usize = 32;
const BYTES: usize = 18;
const UNIT: usize = 64;
const WORDS: usize = 9;

pub(super) const FORMAT: Format = Format {
    name: "q4_0",
    ggml_id: 2,
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
        let d = half_at(block, 0);
        for (j, &both) in block[2..].iter().enumerate() {
            values[j] = (i32::from(both & 15) - 8) as f32 * d;
            values[j + 16] = (i32::from(both >> 4) - 8) as f32 * d;
        }
    });
}

pub(super) fn pack(row: &[u8], words: &mut [u32]) {
    per_unit(row, 2 * BYTES, words, WORDS, |blocks, unit| {
        for (b, block) in blocks.chunks_exact(BYTES).enumerate() {
            unit[0] |= half_bits(block, 0) << (16 * b);
            pack_nibbles(&block[2..], &mut unit[1 + 4 * b..5 + 4 * b]);
        }
    });
}

fn unpack(words: &[u32], out: &mut [f32]) {
    per_packed(words, WORDS, out, UNIT, |unit, values| {
        for (e, value) in values.iter_mut().enumerate() {
            let q = nibble(&unit[1..], e) as i32 - 8;
            *value = q as f32 * half_of(unit[0], e / BLOCK);
        }
    });
}

fn encode(values: &[f32], out: &mut [u8]) {
    for (block, x) in out.chunks_exact_mut(BYTES).zip(values.chunks_exact(BLOCK)) {
        // The element of largest magnitude becomes -8, the longer side of the range.
        let extreme = x.iter().fold(0.0f32, |m, v| if v.abs() > m.abs() { *v } else { m });
        let d = half::f16::from_f32(extreme / -8.0);
        let level = |v: f32| (v / d.to_f32() + 8.0).round().clamp(0.0, 15.0) as u8;
        let level = |v: f32| if d.to_f32() == 0.0 { 8 } else { level(v) };
        block[..2].copy_from_slice(&d.to_le_bytes());
        for j in 0..16 {
            block[2 + j] = level(x[j]) | (level(x[j + 16]) << 4);
        }
    }
}
