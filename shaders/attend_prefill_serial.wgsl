// `attend_prefill` for software adapters: an invocation does up to GROUP query heads of a kv head for one token by itself,
// without barriers; the lanes of a workgroup are tokens, which mostly see the same keys.
//
// Bindings as in attend_prefill.wgsl.
#const SIZE = 8
#const GROUP = 1
#const GROUPS = 1
#import heads
#import serial

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> batch: array<vec4<u32>>;
@group(0) @binding(2) var<storage, read> q: array<vec4<f32>>;
@group(0) @binding(3) var<storage, read> k_cache: array<vec2<u32>>;
@group(0) @binding(4) var<storage, read> v_cache: array<vec2<u32>>;
@group(0) @binding(5) var<storage, read_write> out: array<vec4<f32>>;

// Where this invocation's first head begins in q and out.
var<private> place: u32;
// The last of its heads: where GROUP is more than are left, the others repeat it.
var<private> last: u32;

@compute @workgroup_size(SIZE)
fn main(@builtin(global_invocation_id) id: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let token = id.x;
    let kv_head = id.y / GROUPS;
    let first_head = kv_head * RATIO + (id.y % GROUPS) * GROUP;
    if token >= batch[0].x {
        return;
    }
    begin_loops(batch[0].x);
    let row = batch[1u + token].y;
    let pos = batch[1u + token].z;
    if pos >= params.context {
        return;
    }
    place = token * params.out_stride / 4u + first_head * D4;
    last = min(GROUP, (kv_head + 1u) * RATIO - first_head) - 1u;
    see(lane, cache_base(kv_head), table_base(row), first_key(pos), pos + 1u);
    for (var g = 0u; g <= last; g++) {
        for (var p = 0u; p < d4; p++) {
            out[place + g * D4 + p] /= total[g];
        }
    }
}

fn q_at(g: u32, p: u32) -> vec4<f32> {
    return q[place + min(g, last) * D4 + p] * params.scale;
}

fn add(g: u32, p: u32, fade: f32, value: vec4<f32>) {
    if g > last {
        return;
    }
    let at = place + g * D4 + p;
    if fade == 0.0 {
        out[at] = value;
    } else {
        out[at] = out[at] * fade + value;
    }
}
