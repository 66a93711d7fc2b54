// A linear layer over ROWS tokens at once, for software adapters: an invocation computes PAIRS pairs of weight rows (linear.wgsl)
// for all of them by itself, so there is no barrier and no cross-lane traffic. A workgroup's z is a block of ROWS tokens.
//
// On SwiftShader a storage load costs as much as fourteen multiply-adds and a loop iteration eight (2026-11-22), so an activation
// is loaded once for 2 * PAIRS rows and a weight once for all tokens; everything indexed is unrolled into scalars.
#const ROWS = 1
#const PAIRS = 4
#const SIZE = 8

#import format_{format}
#import linear
#import delta_none

// Not a uniform: lavapipe compiles a kernel anew, and keeps the code, whenever a loop's end in a uniform changes (Mesa 22.3;
// docs/measurements/2026-11-24-browsers-and-cli.md).
@group(0) @binding(0) var<storage, read> params: Params;

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
    var unit_$j_$p = row_start(first + $ju + $pu * distance(PAIRS));
    #unroll t ROWS
    var acc_$j_$p_$t = 0.0;
    #end
    #end
    #end
    // Tokens past the end repeat the last: what they give is not stored.
    #unroll t ROWS
    var x_$t = min(first_token + $tu, tokens - 1u) * params.in_stride;
    #end
    for (var u = 0u; u < params.units; u++) {
        for (var s = 0u; s < UNIT / SUB; s++) {
            #unroll t ROWS
            var sum_$t = 0.0;
            #unroll j PAIRS
            var dot_$j_0_$t = 0.0;
            var dot_$j_1_$t = 0.0;
            #end
            #end
            for (var o = 0u; o < SUB / 8u; o++) {
                #unroll t ROWS
                let x_lo_$t = input[x_$t];
                let x_hi_$t = input[x_$t + 1u];
                sum_$t += dot(x_lo_$t + x_hi_$t, vec4<f32>(1.0));
                let lo_$t = x_lo_$t * SCALE;
                let hi_$t = x_hi_$t * SCALE;
                x_$t += 2u;
                #end
                #unroll j PAIRS
                #unroll p 2
                let q_$j_$p = quants(unit_$j_$p, s * (SUB / 8u) + o);
                #unroll t ROWS
                dot_$j_$p_$t += dot(q_$j_$p.lo, lo_$t) + dot(q_$j_$p.hi, hi_$t);
                #end
                #end
                #end
            }
            #unroll j PAIRS
            #unroll p 2
            let scale_$j_$p = scales(unit_$j_$p, s);
            #unroll t ROWS
            acc_$j_$p_$t += scale_$j_$p.x * dot_$j_$p_$t + scale_$j_$p.y * sum_$t;
            #end
            #end
            #end
        }
        #unroll j PAIRS
        unit_$j_0 += WORDS;
        unit_$j_1 += WORDS;
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
