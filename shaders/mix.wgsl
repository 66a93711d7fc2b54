// The mix: z = edited(scale * sum of weight * logits over the terms), and everything about rows and mix that a step reports.
//
//   z [vocab]   MASKED where a row with weight, or the base, says -inf (or NaN), or the row filter or an edit leaves the
//               token out; a token that is given (FORCED) has z = 0 and is the only one
//   per workgroup: max and sums of z, of z / T and of each reported row, the push on the base, the best noisy token (PICK)
//   per invocation: its best z and id, from which `finish` draws the top candidates
//
// logits [rows, stride], past -> work
// flags: PLAUSIBLE keeps l_filter >= max + ln(alpha); SELECTED keeps what selection 0 keeps (SELECTED_BY_MASS and
// SELECTED_BY_DISTANCE say how it selected); PICK draws here, because no filter on z follows.
// One workgroup does `chunk` ids; each invocation loops over every SIZE-th of them, so one barrier is enough.
#const SIZE = 64
#const REPORT = 1
#import mix_state
#import mix_logits
#import mix_radix
#import mix_edits
#import noise

const PLAUSIBLE = 1u;
const SELECTED = 2u;
const SELECTED_BY_MASS = 4u;
const PICK = 8u;
const SELECTED_BY_DISTANCE = 16u;

// [REPORT, SIZE] max and sum
var<workgroup> row_parts: array<vec2<f32>, SIZE * REPORT>;
// [SIZE] max, sum, push; the base's spread
var<workgroup> z_parts: array<vec4<f32>, SIZE>;
// [SIZE] sum and spread at the temperature
var<workgroup> heat_parts: array<vec2<f32>, SIZE>;
// [SIZE] score bits, id, bad rows
var<workgroup> pick_parts: array<vec3<u32>, SIZE>;

