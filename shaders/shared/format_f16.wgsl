// F16: unit of 8 elements in 4 words, two values a word, the first in the low half.
#import decode
const UNIT = 8u;
const WORDS = 4u;
const SUB = 8u;
const SCALE = vec4<f32>(1.0);

fn scales(unit: u32, sub: u32) -> vec2<f32> {
    return vec2<f32>(1.0, 0.0);
}

fn quants(unit: u32, octet: u32) -> Oct {
    return Oct(
        vec4<f32>(halves(weights[unit]), halves(weights[unit + 1u])),
        vec4<f32>(halves(weights[unit + 2u]), halves(weights[unit + 3u])),
    );
}
