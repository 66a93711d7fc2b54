// F32: unit of 8 elements in 8 words.
#import decode
const UNIT = 8u;
const WORDS = 8u;
const SUB = 8u;
const SCALE = vec4<f32>(1.0);

fn scales(unit: u32, sub: u32) -> vec2<f32> {
    return vec2<f32>(1.0, 0.0);
}

fn quants(unit: u32, octet: u32) -> Oct {
    return Oct(
        bitcast<vec4<f32>>(vec4<u32>(weights[unit], weights[unit + 1u], weights[unit + 2u], weights[unit + 3u])),
        bitcast<vec4<f32>>(vec4<u32>(weights[unit + 4u], weights[unit + 5u], weights[unit + 6u], weights[unit + 7u])),
    );
}
