//! A format's blocks taken apart: levels, scales and offsets as they are in the file, for the panels of `pilotfish_cpu`.

use pilotfish_cpu::{Layout, Levels, Scale};

use crate::quant::{self, QuantError, TensorType};

/// The sign of an f16: offsets are added here, and the K-formats' minimums are taken off.
const SIGN: u16 = 0x8000;
/// `IQ4_NL`'s levels, see `quant::iq4_nl`, moved by 128.
const UNEVEN: [u8; 16] = [1, 24, 45, 63, 79, 93, 106, 118, 129, 141, 153, 166, 181, 197, 217, 241];

/// How a format's matrices lie in memory.
///
/// Formats with two and three bits take four, and the uneven levels of `IQ4_NL` eight: they are rare. 16-bit floats become f32.
pub(super) fn layout(ty: TensorType) -> Layout {
    let quants = |bits, centre, offsets, scale| Layout::Quants { bits, centre, offsets, scale };
    let nested = |columns| Scale::Nested { columns };
    match ty {
        TensorType::F32 | TensorType::F16 | TensorType::BF16 => Layout::Floats,
        TensorType::Q4_0 => quants(4, 8, false, Scale::Block),
        TensorType::Q4_1 => quants(4, 0, true, Scale::Block),
        TensorType::Q5_0 => quants(5, 16, false, Scale::Block),
        TensorType::Q5_1 => quants(5, 0, true, Scale::Block),
        TensorType::Q8_0 | TensorType::IQ4NL => quants(8, 128, false, Scale::Block),
        TensorType::Q2K => quants(4, 0, true, nested(16)),
        TensorType::Q3K => quants(4, 4, false, nested(16)),
        TensorType::Q4K => quants(4, 0, true, nested(32)),
        TensorType::Q5K => quants(5, 0, true, nested(32)),
        TensorType::Q6K => quants(6, 32, false, nested(16)),
    }
}

/// Takes one row apart. `row` is in the file's format, `k` its elements; what `into` held is gone.
pub(super) fn take_apart(ty: TensorType, row: &[u8], k: usize, into: &mut Levels) -> Result<(), QuantError> {
    into.q.clear();
    into.scales.clear();
    into.offsets.clear();
    into.sub_scales.clear();
    into.sub_offsets.clear();
    if layout(ty) == Layout::Floats {
        into.floats.resize(k, 0.0);
        return quant::dequantize(ty, row, &mut into.floats);
    }
    let found = row.len();
    let expected = quant::row_bytes(ty, k);
    if found != expected {
        return Err(QuantError::Length { ty, what: "bytes of a row", found, expected });
    }
    let apart = match ty {
        TensorType::Q4_0 => q4_0,
        TensorType::Q4_1 => q4_1,
        TensorType::Q5_0 => q5_0,
        TensorType::Q5_1 => q5_1,
        TensorType::Q2K => q2_k,
        TensorType::Q3K => q3_k,
        TensorType::Q4K => q4_k,
        TensorType::Q5K => q5_k,
        TensorType::Q6K => q6_k,
        TensorType::IQ4NL => iq4_nl,
        TensorType::F32 | TensorType::F16 | TensorType::BF16 | TensorType::Q8_0 => q8_0,
    };
    row.chunks_exact(ty.block_bytes()).for_each(|block| apart(block, into));
    Ok(())
}

fn half(bytes: &[u8], at: usize) -> u16 {
    u16::from_le_bytes([bytes[at], bytes[at + 1]])
}

fn word(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
}

/// 32 levels: low nibbles, then high ones.
fn nibbles(bytes: &[u8], into: &mut Levels) {
    into.q.extend(bytes[..16].iter().map(|both| both & 15));
    into.q.extend(bytes[..16].iter().map(|both| both >> 4));
}

/// The same with a fifth bit each.
fn fives(high: u32, bytes: &[u8], into: &mut Levels) {
    let first = into.q.len();
    nibbles(bytes, into);
    for (e, q) in into.q[first..].iter_mut().enumerate() {
        *q |= ((high >> e & 1) << 4) as u8;
    }
}

fn q4_0(block: &[u8], into: &mut Levels) {
    into.scales.push(half(block, 0));
    nibbles(&block[2..], into);
}

