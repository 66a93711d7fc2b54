// The largest logit of the row that filters, one part per workgroup.
//
// logits [rows, stride] -> work: FILTER_MAX of each workgroup's record
// One workgroup does `chunk` ids.
#const SIZE = 64
#import mix_state
#import mix_logits

var<workgroup> tops: array<f32, SIZE>;

@compute @workgroup_size(SIZE)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let row = controls[FILTER_ROW];
    let first = group.x * params.chunk;
    let end = min(first + params.chunk, params.vocab);
    var top = MASKED;
    for (var id = first + lane; id < end; id += SIZE) {
        top = max(top, logit(row, id));
    }
    tops[lane] = top;
    workgroupBarrier();
    if lane == 0u {
        for (var i = 1u; i < SIZE; i++) {
            top = max(top, tops[i]);
        }
        work[record_of(group.x) + FILTER_MAX] = bitcast<u32>(top);
    }
}
