// Embedding: x[t] = table[id of token t] * scale, for the tokens whose id lies in this segment of the table.
//
// weights [table_rows, units * WORDS]   rows first_row .. first_row + table_rows of the table, packed, see decode.wgsl
// x       [tokens, stride]              the padding beyond k is not written
// batch   header, then a token each     (id, row, position, 0)
// One invocation decodes eight elements; a workgroup's y is a token.
#const SIZE = 64

#import format_{format}

struct Params {
    k: u32,
    units: u32,
    stride: u32,
    first_row: u32,
    table_rows: u32,
    scale: f32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> weights: array<u32>;
@group(0) @binding(2) var<storage, read> batch: array<vec4<u32>>;
@group(0) @binding(3) var<storage, read_write> x: array<f32>;

@compute @workgroup_size(SIZE)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let token = group.y;
    let octet = group.x * SIZE + lane;
    // An id below first_row wraps around to a large number.
    let row = batch[1u + token].x - params.first_row;
    if token >= batch[0].x || row >= params.table_rows || octet * 8u >= params.k {
        return;
    }
    let unit = (row * params.units + octet / (UNIT / 8u)) * WORDS;
    let within = octet % (UNIT / 8u);
    let scale = scales(unit, within / (SUB / 8u));
    let q = quants(unit, within);
    let lo = (scale.x * (q.lo * SCALE) + scale.y) * params.scale;
    let hi = (scale.x * (q.hi * SCALE) + scale.y) * params.scale;
    let at = token * params.stride + octet * 8u;
    let left = params.k - octet * 8u;
    #unroll i 4
    if $iu < left {
        x[at + $iu] = lo[$i];
    }
    if $iu + 4u < left {
        x[at + $iu + 4u] = hi[$i];
    }
    #end
}
