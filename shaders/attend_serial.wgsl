// `attend` for software adapters: an invocation does up to GROUP query heads of a kv head and one split of one token by itself;
// the lanes of a workgroup are splits, and share the rotated queries: the one barrier.
//
// Bindings as in attend.wgsl, but what the splits find is always put together by attend_combine.
#const SIZE = 4
#const GROUP = 1
#const GROUPS = 1
#import heads
#import rotate
#import serial
// Fewer keys than this are not worth a split of their own.
const SPLIT_KEYS: u32 = 8u;

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> batch: array<vec4<u32>>;
@group(0) @binding(2) var<storage, read> qkv: array<f32>;
@group(0) @binding(3) var<storage, read_write> k_cache: array<vec2<u32>>;
@group(0) @binding(4) var<storage, read_write> v_cache: array<vec2<u32>>;
@group(0) @binding(5) var<storage, read> turns: array<vec2<f32>>;
@group(0) @binding(6) var<storage, read> qk_gain: array<f32>;
@group(0) @binding(7) var<storage, read_write> partials: array<vec4<f32>>;

var<workgroup> q: array<vec4<f32>, GROUP * D4>;
// Where the sums of this invocation's first head begin in partials, and how far apart its heads' are.
var<private> place: u32;
var<private> apart: u32;
// The last of its heads: where GROUP is more than are left, the others repeat it.
var<private> last: u32;

@compute @workgroup_size(SIZE)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let kv_head = group.x / GROUPS;
    let first_head = kv_head * RATIO + (group.x % GROUPS) * GROUP;
    let split = group.y * SIZE + lane;
    let token = group.z;
    let splits = min(groups.y * SIZE, MAX_SPLITS);
    begin_loops(batch[0].x);
    let row = batch[1u + token].y;
    let pos = batch[1u + token].z;
    if pos >= params.context || group.y * SIZE >= MAX_SPLITS {
        return;
    }
    last = min(GROUP, (kv_head + 1u) * RATIO - first_head) - 1u;
    place = partial_base(token, first_head, split);
    apart = MAX_SPLITS * (D4 + 1u);
    let qkv_base = token * params.qkv_stride;
    for (var g = 0u; g < GROUP; g++) {
        let base = qkv_base + (first_head + min(g, last)) * HEAD_DIM;
        let scale = scale_of(base);
        for (var p = lane; p < d4; p += SIZE) {
            q[g * D4 + p] = rotated4(base, p, 0u, scale, pos) * params.scale;
        }
    }
    workgroupBarrier();
    let cache = cache_base(kv_head);
    let table = table_base(row);
    let lowest = first_key(pos);
    let per_split = max((pos + splits - lowest) / splits, SPLIT_KEYS);
    let begin = min(lowest + split * per_split, pos + 1u);
    let end = min(begin + per_split, pos + 1u);
    see(lane, cache, table, begin, min(end, pos));
    if begin <= pos && end == pos + 1u {
        let k_base = qkv_base + (params.n_heads + kv_head) * HEAD_DIM;
        see_own(k_base, k_base + params.n_kv_heads * HEAD_DIM, cache + slot_at(table, pos), pos, group.x % GROUPS == 0u);
    } else if begin == end {
        for (var p = 0u; p < d4; p++) {
            add_all(p, vec4(0.0), vec4(0.0), vec4(0.0), vec4(0.0), vec4(0.0));
        }
    }
    for (var g = 0u; g <= last; g++) {
        partials[place + g * apart + D4] = vec4(largest[g], total[g], f32(splits), 0.0);
    }
}

// Sees the token itself, whose key and value one invocation stores.
fn see_own(k_base: u32, v_base: u32, stored: u32, pos: u32, stores: bool) {
    let scale = scale_of(k_base);
    var scores = vec4(0.0);
    for (var p = 0u; p < d4; p++) {
        let held = pack(rotated4(k_base, p, HEAD_DIM, scale, pos));
        if stores {
            k_cache[stored + p] = held;
        }
        let k = unpack(held);
        scores += vec4(dot(q_at(0u, p), k), dot(q_at(1u, p), k), dot(q_at(2u, p), k), dot(q_at(3u, p), k));
    }
    scores = capped4(scores);
    let fade = raise(scores);
    let weight = exp(scores - largest);
    total += weight;
    for (var p = 0u; p < d4; p++) {
        let i = v_base + 4u * p;
        let held = pack(vec4(qkv[i], qkv[i + 1u], qkv[i + 2u], qkv[i + 3u]));
        if stores {
            v_cache[stored + p] = held;
        }
        let v = unpack(held);
        add_all(p, fade, weight.x * v, weight.y * v, weight.z * v, weight.w * v);
    }
}

fn q_at(g: u32, p: u32) -> vec4<f32> {
    return q[min(g, GROUP - 1u) * D4 + p];
}

fn add(g: u32, p: u32, fade: f32, value: vec4<f32>) {
    if g > last {
        return;
    }
    let at = place + g * apart + p;
    if fade == 0.0 {
        partials[at] = value;
    } else {
        partials[at] = partials[at] * fade + value;
    }
}

fn scale_of(base: u32) -> f32 {
    if QK_NORM == 0u {
        return 1.0;
    }
    var squares = 0.0;
    for (var d = 0u; d < HEAD_DIM; d++) {
        squares += qkv[base + d] * qkv[base + d];
    }
    return norm_scale(squares);
}
