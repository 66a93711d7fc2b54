// The largest logit of the row that filters, and with flag SPREAD how its distribution spreads, one part per workgroup.
//
// logits [rows, stride] -> work: FILTER_MAX, FILTER_SUM and FILTER_SPREAD of each workgroup's record
// One workgroup does `chunk` ids.
#const SIZE = 64
#import mix_state
#import mix_logits

const SPREAD = 1u;

// [SIZE] max, sum, spread
var<workgroup> parts: array<vec3<f32>, SIZE>;

@compute @workgroup_size(SIZE)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let row = controls[FILTER_ROW];
    let first = group.x * params.chunk;
    let end = min(first + params.chunk, params.vocab);
    var top = MASKED;
    for (var id = first + lane; id < end; id += SIZE) {
        top = max(top, logit(row, id));
    }
    var sum = 0.0;
    var spread = 0.0;
    if (params.flags & SPREAD) != 0u {
        for (var id = first + lane; id < end; id += SIZE) {
            let below = logit(row, id) - top;
            let e = exp_below(below);
            if e > 0.0 {
                sum += e;
                spread += e * below;
            }
        }
    }
    parts[lane] = vec3<f32>(top, sum, spread);
    workgroupBarrier();
    if lane == 0u {
        for (var i = 1u; i < SIZE; i++) {
            top = max(top, parts[i].x);
        }
        sum = 0.0;
        spread = 0.0;
        for (var i = 0u; i < SIZE; i++) {
            let factor = rescale(parts[i].x, top, 1.0);
            if factor > 0.0 {
                sum += factor * parts[i].y;
                spread += factor * (parts[i].z + (parts[i].x - top) * parts[i].y);
            }
        }
        let record = record_of(group.x);
        work[record + FILTER_MAX] = bitcast<u32>(top);
        work[record + FILTER_SUM] = bitcast<u32>(sum);
        work[record + FILTER_SPREAD] = bitcast<u32>(spread);
    }
}
