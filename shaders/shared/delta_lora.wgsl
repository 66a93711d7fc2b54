// What an adapter adds to a linear layer: (B t)[output], with t = share * factor * (A x) from lora_down.wgsl.
//
// pool  a table, then matrices; see `ops/lora.rs`
// t     [tokens, t_stride * 4]
// Needs `halves`, `batch_row(token)` and, in `params`, t_stride, column, bound_1 and bound_2.
@group(0) @binding(6) var<storage, read> pool: array<vec2<u32>>;
@group(0) @binding(7) var<storage, read> t: array<vec4<f32>>;

fn delta(token: u32, output: u32) -> f32 {
    let column = params.column + output;
    // Which of the matrices that lie below each other this output belongs to (q, k, v; gate, up).
    let part_of = select(0u, 1u, column >= params.bound_1) + select(0u, 1u, column >= params.bound_2);
    let entry = 2u * (4u * batch_row(token) + part_of);
    let groups = pool[entry].x;
    // Counted from column 0, wherever the part begins: the sum may wrap and wrap back.
    let b_at = pool[entry].y + column * groups;
    let t_at = token * params.t_stride + pool[entry + 1u].x;
    var sum = 0.0;
    for (var g = 0u; g < groups; g++) {
        let b = pool[b_at + g];
        sum += dot(vec4<f32>(halves(b.x), halves(b.y)), t[t_at + g]);
    }
    return sum;
}
