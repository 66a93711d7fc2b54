// A sum over a workgroup of SIZE invocations by subgroups: one barrier instead of a tree of them.
enable subgroups;
var<workgroup> partial: array<f32, SIZE>;

// Every invocation gets the sum. Begins with a barrier, so it can be called twice.
fn reduce_sum(lane: u32, value: f32) -> f32 {
    let sum = subgroupAdd(value);
    let lanes = subgroupAdd(1u);
    workgroupBarrier();
    if subgroupBroadcastFirst(lane) == lane {
        partial[lane / lanes] = sum;
    }
    workgroupBarrier();
    var total = 0.0;
    for (var i = 0u; i < SIZE / lanes; i++) {
        total += partial[i];
    }
    return total;
}
