//! `Q5_1`: `w = d * q + m`, 32 elements a block.
//!
//! File: `d`, `m` f16, 32 high bits in element order, 16 bytes of split low nibbles.
//! GPU unit: one block, `d | m << 16`, 1-bit plane of 1 word, nibble plane of 4.

use super::Format;
use super::format::{per_block, per_packed, per_unit};
use super::planes::{bit, half_at, half_of, nibble, pack_bits_in_order, pack_nibbles, word};
use super::{q4_1, q5_0};

const BLOCK: usize = 32;
const BYTES: usize = 24;
const WORDS: usize = 6;

pub(super) const FORMAT: Format = Format {
    name: "q5_1",
    ggml_id: 7,
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
        let (d, m, high) = (half_at(block, 0), half_at(block, 2), word(block, 4));
        let value = |low: u8, e: usize| {
            let q = u32::from(low) | ((high >> e & 1) << 4);
            q as f32 * d + m
        };
        for (j, &both) in block[8..].iter().enumerate() {
            values[j] = value(both & 15, j);
            values[j + 16] = value(both >> 4, j + 16);
        }
    });
}

fn pack(row: &[u8], words: &mut [u32]) {
    per_unit(row, BYTES, words, WORDS, |block, unit| {
        unit[0] = word(block, 0);
        unit[1] = pack_bits_in_order(word(block, 4));
        pack_nibbles(&block[8..], &mut unit[2..]);
    });
}

fn unpack(words: &[u32], out: &mut [f32]) {
    per_packed(words, WORDS, out, BLOCK, |unit, values| {
        let (d, m) = (half_of(unit[0], 0), half_of(unit[0], 1));
        for (e, value) in values.iter_mut().enumerate() {
            let q = nibble(&unit[2..], e) | (bit(&unit[1..], e) << 4);
            *value = q as f32 * d + m;
        }
    });
}

fn encode(values: &[f32], out: &mut [u8]) {
    for (block, x) in out.chunks_exact_mut(BYTES).zip(values.chunks_exact(BLOCK)) {
        let (d, m) = q4_1::scale_and_minimum(x, 31.0);
        block[..2].copy_from_slice(&d.to_le_bytes());
        block[2..4].copy_from_slice(&m.to_le_bytes());
        q5_0::write_quants(x, &mut block[4..], |v| q4_1::quantize(v, d, m, 31.0));
    }
}
