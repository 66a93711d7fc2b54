//! Which instructions this machine has, and the way from there into functions compiled for them.
//!
//! All `unsafe` of the crate is here: calls of functions that need instructions which were looked for.

#![allow(unsafe_code, reason = "calls of functions with target features, each guarded by an `Isa`")]

use crate::attend::{Attention, State};
use crate::inputs::{self, Block, Gathered, Seconds};
use crate::kernel::rows::RUN;
use crate::panels::{PANEL, Panel};
use crate::{attend, elements, kernel, multiply, noise, softmax};

/// An instruction set that this machine has. There is no other way to one than asking the machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Isa(Set);

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[cfg_attr(not(target_arch = "x86_64"), allow(dead_code, reason = "other machines have other sets"))]
enum Set {
    Avx512,
    AvxVnni,
    Avx2,
    #[cfg(target_arch = "aarch64")]
    NeonDot,
    #[cfg(target_arch = "aarch64")]
    Neon,
    /// Relaxed SIMD whose dot product takes eight bits of both factors.
    #[cfg(all(target_arch = "wasm32", target_feature = "simd128", feature = "relaxed-simd"))]
    WholeBytes,
    #[cfg(all(target_arch = "wasm32", target_feature = "simd128"))]
    Simd128,
    Portable,
}

impl Isa {
    /// All that this machine has, the fastest first. The last is plain code for any machine.
    pub fn available() -> Vec<Self> {
        let mut found = Vec::new();
        #[cfg(target_arch = "x86_64")]
        if is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma") && is_x86_feature_detected!("f16c") {
            if is_x86_feature_detected!("avx512f")
                && is_x86_feature_detected!("avx512bw")
                && is_x86_feature_detected!("avx512vl")
                && is_x86_feature_detected!("avx512vnni")
            {
                found.push(Self(Set::Avx512));
            }
            if is_x86_feature_detected!("avxvnni") {
                found.push(Self(Set::AvxVnni));
            }
            found.push(Self(Set::Avx2));
        }
        #[cfg(target_arch = "aarch64")]
        if std::arch::is_aarch64_feature_detected!("neon") {
            if std::arch::is_aarch64_feature_detected!("dotprod") {
                found.push(Self(Set::NeonDot));
            }
            found.push(Self(Set::Neon));
        }
        #[cfg(all(target_arch = "wasm32", target_feature = "simd128", feature = "relaxed-simd"))]
        if kernel::simd128::whole_bytes() {
            found.push(Self(Set::WholeBytes));
        }
        #[cfg(all(target_arch = "wasm32", target_feature = "simd128"))]
        found.push(Self(Set::Simd128));
        found.push(Self(Set::Portable));
        found
    }

    /// The fastest that this machine has.
    pub fn best() -> Self {
        Self::available()[0]
    }

    /// Its name: `avx512-vnni`, `avx-vnni`, `avx2`, `neon-dotprod`, `neon`, `simd128`, `relaxed-simd`,
    /// `relaxed-simd-u8` where its dot product takes eight bits of both factors, or `portable`.
    pub fn name(self) -> &'static str {
        match self.0 {
            Set::Avx512 => "avx512-vnni",
            Set::AvxVnni => "avx-vnni",
            Set::Avx2 => "avx2",
            #[cfg(target_arch = "aarch64")]
            Set::NeonDot => "neon-dotprod",
            #[cfg(target_arch = "aarch64")]
            Set::Neon => "neon",
            #[cfg(all(target_arch = "wasm32", target_feature = "simd128", feature = "relaxed-simd"))]
            Set::WholeBytes => "relaxed-simd-u8",
            #[cfg(all(target_arch = "wasm32", target_feature = "simd128"))]
            Set::Simd128 if cfg!(feature = "relaxed-simd") => "relaxed-simd",
            #[cfg(all(target_arch = "wasm32", target_feature = "simd128"))]
            Set::Simd128 => "simd128",
            Set::Portable => "portable",
        }
    }

    /// Tokens that a kernel takes at once.
    pub(crate) fn tile(self) -> usize {
        match self.0 {
            #[cfg(target_arch = "x86_64")]
            Set::Avx512 => kernel::avx512::TILE,
            _ => kernel::portable::TILE,
        }
    }
}

