// Q5_1: w = d * q + m, per 32. Unit of 32 elements in 6 words: d | m << 16; bit plane of 1; nibble plane of 4.
#import decode
const UNIT = 32u;
const WORDS = 6u;
const SUB = 32u;
const SCALE = BYTE_SCALE;

fn scales(unit: u32, sub: u32) -> vec2<f32> {
    return halves(weights[unit]);
}

fn quants(unit: u32, octet: u32) -> Oct {
    return five_bits(weights[unit + 2u + octet], weights[unit + 1u] >> (2u * octet));
}
