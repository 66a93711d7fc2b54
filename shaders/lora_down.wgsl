// The first half of an adapter, to few dimensions: t[token] = share * factor * (A x[token]), four ranks at a time.
//
// x      [tokens, in_stride * 4]   zero beyond k up to a multiple of 8
// pool   a table, then matrices; see `ops/lora.rs`
// shares [rows, SEGMENTS]          live: what each part of a row's adapter is multiplied with
// t      [tokens, t_stride * 4]
// One workgroup does a group of four ranks of a token (workgroup y); in the serial variant an invocation does one.
#const ROWS = 1
#const SIZE = 64
#const SERIAL = 0
#const SEGMENTS = 16

#import decode
#import sum_rows_{reduce}

struct Params {
    octets: u32,
    in_stride: u32,
    t_stride: u32,
}

// Not a uniform, as in linear_rows.wgsl.
@group(0) @binding(0) var<storage, read> params: Params;
@group(0) @binding(1) var<storage, read> pool: array<vec4<u32>>;
@group(0) @binding(2) var<storage, read> x: array<vec4<f32>>;
@group(0) @binding(3) var<storage, read> shares: array<f32>;
@group(0) @binding(4) var<storage, read_write> t: array<vec4<f32>>;
@group(0) @binding(5) var<storage, read> batch: array<vec4<u32>>;

@compute @workgroup_size(SIZE)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let token = group.y;
    let row = batch[1u + token].y;
    // (groups of the row, first of A, first of the groups' factors)
    let entry = pool[4u * row + 3u];
    var g = group.x;
    var first = lane;
    var step = SIZE;
    if SERIAL == 1u {
        g = group.x * SIZE + lane;
        first = 0u;
        step = 1u;
    }
    var acc = vec4<f32>(0.0);
    if g < entry.x {
        let a_at = entry.y + g * params.octets * 4u;
        for (var o = first; o < params.octets; o += step) {
            let x_lo = x[token * params.in_stride + 2u * o];
            let x_hi = x[token * params.in_stride + 2u * o + 1u];
            #unroll i 4
            let a_$i = pool[a_at + 4u * o + $iu];
            acc[$i] += dot(vec4<f32>(halves(a_$i.x), halves(a_$i.y)), x_lo)
                + dot(vec4<f32>(halves(a_$i.z), halves(a_$i.w)), x_hi);
            #end
        }
    }
    part(0u, lane, acc);
    sum_parts(lane);
    if g < entry.x && (SERIAL == 1u || lane == 0u) {
        // Two groups' (segment, factor) lie in one vector.
        let pair = pool[entry.z + g / 2u];
        let of_group = select(pair.xy, pair.zw, g % 2u == 1u);
        t[token * params.t_stride + g] = shares[row * SEGMENTS + of_group.x] * bitcast<f32>(of_group.y) * summed(0u);
    }
}
