// Activations as quantise.wgsl leaves them: input [tokens, in_stride], three words an octet.
//
// Three loads stand for eight; an `and` and a conversion take a level out of its word. The products are those of integers, but f32
// computes them: `dot4I8Packed` takes SwiftShader more than twice as long (docs/measurements/2026-11-29-software-adapters.md).
#import decode
@group(0) @binding(2) var<storage, read> input: array<u32>;

fn input_step(octets: u32) -> u32 {
    return 3u * octets;
}

fn four_levels(word: u32) -> vec4<f32> {
    let places = vec4<u32>(word) & vec4<u32>(0xffu, 0xff00u, 0xff0000u, 0xff000000u);
    let scale = vec4<f32>(1.0, 0.00390625, 1.52587890625e-5, 5.9604644775390625e-8);
    return vec4<f32>(bitcast<vec4<i32>>(places)) * scale - vec4<f32>(128.0, 128.0, 128.0, 0.0);
}

fn input_octet(block: u32, octet: u32) -> Oct {
    let at = block + 3u * octet;
    let scale = bitcast<f32>(input[at + 2u]);
    return Oct(four_levels(input[at]) * scale, four_levels(input[at + 1u]) * scale);
}
