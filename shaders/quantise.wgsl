// Activations in 8 bits: in each octet the largest magnitude is level 127, and the others are rounded to levels of its size.
//
// input  [tokens, in_stride] in vectors of four
// output [tokens, out_stride]   three words an octet: the levels of its halves, and what they are to be multiplied with. The first
//                               three bytes of a word are 128 more than their levels, so that a mask and a signed conversion read
//                               all four (input_levels.wgsl).
// One invocation does one octet; a workgroup's y is a token.
#const SIZE = 8

struct Params {
    octets: u32,
    in_stride: u32,
    out_stride: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> input: array<vec4<f32>>;
@group(0) @binding(2) var<storage, read_write> output: array<u32>;

fn packed(x: vec4<f32>) -> u32 {
    let bytes = bitcast<vec4<u32>>(vec4<i32>(round(x)) + vec4<i32>(128, 128, 128, 0));
    return bytes.x | (bytes.y << 8u) | (bytes.z << 16u) | (bytes.w << 24u);
}

@compute @workgroup_size(SIZE)
fn main(@builtin(global_invocation_id) at: vec3<u32>) {
    if at.x >= params.octets {
        return;
    }
    let first = at.y * params.in_stride + 2u * at.x;
    let lo = input[first];
    let hi = input[first + 1u];
    let most = max(abs(lo), abs(hi));
    let largest = max(max(most.x, most.y), max(most.z, most.w));
    // Below this the quotient overflows, and the octet is as good as zero.
    let inverse = select(0.0, 127.0 / largest, largest > 1e-35);
    let to = at.y * params.out_stride + 3u * at.x;
    output[to] = packed(lo * inverse);
    output[to + 1u] = packed(hi * inverse);
    output[to + 2u] = bitcast<u32>(largest / 127.0);
}