/// Calls a function of [`kernel`] for an instruction set. In WebAssembly few tokens have wider ones, and levels of 8 bits others where the
/// dot product takes them whole: the functions that call this see to it.
macro_rules! call {
    ($isa:ident, $function:ident::<$($generic:ident),+>($($argument:ident),+)) => {
        match $isa.0 {
            // SAFETY: an `Isa` is made only where the machine has its instructions; so for all that follow.
            #[cfg(target_arch = "x86_64")]
            Set::Avx512 => unsafe {
                kernel::avx512::$function::<$($generic),+>($($argument),+);
            },
            #[cfg(target_arch = "x86_64")]
            Set::AvxVnni => unsafe {
                kernel::avx_vnni::$function::<$($generic),+>($($argument),+);
            },
            #[cfg(target_arch = "x86_64")]
            Set::Avx2 => unsafe {
                kernel::avx2::$function::<$($generic),+>($($argument),+);
            },
            #[cfg(target_arch = "aarch64")]
            Set::NeonDot => unsafe {
                kernel::neon_dot::$function::<$($generic),+>($($argument),+);
            },
            #[cfg(target_arch = "aarch64")]
            Set::Neon => unsafe {
                kernel::neon::$function::<$($generic),+>($($argument),+);
            },
            #[cfg(all(target_arch = "wasm32", target_feature = "simd128", feature = "relaxed-simd"))]
            Set::WholeBytes => kernel::simd128::whole::$function::<$($generic),+>($($argument),+),
            #[cfg(all(target_arch = "wasm32", target_feature = "simd128"))]
            Set::Simd128 => kernel::simd128::parts::$function::<$($generic),+>($($argument),+),
            _ => kernel::portable::$function::<$($generic),+>($($argument),+),
        }
    };
}

