// `attend_prefill` for software adapters: an invocation does one head of one token by itself, without barriers.
//
// batch [1 + tokens]          (tokens, ...), then (id, row, pos, 0) of each token
// k_cache, v_cache            f16, see heads.wgsl
// out [tokens, out_stride]    rotated queries in, attention out
#const SIZE = 16
#import heads

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> batch: array<vec4<u32>>;
@group(0) @binding(2) var<storage, read> k_cache: array<vec2<u32>>;
@group(0) @binding(3) var<storage, read> v_cache: array<vec2<u32>>;
@group(0) @binding(4) var<storage, read_write> out: array<vec4<f32>>;

@compute @workgroup_size(SIZE)
fn main(@builtin(global_invocation_id) id: vec3<u32>) {
    let token = id.x;
    let head = id.y;
    if token >= batch[0].x {
        return;
    }
    let row = batch[1u + token].y;
    let pos = batch[1u + token].z;
    if pos >= params.context {
        return;
    }
    let cache = cache_base(row, head / RATIO);
    let place = token * params.out_stride / 4u + head * D4;
    var q: array<vec4<f32>, D4>;
    var sum: array<vec4<f32>, D4>;
    for (var p = 0u; p < D4; p++) {
        q[p] = out[place + p] * params.scale;
    }
    var largest = NEVER;
    var total = 0.0;
    for (var key = first_key(pos); key <= pos; key++) {
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
    for (var p = 0u; p < D4; p++) {
        out[place + p] = sum[p] / total;
    }
}