fn q4_1(block: &[u8], into: &mut Levels) {
    into.scales.push(half(block, 0));
    into.offsets.push(half(block, 2));
    nibbles(&block[4..], into);
}

fn q5_0(block: &[u8], into: &mut Levels) {
    into.scales.push(half(block, 0));
    fives(word(block, 2), &block[6..], into);
}

fn q5_1(block: &[u8], into: &mut Levels) {
    into.scales.push(half(block, 0));
    into.offsets.push(half(block, 2));
    fives(word(block, 4), &block[8..], into);
}

fn q8_0(block: &[u8], into: &mut Levels) {
    into.scales.push(half(block, 0));
    into.q.extend(block[2..].iter().map(|q| q ^ 128));
}

fn iq4_nl(block: &[u8], into: &mut Levels) {
    let first = into.q.len();
    q4_0(block, into);
    into.q[first..].iter_mut().for_each(|q| *q = UNEVEN[usize::from(*q)]);
}

fn q2_k(block: &[u8], into: &mut Levels) {
    into.scales.push(half(block, 80));
    into.offsets.push(half(block, 82) ^ SIGN);
    into.sub_scales.extend(block[..16].iter().map(|both| (both & 15) as i8));
    into.sub_offsets.extend(block[..16].iter().map(|both| (both >> 4) as i8));
    pairs(&block[16..80], into);
}

fn q3_k(block: &[u8], into: &mut Levels) {
    into.scales.push(half(block, 108));
    let scales = &block[96..108];
    into.sub_scales.extend((0..16).map(|s| {
        let low = scales[s % 8] >> (s / 8 * 4) & 15;
        let high = scales[8 + s % 4] >> (s / 4 * 2) & 3;
        (low | high << 4) as i8 - 32
    }));
    let first = into.q.len();
    pairs(&block[32..96], into);
    for (e, q) in into.q[first..].iter_mut().enumerate() {
        *q |= (block[e % 32] >> (e / 32) & 1) << 2;
    }
}

/// 256 two-bit levels: halves of 128 in 32 bytes, and each pair of bits is 32 of them.
fn pairs(bytes: &[u8], into: &mut Levels) {
    into.q.extend((0..256).map(|e| bytes[e / 128 * 32 + e % 32] >> (e / 32 % 4 * 2) & 3));
}

fn q4_k(block: &[u8], into: &mut Levels) {
    k_scales(block, into);
    k_nibbles(&block[16..], into);
}

fn q5_k(block: &[u8], into: &mut Levels) {
    k_scales(block, into);
    let first = into.q.len();
    k_nibbles(&block[48..], into);
    for (e, q) in into.q[first..].iter_mut().enumerate() {
        *q |= (block[16 + e % 32] >> (e / 32) & 1) << 4;
    }
}

/// Scales and minimums of `Q4_K` and `Q5_K`.
fn k_scales(block: &[u8], into: &mut Levels) {
    into.scales.push(half(block, 0));
    into.offsets.push(half(block, 2) ^ SIGN);
    let bytes = &block[4..16];
    let six = |s: usize, low: usize, shift: u32| {
        let six = if s < 4 { bytes[s + low] & 63 } else { (bytes[s + 4] >> shift & 15) | bytes[s - 4 + low] >> 6 << 4 };
        six as i8
    };
    into.sub_scales.extend((0..8).map(|s| six(s, 0, 0)));
    into.sub_offsets.extend((0..8).map(|s| six(s, 4, 4)));
}

/// 256 nibbles, split within each 64.
fn k_nibbles(bytes: &[u8], into: &mut Levels) {
    into.q.extend((0..256).map(|e| bytes[e / 64 * 32 + e % 32] >> (e / 32 % 2 * 4) & 15));
}

fn q6_k(block: &[u8], into: &mut Levels) {
    into.scales.push(half(block, 208));
    into.sub_scales.extend(block[192..208].iter().map(|scale| *scale as i8));
    into.q.extend((0..256).map(|e| {
        let (half, e) = (e / 128, e % 128);
        let low = block[half * 64 + e % 64] >> (e / 64 * 4) & 15;
        let high = block[128 + half * 32 + e % 32] >> (e / 32 * 2) & 3;
        low | high << 4
    }));
}
