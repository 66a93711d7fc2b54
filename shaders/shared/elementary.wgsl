// Exponential, logarithm and a sortable key, written out: WGSL lets `log` be off by 2^-21 near 1 and `exp` by 3 + 2|x| ulp,
// and the mix must give the same token on every device. The twins are in `ops/elementary.rs`.

// e^x for x <= 0, within 2 ulp; 0 below -87.
fn exp_below(x: f32) -> f32 {
    if x < -87.0 {
        return 0.0;
    }
    // x = k ln 2 + r with |r| <= ln 2 / 2; ln 2 in two parts, the first short enough for an exact k * part.
    let k = floor(x * 1.44269504 + 0.5);
    let r = (x - k * 0.693359375) + k * 0.00021219444;
    var y = 0.00019841270;
    y = y * r + 0.0013888889;
    y = y * r + 0.0083333333;
    y = y * r + 0.041666667;
    y = y * r + 0.16666667;
    y = y * r + 0.5;
    y = y * r + 1.0;
    y = y * r + 1.0;
    return y * bitcast<f32>(u32(i32(k) + 127) << 23u);
}

// 2 atanh(s) for |s| <= 1/3.
fn twice_atanh(s: f32) -> f32 {
    let t = s * s;
    var y = 0.066666667;
    y = y * t + 0.076923077;
    y = y * t + 0.090909091;
    y = y * t + 0.11111111;
    y = y * t + 0.14285714;
    y = y * t + 0.2;
    y = y * t + 0.33333333;
    y = y * t + 1.0;
    return 2.0 * s * y;
}

// The natural logarithm of a positive normal number.
fn ln(x: f32) -> f32 {
    let bits = bitcast<u32>(x);
    var e = f32(i32(bits >> 23u) - 127);
    var m = bitcast<f32>((bits & 0x7fffffu) | 0x3f800000u);
    if m > 1.4142135 {
        m *= 0.5;
        e += 1.0;
    }
    return (e * 0.693359375 - e * 0.00021219444) + twice_atanh((m - 1.0) / (m + 1.0));
}

// A u32 that orders as the float does; both zeros are one key.
fn sort_key(x: f32) -> u32 {
    let bits = bitcast<u32>(x);
    if (bits << 1u) == 0u {
        return 0x80000000u;
    }
    return select(bits | 0x80000000u, ~bits, (bits >> 31u) == 1u);
}
