// The second half of an adapter, where the matrix kernel does not add it by itself: output[token, o] += (B t[token])[o].
//
// output [tokens, out_stride]   `outputs` columns from `out_offset` on are changed
// One invocation does one output; a workgroup's y is a token.
#const SIZE = 64

#import decode
#import delta_lora

struct Params {
    outputs: u32,
    out_stride: u32,
    t_stride: u32,
    column: u32,
    bound_1: u32,
    bound_2: u32,
    out_offset: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read_write> output: array<f32>;
@group(0) @binding(5) var<storage, read> batch: array<vec4<u32>>;

fn batch_row(token: u32) -> u32 {
    return batch[1u + token].y;
}

@compute @workgroup_size(SIZE)
fn main(@builtin(global_invocation_id) at: vec3<u32>) {
    if at.x < params.outputs {
        output[at.y * params.out_stride + params.out_offset + at.x] += delta(at.y, at.x);
    }
}
