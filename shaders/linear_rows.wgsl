// A linear layer over ROWS tokens at once, for software adapters: an invocation computes PAIRS pairs of weight rows (linear.wgsl)
// for all of them by itself, so there is no barrier and no cross-lane traffic. A workgroup's z is a block of ROWS tokens.
//
// On SwiftShader a storage load costs as much as fourteen multiply-adds, so an activation is loaded once for 2 * PAIRS rows and a
// weight once for all tokens. And whatever a loop carries from round to round is blended with the lanes' mask there, changed or
// not: so there is one loop, over blocks of columns, and all in it is unrolled into scalars
// (docs/measurements/2026-11-29-software-adapters.md).
#const ROWS = 1
#const PAIRS = 4
#const SIZE = 8
// Sub-blocks of a block of columns, and octets of each: its SUB elements share a scale.
#const PARTS = 1
#const OCTETS = 1

#import format_{format}
#import linear
#import input_{input}
#import delta_none

// Not a uniform: lavapipe compiles a kernel anew, and keeps the code, whenever a loop's end in a uniform changes (Mesa 22.3;
// docs/measurements/2026-11-24-browsers-and-cli.md).
@group(0) @binding(0) var<storage, read> params: Params;

// Blocks of a unit.
const BLOCKS = UNIT / (8u * PARTS * OCTETS);

@compute @workgroup_size(SIZE)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let first = ((group.y * groups.x + group.x) * SIZE + lane) * outputs_of(PAIRS);
    let first_token = group.z * ROWS;
    let tokens = token_count();
    if first >= layer_outputs() || first_token >= tokens {
        return;
    }
    #unroll j PAIRS
    #unroll p 2
    let row_$j_$p = row_start(first + $ju + $pu * distance(PAIRS));
    #unroll t ROWS
    var acc_$j_$p_$t = 0.0;
    #end
    #end
    #end
    // Tokens past the end repeat the last: what they give is not stored.
    #unroll t ROWS
    let input_$t = min(first_token + $tu, tokens - 1u) * params.in_stride;
    #end
    for (var b = 0u; b < params.units * BLOCKS; b++) {
        let word = b / BLOCKS * WORDS;
        let part = b % BLOCKS * PARTS;
        #unroll t ROWS
        let block_$t = input_$t + b * input_step(PARTS * OCTETS);
        #unroll h PARTS
        var sums_$h_$t = vec4<f32>(0.0);
        #unroll o OCTETS
        let x_$h_$o_$t = input_octet(block_$t, $hu * OCTETS + $ou);
        let lo_$h_$o_$t = x_$h_$o_$t.lo * SCALE;
        let hi_$h_$o_$t = x_$h_$o_$t.hi * SCALE;
        sums_$h_$t += x_$h_$o_$t.lo + x_$h_$o_$t.hi;
        #end
        let sum_$h_$t = dot(sums_$h_$t, vec4<f32>(1.0));
        #end
        #end
        #unroll j PAIRS
        #unroll p 2
        let unit_$j_$p = row_$j_$p + word;
        #unroll h PARTS
        let scale_$j_$p_$h = scales(unit_$j_$p, part + $hu);
        #unroll o OCTETS
        let q_$j_$p_$h_$o = quants(unit_$j_$p, (part + $hu) * OCTETS + $ou);
        #end
        #unroll t ROWS
        var dot_$j_$p_$h_$t = 0.0;
        #unroll o OCTETS
        dot_$j_$p_$h_$t += dot(q_$j_$p_$h_$o.lo, lo_$h_$o_$t) + dot(q_$j_$p_$h_$o.hi, hi_$h_$o_$t);
        #end
        acc_$j_$p_$t += scale_$j_$p_$h.x * dot_$j_$p_$h_$t + scale_$j_$p_$h.y * sum_$h_$t;
        #end
        #end
        #end
        #end
    }
    #unroll t ROWS
    if first_token + $tu < tokens {
        #unroll j PAIRS
        store(first_token + $tu, first + $ju, PAIRS, acc_$j_0_$t, acc_$j_1_$t);
        #end
    }
    #end
}
