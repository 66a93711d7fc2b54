//! `Q4_1`: `w = d * q + m`, 32 elements a block.
//!
//! File: `d`, `m` f16, 16 bytes of split nibbles. GPU unit: one block, `d | m << 16`, nibble plane of 4 words.

use super::Format;
use super::format::{per_block, per_packed, per_unit};
use super::planes::{half_at, half_of, nibble, pack_nibbles, word};

const BLOCK: usize = 32;
const BYTES: usize = 20;
const WORDS: usize = 5;

pub(super) const FORMAT: Format = Format {
    name: "q4_1",
    ggml_id: 3,
    block_len: BLOCK,
    block_bytes: BYTES,
    unit_len: BLOCK,
    unit_words: WORDS,
    decode,
    pack,
    unpack,
    encode: Some(encode),
};

fn decode(row: &[u8], out: &mut [f32]) {
    per_block(row, BYTES, out, BLOCK, |block, values| {
        let (d, m) = (half_at(block, 0), half_at(block, 2));
        for (j, &both) in block[4..].iter().enumerate() {
            values[j] = f32::from(both & 15) * d + m;
            values[j + 16] = f32::from(both >> 4) * d + m;
        }
    });
}

fn pack(row: &[u8], words: &mut [u32]) {
    per_unit(row, BYTES, words, WORDS, |block, unit| {
        unit[0] = word(block, 0);
        pack_nibbles(&block[4..], &mut unit[1..]);
    });
}

fn unpack(words: &[u32], out: &mut [f32]) {
    per_packed(words, WORDS, out, BLOCK, |unit, values| {
        let (d, m) = (half_of(unit[0], 0), half_of(unit[0], 1));
        for (e, value) in values.iter_mut().enumerate() {
            *value = nibble(&unit[1..], e) as f32 * d + m;
        }
    });
}

fn encode(values: &[f32], out: &mut [u8]) {
    for (block, x) in out.chunks_exact_mut(BYTES).zip(values.chunks_exact(BLOCK)) {
        let (d, m) = scale_and_minimum(x, 15.0);
        let level = |v: f32| quantize(v, d, m, 15.0);
        block[..2].copy_from_slice(&d.to_le_bytes());
        block[2..4].copy_from_slice(&m.to_le_bytes());
        for j in 0..16 {
            block[4 + j] = level(x[j]) | (level(x[j + 16]) << 4);
        }
    }
}

/// The scale and minimum that spread `levels` steps over the range of `x`.
pub(super) fn scale_and_minimum(x: &[f32], levels: f32) -> (half::f16, half::f16) {
    let (low, high) = x.iter().fold((f32::MAX, f32::MIN), |(low, high), v| (low.min(*v), high.max(*v)));
    let d = half::f16::from_f32((high - low) / levels);
    (d, half::f16::from_f32(low))
}

/// The nearest of `0..=levels` to `v`.
pub(super) fn quantize(v: f32, d: half::f16, m: half::f16, levels: f32) -> u8 {
    if d.to_f32() == 0.0 {
        return 0;
    }
    ((v - m.to_f32()) / d.to_f32()).round().clamp(0.0, levels) as u8
}
