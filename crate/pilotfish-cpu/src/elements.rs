//! Norms, gates and sums over the elements of a row.

use half::slice::{HalfBitsSliceExt, HalfFloatSliceExt};

use crate::{Isa, dispatch};

/// The non-linearity of a gated unit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Gate {
    /// `x / (1 + e^-x)`.
    Silu,
    /// GELU in its tanh form.
    GeluTanh,
}

/// `out = x / sqrt(mean(x²) + eps) * gain`.
pub fn rms_norm(isa: Isa, x: &[f32], gain: &[f32], eps: f32, out: &mut [f32]) {
    dispatch::rms_norm(isa, x, gain, eps, out);
}

/// `x += y`, or with a gain `x += rms_norm(y)`.
pub fn add_normed(isa: Isa, x: &mut [f32], y: &[f32], gain: Option<&[f32]>, eps: f32) {
    dispatch::add_normed(isa, x, y, gain, eps);
}

/// `out = act(gate) * up`.
pub fn gated(isa: Isa, gate: &[f32], up: &[f32], kind: Gate, out: &mut [f32]) {
    dispatch::gated(isa, gate, up, kind, out);
}

/// `y += a x`.
pub fn axpy(isa: Isa, a: f32, x: &[f32], y: &mut [f32]) {
    dispatch::axpy(isa, a, x, y);
}

/// `x · y`.
pub fn dot(isa: Isa, x: &[f32], y: &[f32]) -> f32 {
    dispatch::dot(isa, x, y)
}

/// Rounds to f16 bits; what is too large becomes the largest finite one, as in the cache of the GPU.
pub fn halves(x: &[f32], out: &mut [u16]) {
    let mut clamped = [0.0; 64];
    for (x, out) in x.chunks(64).zip(out.chunks_mut(64)) {
        let clamped = &mut clamped[..x.len()];
        clamped.iter_mut().zip(x).for_each(|(to, x)| *to = x.clamp(-65504.0, 65504.0));
        out.reinterpret_cast_mut::<half::f16>().convert_from_f32_slice(clamped);
    }
}

/// What the instruction sets compile.
pub(crate) mod body {
    use super::Gate;
    use crate::float::{exp, fma, tanh, total};

    #[inline(always)]
    pub(crate) fn dot<const FMA: bool>(x: &[f32], y: &[f32]) -> f32 {
        let n = x.len().min(y.len());
        let ((x, x_rest), (y, y_rest)) = (x[..n].as_chunks::<16>(), y[..n].as_chunks::<16>());
        let mut lanes = [0.0; 16];
        for (x, y) in x.iter().zip(y) {
            for i in 0..16 {
                lanes[i] = fma::<FMA>(x[i], y[i], lanes[i]);
            }
        }
        // Seen together with the loop, the tree of sums splits its sixteen lanes into pairs (LLVM 22, AVX-512).
        let mut sum = total(std::hint::black_box(lanes));
        for (x, y) in x_rest.iter().zip(y_rest) {
            sum = fma::<FMA>(*x, *y, sum);
        }
        sum
    }

    #[inline(always)]
    pub(crate) fn axpy<const FMA: bool>(a: f32, x: &[f32], y: &mut [f32]) {
        for (y, x) in y.iter_mut().zip(x) {
            *y = fma::<FMA>(a, *x, *y);
        }
    }

    #[inline(always)]
    fn rms_scale<const FMA: bool>(x: &[f32], eps: f32) -> f32 {
        (dot::<FMA>(x, x) / x.len() as f32 + eps).sqrt().recip()
    }

    #[inline(always)]
    pub(crate) fn rms_norm<const FMA: bool>(x: &[f32], gain: &[f32], eps: f32, out: &mut [f32]) {
        let scale = rms_scale::<FMA>(x, eps);
        for ((out, x), gain) in out.iter_mut().zip(x).zip(gain) {
            *out = x * scale * gain;
        }
    }

    #[inline(always)]
    pub(crate) fn add_normed<const FMA: bool>(x: &mut [f32], y: &[f32], gain: Option<&[f32]>, eps: f32) {
        let Some(gain) = gain else {
            for (x, y) in x.iter_mut().zip(y) {
                *x += y;
            }
            return;
        };
        let scale = rms_scale::<FMA>(y, eps);
        for ((x, y), gain) in x.iter_mut().zip(y).zip(gain) {
            *x += y * scale * gain;
        }
    }

    #[inline(always)]
    pub(crate) fn gated<const FMA: bool>(gate: &[f32], up: &[f32], kind: Gate, out: &mut [f32]) {
        let both = gate.iter().zip(up);
        match kind {
            Gate::Silu => {
                for (out, (x, up)) in out.iter_mut().zip(both) {
                    *out = x / (1.0 + exp::<FMA>(-x)) * up;
                }
            }
            Gate::GeluTanh => {
                for (out, (x, up)) in out.iter_mut().zip(both) {
                    let inner = 0.797_884_6 * (x + 0.044_715 * x * x * x);
                    *out = 0.5 * x * (1.0 + tanh::<FMA>(inner)) * up;
                }
            }
        }
    }
}
