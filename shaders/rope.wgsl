// What precedes attention in a prefill: queries rotated, keys rotated and stored, values stored.
//
// batch                         (tokens, table, ...), then (id, row, pos, lane) of each token; the table of slots
// qkv [tokens, qkv_stride]      projections: query heads, key heads, value heads
// k_cache, v_cache              f16, see heads.wgsl; written at each token's slot
// turns, qk_gain                see rotate.wgsl
// queries [tokens, out_stride]  rotated
//
// LANES lanes do one head of one token; each of them takes the norm's sum of squares for itself, which is cheaper than a barrier.
#const SIZE = 64
#const LANES = 16
#import heads
#import rotate

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> batch: array<vec4<u32>>;
@group(0) @binding(2) var<storage, read> qkv: array<f32>;
@group(0) @binding(3) var<storage, read_write> k_cache: array<vec2<u32>>;
@group(0) @binding(4) var<storage, read_write> v_cache: array<vec2<u32>>;
@group(0) @binding(5) var<storage, read> turns: array<vec2<f32>>;
@group(0) @binding(6) var<storage, read> qk_gain: array<f32>;
@group(0) @binding(7) var<storage, read_write> queries: array<vec4<f32>>;

@compute @workgroup_size(SIZE)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let token = group.y;
    let head = (group.x * SIZE + lane) / LANES;
    let keys = params.n_heads;
    let values = keys + params.n_kv_heads;
    if token >= batch[0].x || head >= values + params.n_kv_heads {
        return;
    }
    let row = batch[1u + token].y;
    let pos = batch[1u + token].z;
    if pos >= params.context {
        return;
    }
    let slot = slot_at(table_base(row), pos);
    let base = token * params.qkv_stride + head * HEAD_DIM;
    var scale = 1.0;
    if QK_NORM == 1u && head < values {
        var squares = 0.0;
        for (var d = 0u; d < HEAD_DIM; d++) {
            squares += qkv[base + d] * qkv[base + d];
        }
        scale = norm_scale(squares);
    }
    for (var p = lane % LANES; p < D4; p += LANES) {
        if head < keys {
            queries[token * params.out_stride / 4u + head * D4 + p] = rotated4(base, p, 0u, scale, pos);
        } else if head < values {
            k_cache[cache_base(head - keys) + slot + p] = pack(rotated4(base, p, HEAD_DIM, scale, pos));
        } else {
            let v = base + 4u * p;
            v_cache[cache_base(head - values) + slot + p] =
                pack(vec4(qkv[v], qkv[v + 1u], qkv[v + 2u], qkv[v + 3u]));
        }
    }
}
