// Scores rows of logits: log-sum-exp, the logit of a target, and the argmax.
//
// logits [outputs, stride], targets [outputs] -> scores [outputs]: log-sum-exp, logit of the target, the argmax (its bits;
// lowest on ties), how many are NaN or +inf (bits). A target beyond the vocabulary gets MASKED.
// One workgroup does one row.
#const SIZE = 64
#import elementary

struct Params {
    vocab: u32,
    stride: u32,
}

const MASKED = -3.0e38;
const IMPOSSIBLE = -1.0e30;

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> targets: array<u32>;
#import mix_logits
@group(0) @binding(3) var<storage, read_write> scores: array<vec4<u32>>;

// max, sum (bits), id of the max, bad
var<workgroup> parts: array<vec4<u32>, SIZE>;

@compute @workgroup_size(SIZE)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let row = group.x;
    var top = MASKED;
    var top_id = 0xffffffffu;
    var bad = 0u;
    for (var id = lane; id < params.vocab; id += SIZE) {
        let l = logit(row, id);
        if l > top {
            top = l;
            top_id = id;
        }
        bad += select(0u, 1u, l < -2.0e38);
    }
    var sum = 0.0;
    for (var id = lane; id < params.vocab; id += SIZE) {
        sum += exp_below(logit(row, id) - top);
    }
    parts[lane] = vec4<u32>(bitcast<u32>(top), bitcast<u32>(sum), top_id, bad);
    workgroupBarrier();
    if lane == 0u {
        for (var i = 1u; i < SIZE; i++) {
            let other = bitcast<f32>(parts[i].x);
            if other > top || (other == top && parts[i].z < top_id) {
                top = other;
                top_id = parts[i].z;
            }
            bad += parts[i].w;
        }
        sum = 0.0;
        for (var i = 0u; i < SIZE; i++) {
            sum += bitcast<f32>(parts[i].y) * exp_below(bitcast<f32>(parts[i].x) - top);
        }
        let wanted = targets[row];
        var at_target = MASKED;
        if wanted < params.vocab {
            at_target = logit(row, wanted);
        }
        let log_sum = top + ln(max(sum, 1.0e-30));
        scores[row] = vec4<u32>(bitcast<u32>(log_sum), bitcast<u32>(at_target), top_id, bad);
    }
}
