// `attend` for software adapters: an invocation does one head and one split of one token by itself, without barriers.
//
// Bindings as in attend.wgsl.
#const SIZE = 4
#import heads
#import rotate
// Fewer keys than this are not worth a split of their own.
const SPLIT_KEYS: u32 = 8u;

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> batch: array<vec4<u32>>;
@group(0) @binding(2) var<storage, read> qkv: array<f32>;
@group(0) @binding(3) var<storage, read_write> k_cache: array<vec2<u32>>;
@group(0) @binding(4) var<storage, read_write> v_cache: array<vec2<u32>>;
@group(0) @binding(5) var<storage, read> turns: array<vec2<f32>>;
@group(0) @binding(6) var<storage, read> qk_gain: array<f32>;
@group(0) @binding(7) var<storage, read_write> out: array<vec4<f32>>;
@group(0) @binding(8) var<storage, read_write> partials: array<vec4<f32>>;

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

@compute @workgroup_size(SIZE)
fn main(@builtin(global_invocation_id) id: vec3<u32>) {
    let head = id.x;
    let split = id.y;
    let token = id.z;
    let splits = batch[0].z;
    let row = batch[1u + token].y;
    let pos = batch[1u + token].z;
    if head >= params.n_heads || pos >= params.context {
        return;
    }
    let kv_head = head / RATIO;
    let cache = cache_base(row, kv_head);
    let lowest = first_key(pos);
    let per_split = max((pos + splits - lowest) / splits, SPLIT_KEYS);
    let begin = min(lowest + split * per_split, pos + 1u);
    let end = min(begin + per_split, pos + 1u);

    let qkv_base = token * params.qkv_stride;
    let q_base = qkv_base + head * HEAD_DIM;
    let k_base = qkv_base + (params.n_heads + kv_head) * HEAD_DIM;
    let v_base = k_base + params.n_kv_heads * HEAD_DIM;
    var q: array<vec4<f32>, D4>;
    var sum: array<vec4<f32>, D4>;
    let q_scale = scale_of(q_base);
    for (var p = 0u; p < D4; p++) {
        q[p] = rotated4(q_base, p, 0u, q_scale, pos) * params.scale;
    }
    var largest = NEVER;
    var total = 0.0;
    for (var key = begin; key < min(end, pos); key++) {
        let at = cache + key * D4;
        var score = 0.0;
        for (var p = 0u; p < D4; p++) {
            score += dot(q[p], unpack(k_cache[at + p]));
        }
        score = capped(score);
        let high = max(largest, score);
        let fade = exp(largest - high);
        let weight = exp(score - high);
        largest = high;
        total = total * fade + weight;
        for (var p = 0u; p < D4; p++) {
            sum[p] = sum[p] * fade + weight * unpack(v_cache[at + p]);
        }
    }
    // The token itself, whose key and value the first query head of the kv head stores.
    if begin <= pos && end == pos + 1u {
        let at = cache + pos * D4;
        let stores = head % RATIO == 0u;
        let k_scale = scale_of(k_base);
        var score = 0.0;
        for (var p = 0u; p < D4; p++) {
            let k = pack(rotated4(k_base, p, HEAD_DIM, k_scale, pos));
            score += dot(q[p], unpack(k));
            if stores {
                k_cache[at + p] = k;
            }
        }
        score = capped(score);
        let high = max(largest, score);
        let fade = exp(largest - high);
        let weight = exp(score - high);
        largest = high;
        total = total * fade + weight;
        for (var p = 0u; p < D4; p++) {
            let own = v_base + 4u * p;
            let v = pack(vec4(qkv[own], qkv[own + 1u], qkv[own + 2u], qkv[own + 3u]));
            sum[p] = sum[p] * fade + weight * unpack(v);
            if stores {
                v_cache[at + p] = v;
            }
        }
    }
    if splits == 1u {
        for (var p = 0u; p < D4; p++) {
            out[token * params.out_stride / 4u + head * D4 + p] = sum[p] / total;
        }
    } else {
        let base = partial_base(token, head, splits, split);
        for (var p = 0u; p < D4; p++) {
            partials[base + p] = sum[p];
        }
        partials[base + D4] = vec4(largest, total, 0.0, 0.0);
    }
}
