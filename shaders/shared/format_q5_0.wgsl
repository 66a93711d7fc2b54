// Q5_0: w = d * (q - 16), a d per 32. Unit of 64 elements in 11 words: d0 | d1 << 16; bit plane of 2; nibble plane of 8.
#import decode
const UNIT = 64u;
const WORDS = 11u;
const SUB = 32u;
const SCALE = BYTE_SCALE;

fn scales(unit: u32, sub: u32) -> vec2<f32> {
    let d = half_low(weights[unit] >> (16u * sub));
    return vec2<f32>(d, -16.0 * d);
}

fn quants(unit: u32, octet: u32) -> Oct {
    return five_bits(weights[unit + 3u + octet], weights[unit + 1u + octet / 4u] >> (2u * (octet % 4u)));
}
