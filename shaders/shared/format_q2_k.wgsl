// Q2_K: w = d * scale * q - dmin * min, per 16. Unit of 256 elements in 21 words: d | dmin << 16; 16 bytes, low nibble scale and
// high nibble min; 2-bit plane of 16.
#import decode
const UNIT = 256u;
const WORDS = 21u;
const SUB = 16u;
const SCALE = BYTE_SCALE;

fn scales(unit: u32, sub: u32) -> vec2<f32> {
    let both = weights[unit + 1u + sub / 4u] >> (8u * (sub % 4u));
    return halves(weights[unit]) * vec2<f32>(small(both & 15u), -small((both >> 4u) & 15u));
}

fn quants(unit: u32, octet: u32) -> Oct {
    let word = weights[unit + 5u + octet / 2u] >> (4u * (octet % 2u));
    return Oct(bytes(word & 0x03030303u), bytes((word >> 2u) & 0x03030303u));
}
