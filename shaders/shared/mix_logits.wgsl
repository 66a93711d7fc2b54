// Reads logits [rows, stride] safely: -inf becomes IMPOSSIBLE, NaN and +inf become MASKED.
// Loaded as bits, because a compiler may assume that floats are finite.
@group(0) @binding(2) var<storage, read> logits: array<u32>;

fn logit(row: u32, id: u32) -> f32 {
    let bits = logits[row * params.stride + id];
    if (bits & 0x7f800000u) == 0x7f800000u {
        return select(MASKED, IMPOSSIBLE, bits == 0xff800000u);
    }
    return clamp(bitcast<f32>(bits), IMPOSSIBLE, -IMPOSSIBLE);
}

fn is_possible(l: f32) -> bool {
    return l > -1.0e29;
}
