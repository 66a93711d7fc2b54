// IQ4_NL: w = d * LEVELS[q], a d per 32. Unit of 64 elements in 9 words: d0 | d1 << 16; nibble plane of 8.
#import decode
const UNIT = 64u;
const WORDS = 9u;
const SUB = 32u;
const SCALE = vec4<f32>(1.0);

// The sixteen levels, a byte each, offset by 128 to be positive.
const LEVELS = vec4<u32>(0x3f2d1801u, 0x766a5d4fu, 0xa6998d81u, 0xf1d9c5b5u);

fn scales(unit: u32, sub: u32) -> vec2<f32> {
    let d = half_low(weights[unit] >> (16u * sub));
    return vec2<f32>(d, -128.0 * d);
}

// The levels of the low nibbles of the bytes of `word`.
fn levels(word: u32) -> vec4<f32> {
    let q = (vec4<u32>(word) >> vec4<u32>(0u, 8u, 16u, 24u)) & vec4<u32>(15u);
    let low = select(vec4<u32>(LEVELS.x), vec4<u32>(LEVELS.y), (q & vec4<u32>(4u)) != vec4<u32>(0u));
    let high = select(vec4<u32>(LEVELS.z), vec4<u32>(LEVELS.w), (q & vec4<u32>(4u)) != vec4<u32>(0u));
    let four = select(low, high, (q & vec4<u32>(8u)) != vec4<u32>(0u));
    return vec4<f32>(bitcast<vec4<i32>>((four >> ((q & vec4<u32>(3u)) * 8u)) & vec4<u32>(255u)));
}

fn quants(unit: u32, octet: u32) -> Oct {
    let word = weights[unit + 1u + octet];
    return Oct(levels(word), levels(word >> 4u));
}
