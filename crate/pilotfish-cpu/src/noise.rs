//! Gumbel noise for many tokens at once, bounded instead of computed: a draw needs its logarithms for a handful of tokens only.

use crate::{Isa, dispatch};

/// Above `z inv_t + noise` of tokens `first..`, tightly: with the noise of (seed, step, id), `-ln(-ln(1 - u))` for a `u` from 32 random
/// bits, no token can come out higher. The bits are those of pcg4d (Jarzynski and Olano, JCGT 2020).
pub fn noise_bounds(isa: Isa, seed: u64, step: u32, first: u32, z: &[f32], inv_t: f32, out: &mut [f32]) {
    dispatch::noise_bounds(isa, [seed as u32, (seed >> 32) as u32, step, first], z, inv_t, out);
}

/// What the instruction sets compile.
pub(crate) mod body {
    use std::f32::consts::LN_2;

    #[inline(always)]
    fn scramble(word: u32) -> u32 {
        word.wrapping_mul(1_664_525).wrapping_add(1_013_904_223)
    }

    #[inline(always)]
    fn bits(seed: [u32; 3], id: u32) -> u32 {
        let ([mut x, mut y, mut z], mut w) = (seed, scramble(id));
        x = x.wrapping_add(y.wrapping_mul(w));
        y = y.wrapping_add(z.wrapping_mul(x));
        z = z.wrapping_add(x.wrapping_mul(y));
        w = w.wrapping_add(y.wrapping_mul(z));
        [x, y, z, w] = [x ^ (x >> 16), y ^ (y >> 16), z ^ (z >> 16), w ^ (w >> 16)];
        x = x.wrapping_add(y.wrapping_mul(w));
        y = y.wrapping_add(z.wrapping_mul(x));
        z = z.wrapping_add(x.wrapping_mul(y));
        w.wrapping_add(y.wrapping_mul(z))
    }

    #[inline(always)]
    pub(crate) fn noise_bounds<const FMA: bool>(counter: [u32; 4], z: &[f32], inv_t: f32, out: &mut [f32]) {
        let [low, high, step, first] = counter;
        let seed = [scramble(low), scramble(high), scramble(step)];
        for (at, (out, z)) in out.iter_mut().zip(z).enumerate() {
            // As a signed number, which every instruction set makes a float of.
            let half = (bits(seed, first.wrapping_add(at as u32)) >> 1) as i32 as f32;
            let exponent = (half.to_bits() >> 23) as i32 - 127;
            // -ln(-ln(1 - u)) <= -ln u, and u >= 2^(exponent - 31), but for what rounding adds.
            *out = z * inv_t + (31 - exponent) as f32 * LN_2 + 0.01;
        }
    }
}
