// Attention of a chunk of tokens, for GPUs: each sees its own row's cache up to its own position.
//
// batch                       (tokens, table, ...), then (id, row, pos, lane) of each token: neighbours of one row are
//                             consecutive; the table of slots
// k_cache, v_cache            f16, see heads.wgsl; they hold the chunk's keys and values
// queries [tokens, out_stride]    rotated
// out [tokens, out_stride]
//
// A workgroup does one head of QUERIES tokens, row by row, KEYS positions at a time. A lane takes, in turn: four queries and a
// PARTS-th of a key's dimensions (scores); one query and some keys (online softmax); four queries and four dimensions (sums).
// Keys and then values are staged in `tile`, whose rows and those of `q` are one longer than they need be, against bank conflicts.
#const SIZE = 128
#const QUADS = 8
#const KEYS = 16
#import heads
const QUERIES: u32 = 4u * QUADS;
const PARTS: u32 = SIZE / (QUADS * KEYS);
const SHARES: u32 = min(SIZE / QUERIES, KEYS);
const ROW: u32 = D4 + 1u;

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> batch: array<vec4<u32>>;
@group(0) @binding(2) var<storage, read> queries: array<vec4<f32>>;
@group(0) @binding(3) var<storage, read> k_cache: array<vec2<u32>>;
@group(0) @binding(4) var<storage, read> v_cache: array<vec2<u32>>;
@group(0) @binding(5) var<storage, read_write> out: array<vec4<f32>>;

var<workgroup> q: array<vec4<f32>, QUERIES * ROW>;
var<workgroup> tile: array<vec2<u32>, KEYS * ROW>;
// Parts of scores [PARTS, KEYS, QUERIES], then weights [KEYS, QUERIES].
var<workgroup> parts: array<f32, PARTS * KEYS * QUERIES>;
var<workgroup> scores: array<f32, KEYS * QUERIES>;
var<workgroup> fades: array<f32, QUERIES>;

@compute @workgroup_size(SIZE)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let first = group.x * QUERIES;
    let head = group.y;
    if first >= batch[0].x {
        return;
    }
    let n = min(QUERIES, batch[0].x - first);
    let place = first * params.out_stride / 4u + head * D4;
    for (var i = lane; i < QUERIES * D4; i += SIZE) {
        var value = vec4(0.0);
        if i / D4 < n {
            value = queries[place + i / D4 * (params.out_stride / 4u) + i % D4] * params.scale;
        }
        q[i / D4 * ROW + i % D4] = value;
    }

    let query = lane % QUERIES;
    let share = lane / QUERIES;
    let pos = batch[1u + first + min(query, n - 1u)].z;
    let lowest = first_key(pos);
    var largest = NEVER;
    var total = 0.0;
    let quad = lane / D4;
    let p = lane % D4;
    var sum0 = vec4(0.0);
    var sum1 = vec4(0.0);
    var sum2 = vec4(0.0);
    var sum3 = vec4(0.0);

    var begin = 0u;
    while begin < n {
        let row = batch[1u + first + begin].y;
        var end = begin + 1u;
        while end < n && batch[1u + first + end].y == row {
            end++;
        }
        let cache = cache_base(head / RATIO);
        let table = table_base(row);
        let keys = min(batch[first + end].z + 1u, params.context);
        for (var key = first_key(batch[1u + first + begin].z); key < keys; key += KEYS) {
            workgroupBarrier();
            for (var i = lane; i < KEYS * D4; i += SIZE) {
                var held = vec2(0u);
                if key + i / D4 < keys {
                    held = k_cache[cache + slot_at(table, key + i / D4) + i % D4];
                }
                tile[i / D4 * ROW + i % D4] = held;
            }
            workgroupBarrier();
            if lane < PARTS * KEYS * QUADS {
                let at = 4u * (lane / KEYS % QUADS);
                let part = lane / (KEYS * QUADS);
                var dots = vec4(0.0);
                for (var i = part; i < D4; i += PARTS) {
                    let k = unpack(tile[lane % KEYS * ROW + i]);
                    dots += vec4(
                        dot(q[at * ROW + i], k),
                        dot(q[(at + 1u) * ROW + i], k),
                        dot(q[(at + 2u) * ROW + i], k),
                        dot(q[(at + 3u) * ROW + i], k),
                    );
                }
                let to = (part * KEYS + lane % KEYS) * QUERIES + at;
                parts[to] = dots.x;
                parts[to + 1u] = dots.y;
                parts[to + 2u] = dots.z;
                parts[to + 3u] = dots.w;
            }
            workgroupBarrier();
            if share < SHARES {
                for (var at = share; at < KEYS; at += SHARES) {
                    var score = 0.0;
                    for (var part = 0u; part < PARTS; part++) {
                        score += parts[(part * KEYS + at) * QUERIES + query];
                    }
                    let seen = query >= begin && query < end && key + at >= lowest && key + at <= pos;
                    scores[at * QUERIES + query] = select(NEVER, capped(score), seen);
                }
            }
            for (var i = lane; i < KEYS * D4; i += SIZE) {
                var held = vec2(0u);
                if key + i / D4 < keys {
                    held = v_cache[cache + slot_at(table, key + i / D4) + i % D4];
                }
                tile[i / D4 * ROW + i % D4] = held;
            }
            workgroupBarrier();
            if share < SHARES {
                var high = largest;
                for (var at = 0u; at < KEYS; at++) {
                    high = max(high, scores[at * QUERIES + query]);
                }
                let fade = exp(largest - high);
                largest = high;
                total *= fade;
                for (var at = share; at < KEYS; at += SHARES) {
                    let score = scores[at * QUERIES + query];
                    let weight = select(0.0, exp(score - high), score > NEVER);
                    parts[at * QUERIES + query] = weight;
                    total += weight;
                }
                if share == 0u {
                    fades[query] = fade;
                }
            }
            workgroupBarrier();
            if quad < QUADS {
                let at = 4u * quad;
                sum0 *= fades[at];
                sum1 *= fades[at + 1u];
                sum2 *= fades[at + 2u];
                sum3 *= fades[at + 3u];
                for (var i = 0u; i < KEYS; i++) {
                    let v = unpack(tile[i * ROW + p]);
                    let weight = i * QUERIES + at;
                    sum0 += parts[weight] * v;
                    sum1 += parts[weight + 1u] * v;
                    sum2 += parts[weight + 2u] * v;
                    sum3 += parts[weight + 3u] * v;
                }
            }
        }
        begin = end;
    }

    // The shares of each query's weights; scores was last read before a barrier.
    if share < SHARES {
        scores[share * QUERIES + query] = total;
    }
    workgroupBarrier();
    if quad < QUADS {
        let at = 4u * quad;
        write(place, at, n, p, sum0);
        write(place, at + 1u, n, p, sum1);
        write(place, at + 2u, n, p, sum2);
        write(place, at + 3u, n, p, sum3);
    }
}

fn write(place: u32, query: u32, n: u32, p: u32, sum: vec4<f32>) {
    if query >= n {
        return;
    }
    var total = 0.0;
    for (var share = 0u; share < SHARES; share++) {
        total += scores[share * QUERIES + query];
    }
    out[place + query * (params.out_stride / 4u) + p] = sum / total;
}
