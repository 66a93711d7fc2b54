// ROWS sums over a workgroup by one tree in workgroup memory: needs nothing but core WGSL.
var<workgroup> parts: array<vec4<f32>, ROWS * SIZE>;

// An invocation's part of sum `row`.
fn part(row: u32, lane: u32, value: vec4<f32>) {
    parts[row * SIZE + lane] = value;
}

// All parts are in: sums them.
fn sum_parts(lane: u32) {
    for (var half = SIZE / 2u; half > 0u; half /= 2u) {
        workgroupBarrier();
        if lane < half {
            for (var row = 0u; row < ROWS; row++) {
                parts[row * SIZE + lane] += parts[row * SIZE + lane + half];
            }
        }
    }
    workgroupBarrier();
}

fn summed(row: u32) -> vec4<f32> {
    return parts[row * SIZE];
}
