// No sum over a workgroup: an invocation has added up all of it by itself.
var<private> whole: array<vec4<f32>, ROWS>;

fn part(row: u32, lane: u32, value: vec4<f32>) {
    whole[row] = value;
}

fn sum_parts(lane: u32) {
}

fn summed(row: u32) -> vec4<f32> {
    return whole[row];
}
