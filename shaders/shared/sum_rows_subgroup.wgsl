// ROWS sums over a workgroup by subgroups: one barrier.
enable subgroups;
// A subgroup has at least 4 invocations (WGSL).
var<workgroup> parts: array<vec4<f32>, ROWS * SIZE / 4u>;
var<private> subgroups: u32;

// An invocation's part of sum `row`; to be called uniformly.
fn part(row: u32, lane: u32, value: vec4<f32>) {
    let sum = subgroupAdd(value);
    let lanes = subgroupAdd(1u);
    if subgroupBroadcastFirst(lane) == lane {
        parts[row * (SIZE / 4u) + lane / lanes] = sum;
    }
    subgroups = SIZE / lanes;
}

// All parts are in.
fn sum_parts(lane: u32) {
    workgroupBarrier();
}

fn summed(row: u32) -> vec4<f32> {
    var total = vec4<f32>(0.0);
    for (var i = 0u; i < subgroups; i++) {
        total += parts[row * (SIZE / 4u) + i];
    }
    return total;
}
