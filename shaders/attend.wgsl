// Attention of one token per row over its cache, split among workgroups, for GPUs.
//
// batch                                  (tokens, table, ...), then (id, row, pos, lane) of each token; the table of slots
// qkv [tokens, qkv_stride]               projections: query heads, key heads, value heads
// k_cache, v_cache                       f16, see heads.wgsl; the token's own key and value are written at `pos`
// turns, qk_gain                         see rotate.wgsl
// out [tokens, out_stride]               written where there is one split
// partials [tokens, heads, MAX_SPLITS, HEAD_DIM + 4]   otherwise, for attend_combine; see heads.wgsl
//
// A workgroup does one token, up to GROUP query heads that share a kv head (so that its keys and values are read once), and
// one split of the positions, CHUNK at a time: lanes in fours take a key, then a lane a score, then a lane four dimensions of
// every PHASES-th value. The token's own key and value come from qkv, through f16 as all others; a cache element written in
// this dispatch is not read in it.
#const SIZE = 128
#const GROUP = 1
#const GROUPS = 1
#import heads
#import rotate
const PARTS: u32 = 4u;
const CHUNK: u32 = SIZE;
const PHASES: u32 = min(16u, SIZE / D4);
const FOLDS: u32 = 16u;
// Fewer keys than this are not worth a split of their own.
const SPLIT_KEYS: u32 = 32u;

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> batch: array<vec4<u32>>;
@group(0) @binding(2) var<storage, read> qkv: array<f32>;
@group(0) @binding(3) var<storage, read_write> k_cache: array<vec2<u32>>;
@group(0) @binding(4) var<storage, read_write> v_cache: array<vec2<u32>>;
@group(0) @binding(5) var<storage, read> turns: array<vec2<f32>>;
@group(0) @binding(6) var<storage, read> qk_gain: array<f32>;
@group(0) @binding(7) var<storage, read_write> partials: array<vec4<f32>>;
@group(0) @binding(8) var<storage, read_write> out: array<vec4<f32>>;

var<workgroup> q: array<vec4<f32>, GROUP * D4>;
var<workgroup> own_k: array<vec2<u32>, D4>;
var<workgroup> own_v: array<vec2<u32>, D4>;
var<workgroup> scratch: array<f32, GROUP * SIZE * PARTS>;
var<workgroup> weights: array<f32, GROUP * CHUNK>;
var<workgroup> folded: array<f32, GROUP * FOLDS>;

