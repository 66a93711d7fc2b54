// Ends a step: merges the workgroups' records, writes the token where the next step reads it, and reports.
//
// batches: each decode batch is vec4s: (tokens, ..), then per token (id, row, position, lane); where the lane is this mix's, the
// id becomes the token and the position grows by one. ring: slot `step % slots` of slot_words words, as in `ops/finish.rs`. radix: zeroed.
// past: the token joins it.
// One workgroup in all; SIZE is at least REPORT + 2.
#const SIZE = 256
#const REPORT = 1
#const CANDIDATES = 10
#import mix_state
#import mix_logits
#import mix_past

@group(0) @binding(4) var<storage, read_write> radix: array<u32>;
@group(0) @binding(5) var<storage, read_write> batches: array<vec4<u32>>;
@group(0) @binding(6) var<storage, read_write> ring: array<u32>;
@group(0) @binding(7) var<storage, read_write> past: array<u32>;

const RADIX_WORDS = 8256u;
// No decode batch holds more rows; a header beyond that is not believed.
const MAX_BATCH = 64u;
// Words of a ring slot before the rows' log-probs.
const HEADER = 9u;

// [2, SIZE] the best (z bits, id) that each invocation still has to offer, in two turns
var<workgroup> offers: array<vec2<u32>, 2u * SIZE>;
// each reported row's log-sum-exp
var<workgroup> row_lse: array<f32, REPORT>;
// the largest z, ln of the sums of exp(z - max) and exp((z - max) / T), KL but for the base's log-sum-exp; entropy of the base
var<workgroup> z_top: f32;
var<workgroup> z_log_sum: f32;
var<workgroup> z_log_heat: f32;
var<workgroup> z_push: f32;
var<workgroup> entropy: f32;
// id and rows of the drawn token
var<workgroup> drawn: vec2<u32>;
var<workgroup> winners: array<vec2<u32>, CANDIDATES>;

fn before(z: f32, id: u32, than: f32, than_id: u32) -> bool {
    return z > than || (z == than && id < than_id);
}

// The best of the slots that belong to this invocation: (z bits, id, slot).
fn own_best(lane: u32) -> vec3<u32> {
    var z = MASKED;
    var id = NO_ID;
    var found = 0u;
    for (var slot = lane; slot < params.groups * params.lanes; slot += SIZE) {
        let other = work_float(best_of(slot));
        let other_id = work[best_of(slot) + 1u];
        if before(other, other_id, z, id) {
            z = other;
            id = other_id;
            found = slot;
        }
    }
    return vec3<u32>(bitcast<u32>(z), id, found);
}

// Replaces a slot's best by the next best of the same ids.
fn advance(slot: u32, last: f32, last_id: u32) {
    let first = (slot / params.lanes) * params.chunk;
    let end = min(first + params.chunk, params.vocab);
    var z = MASKED;
    var z_id = NO_ID;
    for (var id = first + slot % params.lanes; id < end; id += params.lanes) {
        let other = work_float(z_of(id));
        if before(last, last_id, other, id) && before(other, id, z, z_id) {
            z = other;
            z_id = id;
        }
    }
    if is_masked(z) {
        z_id = NO_ID;
    }
    work[best_of(slot)] = bitcast<u32>(z);
    work[best_of(slot) + 1u] = z_id;
}

