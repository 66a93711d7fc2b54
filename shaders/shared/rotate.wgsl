// Query and key heads as attention sees them: normed per head (QK_NORM), then rotated by their position.
//
// Needs `params.eps` and the globals `qkv` (f32), `turns` and `qk_gain`.
// turns [128 + ceil(context / 128), ROPE_DIMS / 2]   (cos, sin) of the angles of positions 0..127, then of 0, 128, 256 ...
//   A position's angle is the sum of two of them, so no sine is taken here: WGSL promises only 2^-11 for one, and only
//   within [-pi, pi].
// qk_gain [2, HEAD_DIM]   the gains of the query's norm, then of the key's
#const ROPE_DIMS = 64
#const HALF_SPLIT = 0
#const QK_NORM = 0
const TURNS: u32 = 128u;

// (cos, sin) of pair `i` at `pos`.
fn turn(pos: u32, i: u32) -> vec2<f32> {
    let fine = turns[(pos % TURNS) * (ROPE_DIMS / 2u) + i];
    let coarse = turns[(TURNS + pos / TURNS) * (ROPE_DIMS / 2u) + i];
    return vec2(fine.x * coarse.x - fine.y * coarse.y, fine.x * coarse.y + fine.y * coarse.x);
}

// What a head's values are multiplied by before their gain, given the sum of their squares.
fn norm_scale(squares: f32) -> f32 {
    return inverseSqrt(squares / f32(HEAD_DIM) + params.eps);
}

// Value `d` of the head at `base` of qkv, normed.
fn normed(base: u32, d: u32, gain: u32, scale: f32) -> f32 {
    var value = qkv[base + d];
    if QK_NORM == 1u {
        value *= scale * qk_gain[gain + d];
    }
    return value;
}

// Value `d` of the head at `base` of qkv, normed and rotated to `pos`. `gain` is 0 for a query, HEAD_DIM for a key.
fn rotated(base: u32, d: u32, gain: u32, scale: f32, pos: u32) -> f32 {
    let value = normed(base, d, gain, scale);
    if d >= ROPE_DIMS {
        return value;
    }
    let half = ROPE_DIMS / 2u;
    var first = (d & 1u) == 0u;
    var pair = d / 2u;
    var other = d ^ 1u;
    if HALF_SPLIT == 1u {
        first = d < half;
        pair = select(d - half, d, first);
        other = select(d - half, d + half, first);
    }
    let by = turn(pos, pair);
    return value * by.x + normed(base, other, gain, scale) * select(by.y, -by.y, first);
}

// Values 4p .. 4p+3.
fn rotated4(base: u32, p: u32, gain: u32, scale: f32, pos: u32) -> vec4<f32> {
    return vec4(
        rotated(base, 4u * p, gain, scale, pos),
        rotated(base, 4u * p + 1u, gain, scale, pos),
        rotated(base, 4u * p + 2u, gain, scale, pos),
        rotated(base, 4u * p + 3u, gain, scale, pos),
    );
}
