// A linear layer over ROWS tokens at once, for GPUs: a workgroup computes two pairs of weight rows (linear.wgsl) for all tokens.
//
// Its invocations walk the rows together, eight elements each: neighbours load neighbouring words, the activations stay in
// registers for all four weight rows, and a weight is decoded once for all tokens. Then the invocations' parts are summed.
#const ROWS = 1
#const SIZE = 64

#import format_{format}
#import linear
#import input_floats
#import delta_{delta}
#import sum_rows_{reduce}

@group(0) @binding(0) var<uniform> params: Params;

@compute @workgroup_size(SIZE)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let first = (group.y * groups.x + group.x) * outputs_of(2u);
    let row_0 = row_start(first);
    let row_1 = row_start(first + 1u);
    let row_2 = row_start(first + distance(2u));
    let row_3 = row_start(first + distance(2u) + 1u);
    // A component is a weight row.
    #unroll t ROWS
    var acc_$t = vec4<f32>(0.0);
    #end
    let octets = params.units * (UNIT / 8u);
    let stride = params.in_stride;
    for (var o = lane; o < octets; o += SIZE) {
        let unit = o / (UNIT / 8u) * WORDS;
        let octet = o % (UNIT / 8u);
        let sub = octet / (SUB / 8u);
        #unroll t ROWS
        let x_lo_$t = input[$tu * stride + 2u * o];
        let x_hi_$t = input[$tu * stride + 2u * o + 1u];
        let sum_$t = dot(x_lo_$t + x_hi_$t, vec4<f32>(1.0));
        let lo_$t = x_lo_$t * SCALE;
        let hi_$t = x_hi_$t * SCALE;
        #end
        #unroll i 4
        let q_$i = quants(row_$i + unit, octet);
        let scale_$i = scales(row_$i + unit, sub);
        #unroll t ROWS
        acc_$t[$i] += scale_$i.x * (dot(q_$i.lo, lo_$t) + dot(q_$i.hi, hi_$t)) + scale_$i.y * sum_$t;
        #end
        #end
    }
    #unroll t ROWS
    part($tu, lane, acc_$t);
    #end
    sum_parts(lane);
    if lane < ROWS {
        let four = summed(lane);
        store(lane, first, 2u, four.x, four.z);
        store(lane, first + 1u, 2u, four.y, four.w);
    }
}