@compute @workgroup_size(SIZE)
fn main(@builtin(local_invocation_index) lane: u32) {
    let step = work[0];
    let inv_t = control(INV_TEMPERATURE);
    let prepared = controls[PREPARED] == 1u;
    if lane < REPORT {
        let at = ROWS + 2u * lane;
        let top = max_over_groups(at);
        var sum = 0.0;
        var spread = 0.0;
        for (var g = 0u; g < params.groups; g++) {
            let record = record_of(g);
            let m = work_float(record + at);
            let factor = rescale(m, top, 1.0);
            if factor > 0.0 {
                sum += factor * work_float(record + at + 1u);
                spread += factor * (work_float(record + BASE_SPREAD) + (m - top) * work_float(record + at + 1u));
            }
        }
        let log_sum = ln(max(sum, 1.0e-30));
        row_lse[lane] = top + log_sum;
        if lane == 0u {
            entropy = log_sum - spread / max(sum, 1.0e-30);
        }
    } else if lane == REPORT {
        let top = max_over_groups(Z_MAX);
        var sum = 0.0;
        var push = 0.0;
        var heat = 0.0;
        for (var g = 0u; g < params.groups; g++) {
            let record = record_of(g);
            let factor = rescale(work_float(record + Z_MAX), top, 1.0);
            sum += factor * work_float(record + Z_SUM);
            push += factor * work_float(record + Z_PUSH);
            heat += rescale(work_float(record + Z_MAX), top, inv_t) * work_float(record + Z_HEAT);
        }
        sum = max(sum, 1.0e-30);
        z_top = clamp(top, IMPOSSIBLE, -IMPOSSIBLE);
        z_log_sum = ln(sum);
        z_log_heat = ln(max(heat, 1.0e-30));
        z_push = push / sum - (z_top + z_log_sum);
    } else if lane == REPORT + 1u {
        var score = MASKED;
        var id = NO_ID;
        var bad = 0u;
        for (var g = 0u; g < params.groups; g++) {
            let record = record_of(g);
            let other = work_float(record + PICK_SCORE);
            let other_id = work[record + PICK_ID];
            if before(other, other_id, score, id) {
                score = other;
                id = other_id;
            }
            bad |= work[record + BAD_ROWS];
        }
        drawn = vec2<u32>(id, bad);
    }

    var own = own_best(lane);
    for (var c = 0u; c < max(params.candidates, 1u); c++) {
        let turn = (c % 2u) * SIZE;
        offers[turn + lane] = own.xy;
        workgroupBarrier();
        var z = MASKED;
        var id = NO_ID;
        for (var i = 0u; i < SIZE; i++) {
            let offer = offers[turn + i];
            if before(bitcast<f32>(offer.x), offer.y, z, id) {
                z = bitcast<f32>(offer.x);
                id = offer.y;
            }
        }
        if lane == 0u {
            winners[c] = vec2<u32>(bitcast<u32>(z), id);
        }
        if id != NO_ID && own.y == id {
            advance(own.z, z, id);
            own = own_best(lane);
        }
    }
    workgroupBarrier();

    var token = select(drawn.x, winners[0].y, controls[GREEDY] == 1u);
    let empty = token == NO_ID;
    // Nothing to say: the first id, which is always there, and a flag.
    token = select(token, 0u, empty);
    let out = (step % params.slots) * params.slot_words;
    if lane == 0u {
        let token_z = clamp(work_float(z_of(token)), IMPOSSIBLE, -IMPOSSIBLE);
        ring[out] = step;
        ring[out + 1u] = token;
        ring[out + 2u] = drawn.y;
        ring[out + 3u] = select(0u, 1u, empty);
        ring[out + 4u] = controls[TEMPERATURE];
        ring[out + 5u] = bitcast<u32>(entropy);
        ring[out + 6u] = bitcast<u32>(z_push + row_lse[0]);
        ring[out + 7u] = bitcast<u32>(token_z - z_top - z_log_sum);
        ring[out + 8u] = bitcast<u32>(z_log_sum * inv_t - z_log_heat);
        let at = past[PROMPT] + step;
        if at < params.room {
            past[past_id(at)] = token;
        }
        work[0] = step + 1u;
    }
    let weights_at = out + HEADER;
    let rows_at = weights_at + params.n_terms;
    for (var t = lane; t < params.n_terms; t += SIZE) {
        ring[weights_at + t] = bitcast<u32>(weight_of(t, prepared));
    }
    for (var r = lane; r < REPORT; r += SIZE) {
        ring[rows_at + r] = bitcast<u32>(max(logit(reported_row(r), token), IMPOSSIBLE) - row_lse[r]);
    }
    let candidates_at = rows_at + REPORT;
    let columns = REPORT + 2u;
    for (var i = lane; i < params.candidates * columns; i += SIZE) {
        let column = i % columns;
        let winner = winners[i / columns];
        var value = winner.y;
        if winner.y != NO_ID {
            if column == 1u {
                value = bitcast<u32>(bitcast<f32>(winner.x) - z_top - z_log_sum);
            } else if column > 1u {
                let r = column - 2u;
                value = bitcast<u32>(max(logit(reported_row(r), winner.y), IMPOSSIBLE) - row_lse[r]);
            }
        }
        ring[candidates_at + i] = value;
    }
    for (var b = 0u; b < params.batches; b++) {
        let at = params.batch_at[b / 4u][b % 4u];
        let tokens = min(batches[at].x, MAX_BATCH);
        for (var t = 1u + lane; t <= tokens; t += SIZE) {
            let entry = batches[at + t];
            if entry.w == params.lane {
                batches[at + t] = vec4<u32>(token, entry.y, entry.z + 1u, entry.w);
            }
        }
    }
    for (var i = lane; i < RADIX_WORDS; i += SIZE) {
        radix[i] = 0u;
    }
}