/// [`kernel`]'s `panel` of an instruction set.
pub(crate) fn panel<const BITS: usize, const OFFSETS: bool, const SIXTEEN: bool, const NESTED: bool, const T: usize>(
    isa: Isa,
    panel: Panel<'_>,
    centre: i32,
    tokens: &[Block],
    seconds: [Seconds<'_>; T],
    out: &mut [[f32; PANEL]; T],
) {
    call!(isa, panel::<BITS, OFFSETS, SIXTEEN, NESTED, T>(panel, centre, tokens, seconds, out));
}

/// [`kernel`]'s `abreast` of an instruction set.
pub(crate) fn abreast<
    const BITS: usize,
    const OFFSETS: bool,
    const SIXTEEN: bool,
    const NESTED: bool,
    const P: usize,
    const T: usize,
>(
    isa: Isa,
    panels: [Panel<'_>; P],
    centre: i32,
    tokens: &[Block],
    seconds: [Seconds<'_>; T],
    out: &mut [[[f32; PANEL]; T]; P],
) {
    call!(isa, abreast::<BITS, OFFSETS, SIXTEEN, NESTED, P, T>(panels, centre, tokens, seconds, out));
}

/// [`kernel`]'s `gathered` of an instruction set.
pub(crate) fn gathered<const BITS: usize, const OFFSETS: bool, const SIXTEEN: bool, const NESTED: bool>(
    isa: Isa,
    panel: Panel<'_>,
    centre: i32,
    seconds: &Gathered<'_>,
    out: &mut [[f32; PANEL]],
) {
    call!(isa, gathered::<BITS, OFFSETS, SIXTEEN, NESTED>(panel, centre, seconds, out));
}

/// [`kernel`]'s `dot_halves` of an instruction set.
pub(crate) fn dot_halves<const G: usize>(isa: Isa, x: [&[f32]; G], rows: &[&[u16]], out: &mut [[f32; RUN]; G]) {
    call!(isa, dot_halves::<G>(x, rows, out));
}

/// [`kernel`]'s `add_halves` of an instruction set.
pub(crate) fn add_halves<const G: usize>(isa: Isa, weights: &[[f32; RUN]; G], rows: &[&[u16]], out: [&mut [f32]; G]) {
    call!(isa, add_halves::<G>(weights, rows, out));
}

/// Asks memory for what lies `BYTES` after `x`, whatever that is.
#[cfg(target_arch = "x86_64")]
#[inline(always)]
pub(crate) fn prefetch<const BYTES: usize, T>(x: &T) {
    use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
    // SAFETY: a prefetch reads nothing that a program could see, and no address makes it fail.
    unsafe { _mm_prefetch::<_MM_HINT_T0>(std::ptr::from_ref(x).cast::<i8>().wrapping_add(BYTES)) }
}

/// Compiles functions of plain loops for each instruction set. `FMA` says whether it multiplies and adds in one.
macro_rules! versions {
    ($($(#[$docs:meta])* fn $name:ident $(<const $t:ident: usize>)? ($($argument:ident: $ty:ty),* $(,)?)
        $(-> $out:ty)? = $body:path;)*) => {
        $($(#[$docs])*
        pub(crate) fn $name $(<const $t: usize>)? (isa: Isa, $($argument: $ty),*) $(-> $out)? {
            #[cfg(target_arch = "x86_64")]
            #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni,avx2,fma,f16c")]
            fn avx512 $(<const $t: usize>)? ($($argument: $ty),*) $(-> $out)? {
                use $body as body;
                body::<true $(, $t)?>($($argument),*)
            }
            #[cfg(target_arch = "x86_64")]
            #[target_feature(enable = "avx2,fma,f16c")]
            fn avx2 $(<const $t: usize>)? ($($argument: $ty),*) $(-> $out)? {
                use $body as body;
                body::<true $(, $t)?>($($argument),*)
            }
            use $body as body;
            match isa.0 {
                // SAFETY: an `Isa` is made only where the machine has its instructions; so for the next.
                #[cfg(target_arch = "x86_64")]
                Set::Avx512 => unsafe { avx512 $(::<$t>)? ($($argument),*) },
                #[cfg(target_arch = "x86_64")]
                Set::Avx2 | Set::AvxVnni => unsafe { avx2 $(::<$t>)? ($($argument),*) },
                // AArch64 code is compiled for NEON anyway.
                #[cfg(target_arch = "aarch64")]
                Set::NeonDot | Set::Neon => body::<true $(, $t)?>($($argument),*),
                _ => body::<false $(, $t)?>($($argument),*),
            }
        })*
    };
}

versions! {
    /// See [`inputs::Piece::quantise`].
    fn quantise(row: &[f32], blocks: &mut [Block]) = inputs::quantise;
    /// See [`inputs::refine`].
    fn refine(row: &[f32], blocks: &[Block], picks: &[u32], seconds: &mut [Block]) = inputs::refine;
    /// See [`multiply::floats`].
    fn floats<const T: usize>(columns: &[[f32; PANEL]], x: [&[f32]; T], out: &mut [[f32; PANEL]; T]) = multiply::floats;
    /// See [`attend::weigh`].
    fn weigh(heads: &Attention, scores: &mut [f32; RUN], n: usize, state: &mut State) -> f32 = attend::weigh;
    /// See [`elements::rms_norm`].
    fn rms_norm(x: &[f32], gain: &[f32], eps: f32, out: &mut [f32]) = elements::body::rms_norm;
    /// See [`elements::add_normed`].
    fn add_normed(x: &mut [f32], y: &[f32], gain: Option<&[f32]>, eps: f32) = elements::body::add_normed;
    /// See [`elements::gated`].
    fn gated(gate: &[f32], up: &[f32], kind: elements::Gate, out: &mut [f32]) = elements::body::gated;
    /// See [`elements::axpy`].
    fn axpy(a: f32, x: &[f32], y: &mut [f32]) = elements::body::axpy;
    /// See [`elements::dot`].
    fn dot(x: &[f32], y: &[f32]) -> f32 = elements::body::dot;
    /// See [`noise::noise_bounds`].
    fn noise_bounds(counter: [u32; 4], z: &[f32], inv_t: f32, out: &mut [f32]) = noise::body::noise_bounds;
    /// See [`softmax::range`].
    fn range(x: &[f32]) -> [f32; 3] = softmax::body::range;
    /// See [`softmax::exp_sums`].
    fn exp_sums(x: &[f32], max: f32, scale: f32) -> [f64; 2] = softmax::body::exp_sums;
    /// See [`softmax::cross_sum`].
    fn cross_sum(x: &[f32], x_max: f32, y: &[f32], y_max: f32) -> f64 = softmax::body::cross_sum;
}
