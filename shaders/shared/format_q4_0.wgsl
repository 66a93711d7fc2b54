// Q4_0: w = d * (q - 8), a d per 32. Unit of 64 elements in 9 words: d0 | d1 << 16; nibble plane of 8.
#import decode
const UNIT = 64u;
const WORDS = 9u;
const SUB = 32u;
const SCALE = BYTE_SCALE;

fn scales(unit: u32, sub: u32) -> vec2<f32> {
    let d = half_low(weights[unit] >> (16u * sub));
    return vec2<f32>(d, -8.0 * d);
}

fn quants(unit: u32, octet: u32) -> Oct {
    return nibbles(weights[unit + 1u + octet]);
}
