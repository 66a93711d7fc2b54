// Residual addition and root-mean-square norms, the seam between two blocks of a layer.
//
//   y' = POST ? rms(y) * post_gain : y          x += RESIDUAL ? y' : 0          h = rms(x) * gain
//
// x [tokens, stride]   the residual stream, read and written
// y [tokens, stride]   what the block computed (RESIDUAL)
// h [tokens, stride]   the next block's input
// One workgroup does one token.
#const RESIDUAL = 1
#const POST = 0
#const SIZE = 64

struct Params {
    n: u32,
    stride: u32,
    eps: f32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read_write> x: array<f32>;
@group(0) @binding(2) var<storage, read> y: array<f32>;
@group(0) @binding(3) var<storage, read> gain: array<f32>;
@group(0) @binding(4) var<storage, read> post_gain: array<f32>;
@group(0) @binding(5) var<storage, read_write> h: array<f32>;

#import reduce_{reduce}

@compute @workgroup_size(SIZE)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let base = group.x * params.stride;
    let n = params.n;
    var post_scale = 1.0;
    if POST == 1u {
        var squares = 0.0;
        for (var i = lane; i < n; i += SIZE) {
            squares += y[base + i] * y[base + i];
        }
        post_scale = inverseSqrt(reduce_sum(lane, squares) / f32(n) + params.eps);
    }
    var squares = 0.0;
    for (var i = lane; i < n; i += SIZE) {
        var value = x[base + i];
        if RESIDUAL == 1u {
            var delta = y[base + i];
            if POST == 1u {
                delta *= post_scale * post_gain[i];
            }
            value += delta;
            x[base + i] = value;
        }
        squares += value * value;
    }
    let scale = inverseSqrt(reduce_sum(lane, squares) / f32(n) + params.eps);
    for (var i = lane; i < n; i += SIZE) {
        h[base + i] = x[base + i] * scale * gain[i];
    }
}
