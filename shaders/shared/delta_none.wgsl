// No row of the batch has an adapter.
fn delta(token: u32, output: u32) -> f32 {
    return 0.0;
}
