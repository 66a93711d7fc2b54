// What the format files share: a weight is `a * q + b` with (a, b) constant over a sub-block of SUB elements.
//
// A format file gives, for a unit that begins at word `unit` of the binding `weights: array<u32>`:
//   UNIT, WORDS, SUB             elements of a unit, its words, elements of a sub-block
//   SCALE                        what a quant is to be multiplied with, by its place in its word
//   scales(unit, sub) -> (a, b)  of sub-block `sub`
//   quants(unit, octet) -> Oct   q / SCALE of elements 8 * octet .. 8 * octet + 7
// so that a dot product is a * dot(quants, x * SCALE) + b * sum(x): SCALE goes to the activations, once for several rows of
// weights, and a quant costs one `and` and one conversion. A shift costs several times that on SwiftShader. All of SCALE are
// powers of two: nothing is rounded. Converting from i32 is one instruction where u32 takes five (SSE, AVX2).
struct Oct {
    lo: vec4<f32>,
    hi: vec4<f32>,
}

const BYTE_SCALE = vec4<f32>(1.0, 0.00390625, 1.52587890625e-5, 5.9604644775390625e-8);

// The bytes of `word` / BYTE_SCALE; they are below 128.
fn bytes(word: u32) -> vec4<f32> {
    return vec4<f32>(bitcast<vec4<i32>>(vec4<u32>(word) & vec4<u32>(0xffu, 0xff00u, 0xff0000u, 0x7f000000u)));
}

// A word of the nibble plane / BYTE_SCALE.
fn nibbles(word: u32) -> Oct {
    let mask = vec4<u32>(0xfu, 0xf00u, 0xf0000u, 0xf000000u);
    return Oct(
        vec4<f32>(bitcast<vec4<i32>>(vec4<u32>(word) & mask)),
        vec4<f32>(bitcast<vec4<i32>>(vec4<u32>(word >> 4u) & mask)),
    );
}

// Both half-precision numbers of a word, exactly. `unpack2x16float` may flush subnormals to zero (WGSL 15.7.2), and the K-formats'
// scales often are. Infinities and NaNs become numbers. Multiplications stand for left shifts: on SwiftShader those are quicker.
fn halves(word: u32) -> vec2<f32> {
    let both = vec2<u32>(word, word >> 16u);
    let bits = both & vec2<u32>(0x7fffu);
    let normal = bitcast<vec2<f32>>(bits * 0x2000u + vec2<u32>(0x38000000u));
    let subnormal = vec2<f32>(bitcast<vec2<i32>>(bits)) * 5.9604644775390625e-8;
    let size = select(normal, subnormal, bits < vec2<u32>(0x400u));
    return bitcast<vec2<f32>>(bitcast<vec2<u32>>(size) | ((both & vec2<u32>(0x8000u)) * 0x10000u));
}

// The one in the low 16 bits.
fn half_low(word: u32) -> f32 {
    return halves(word).x;
}

fn signed_byte(word: u32, at: u32) -> f32 {
    return f32(bitcast<i32>(word << (24u - 8u * at)) >> 24u);
}

fn small(value: u32) -> f32 {
    return f32(bitcast<i32>(value));
}

// A word of the nibble plane with a fifth bit: bit 0 of the bytes of `high` for the first four, bit 1 for the others.
fn five_bits(word: u32, high: u32) -> Oct {
    return Oct(
        bytes((word & 0x0f0f0f0fu) | ((high & 0x01010101u) << 4u)),
        bytes(((word >> 4u) & 0x0f0f0f0fu) | ((high & 0x02020202u) << 3u)),
    );
}
