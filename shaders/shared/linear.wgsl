// What the kernels of a linear layer share: bindings, which weight rows make a pair, and the epilogue.
//
//   STORE  output[t, out_offset + r] = dot(weights[r], input[t]) + bias[r]
//   GLU    output[t, out_offset + r] = act(dot(weights[r], input[t]) + bias[r]) * (dot(weights[F + r], input[t]) + bias[F + r])
//          where F is half of the weight rows
// and a `delta` is added to each product; a kernel imports delta_none or delta_lora beside this, and declares `params`.
//
// weights [rows, units * WORDS]     packed, see decode.wgsl
// input                             see input_floats, which a kernel imports beside this
// output  [tokens, out_stride]
//
// Weight rows are worked on in pairs, so that a GLU's gate and up rows meet in one invocation: pair `j` of a block of `pairs`
// that begins at `first` is rows (first + j, first + pairs + j), or the gate and the up row of output first + j.
#const BIAS = 0
// 0: STORE, 1: GLU with SiLU, 2: GLU with GELU (tanh)
#const GLU = 0
// How many tokens: 0: params.tokens, 1: as many as the batch has
#const COUNT = 0

struct Params {
    rows: u32,
    units: u32,
    in_stride: u32,
    out_stride: u32,
    out_offset: u32,
    tokens: u32,
    t_stride: u32,  // of delta_lora, as all that follows
    column: u32,
    bound_1: u32,
    bound_2: u32,
}

@group(0) @binding(1) var<storage, read> weights: array<u32>;
@group(0) @binding(3) var<storage, read> bias: array<f32>;
@group(0) @binding(4) var<storage, read_write> output: array<f32>;
@group(0) @binding(5) var<storage, read> batch: array<vec4<u32>>;

#import activation

// Outputs that a block of `pairs` gives.
fn outputs_of(pairs: u32) -> u32 {
    return select(pairs, 2u * pairs, GLU == 0u);
}

// Outputs of the layer.
fn layer_outputs() -> u32 {
    return select(params.rows / 2u, params.rows, GLU == 0u);
}

fn token_count() -> u32 {
    if COUNT == 0u {
        return params.tokens;
    }
    return batch[0].x;
}

// The row of the batch that a token belongs to: while decoding, each has one.
fn batch_row(token: u32) -> u32 {
    if COUNT == 0u {
        return token;
    }
    return batch[1u + token].y;
}

// From the first row of a pair to the second.
fn distance(pairs: u32) -> u32 {
    return select(params.rows / 2u, pairs, GLU == 0u);
}

// The first word of a weight row. Rows past the end repeat the last: what they give is not stored.
fn row_start(row: u32) -> u32 {
    return min(row, params.rows - 1u) * params.units * WORDS;
}

fn biased(row: u32, value: f32) -> f32 {
    if BIAS == 1u {
        return value + bias[row];
    }
    return value;
}

// Stores what the pair that begins at `row` gives for a token.
fn store(token: u32, row: u32, pairs: u32, a: f32, b: f32) {
    let at = token * params.out_stride + params.out_offset;
    let second = row + distance(pairs);
    if GLU == 0u {
        if row < params.rows {
            output[at + row] = biased(row, a) + delta(token, row);
        }
        if second < params.rows {
            output[at + second] = biased(second, b) + delta(token, second);
        }
    } else if row < params.rows / 2u {
        let gate = biased(row, a) + delta(token, row);
        output[at + row] = activation(gate) * (biased(second, b) + delta(token, second));
    }
}
