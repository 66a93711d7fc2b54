// A gated unit whose halves were computed apart: output[t, i] = act(both[t, i]) * both[t, n + i].
//
// both   [tokens, both_stride]     gate, then up, n each
// output [tokens, output_stride]   n columns are written
// One invocation does one value; a workgroup's y is a token.
#const GLU = 1
#const SIZE = 64

struct Params {
    n: u32,
    both_stride: u32,
    output_stride: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> both: array<f32>;
@group(0) @binding(2) var<storage, read_write> output: array<f32>;

#import activation

@compute @workgroup_size(SIZE)
fn main(@builtin(global_invocation_id) at: vec3<u32>) {
    if at.x < params.n {
        let gate = both[at.y * params.both_stride + at.x];
        let up = both[at.y * params.both_stride + params.n + at.x];
        output[at.y * params.output_stride + at.x] = activation(gate) * up;
    }
}
