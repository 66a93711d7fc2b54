// Q4_K: w = d * scale * q - dmin * min, per 32. Unit of 256 elements in 37 words: d | dmin << 16; 4 words of (scale, min) byte
// pairs; nibble plane of 32.
#import decode
const UNIT = 256u;
const WORDS = 37u;
const SUB = 32u;
const SCALE = BYTE_SCALE;

fn scales(unit: u32, sub: u32) -> vec2<f32> {
    let both = weights[unit + 1u + sub / 2u] >> (16u * (sub % 2u));
    return halves(weights[unit]) * vec2<f32>(small(both & 255u), -small((both >> 8u) & 255u));
}

fn quants(unit: u32, octet: u32) -> Oct {
    return nibbles(weights[unit + 5u + octet]);
}
