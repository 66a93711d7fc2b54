// Q6_K: w = d * scale * (q - 32), per 16. Unit of 256 elements in 53 words: d; 16 signed bytes of scales; 2-bit plane of 16;
// nibble plane of 32.
#import decode
const UNIT = 256u;
const WORDS = 53u;
const SUB = 16u;
const SCALE = BYTE_SCALE;

fn scales(unit: u32, sub: u32) -> vec2<f32> {
    let a = half_low(weights[unit]) * signed_byte(weights[unit + 1u + sub / 4u], sub % 4u);
    return vec2<f32>(a, -32.0 * a);
}

fn quants(unit: u32, octet: u32) -> Oct {
    let low = weights[unit + 21u + octet];
    let high = weights[unit + 5u + octet / 2u] >> (4u * (octet % 2u));
    return Oct(
        bytes((low & 0x0f0f0f0fu) | ((high & 0x03030303u) << 4u)),
        bytes(((low >> 4u) & 0x0f0f0f0fu) | ((high & 0x0c0c0c0cu) << 2u)),
    );
}
