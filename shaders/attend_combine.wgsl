// Puts the splits of `attend` together: one workgroup does one head of one token, a lane four dimensions. No barriers.
//
// batch, partials, out   see attend.wgsl
#const SIZE = 64
#import heads

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> batch: array<vec4<u32>>;
@group(0) @binding(2) var<storage, read> partials: array<vec4<f32>>;
@group(0) @binding(3) var<storage, read_write> out: array<vec4<f32>>;

@compute @workgroup_size(SIZE)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let head = group.x;
    let token = group.y;
    if lane >= D4 || batch[1u + token].z >= params.context {
        return;
    }
    let base = partial_base(token, head, 0u);
    let splits = u32(partials[base + D4].z);
    var largest = NEVER;
    for (var split = 0u; split < splits; split++) {
        largest = max(largest, partials[base + split * (D4 + 1u) + D4].x);
    }
    var total = 0.0;
    var sum = vec4(0.0);
    for (var split = 0u; split < splits; split++) {
        let at = base + split * (D4 + 1u);
        // An empty split has the score NEVER, hence the factor 0.
        let factor = exp(partials[at + D4].x - largest);
        total += factor * partials[at + D4].y;
        sum += factor * partials[at + lane];
    }
    out[token * params.out_stride / 4u + head * D4 + lane] = sum / total;
}
