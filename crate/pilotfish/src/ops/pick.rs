//! Draws a token: the argmax of z / T + Gumbel noise is a draw from softmax(z / T) (Gumbel 1954), whatever was masked before.
//!
//! The noise is a pure function of seed, step and token id: no state to carry, and a token's noise does not depend on which
//! other tokens were kept.

use super::elementary::{ln, twice_atanh};
use super::mixing::{LANES, Mixing, Stage};
use super::select::{NONE, Selection};
use crate::gpu::{Dispatch, Gpu, GpuError};

/// The dispatch, after `mix` and the selections; `last` is the selection by z (not typical-p) that was made last.
pub fn pick(gpu: &Gpu, mixing: &Mixing<'_>, last: Option<Selection>) -> Result<Dispatch, GpuError> {
    debug_assert!(LANES.is_power_of_two(), "bins are shared out evenly");
    let stage = Stage {
        flags: last.map_or(0, |selection| selection.flags() & 1),
        selection: last.map_or(NONE, Selection::number),
        level: 0,
    };
    mixing.dispatch(gpu, "pick", stage, &[1, 3, 4], &[], mixing.shape.groups)
}

/// The pcg4d hash of Jarzynski and Olano (Hash Functions for GPU Rendering, JCGT 2020) of (seed, step, id), its last word.
pub fn noise_bits(seed: u64, step: u32, id: u32) -> u32 {
    let scramble = |word: u32| word.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
    let [mut x, mut y, mut z, mut w] = [seed as u32, (seed >> 32) as u32, step, id].map(scramble);
    for round in 0..2 {
        x = x.wrapping_add(y.wrapping_mul(w));
        y = y.wrapping_add(z.wrapping_mul(x));
        z = z.wrapping_add(x.wrapping_mul(y));
        w = w.wrapping_add(y.wrapping_mul(z));
        if round == 0 {
            [x, y, z, w] = [x, y, z, w].map(|word| word ^ (word >> 16));
        }
    }
    w
}

/// -ln(-ln(1 - u)) with u = (`bits` + 1/2) / 2^32. Large values come from small u, where f32 is finest.
pub fn gumbel(bits: u32) -> f32 {
    let unit = |h: u32| {
        if h < 0x0100_0000 { (h as f32 + 0.5) * 2.328_306_4e-10 } else { (h >> 8) as f32 * 5.960_464_5e-8 }
    };
    let exponential = if bits < 0x8000_0000 {
        let u = unit(bits);
        twice_atanh(u / (2.0 - u))
    } else {
        -ln(unit(!bits))
    };
    -ln(exponential)
}

/// The twin: the id with the largest z * `inv_t` + noise among those `kept`, the lowest on ties; `None` if none is kept.
pub fn twin(z: &[f32], inv_t: f32, seed: u64, step: u32, kept: impl Fn(f32) -> bool) -> Option<u32> {
    let mut best: Option<(f32, u32)> = None;
    for (id, z) in (0u32..).zip(z).filter(|(_, z)| kept(**z)) {
        let noisy = z * inv_t + gumbel(noise_bits(seed, step, id));
        if best.is_none_or(|(score, _)| noisy > score) {
            best = Some((noisy, id));
        }
    }
    best.map(|(_, id)| id)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_noise_is_gumbel_to_its_tails() {
        for bits in
            [0, 1, 2, 1000, 0x00ff_ffff, 0x0100_0000, 0x7fff_ffff, 0x8000_0000, 0xdead_beef, 0xffff_ff00, !1, !0]
        {
            let u = (f64::from(bits) + 0.5) / 4_294_967_296.0;
            let want = -(-(-u).ln_1p()).ln();
            let got = f64::from(gumbel(bits));
            assert!((got - want).abs() <= 1e-6 * want.abs().max(1.0), "{bits:#x}: {got} {want}");
        }
    }

    /// Chi-square of the top six bits over ids, over steps and over seeds: 63 degrees of freedom, 99.99 % below 118.
    #[test]
    fn the_noise_is_uniform_along_each_counter() {
        let draws = 1 << 16;
        for along in 0..3 {
            let mut bins = [0u32; 64];
            for i in 0..draws {
                let bits = match along {
                    0 => noise_bits(7, 3, i),
                    1 => noise_bits(7, i, 3),
                    _ => noise_bits(u64::from(i) << 20, 7, 3),
                };
                bins[(bits >> 26) as usize] += 1;
            }
            let expected = f64::from(draws) / 64.0;
            let chi: f64 = bins.iter().map(|n| (f64::from(*n) - expected).powi(2) / expected).sum();
            assert!(chi < 118.0, "counter {along}: {chi}");
        }
    }
}

#[cfg(any(test, feature = "grid"))]
pub(super) mod cases {
    use bytemuck::Zeroable;

    use super::super::grid::{Case, Comparison, run};
    use super::super::mix::{self, Mix, RowKeep};
    use super::super::mixing::lab::{Kind, Lab, rows_of};
    use super::super::mixing::{Controls, MASKED};

    /// Where a record holds the drawn token's score and id.
    const SCORE: usize = 4;

    /// Drawn by `mix` itself, and by `pick` under min-p.
    pub(crate) fn cases() -> Vec<Case> {
        let mut cases = Vec::new();
        for vocab in [1, 2, 255, 1000, 49_152] {
            for kind in [Kind::Random, Kind::Equal, Kind::Spread, Kind::Holes] {
                for drop in [None, Some(-1.5f32)] {
                    let name = format!("pick/vocab={vocab}/kind={kind:?}/drop={drop:?}");
                    cases.push(Case::new(name, move |gpu| {
                        Box::pin(async move {
                            let rows = rows_of(vocab, 1, kind);
                            let seed = 0xfeed_beef_0123;
                            let controls = Controls {
                                inv_temperature: 0.7,
                                seed: [seed as u32, (seed >> 32) as u32],
                                min_p_drop: drop.unwrap_or(0.0),
                                ..Controls::zeroed()
                            };
                            let lab = Lab::new(gpu, &rows, &[1.0], &controls)?;
                            let mixing = lab.mixing();
                            let mut all =
                                vec![Mix { keep: RowKeep::All, pick: drop.is_none() }.dispatch(gpu, &mixing)?];
                            if drop.is_some() {
                                all.push(super::pick(gpu, &mixing, None)?);
                            }
                            run(gpu, &all, 1);
                            let scores = lab.field(gpu, SCORE).await?.into_iter().map(f32::from_bits);
                            let ids = lab.field(gpu, SCORE + 1).await?;
                            let best = scores.zip(ids).fold((MASKED, u32::MAX), |best, (score, id)| {
                                if score > best.0 || (score == best.0 && id < best.1) { (score, id) } else { best }
                            });
                            let z = mix::twin(&rows[0], &[(&rows[0], 1.0)], false, None);
                            let lowest = drop.map_or(MASKED, |drop| z.iter().copied().fold(MASKED, f32::max) + drop);
                            let want = super::twin(&z, 0.7, seed, 0, |z| z != MASKED && z >= lowest);
                            Ok(Comparison::exact(vec![best.1 as f32], vec![want.unwrap_or(u32::MAX) as f32]))
                        })
                    }));
                }
            }
        }
        cases
    }
}