@compute @workgroup_size(SIZE)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let first = group.x * params.chunk;
    let end = min(first + params.chunk, params.vocab);
    let inv_t = control(INV_TEMPERATURE);

    var bad = 0u;
    var spread = 0.0;
    for (var r = 0u; r < params.n_reported; r++) {
        let row = reported_row(r);
        var top = MASKED;
        for (var id = first + lane; id < end; id += SIZE) {
            let l = logit(row, id);
            if is_masked(l) {
                bad |= 1u << row;
            }
            top = max(top, l);
        }
        var sum = 0.0;
        for (var id = first + lane; id < end; id += SIZE) {
            let below = logit(row, id) - top;
            let e = exp_below(below);
            sum += e;
            if r == 0u && e > 0.0 {
                spread += e * below;
            }
        }
        row_parts[r * SIZE + lane] = vec2<f32>(top, sum);
    }

    let prepared = controls[PREPARED] == 1u;
    var scale = 1.0;
    if controls[NORMALIZE] == 1u {
        var sum = 0.0;
        for (var t = 0u; t < params.n_terms; t++) {
            sum += weight_of(t, prepared);
        }
        scale = 1.0 / sum;
    }
    let filter_row = controls[FILTER_ROW];
    var lowest = MASKED;
    if (params.flags & PLAUSIBLE) != 0u {
        lowest = max_over_groups(FILTER_MAX) + control(FILTER_VALUE);
    }
    var lowest_key = 0u;
    if (params.flags & SELECTED) != 0u {
        lowest_key = selected_key(lane, 0u, (params.flags & SELECTED_BY_MASS) != 0u);
    }
    let by_distance = (params.flags & SELECTED_BY_DISTANCE) != 0u;
    var top_of_row = 0.0;
    var mean = 0.0;
    if by_distance {
        top_of_row = max_over_groups(FILTER_MAX);
        mean = mean_below(true);
    }
    let step = work[0];
    let edits = controls[EDITS];
    let given = forced(step);
    var best = MASKED;
    var best_id = NO_ID;
    var score = MASKED;
    var score_id = NO_ID;
    for (var id = first + lane; id < end; id += SIZE) {
        var kept = is_possible(logit(reported_row(0u), id));
        var z = 0.0;
        for (var t = 0u; t < params.n_terms; t++) {
            let weight = weight_of(t, prepared);
            if weight != 0.0 {
                let row = term_row(t);
                let l = logit(row, id);
                if is_masked(l) {
                    bad |= 1u << row;
                }
                kept = kept && is_possible(l);
                z += weight * max(l, IMPOSSIBLE);
            }
        }
        z = clamp(clamp(z, IMPOSSIBLE, -IMPOSSIBLE) * scale, IMPOSSIBLE, -IMPOSSIBLE);
        if (params.flags & (PLAUSIBLE | SELECTED)) != 0u {
            let l = logit(filter_row, id);
            if is_masked(l) {
                bad |= 1u << filter_row;
            }
            var key = sort_key(l);
            if by_distance {
                key = typical_key_of(l, top_of_row, 1.0, mean);
            }
            kept = kept && is_possible(l) && l >= lowest && key >= lowest_key;
        }
        if kept && edits != 0u {
            z = edited(z, id, edits, step);
            kept = !is_masked(z);
        }
        if given != NO_ID {
            z = 0.0;
            kept = id == given;
        }
        if !kept {
            z = MASKED;
        }
        work[z_of(id)] = bitcast<u32>(z);
        if z > best {
            best = z;
            best_id = id;
        }
        if kept && (params.flags & PICK) != 0u {
            let noisy = z * inv_t + gumbel(noise_bits(controls[SEED_LOW], controls[SEED_HIGH], step, id));
            if noisy > score {
                score = noisy;
                score_id = id;
            }
        }
    }
    let slot = best_of(group.x * SIZE + lane);
    work[slot] = bitcast<u32>(best);
    work[slot + 1u] = best_id;

    var sum = 0.0;
    var push = 0.0;
    var heat_sum = 0.0;
    var heat_spread = 0.0;
    for (var id = first + lane; id < end; id += SIZE) {
        let z = work_float(z_of(id));
        if !is_masked(z) {
            let e = exp_below(z - best);
            sum += e;
            push += e * (z - max(logit(reported_row(0u), id), IMPOSSIBLE));
            let below = (z - best) * inv_t;
            var heat = e;
            if inv_t != 1.0 {
                heat = exp_below(below);
            }
            if heat > 0.0 {
                heat_sum += heat;
                heat_spread += heat * below;
            }
        }
    }
    z_parts[lane] = vec4<f32>(best, sum, push, spread);
    heat_parts[lane] = vec2<f32>(heat_sum, heat_spread);
    pick_parts[lane] = vec3<u32>(bitcast<u32>(score), score_id, bad);
    workgroupBarrier();

    let out = record_of(group.x);
    if lane < REPORT {
        var top = MASKED;
        for (var i = 0u; i < SIZE; i++) {
            top = max(top, row_parts[lane * SIZE + i].x);
        }
        var total = 0.0;
        var spreads = 0.0;
        for (var i = 0u; i < SIZE; i++) {
            let row_part = row_parts[lane * SIZE + i];
            let factor = rescale(row_part.x, top, 1.0);
            if factor > 0.0 {
                total += factor * row_part.y;
                spreads += factor * (z_parts[i].w + (row_part.x - top) * row_part.y);
            }
        }
        work[out + ROWS + 2u * lane] = bitcast<u32>(top);
        work[out + ROWS + 2u * lane + 1u] = bitcast<u32>(total);
        if lane == 0u {
            work[out + BASE_SPREAD] = bitcast<u32>(spreads);
        }
    } else if lane == REPORT {
        var top = MASKED;
        for (var i = 0u; i < SIZE; i++) {
            top = max(top, z_parts[i].x);
        }
        var total = 0.0;
        var pushes = 0.0;
        var heats = 0.0;
        var spreads = 0.0;
        for (var i = 0u; i < SIZE; i++) {
            let factor = rescale(z_parts[i].x, top, 1.0);
            total += factor * z_parts[i].y;
            pushes += factor * z_parts[i].z;
            let heat = rescale(z_parts[i].x, top, inv_t);
            if heat > 0.0 {
                heats += heat * heat_parts[i].x;
                spreads += heat * (heat_parts[i].y + (z_parts[i].x - top) * inv_t * heat_parts[i].x);
            }
        }
        work[out + Z_MAX] = bitcast<u32>(top);
        work[out + Z_SUM] = bitcast<u32>(total);
        work[out + Z_PUSH] = bitcast<u32>(pushes);
        work[out + Z_HEAT] = bitcast<u32>(heats);
        work[out + Z_SPREAD] = bitcast<u32>(spreads);
    } else if lane == REPORT + 1u {
        var noisy = MASKED;
        var id = NO_ID;
        var rows = 0u;
        for (var i = 0u; i < SIZE; i++) {
            let other = bitcast<f32>(pick_parts[i].x);
            if other > noisy || (other == noisy && pick_parts[i].y < id) {
                noisy = other;
                id = pick_parts[i].y;
            }
            rows |= pick_parts[i].z;
        }
        work[out + PICK_SCORE] = bitcast<u32>(noisy);
        work[out + PICK_ID] = id;
        work[out + BAD_ROWS] = rows;
    }
}
