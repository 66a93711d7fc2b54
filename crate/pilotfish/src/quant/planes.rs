//! Bit planes: how quants of 1, 2, 4 and 8 bits lie in the GPU's words, and how to get there from the file's order.
//!
//! The planes hold consecutive elements in such an order that one mask and shift of a word gives four bytes, the
//! quants of four consecutive elements, ready for byte-wise arithmetic:
//!
//! - 4 bits: word `w` holds elements `8w..8w+8`; byte `i` has element `8w+i` low and `8w+4+i` high.
//! - 2 bits: word `w` holds 16 elements; byte `i`, bits `2j`, is element `16w+4j+i`.
//! - 1 bit: word `w` holds 32 elements; byte `i`, bit `j`, is element `32w+4j+i`.
//! - 8 bits: byte `i` of word `w` is element `4w+i`.

use half::f16;

/// The little-endian word at `bytes[at..at + 4]`.
pub(super) fn word(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
}

/// The bits of the half-precision number at `bytes[at..at + 2]`.
pub(super) fn half_bits(bytes: &[u8], at: usize) -> u32 {
    u32::from(u16::from_le_bytes([bytes[at], bytes[at + 1]]))
}

/// The half-precision number in the low (`0`) or high (`1`) half of a word.
pub(super) fn half_of(word: u32, high: usize) -> f32 {
    f16::from_bits((word >> (16 * high)) as u16).to_f32()
}

/// The half-precision number at `bytes[at..at + 2]`.
pub(super) fn half_at(bytes: &[u8], at: usize) -> f32 {
    f16::from_bits(half_bits(bytes, at) as u16).to_f32()
}

/// Four bytes a word.
pub(super) fn pack_bytes(src: &[u8], words: &mut [u32]) {
    for (out, four) in words.iter_mut().zip(src.chunks_exact(4)) {
        *out = word(four, 0);
    }
}

/// From the file's split nibbles (`n` bytes: the low nibbles are elements `0..n`, the high ones `n..2n`) to the plane.
pub(super) fn pack_nibbles(src: &[u8], words: &mut [u32]) {
    let (low, high) = words.split_at_mut(src.len() / 8);
    for ((eight, low), high) in src.chunks_exact(8).zip(low).zip(high) {
        let (a, b) = (word(eight, 0), word(eight, 4));
        *low = (a & 0x0f0f_0f0f) | ((b & 0x0f0f_0f0f) << 4);
        *high = ((a >> 4) & 0x0f0f_0f0f) | (b & 0xf0f0_f0f0);
    }
}

/// From the K-formats' order (32 bytes: bits `2j` of byte `l` are element `32j+l`) to 8 words of the plane.
pub(super) fn pack_pairs(src: &[u8], words: &mut [u32]) {
    for (w, out) in words.iter_mut().enumerate() {
        let (shift, first) = (w / 2 * 2, w % 2 * 16);
        *out = (0..4).fold(0, |acc, j| acc | (((word(src, first + 4 * j) >> shift) & 0x0303_0303) << (2 * j)));
    }
}

/// From the K-formats' order (32 bytes: bit `m` of byte `l` is element `32m+l`) to 8 words of the plane.
pub(super) fn pack_bits(src: &[u8], words: &mut [u32]) {
    for (w, out) in words.iter_mut().enumerate() {
        *out = (0..8).fold(0, |acc, j| acc | (((word(src, 4 * j) >> w) & 0x0101_0101) << j));
    }
}

/// From 32 bits in element order to one word of the plane.
pub(super) fn pack_bits_in_order(bits: u32) -> u32 {
    // Four bits times 2^0 + 2^7 + 2^14 + 2^21 puts one bit at the bottom of each byte.
    (0..8).fold(0, |acc, j| {
        let four = (bits >> (4 * j)) & 15;
        acc | ((four.wrapping_mul(0x0020_4081) & 0x0101_0101) << j)
    })
}

/// Element `e` of an 8-bit plane, signed.
pub(super) fn byte(plane: &[u32], e: usize) -> i8 {
    (plane[e / 4] >> (8 * (e % 4))) as i8
}

/// Element `e` of a nibble plane.
pub(super) fn nibble(plane: &[u32], e: usize) -> u32 {
    (plane[e / 8] >> (8 * (e % 4) + 4 * (e / 4 % 2))) & 15
}

/// Element `e` of a 2-bit plane.
pub(super) fn pair(plane: &[u32], e: usize) -> u32 {
    (plane[e / 16] >> (8 * (e % 4) + 2 * (e / 4 % 4))) & 3
}

/// Element `e` of a 1-bit plane.
pub(super) fn bit(plane: &[u32], e: usize) -> u32 {
    (plane[e / 32] >> (8 * (e % 4) + e / 4 % 8)) & 1
}

/// The six-bit scales and minimums of a `Q4_K` or `Q5_K` block, from their 12 bytes.
pub(super) fn k_scales(bytes: &[u8]) -> ([u8; 8], [u8; 8]) {
    let (mut scales, mut mins) = ([0; 8], [0; 8]);
    for s in 0..4 {
        scales[s] = bytes[s] & 63;
        mins[s] = bytes[s + 4] & 63;
        scales[s + 4] = (bytes[s + 8] & 15) | (bytes[s] >> 6 << 4);
        mins[s + 4] = (bytes[s + 8] >> 4) | (bytes[s + 4] >> 6 << 4);
    }
    (scales, mins)
}

/// The four words that hold them on the GPU: byte `2(s % 2)` of word `s / 2` is scale `s`, the next byte minimum `s`.
pub(super) fn pack_k_scales(bytes: &[u8], words: &mut [u32]) {
    let (scales, mins) = k_scales(bytes);
    for (w, out) in words.iter_mut().enumerate() {
        *out = u32::from_le_bytes([scales[2 * w], mins[2 * w], scales[2 * w + 1], mins[2 * w + 1]]);
    }
}

/// Scale and minimum of sub-block `s` out of those four words.
pub(super) fn unpack_k_scale(words: &[u32], s: usize) -> (f32, f32) {
    let both = words[s / 2] >> (16 * (s % 2));
    ((both & 63) as f32, ((both >> 8) & 63) as f32)
}
