// Q3_K: w = d * scale * (q - 4), per 16. Unit of 256 elements in 29 words: d; 16 signed bytes of scales; bit plane of 8;
// 2-bit plane of 16.
#import decode
const UNIT = 256u;
const WORDS = 29u;
const SUB = 16u;
const SCALE = BYTE_SCALE;

fn scales(unit: u32, sub: u32) -> vec2<f32> {
    let a = half_low(weights[unit]) * signed_byte(weights[unit + 1u + sub / 4u], sub % 4u);
    return vec2<f32>(a, -4.0 * a);
}

fn quants(unit: u32, octet: u32) -> Oct {
    let low = weights[unit + 13u + octet / 2u] >> (4u * (octet % 2u));
    let high = weights[unit + 5u + octet / 4u] >> (2u * (octet % 4u));
    return Oct(
        bytes((low & 0x03030303u) | ((high & 0x01010101u) << 2u)),
        bytes(((low >> 2u) & 0x03030303u) | ((high & 0x02020202u) << 1u)),
    );
}
