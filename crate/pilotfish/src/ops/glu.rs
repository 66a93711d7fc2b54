//! Gated units whose gate and up have different formats, so that no one matrix holds both: two layers, then this.

use bytemuck::{Pod, Zeroable};

use super::linear::Activation;
use crate::gpu::{Binding, Dispatch, Extent, Gpu, GpuError};

/// Invocations of a workgroup, one a value.
const SIZE: u32 = 64;

/// The kernel's uniform.
#[repr(C)]
#[derive(Debug, Clone, Copy, Pod, Zeroable)]
struct Params {
    n: u32,
    both_stride: u32,
    output_stride: u32,
    pad: u32,
}

/// `output[t, i] = act(both[t, i]) * both[t, n + i]`.
#[derive(Debug, Clone, Copy)]
pub struct Glu<'a> {
    /// Outputs for a token.
    pub n: u32,
    /// The activation of the gate.
    pub activation: Activation,
    /// `[tokens, both_stride]`: gate, then up.
    pub both: &'a wgpu::Buffer,
    /// Floats from one token's to the next's, at least `2 * n`.
    pub both_stride: u32,
    /// `[tokens, output_stride]`; what lies beyond `n` is left alone.
    pub output: &'a wgpu::Buffer,
    /// Floats from one token's to the next's.
    pub output_stride: u32,
}

impl Glu<'_> {
    /// The dispatch over all tokens of a batch.
    pub fn dispatch(&self, gpu: &Gpu) -> Result<Dispatch, GpuError> {
        let Self { n, both_stride, output_stride, .. } = *self;
        let params = gpu.uniform_of("glu params", &Params { n, both_stride, output_stride, pad: 0 })?;
        let bindings = [Binding::whole(0, &params), Binding::whole(1, self.both), Binding::whole(2, self.output)];
        let consts = [("GLU", self.activation.number()), ("SIZE", SIZE)];
        let count = [Extent::Fixed(n.div_ceil(SIZE)), Extent::Tokens(1), Extent::Fixed(1)];
        Dispatch::new(gpu, "glu", &[], &consts, &bindings, count)
    }
}

/// The twin, for one token: `both` is gate, then up.
pub fn glu(both: &[f32], activation: Activation) -> Vec<f32> {
    let (gate, up) = both.split_at(both.len() / 2);
    gate.iter().zip(up).map(|(gate, up)| activation.of(*gate) * up).collect()
}

#[cfg(any(test, feature = "grid"))]
pub(super) mod cases {
    use super::super::grid::{Case, Comparison, Numbers, run};
    use super::{Activation, Glu, glu};

    /// Both activations, small and large gates, widths beside a workgroup's.
    pub(crate) fn cases() -> Vec<Case> {
        let mut cases = Vec::new();
        for activation in [Activation::Silu, Activation::GeluTanh] {
            for (n, tokens, size) in [(1usize, 1usize, 1.0f32), (63, 3, 4.0), (1536, 20, 300.0)] {
                cases.push(Case::new(format!("glu/{activation:?}/n={n}/tokens={tokens}/size={size}"), move |gpu| {
                    Box::pin(async move {
                        let mut numbers = Numbers::new(n as u64);
                        let (both_stride, stride) = (2 * n + 3, n + 1);
                        let both: Vec<f32> = numbers.floats(tokens * both_stride).iter().map(|x| x * size).collect();
                        let mut want = numbers.floats(tokens * stride);
                        let buffers = (gpu.storage_of("both", &both)?, gpu.storage_of("output", &want)?);
                        let op = Glu {
                            n: n as u32,
                            activation,
                            both: &buffers.0,
                            both_stride: both_stride as u32,
                            output: &buffers.1,
                            output_stride: stride as u32,
                        };
                        run(gpu, &[op.dispatch(gpu)?], tokens as u32);
                        let got = gpu.read::<f32>(&buffers.1, want.len()).await?;
                        for (output, both) in want.chunks_exact_mut(stride).zip(both.chunks_exact(both_stride)) {
                            output[..n].copy_from_slice(&glu(&both[..2 * n], activation));
                        }
                        Ok(Comparison::close(got, want, 2e-6))
                    })
                }));
            }
        }
        cases
    }
}
