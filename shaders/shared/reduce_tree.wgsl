// A sum over a workgroup of SIZE invocations by a tree in workgroup memory: needs nothing but core WGSL.
var<workgroup> partial: array<f32, SIZE>;

// Every invocation gets the sum. Begins with a barrier, so it can be called twice.
fn reduce_sum(lane: u32, value: f32) -> f32 {
    workgroupBarrier();
    partial[lane] = value;
    workgroupBarrier();
    for (var half = SIZE / 2u; half > 0u; half /= 2u) {
        if lane < half {
            partial[lane] += partial[lane + half];
        }
        workgroupBarrier();
    }
    return workgroupUniformLoad(&partial[0]);
}
