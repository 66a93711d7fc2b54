//! `IQ4_NL`: `w = d * LEVELS[q]`, 32 elements a block; the levels are denser around zero, as weights are.
//!
//! File and GPU unit as `Q4_0`.

use super::Format;
use super::format::{per_block, per_packed};
use super::planes::{half_at, half_of, nibble};
use super::q4_0;

const BLOCK: usize = 32;
const BYTES: usize = 18;
const UNIT: usize = 64;
const WORDS: usize = 9;

/// The sixteen levels; they come from llama.cpp's fit to weight distributions and are part of the format.
const LEVELS: [f32; 16] =
    [-127.0, -104.0, -83.0, -65.0, -49.0, -35.0, -22.0, -10.0, 1.0, 13.0, 25.0, 38.0, 53.0, 69.0, 89.0, 113.0];

pub(super) const FORMAT: Format = Format {
    name: "iq4_nl",
    ggml_id: 20,
    block_len: BLOCK,
    block_bytes: BYTES,
    unit_len: UNIT,
    unit_words: WORDS,
    decode,
    pack: q4_0::pack,
    unpack,
    encode: Some(encode),
};

fn decode(row: &[u8], out: &mut [f32]) {
    per_block(row, BYTES, out, BLOCK, |block, values| {
        let d = half_at(block, 0);
        for (j, &both) in block[2..].iter().enumerate() {
            values[j] = d * LEVELS[usize::from(both & 15)];
            values[j + 16] = d * LEVELS[usize::from(both >> 4)];
        }
    });
}

fn unpack(words: &[u32], out: &mut [f32]) {
    per_packed(words, WORDS, out, UNIT, |unit, values| {
        for (e, value) in values.iter_mut().enumerate() {
            *value = half_of(unit[0], e / BLOCK) * LEVELS[nibble(&unit[1..], e) as usize];
        }
    });
}

fn encode(values: &[f32], out: &mut [u8]) {
    for (block, x) in out.chunks_exact_mut(BYTES).zip(values.chunks_exact(BLOCK)) {
        let extreme = x.iter().fold(0.0f32, |m, v| if v.abs() > m.abs() { *v } else { m });
        let d = half::f16::from_f32(extreme / LEVELS[0]);
        block[..2].copy_from_slice(&d.to_le_bytes());
        for j in 0..16 {
            let (low, high) = (nearest(x[j], d.to_f32()), nearest(x[j + 16], d.to_f32()));
            block[2 + j] = low | (high << 4);
        }
    }
}

fn nearest(value: f32, d: f32) -> u8 {
    let error = |q: usize| (value - d * LEVELS[q]).abs();
    (0..16).fold(8, |best, q| if error(q) < error(best) { q } else { best }) as u8
}
