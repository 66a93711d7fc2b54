// A linear layer over a prefill chunk, for GPUs: a workgroup computes 64 weight rows (32 pairs, linear.wgsl) for 64 tokens.
//
// 16 elements of k at a time, the weights are decoded once, and both factors go to workgroup memory, transposed: then each of the
// 128 invocations multiplies 8 weight rows with 4 tokens out of 12 loads. A workgroup's z is a block of tokens.
#const SIZE = 128

#import format_{format}
#import linear
#import input_floats
#import delta_{delta}

@group(0) @binding(0) var<uniform> params: Params;

const TOKENS = 64u;
const PAIRS = 32u;
const K = 16u;

// [k][row], [k][token]
var<workgroup> w_tile: array<f32, K * 2u * PAIRS>;
var<workgroup> x_tile: array<f32, K * TOKENS>;

@compute @workgroup_size(SIZE)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let first = (group.y * groups.x + group.x) * outputs_of(PAIRS);
    let first_token = group.z * TOKENS;
    let tokens = token_count();
    // What this invocation stages: an octet of a row of either tile.
    let staged = lane % 64u;
    let staged_octet = lane / 64u;
    let staged_row = row_start(first + staged % PAIRS + staged / PAIRS * distance(PAIRS));
    let staged_x = min(first_token + staged, max(tokens, 1u) - 1u) * params.in_stride;
    // What it computes: pairs 4 * down .. 4 * down + 3 for tokens 4 * across .. 4 * across + 3.
    let down = lane % 8u;
    let across = lane / 8u;
    // acc_p_j: half p of pair j; a component is a token.
    #unroll p 2
    #unroll j 4
    var acc_$p_$j = vec4<f32>(0.0);
    #end
    #end
    let octets = params.units * (UNIT / 8u);
    for (var o = 0u; o < octets; o += K / 8u) {
        // A row may end within the tile, on an odd octet.
        let octet = min(o + staged_octet, octets - 1u);
        let keep = select(0.0, 1.0, o + staged_octet < octets);
        let unit = staged_row + octet / (UNIT / 8u) * WORDS;
        let within = octet % (UNIT / 8u);
        let scale = scales(unit, within / (SUB / 8u));
        let q = quants(unit, within);
        let w_lo = scale.x * (q.lo * SCALE) + scale.y;
        let w_hi = scale.x * (q.hi * SCALE) + scale.y;
        let x_lo = input[staged_x + 2u * octet] * keep;
        let x_hi = input[staged_x + 2u * octet + 1u] * keep;
        let at = staged_octet * 8u * 64u + staged;
        workgroupBarrier();
        #unroll i 4
        w_tile[at + $iu * 64u] = w_lo[$i];
        w_tile[at + ($iu + 4u) * 64u] = w_hi[$i];
        x_tile[at + $iu * 64u] = x_lo[$i];
        x_tile[at + ($iu + 4u) * 64u] = x_hi[$i];
        #end
        workgroupBarrier();
        for (var k = 0u; k < K; k++) {
            let x_at = k * 64u + across * 4u;
            let x = vec4<f32>(x_tile[x_at], x_tile[x_at + 1u], x_tile[x_at + 2u], x_tile[x_at + 3u]);
            #unroll p 2
            #unroll j 4
            acc_$p_$j += w_tile[k * 64u + $pu * PAIRS + down * 4u + $ju] * x;
            #end
            #end
        }
    }
    #unroll t 4
    if first_token + across * 4u + $tu < tokens {
        #unroll j 4
        store(first_token + across * 4u + $tu, first + down * 4u + $ju, PAIRS, acc_0_$j[$t], acc_1_$j[$t]);
        #end
    }
    #end
}
