//! `Q8_0`: `w = d * q`, 32 elements a block.
//!
//! File: `d` f16, 32 signed bytes. GPU unit: two blocks, `d0 | d1 << 16`, 16 words of bytes.

use super::Format;
use super::format::{per_block, per_packed, per_unit};
use super::planes::{byte, half_at, half_bits, half_of, pack_bytes};

const BLOCK: usize = 32;
const BYTES: usize = 34;
const UNIT: usize = 64;
const WORDS: usize = 17;

pub(super) const FORMAT: Format = Format {
    name: "q8_0",
    ggml_id: 8,
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
        for (value, &q) in values.iter_mut().zip(&block[2..]) {
            *value = f32::from(q as i8) * d;
        }
    });
}

fn pack(row: &[u8], words: &mut [u32]) {
    per_unit(row, 2 * BYTES, words, WORDS, |blocks, unit| {
        for (b, block) in blocks.chunks_exact(BYTES).enumerate() {
            unit[0] |= half_bits(block, 0) << (16 * b);
            pack_bytes(&block[2..], &mut unit[1 + 8 * b..9 + 8 * b]);
        }
    });
}

fn unpack(words: &[u32], out: &mut [f32]) {
    per_packed(words, WORDS, out, UNIT, |unit, values| {
        for (e, value) in values.iter_mut().enumerate() {
            *value = f32::from(byte(&unit[1..], e)) * half_of(unit[0], e / BLOCK);
        }
    });
}

fn encode(values: &[f32], out: &mut [u8]) {
    for (block, x) in out.chunks_exact_mut(BYTES).zip(values.chunks_exact(BLOCK)) {
        let extreme = x.iter().fold(0.0f32, |m, v| m.max(v.abs()));
        let d = half::f16::from_f32(extreme / 127.0);
        block[..2].copy_from_slice(&d.to_le_bytes());
        for (q, v) in block[2..].iter_mut().zip(x) {
            // A float-to-integer cast saturates and maps NaN (0 / 0) to 0.
            *q = (v / d.to_f32()).round() as i8 as u8;
        }
    }
}
