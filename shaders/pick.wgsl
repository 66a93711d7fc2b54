// Draws a token from what the filters on z keep: the largest of z / T + Gumbel noise.
//
// Keeps z >= max + T ln(min_p), what typical-p kept if it is on, and keys from that of selection `selection` on (0: none;
// flags BY_MASS says how it selected).
// work, radix -> PICK_SCORE and PICK_ID of each workgroup's record. One workgroup does `chunk` ids.
#const SIZE = 64
#import mix_state
#import mix_radix
#import noise

var<workgroup> parts: array<vec2<u32>, SIZE>;

@compute @workgroup_size(SIZE)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    var lowest_key = 0u;
    if params.selection != 0u {
        lowest_key = selected_key(lane, params.selection, (params.flags & BY_MASS) != 0u);
    }
    let typical = controls[TYPICAL_P] != 0u;
    var typical_key = 0u;
    var mean = 0.0;
    if typical {
        typical_key = selected_key(lane, TYPICAL, true);
        mean = mean_below(false);
    }
    let top = max_over_groups(Z_MAX);
    let lowest = top + control(MIN_P_DROP);
    let inv_t = control(INV_TEMPERATURE);
    let step = work[0];
    var score = MASKED;
    var score_id = NO_ID;
    let first = group.x * params.chunk;
    let end = min(first + params.chunk, params.vocab);
    for (var id = first + lane; id < end; id += SIZE) {
        let z = work_float(z_of(id));
        var kept = !is_masked(z) && z >= lowest && sort_key(z) >= lowest_key;
        if typical {
            kept = kept && typical_key_of(z, top, inv_t, mean) >= typical_key;
        }
        if kept {
            let noisy = z * inv_t + gumbel(noise_bits(controls[SEED_LOW], controls[SEED_HIGH], step, id));
            if noisy > score {
                score = noisy;
                score_id = id;
            }
        }
    }
    parts[lane] = vec2<u32>(bitcast<u32>(score), score_id);
    workgroupBarrier();
    if lane == 0u {
        for (var i = 1u; i < SIZE; i++) {
            let other = bitcast<f32>(parts[i].x);
            if other > score || (other == score && parts[i].y < score_id) {
                score = other;
                score_id = parts[i].y;
            }
        }
        work[record_of(group.x) + PICK_SCORE] = bitcast<u32>(score);
        work[record_of(group.x) + PICK_ID] = score_id;
    }
}
