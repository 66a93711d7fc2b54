// Activations in f32: input [tokens, in_stride * 4], zero beyond k up to the end of the last unit.
#import decode
@group(0) @binding(2) var<storage, read> input: array<vec4<f32>>;

// From a block of so many octets to the next.
fn input_step(octets: u32) -> u32 {
    return 2u * octets;
}

// Eight activations of the block that begins at `block`.
fn input_octet(block: u32, octet: u32) -> Oct {
    return Oct(input[block + 2u * octet], input[block + 2u * octet + 1u]);
}