@compute @workgroup_size(SIZE)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let token = group.z;
    let splits = min(groups.y, MAX_SPLITS);
    let row = batch[1u + token].y;
    let pos = batch[1u + token].z;
    // A step in flight past the end of the context: nobody reads what it makes.
    if pos >= params.context || group.y >= MAX_SPLITS {
        return;
    }
    let kv_head = group.x / GROUPS;
    let first_head = kv_head * RATIO + (group.x % GROUPS) * GROUP;
    let heads = min(GROUP, (kv_head + 1u) * RATIO - first_head);
    let cache = cache_base(kv_head);
    let table = table_base(row);
    let lowest = first_key(pos);
    let per_split = max((pos + splits - lowest) / splits, SPLIT_KEYS);
    let begin = min(lowest + group.y * per_split, pos + 1u);
    let end = min(begin + per_split, pos + 1u);

    let qkv_base = token * params.qkv_stride;
    let k_base = qkv_base + (params.n_heads + kv_head) * HEAD_DIM;
    let v_base = k_base + params.n_kv_heads * HEAD_DIM;
    if QK_NORM == 1u {
        // Sixteen lanes a head: the query heads, then the key.
        let slot = lane / FOLDS;
        var base = k_base;
        if slot < GROUP {
            base = qkv_base + (first_head + min(slot, heads - 1u)) * HEAD_DIM;
        }
        var squares = 0.0;
        for (var d = lane % FOLDS; d < HEAD_DIM; d += FOLDS) {
            squares += qkv[base + d] * qkv[base + d];
        }
        scratch[lane] = squares;
        workgroupBarrier();
    }
    for (var i = lane; i < (GROUP + 2u) * D4; i += SIZE) {
        let slot = i / D4;
        let p = i % D4;
        var scale = 1.0;
        if QK_NORM == 1u {
            var squares = 0.0;
            for (var fold = 0u; fold < FOLDS; fold++) {
                squares += scratch[min(slot, GROUP) * FOLDS + fold];
            }
            scale = norm_scale(squares);
        }
        if slot < GROUP {
            let base = qkv_base + (first_head + min(slot, heads - 1u)) * HEAD_DIM;
            q[i] = rotated4(base, p, 0u, scale, pos) * params.scale;
        } else if slot == GROUP {
            own_k[p] = pack(rotated4(k_base, p, HEAD_DIM, scale, pos));
        } else {
            let v = v_base + 4u * p;
            own_v[p] = pack(vec4(qkv[v], qkv[v + 1u], qkv[v + 2u], qkv[v + 3u]));
        }
    }
    workgroupBarrier();
    // One workgroup owns the token's place in the cache.
    if begin <= pos && end == pos + 1u && group.x % GROUPS == 0u {
        let place = cache + slot_at(table, pos);
        for (var p = lane; p < D4; p += SIZE) {
            k_cache[place + p] = own_k[p];
            v_cache[place + p] = own_v[p];
        }
    }

    var largest = array<f32, GROUP>();
    var total = array<f32, GROUP>();
    var sum = array<vec4<f32>, GROUP>();
    for (var g = 0u; g < GROUP; g++) {
        largest[g] = NEVER;
    }
    let phase = lane / D4;
    let p = lane % D4;
    for (var chunk = begin; chunk < end; chunk += CHUNK) {
        for (var at = lane / PARTS; at < CHUNK; at += SIZE / PARTS) {
            var dots = array<f32, GROUP>();
            let key = chunk + at;
            if key < end {
                let place = cache + slot_at(table, key);
                for (var i = lane % PARTS; i < D4; i += PARTS) {
                    var held = vec2<u32>();
                    if key == pos {
                        held = own_k[i];
                    } else {
                        held = k_cache[place + i];
                    }
                    let k = unpack(held);
                    for (var g = 0u; g < GROUP; g++) {
                        dots[g] += dot(q[g * D4 + i], k);
                    }
                }
            }
            for (var g = 0u; g < GROUP; g++) {
                scratch[(g * CHUNK + at) * PARTS + lane % PARTS] = dots[g];
            }
        }
        workgroupBarrier();
        var scores = array<f32, GROUP>();
        for (var g = 0u; g < GROUP; g++) {
            let at = (g * CHUNK + lane) * PARTS;
            let score = capped((scratch[at] + scratch[at + 1u]) + (scratch[at + 2u] + scratch[at + 3u]));
            scores[g] = select(NEVER, score, chunk + lane < end);
            weights[g * CHUNK + lane] = scores[g];
        }
        workgroupBarrier();
        for (var i = lane; i < GROUP * FOLDS; i += SIZE) {
            var high = NEVER;
            for (var at = i % FOLDS; at < CHUNK; at += FOLDS) {
                high = max(high, weights[i / FOLDS * CHUNK + at]);
            }
            folded[i] = high;
        }
        workgroupBarrier();
        for (var g = 0u; g < GROUP; g++) {
            var high = largest[g];
            for (var fold = 0u; fold < FOLDS; fold++) {
                high = max(high, folded[g * FOLDS + fold]);
            }
            let fade = exp(largest[g] - high);
            largest[g] = high;
            total[g] *= fade;
            sum[g] *= fade;
            weights[g * CHUNK + lane] = select(0.0, exp(scores[g] - high), chunk + lane < end);
        }
        workgroupBarrier();
        if phase < PHASES {
            for (var at = phase; at < min(CHUNK, end - chunk); at += PHASES) {
                var held = vec2<u32>();
                if chunk + at == pos {
                    held = own_v[p];
                } else {
                    held = v_cache[cache + slot_at(table, chunk + at) + p];
                }
                let v = unpack(held);
                for (var g = 0u; g < GROUP; g++) {
                    let weight = weights[g * CHUNK + at];
                    total[g] += weight;
                    sum[g] += weight * v;
                }
            }
        }
    }

    // The phases' sums: scratch was last read before two barriers, folded before one.
    if phase < PHASES {
        for (var g = 0u; g < GROUP; g++) {
            let at = (g * SIZE + lane) * 4u;
            scratch[at] = sum[g].x;
            scratch[at + 1u] = sum[g].y;
            scratch[at + 2u] = sum[g].z;
            scratch[at + 3u] = sum[g].w;
            if p == 0u {
                folded[g * FOLDS + phase] = total[g];
            }
        }
    }
    workgroupBarrier();
    for (var i = lane; i < heads * D4; i += SIZE) {
        let g = i / D4;
        var value = vec4(0.0);
        for (var each = 0u; each < PHASES; each++) {
            let at = (g * SIZE + each * D4 + i % D4) * 4u;
            value += vec4(scratch[at], scratch[at + 1u], scratch[at + 2u], scratch[at + 3u]);
        }
        if splits == 1u {
            out[token * params.out_stride / 4u + (first_head + g) * D4 + i % D4] = value / all_phases(g);
        } else {
            partials[partial_base(token, first_head + g, group.y) + i % D4] = value;
        }
    }
    if splits > 1u && lane == 0u {
        for (var g = 0u; g < heads; g++) {
            let at = partial_base(token, first_head + g, group.y) + D4;
            partials[at] = vec4(largest[g], all_phases(g), f32(splits), 0.0);
        }
    }
}

// The sum of a head's weights.
fn all_phases(g: u32) -> f32 {
    var total = 0.0;
    for (var each = 0u; each < PHASES; each++) {
        total += folded[g * FOLDS + each];
    }
    return total;
}
