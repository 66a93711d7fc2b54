// What the attention kernels share: sizes, the f16 cache's packing and its places, the cap on scores and the keys a query may
// see.
//
// Caches are [kv_heads, slots, HEAD_DIM] in f16: a vec2<u32> holds four values. A slot holds one position of one row, or of
// several that have it in common. Which one, the table says that follows the tokens in `batch`: [rows, context] slots from
// vec4 number `batch[0].y` on.
#const HEAD_DIM = 64
#const RATIO = 1
#const SOFT_CAP = 0
#const MAX_SPLITS = 32
const D4: u32 = HEAD_DIM / 4u;
// Below every score, so that no infinity is computed with (WGSL lets implementations assume there are none).
const NEVER: f32 = -1e30;

struct Params {
    n_heads: u32,
    n_kv_heads: u32,
    qkv_stride: u32,
    out_stride: u32,
    context: u32,
    window: u32,
    scale: f32,
    soft_cap: f32,
    eps: f32,
    slots: u32,
}

fn pack(value: vec4<f32>) -> vec2<u32> {
    let held = clamp(value, vec4(-65504.0), vec4(65504.0));
    return vec2(pack2x16float(held.xy), pack2x16float(held.zw));
}

fn unpack(held: vec2<u32>) -> vec4<f32> {
    return vec4(unpack2x16float(held.x), unpack2x16float(held.y));
}

// cap * tanh(score / cap), which overflows nowhere.
fn capped(score: f32) -> f32 {
    if SOFT_CAP == 0u {
        return score;
    }
    let e = exp(2.0 * clamp(score / params.soft_cap, -15.0, 15.0));
    return params.soft_cap * (1.0 - 2.0 / (e + 1.0));
}

// The first position that a query at `pos` sees. A window as long as the context is no window.
fn first_key(pos: u32) -> u32 {
    return max(pos + 1u, params.window) - params.window;
}

// Where, in words, the slots of a row begin in `batch`.
fn table_base(row: u32) -> u32 {
    return 4u * batch[0].y + row * params.context;
}

// Where, in vec2<u32>, a kv head's slots begin in a cache.
fn cache_base(kv_head: u32) -> u32 {
    return kv_head * params.slots * D4;
}

// How far from there a position is.
fn slot_at(table: u32, pos: u32) -> u32 {
    let at = table + pos;
    return batch[at / 4u][at % 4u] * D4;
}

// Where, in vec4<f32>, what a split of a token's head found begins: HEAD_DIM sums of weighted values, then the largest score,
// the sum of weights, and how many splits there are.
fn partial_base(token: u32, head: u32, split: u32) -> u32 {
    return ((token * params.n_heads + head) * MAX_SPLITS + split) * (D4 + 1u);
}
