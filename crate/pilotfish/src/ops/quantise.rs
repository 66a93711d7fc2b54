//! Activations in 8 bits, for the software adapters' matrix kernel: what [`super::linear_rows`] reads on
//! [`super::linear::MatvecShape::Packed`].

use super::stride;
use crate::gpu::{Binding, Dispatch, Extent, Gpu, GpuError};
use crate::quant::TensorType;

/// Invocations of a workgroup.
const SIZE: u32 = 8;
/// Activations that share a scale.
const GROUP: u32 = 8;
/// Words of a group: four levels in each of two, and the scale.
const WORDS: u32 = 3;
/// The largest level.
const LEVELS: f32 = 127.0;

/// Words from one token's levels to the next's, for inputs of `k` activations.
pub fn words(k: u32) -> u32 {
    stride(k) / GROUP * WORDS
}

/// Whether weights of this format are multiplied with levels: quants are; beside float weights rounding would save nothing.
pub fn suits(ty: TensorType) -> bool {
    !matches!(ty, TensorType::F32 | TensorType::F16 | TensorType::BF16)
}

/// Rounds the activations of all tokens of a batch.
#[derive(Debug, Clone, Copy)]
pub struct Quantise<'a> {
    /// Activations of a token.
    pub k: u32,
    /// `[tokens, stride(k)]` in f32, zero beyond `k`.
    pub input: &'a wgpu::Buffer,
    /// `[tokens, words(k)]`.
    pub output: &'a wgpu::Buffer,
}

impl Quantise<'_> {
    /// The dispatch over all tokens of a batch.
    pub fn dispatch(&self, gpu: &Gpu) -> Result<Dispatch, GpuError> {
        let groups = stride(self.k) / GROUP;
        let params = gpu.uniform_of("levels' params", &[groups, stride(self.k) / 4, words(self.k), 0])?;
        let bindings = [Binding::whole(0, &params), Binding::whole(1, self.input), Binding::whole(2, self.output)];
        let count = [Extent::Fixed(groups.div_ceil(SIZE)), Extent::Tokens(1), Extent::Fixed(1)];
        Dispatch::new(gpu, "quantise", &[], &[("SIZE", SIZE)], &bindings, count)
    }
}

/// The twin, for one token: what the levels stand for.
pub fn quantise(x: &[f32]) -> Vec<f32> {
    let group = |group: &[f32]| {
        let largest = group.iter().fold(0.0f32, |largest, x| largest.max(x.abs()));
        let (scale, inverse) = (largest / LEVELS, if largest > 1e-35 { LEVELS / largest } else { 0.0 });
        group.iter().map(|x| scale * (x * inverse).round_ties_even()).collect::<Vec<_>>()
    };
    x.chunks(GROUP as usize).flat_map(group).collect()
}

/// Activations that are well inside a level, so that no rounding of another machine moves them to the next.
#[cfg(any(test, feature = "grid"))]
pub(super) mod random {
    use super::{GROUP, LEVELS};

    pub(crate) fn clear_of_ties(x: &mut [f32]) {
        for group in x.chunks_mut(GROUP as usize) {
            let largest = group.iter().fold(0.0f32, |largest, x| largest.max(x.abs()));
            for x in group.iter_mut().filter(|x| x.abs() < largest) {
                let level = *x / largest * LEVELS;
                let off = level - level.round();
                *x = (level.round() + off.clamp(-0.49, 0.49)) / LEVELS * largest;
            }
        }
    }
}

#[cfg(any(test, feature = "grid"))]
pub(super) mod cases {
    use super::super::grid::{Case, Comparison, Numbers, run};
    use super::super::stride;
    use super::random::clear_of_ties;
    use super::{GROUP, Quantise, WORDS, quantise, words};

    /// Widths beside the groups', zeros, one large value among small ones.
    pub(crate) fn cases() -> Vec<Case> {
        let mut cases = Vec::new();
        for (k, tokens) in [(1usize, 1), (8, 2), (77, 3), (576, 33)] {
            cases.push(Case::new(format!("quantise/k={k}/tokens={tokens}"), move |gpu| {
                Box::pin(async move {
                    let mut numbers = Numbers::new(k as u64);
                    let width = stride(k as u32) as usize;
                    let mut input = numbers.rows(tokens, k, width);
                    for (at, row) in input.chunks_mut(width).enumerate() {
                        row[..k.min(8)].iter_mut().for_each(|x| *x *= if at % 3 == 1 { 0.0 } else { 1e-3 });
                        row[k / 2] *= 1e3;
                        clear_of_ties(row);
                    }
                    let per_token = words(k as u32) as usize;
                    let buffers =
                        (gpu.storage_of("x", &input)?, gpu.storage_of("levels", &vec![0u32; tokens * per_token])?);
                    let op = Quantise { k: k as u32, input: &buffers.0, output: &buffers.1 };
                    run(gpu, &[op.dispatch(gpu)?], tokens as u32);
                    let got = gpu.read::<u32>(&buffers.1, tokens * per_token).await?;
                    let got = got.chunks_exact(WORDS as usize).flat_map(read).collect();
                    let want = input.chunks_exact(width).flat_map(quantise).collect();
                    Ok(Comparison::close(got, want, 1e-6))
                })
            }));
        }
        cases
    }

    /// A group as `input_levels.wgsl` reads it.
    fn read(group: &[u32]) -> Vec<f32> {
        let scale = f32::from_bits(group[2]);
        let level = |at: usize| match (group[at / 4].to_le_bytes()[at % 4], at % 4) {
            (byte, 3) => f32::from(byte as i8),
            (byte, _) => f32::from(byte) - 128.0,
        };
        (0..GROUP as usize).map(|at| level(at) * scale).collect()
    }
}
