// One level of a radix selection: counts, or sums of probability, of the keys that share the prefix found so far.
//
// Selection 0 is over the row that filters, 1 (top-k) and 2 (top-p) over z, 3 (typical-p) over z in the order of how far
// z / T lies from its mean. A mass is exp((x - max) / T) in units of 2^-26.
// flags: BY_MASS; BY_DISTANCE takes selection 0 in the order of typicality, too; AFTER_TOP_K restricts selection 2 to what selection 1 kept. If typical-p is on, 1 and 2 are restricted to
// what selection 3 kept.
// logits, work -> radix. One workgroup does `chunk` ids.
#const SIZE = 64
#import mix_state
#import mix_logits
#import mix_radix

const AFTER_TOP_K = 2u;

var<workgroup> bins_high: array<atomic<u32>, BINS>;
var<workgroup> bins_low: array<atomic<u32>, BINS>;

@compute @workgroup_size(SIZE)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    for (var b = lane; b < BINS; b += SIZE) {
        atomicStore(&bins_high[b], 0u);
        atomicStore(&bins_low[b], 0u);
    }
    let selection = params.selection;
    let level = params.level;
    let by_mass = (params.flags & BY_MASS) != 0u;
    var found = vec3<u32>(0u, 0u, 0u);
    if level > 0u {
        found = narrow(lane, selection, level, by_mass);
    }
    var lowest_key = 0u;
    if (params.flags & AFTER_TOP_K) != 0u {
        if level == 0u {
            lowest_key = selected_key(lane, 1u, false);
        } else {
            lowest_key = atomicLoad(&radix[state_of(selection, 0u) + 3u]);
        }
    }
    let by_row = selection == 0u;
    let by_distance = selection == TYPICAL || (params.flags & BY_DISTANCE) != 0u;
    let after_typical = !by_row && !by_distance && controls[TYPICAL_P] != 0u;
    var typical_key = 0u;
    if after_typical {
        if level == 0u {
            typical_key = selected_key(lane, TYPICAL, true);
        } else {
            typical_key = atomicLoad(&radix[state_of(selection, 1u) + 3u]);
        }
    }
    var mean = 0.0;
    if by_distance || after_typical {
        mean = mean_below(by_row);
    }
    let row = controls[FILTER_ROW];
    var top = 0.0;
    var inv_t = 1.0;
    if by_row {
        if by_mass {
            top = max_over_groups(FILTER_MAX);
        }
    } else if by_mass || after_typical {
        top = max_over_groups(Z_MAX);
        inv_t = control(INV_TEMPERATURE);
    }
    workgroupBarrier();
    let shift = 24u - 8u * level;
    let first = group.x * params.chunk;
    let end = min(first + params.chunk, params.vocab);
    for (var id = first + lane; id < end; id += SIZE) {
        var x = 0.0;
        var present = false;
        if by_row {
            x = logit(row, id);
            present = is_possible(x);
        } else {
            x = work_float(z_of(id));
            present = !is_masked(x);
        }
        var key = sort_key(x);
        if by_distance {
            key = typical_key_of(x, top, inv_t, mean);
        } else if after_typical {
            present = present && typical_key_of(x, top, inv_t, mean) >= typical_key;
        }
        if present && key >= lowest_key && (level == 0u || (key >> shift) >> 8u == found.x) {
            let b = (key >> shift) & 0xffu;
            var units = 1u;
            if by_mass {
                units = u32(rescale(x, top, inv_t) * 67108864.0 + 0.5);
            }
            if (units >> LIMB) != 0u {
                atomicAdd(&bins_high[b], units >> LIMB);
            }
            atomicAdd(&bins_low[b], units & LIMB_MASK);
        }
    }
    workgroupBarrier();
    let bins = bins_of(selection, level);
    for (var b = lane; b < BINS; b += SIZE) {
        let high = atomicLoad(&bins_high[b]);
        let low = atomicLoad(&bins_low[b]);
        if (high | low) != 0u {
            atomicAdd(&radix[bins + 2u * b], high);
            atomicAdd(&radix[bins + 2u * b + 1u], low);
        }
    }
    if group.x == 0u && lane == 0u {
        let state = state_of(selection, level);
        atomicStore(&radix[state], found.x);
        atomicStore(&radix[state + 1u], found.y);
        atomicStore(&radix[state + 2u], found.z);
        if level == 0u {
            atomicStore(&radix[state + 3u], lowest_key);
            atomicStore(&radix[state_of(selection, 1u) + 3u], typical_key);
        }
    }
}
