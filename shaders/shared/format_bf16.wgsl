// BF16: unit of 8 elements in 4 words, two values a word, the first in the low half.
#import decode
const UNIT = 8u;
const WORDS = 4u;
const SUB = 8u;
const SCALE = vec4<f32>(1.0);

fn scales(unit: u32, sub: u32) -> vec2<f32> {
    return vec2<f32>(1.0, 0.0);
}

fn brain(first: u32) -> vec4<f32> {
    let words = vec2<u32>(weights[first], weights[first + 1u]);
    return bitcast<vec4<f32>>(vec4<u32>(words.x << 16u, words.x & 0xffff0000u, words.y << 16u, words.y & 0xffff0000u));
}

fn quants(unit: u32, octet: u32) -> Oct {
    return Oct(brain(unit), brain(unit + 2u));
}
