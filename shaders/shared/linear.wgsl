// What the kernels of a linear layer share: bindings, which weight rows make a pair, and the epilogue.
//
//   STORE  output[t, out_offset + r] = dot(weights[r], input[t]) + bias[r]
//   GLU    output[t, out_offset + r] = act(dot(weights[r], input[t]) + bias[r]) * (dot(weights[F + r], input[t]) + bias[F + r])
//          where F is half of the weight rows
//
// weights [rows, units * WORDS]     packed, see decode.wgsl
// input   [tokens, in_stride * 4]   zero beyond k up to the end of the last unit
// output  [tokens, out_stride]
//
// Weight rows are worked on in pairs, so that a GLU's gate and up rows meet in one invocation: pair `j` of an invocation is rows
// (first + 2j, first + 2j + 1), or the gate and up of output first + j.
#const BIAS = 0
// 0: STORE, 1: GLU with SiLU, 2: GLU with GELU (tanh)
#const GLU = 0

struct Params {
    rows: u32,
    units: u32,
    in_stride: u32,
    out_stride: u32,
    out_offset: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> weights: array<u32>;
@group(0) @binding(2) var<storage, read> input: array<vec4<f32>>;
@group(0) @binding(3) var<storage, read> bias: array<f32>;
@group(0) @binding(4) var<storage, read_write> output: array<f32>;

// Outputs that `pairs` pairs give.
fn outputs_of(pairs: u32) -> u32 {
    return select(pairs, 2u * pairs, GLU == 0u);
}

// Outputs of the layer.
fn layer_outputs() -> u32 {
    return select(params.rows / 2u, params.rows, GLU == 0u);
}

// The first word of a weight row of a pair. Rows past the end repeat the last: what they give is not stored.
fn row_start(first: u32, pair: u32, half: u32) -> u32 {
    let row = select(first + pair + half * (params.rows / 2u), first + 2u * pair + half, GLU == 0u);
    return min(row, params.rows - 1u) * params.units * WORDS;
}

fn biased(row: u32, value: f32) -> f32 {
    if BIAS == 1u {
        return value + bias[row];
    }
    return value;
}

fn activation(x: f32) -> f32 {
    // GELU's 0.5 * (1 + tanh(u)) is 1 / (1 + exp(-2u)), which cannot overflow into NaN.
    let y = select(x, 1.5957691216057308 * (x + 0.044715 * x * x * x), GLU == 2u);
    return x / (1.0 + exp(min(-y, 80.0)));
}

// Stores what a pair gives for a token.
fn store(token: u32, first: u32, pair: u32, a: f32, b: f32) {
    let at = token * params.out_stride + params.out_offset;
    if GLU == 0u {
        let row = first + 2u * pair;
        if row < params.rows {
            output[at + row] = biased(row, a);
        }
        if row + 1u < params.rows {
            output[at + row + 1u] = biased(row + 1u, b);
        }
    } else {
        let row = first + pair;
        let up = params.rows / 2u;
        if row < up {
            output[at + row] = activation(biased(row, a)) * biased(up + row, b);
        }
    }
}
