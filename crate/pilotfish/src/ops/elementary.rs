//! Exponential, logarithm and sortable keys as `shaders/shared/elementary.wgsl` writes them out.
//!
//! WGSL lets its own `exp` and `log` differ between devices; these are the same operations in the same order everywhere, so that
//! a seed gives the same tokens on a GPU, in a browser and in the twin.

/// e^x for x <= 0, in the shader's very operations; 0 below -87.
pub fn exp_below(x: f32) -> f32 {
    if x < -87.0 {
        return 0.0;
    }
    let k = (x * std::f32::consts::LOG2_E + 0.5).floor();
    let r = (x - k * 0.693_359_4) + k * 0.000_212_194_44;
    let series = [0.000_198_412_7, 0.001_388_888_9, 0.008_333_333, 0.041_666_667, 0.166_666_67, 0.5, 1.0, 1.0];
    let y = series.iter().fold(0.0f32, |y, c| y * r + c);
    y * f32::from_bits(((k as i32 + 127) as u32) << 23)
}

/// 2 atanh(s) for |s| <= 1/3.
pub fn twice_atanh(s: f32) -> f32 {
    let t = s * s;
    let series = [0.066_666_67, 0.076_923_08, 0.090_909_09, 0.111_111_11, 0.142_857_14, 0.2, 0.333_333_33, 1.0];
    2.0 * s * series.iter().fold(0.0f32, |y, c| y * t + c)
}

/// The natural logarithm of a positive normal number.
pub fn ln(x: f32) -> f32 {
    let bits = x.to_bits();
    let mut e = ((bits >> 23) as i32 - 127) as f32;
    let mut m = f32::from_bits((bits & 0x7f_ffff) | 0x3f80_0000);
    if m > std::f32::consts::SQRT_2 {
        m *= 0.5;
        e += 1.0;
    }
    (e * 0.693_359_4 - e * 0.000_212_194_44) + twice_atanh((m - 1.0) / (m + 1.0))
}

/// A number that orders as the float does; both zeros are one.
pub fn sort_key(x: f32) -> u32 {
    let bits = if x == 0.0 { 0 } else { x.to_bits() };
    if bits >> 31 == 1 { !bits } else { bits | 0x8000_0000 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_written_out_functions_are_right_within_two_ulp() {
        for i in 0..200_000u32 {
            let x = -(i as f32) / 2300.0;
            let (got, want) = (exp_below(x), f64::from(x).exp());
            assert!((f64::from(got) - want).abs() <= want * 2.5e-7, "exp {x}: {got} {want}");
            let x = f32::from_bits(0x0080_0000 + i * 10_600);
            let (got, want) = (ln(x), f64::from(x).ln());
            assert!((f64::from(got) - want).abs() <= want.abs() * 2.5e-7 + 1e-9, "ln {x}: {got} {want}");
        }
    }

    #[test]
    fn keys_order_as_floats_do() {
        let sorted = [-3e38, -1e30, -2.5, -1e-20, 0.0, 1e-20, 0.5, 3e38];
        assert!(sorted.windows(2).all(|pair| sort_key(pair[0]) < sort_key(pair[1])));
        assert_eq!(sort_key(-0.0), sort_key(0.0));
    }
}
