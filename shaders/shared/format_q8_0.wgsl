// Q8_0: w = d * q, q signed, a d per 32. Unit of 64 elements in 17 words: d0 | d1 << 16; bytes of 16.
#import decode
const UNIT = 64u;
const WORDS = 17u;
const SUB = 32u;
// The top byte loses a place so that it stays positive.
const SCALE = vec4<f32>(1.0, 0.00390625, 1.52587890625e-5, 1.1920928955078125e-7);

fn scales(unit: u32, sub: u32) -> vec2<f32> {
    let d = half_low(weights[unit] >> (16u * sub));
    return vec2<f32>(d, -128.0 * d);
}

// Four signed bytes plus 128.
fn raised(word: u32) -> vec4<f32> {
    let four = word ^ 0x80808080u;
    let places = vec4<u32>(four, four, four, four >> 1u) & vec4<u32>(0xffu, 0xff00u, 0xff0000u, 0x7f800000u);
    return vec4<f32>(bitcast<vec4<i32>>(places));
}

fn quants(unit: u32, octet: u32) -> Oct {
    let first = unit + 1u + 2u * octet;
    return Oct(raised(weights[first]), raised(weights[first + 1u]));
}
