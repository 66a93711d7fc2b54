//! Scalar functions made to be vectorised: no branches, no calls.

/// `a * b + c`, rounded once where the instruction set does that for free.
#[inline(always)]
pub(crate) fn fma<const FMA: bool>(a: f32, b: f32, c: f32) -> f32 {
    if FMA { a.mul_add(b, c) } else { a * b + c }
}

/// The larger; `b` where `a` is no number. What `f32::max` does about numbers that are none is a call for each in WebAssembly.
#[inline(always)]
pub(crate) fn larger(a: f32, b: f32) -> f32 {
    if a > b { a } else { b }
}

/// 1.5 * 2^23: added to a float below 2^22, it leaves the nearest integer in the low bits.
const MAGIC: f32 = 12_582_912.0;

/// The nearest integer, ties to even, of a float below 2^22 in magnitude.
#[inline(always)]
pub(crate) fn round_small(x: f32) -> i32 {
    ((x + MAGIC).to_bits() as i32).wrapping_sub(MAGIC.to_bits() as i32)
}

/// `e^x` to 2 units in the last place; 1e-38 and less become about that, 88.3 and more the largest float or so.
#[inline(always)]
pub(crate) fn exp<const FMA: bool>(x: f32) -> f32 {
    // The constants and coefficients of Cephes' expf.
    let x = x.clamp(-87.3, 88.3);
    let magic = fma::<FMA>(x, std::f32::consts::LOG2_E, MAGIC);
    let n = magic - MAGIC;
    let r = fma::<FMA>(n, -0.693_359_4, x);
    let r = fma::<FMA>(n, 2.121_944_4e-4, r);
    let mut p = 1.987_569_1e-4;
    for c in [1.398_2e-3, 8.333_452e-3, 4.166_579_6e-2, 1.666_666_5e-1, 0.5] {
        p = fma::<FMA>(p, r, c);
    }
    let p = fma::<FMA>(p, r * r, r + 1.0);
    let power = f32::from_bits((magic.to_bits() << 23).wrapping_add(127 << 23));
    p * power
}

/// `tanh x`.
#[inline(always)]
pub(crate) fn tanh<const FMA: bool>(x: f32) -> f32 {
    1.0 - 2.0 / (exp::<FMA>(2.0 * x) + 1.0)
}

/// An f16 that is finite, as f32.
#[inline(always)]
pub(crate) fn from_half(bits: u16) -> f32 {
    // The exponent's bias differs by 112; multiplying puts it right for subnormal numbers too.
    let magnitude = f32::from_bits(u32::from(bits & 0x7fff) << 13) * f32::from_bits((127 + 112) << 23);
    f32::from_bits(magnitude.to_bits() | u32::from(bits & 0x8000) << 16)
}

/// The sum of sixteen lanes, in a tree.
#[inline(always)]
pub(crate) fn total(lanes: [f32; 16]) -> f32 {
    let mut eight = [0.0; 8];
    for i in 0..8 {
        eight[i] = lanes[i] + lanes[i + 8];
    }
    let mut four = [0.0; 4];
    for i in 0..4 {
        four[i] = eight[i] + eight[i + 4];
    }
    (four[0] + four[2]) + (four[1] + four[3])
}

/// An integer that is larger for larger floats.
#[inline(always)]
pub(crate) fn in_order(x: f32) -> i32 {
    let bits = x.to_bits() as i32;
    bits ^ (bits >> 31 & i32::MAX)
}

/// The float of [`in_order`].
#[inline(always)]
pub(crate) fn of_order(order: i32) -> f32 {
    f32::from_bits((order ^ (order >> 31 & i32::MAX)) as u32)
}

/// The sum of sixteen integers, in a tree. Of levels that are none, since a value was not finite, it is any number.
#[inline(always)]
pub(crate) fn total_integers(lanes: [i32; 16]) -> i32 {
    let mut eight = [0i32; 8];
    for i in 0..8 {
        eight[i] = lanes[i].wrapping_add(lanes[i + 8]);
    }
    let mut four = [0i32; 4];
    for i in 0..4 {
        four[i] = eight[i].wrapping_add(eight[i + 4]);
    }
    four[0].wrapping_add(four[2]).wrapping_add(four[1].wrapping_add(four[3]))
}

/// The largest of 32 integers, in a tree.
#[inline(always)]
pub(crate) fn largest_integer(lanes: [i32; 32]) -> i32 {
    let mut sixteen = [0; 16];
    for i in 0..16 {
        sixteen[i] = lanes[i].max(lanes[i + 16]);
    }
    let mut eight = [0; 8];
    for i in 0..8 {
        eight[i] = sixteen[i].max(sixteen[i + 8]);
    }
    let mut four = [0; 4];
    for i in 0..4 {
        four[i] = eight[i].max(eight[i + 4]);
    }
    four[0].max(four[2]).max(four[1].max(four[3]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exp_is_within_two_units_in_the_last_place() {
        for at in -8700..8800 {
            let x = at as f32 / 100.0;
            let want = f64::from(x).exp();
            for got in [exp::<false>(x), exp::<true>(x)] {
                let off = (f64::from(got) - want).abs() / want;
                assert!(off < 2.5e-7, "exp({x}) is {got}, off by {off:e}");
            }
        }
        assert!(exp::<false>(-1000.0) < 2e-38);
        assert!(exp::<false>(1000.0).is_finite());
    }

    #[test]
    fn tanh_is_close() {
        for at in -2000..2000 {
            let x = at as f32 / 100.0;
            assert!((tanh::<false>(x) - x.tanh()).abs() < 3e-7, "tanh({x})");
        }
    }

    #[test]
    fn every_finite_half_is_read_exactly() {
        for bits in 0..=u16::MAX {
            let want = half::f16::from_bits(bits).to_f32();
            if want.is_finite() {
                assert_eq!(from_half(bits).to_bits(), want.to_bits(), "{bits:#06x}");
            }
        }
    }

    #[test]
    fn integers_are_in_the_order_of_floats() {
        let floats = [f32::NEG_INFINITY, -1e30, -2.0, -1e-40, -0.0, 0.0, 1e-40, 0.5, 3e38, f32::INFINITY];
        for pair in floats.windows(2) {
            assert!(in_order(pair[0]) < in_order(pair[1]), "{pair:?}");
        }
        for x in floats {
            assert_eq!(of_order(in_order(x)).to_bits(), x.to_bits());
        }
    }

    #[test]
    fn rounding_is_to_the_nearest_even() {
        for (x, want) in [(0.5, 0), (1.5, 2), (-0.5, 0), (-1.5, -2), (126.6, 127), (-127.0, -127)] {
            assert_eq!(round_small(x), want, "{x}");
        }
    }
}
