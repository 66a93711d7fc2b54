// Readies a step, where something changes from step to step by itself: weights on a schedule, counts of what was said, and
// tokens that would say an n-gram twice.
//
// controls, past -> work: NOW; past: counts, marks
// One workgroup. The counts hold a part of the past and are moved to the part that is wanted now, so the settings may change
// between any two steps, and it makes no difference when this kernel ran first.
#const SIZE = 64
#import mix_state
#import mix_past

@group(0) @binding(7) var<storage, read_write> past: array<atomic<u32>>;

fn id_at(position: u32) -> u32 {
    return atomicLoad(&past[past_id(position)]);
}

// A term's weight: constant, or on straight lines between the points of its schedule.
fn scheduled(t: u32, step: u32) -> f32 {
    let schedule = SCHEDULES + t * (1u + 2u * MOST_POINTS);
    let points = controls[schedule];
    var weight = control(WEIGHTS + t);
    for (var p = 0u; p < points; p++) {
        let at = schedule + 1u + 2u * p;
        if p == 0u || controls[at] <= step {
            weight = control(at + 1u);
            let from_step = controls[at];
            if from_step < step && p + 1u < points && step < controls[at + 2u] {
                let part = f32(step - from_step) / f32(controls[at + 2u] - from_step);
                weight += part * (control(at + 3u) - weight);
            }
        }
    }
    return weight;
}

fn count(from_position: u32, to_position: u32, lane: u32, change: u32) {
    for (var i = from_position + lane; i < to_position; i += SIZE) {
        let id = id_at(i);
        // The base's prompt may hold tokens that the other rows' models lack.
        if id < params.vocab {
            atomicAdd(&past[count_at(id)], change);
        }
    }
}

@compute @workgroup_size(SIZE)
fn main(@builtin(local_invocation_index) lane: u32) {
    let step = work[0];
    if lane < params.n_terms {
        work[NOW + lane] = bitcast<u32>(scheduled(lane, step));
    }
    let prompt = atomicLoad(&past[PROMPT]);
    let end = min(prompt + step, params.room);
    var first = select(prompt, 0u, controls[WITH_PROMPT] == 1u);
    let last_n = controls[LAST_N];
    if last_n != 0u && end - first > last_n {
        first = end - last_n;
    }
    let old_first = atomicLoad(&past[0]);
    let old_end = atomicLoad(&past[1]);
    // -1 in 32 bits.
    count(old_first, min(old_end, first), lane, 0xffffffffu);
    count(max(old_first, end), old_end, lane, 0xffffffffu);
    count(first, min(end, old_first), lane, 1u);
    count(max(first, old_end), end, lane, 1u);

    let n = controls[NGRAM];
    if n > 1u && end - first >= n {
        for (var i = first + lane; i + n <= end; i += SIZE) {
            var same = true;
            for (var j = 0u; same && j < n - 1u; j++) {
                same = id_at(i + j) == id_at(end - (n - 1u) + j);
            }
            let id = id_at(i + n - 1u);
            if same && id < params.vocab {
                let at = mark_at(id);
                atomicStore(&past[at], (atomicLoad(&past[at]) & ENDS) | (step + 1u));
            }
        }
    }
    workgroupBarrier();
    if lane == 0u {
        atomicStore(&past[0], first);
        atomicStore(&past[1], end);
    }
}
