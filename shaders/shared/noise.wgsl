// Counter-based Gumbel noise: a pure function of (seed, step, token id), so a seed replays on any device.
// Imports nothing, but needs `elementary`. The twin is in `ops/pick.rs`.

// The pcg4d hash (Jarzynski and Olano, Hash Functions for GPU Rendering, JCGT 2020), its last word.
fn noise_bits(seed_low: u32, seed_high: u32, step: u32, id: u32) -> u32 {
    var v = vec4<u32>(seed_low, seed_high, step, id) * 1664525u + 1013904223u;
    v.x += v.y * v.w;
    v.y += v.z * v.x;
    v.z += v.x * v.y;
    v.w += v.y * v.z;
    v ^= v >> vec4<u32>(16u);
    v.x += v.y * v.w;
    v.y += v.z * v.x;
    v.z += v.x * v.y;
    v.w += v.y * v.z;
    return v.w;
}

// (h + 1/2) / 2^32 with no rounding left to the device's integer conversion.
fn unit_of(h: u32) -> f32 {
    if h < 0x1000000u {
        return (f32(h) + 0.5) * 2.3283064e-10;
    }
    return f32(h >> 8u) * 5.9604645e-8;
}

// u = (bits + 1/2) / 2^32;  -ln(-ln(1 - u)). Large values come from small u, where f32 is finest: the tail is exact to
// 2^-32, which 262,144 tokens need.
fn gumbel(bits: u32) -> f32 {
    var exponential = 0.0;
    if bits < 0x80000000u {
        let u = unit_of(bits);
        exponential = twice_atanh(u / (2.0 - u));
    } else {
        exponential = -ln(unit_of(~bits));
    }
    return -ln(exponential);
}
