//! Residual addition and root-mean-square norms: the seam between two blocks of a layer.

use bytemuck::{Pod, Zeroable};

use super::stride;
use crate::gpu::{Binding, Dispatch, Extent, Gpu, GpuError};

/// Invocations in a workgroup.
const SIZE: u32 = 64;

/// The kernel's uniform.
#[repr(C)]
#[derive(Debug, Clone, Copy, Pod, Zeroable)]
struct Params {
    n: u32,
    stride: u32,
    eps: f32,
    pad: u32,
}

/// What [`norm`] reads and writes. All of `x`, `y` and `h` are `[tokens, stride(n)]` in f32; gains are `[n]`.
#[derive(Debug, Clone, Copy)]
pub struct Norm<'a> {
    /// Values in a row.
    pub n: u32,
    /// Added to the mean square.
    pub eps: f32,
    /// The residual stream, updated in place when `residual` is given.
    pub x: &'a wgpu::Buffer,
    /// What is added to `x` first, with the gain of its own norm if it has one (gemma's post-norms).
    pub residual: Option<(&'a wgpu::Buffer, Option<&'a wgpu::Buffer>)>,
    /// The gain of the norm that gives `h`.
    pub gain: &'a wgpu::Buffer,
    /// The next block's input.
    pub h: &'a wgpu::Buffer,
}

impl Norm<'_> {
    /// The dispatch over all tokens of a batch.
    pub fn dispatch(&self, gpu: &Gpu) -> Result<Dispatch, GpuError> {
        let params = Params { n: self.n, stride: stride(self.n), eps: self.eps, pad: 0 };
        let params = gpu.uniform_of("norm params", &params)?;
        let reduce = if gpu.features().subgroups { "subgroup" } else { "tree" };
        let post_gain = self.residual.and_then(|(_, post_gain)| post_gain);
        let bindings = [
            Binding::whole(0, &params),
            Binding::whole(1, self.x),
            Binding::whole(2, self.residual.map_or(gpu.nothing(), |(y, _)| y)),
            Binding::whole(3, self.gain),
            Binding::whole(4, post_gain.unwrap_or(gpu.nothing())),
            Binding::whole(5, self.h),
        ];
        let consts = [
            ("RESIDUAL", u32::from(self.residual.is_some())),
            ("POST", u32::from(post_gain.is_some())),
            ("SIZE", SIZE),
        ];
        let count = [Extent::Tokens(1), Extent::Fixed(1), Extent::Fixed(1)];
        Dispatch::new(gpu, "norm", &[("reduce", reduce)], &consts, &bindings, count)
    }
}

/// The twin, for one token: `x += post(y)` if there is a `y`, and `h = rms(x) * gain`.
pub fn norm(x: &mut [f32], residual: Option<(&[f32], Option<&[f32]>)>, gain: &[f32], eps: f32, h: &mut [f32]) {
    if let Some((y, post_gain)) = residual {
        let scale = post_gain.map_or(1.0, |_| rms_scale(y, eps));
        for (i, (x, y)) in x.iter_mut().zip(y).enumerate() {
            *x += y * scale * post_gain.map_or(1.0, |gain| gain[i]);
        }
    }
    let scale = rms_scale(x, eps);
    for ((h, x), gain) in h.iter_mut().zip(x.iter()).zip(gain) {
        *h = x * scale * gain;
    }
}

fn rms_scale(x: &[f32], eps: f32) -> f32 {
    let squares: f32 = x.iter().map(|x| x * x).sum();
    (squares / x.len() as f32 + eps).sqrt().recip()
}

#[cfg(any(test, feature = "grid"))]
pub(super) mod cases {
    use super::super::grid::{Case, Comparison, Numbers, run};
    use super::{Norm, norm, stride};

    /// Odd and even widths, one token and several, with and without residual and post-norm.
    pub(crate) fn cases() -> Vec<Case> {
        let mut cases = Vec::new();
        for (n, tokens) in [(1, 1), (63, 2), (64, 1), (576, 8), (640, 33)] {
            for (residual, post) in [(false, false), (true, false), (true, true)] {
                let name = format!("norm/n={n}/tokens={tokens}/residual={residual}/post={post}");
                cases.push(Case::new(name, move |gpu| {
                    Box::pin(async move {
                        let mut numbers = Numbers::new(n as u64);
                        let width = stride(n) as usize;
                        let mut x = numbers.rows(tokens, n as usize, width);
                        let y = numbers.rows(tokens, n as usize, width);
                        let gain = numbers.floats(n as usize);
                        let post_gain = numbers.floats(n as usize);
                        let buffers = (
                            gpu.storage_of("x", &x)?,
                            gpu.storage_of("y", &y)?,
                            gpu.storage_of("gain", &gain)?,
                            gpu.storage_of("post", &post_gain)?,
                            gpu.storage_of("h", &vec![0.0f32; x.len()])?,
                        );
                        let op = Norm {
                            n,
                            eps: 1e-5,
                            x: &buffers.0,
                            residual: residual.then_some((&buffers.1, post.then_some(&buffers.3))),
                            gain: &buffers.2,
                            h: &buffers.4,
                        };
                        run(gpu, &[op.dispatch(gpu)?], tokens as u32);
                        let got = [gpu.read::<f32>(&buffers.0, x.len()).await?, gpu.read(&buffers.4, x.len()).await?]
                            .concat();
                        let mut h = vec![0.0; x.len()];
                        for token in 0..tokens {
                            let row = token * width..token * width + n as usize;
                            let residual = residual.then_some((&y[row.clone()], post.then_some(&post_gain[..])));
                            norm(&mut x[row.clone()], residual, &gain, 1e-5, &mut h[row]);
                        }
                        Ok(Comparison::close(got, [x, h].concat(), 1e-5))
                    })
                }));
            }
        }
        cases
    }
}
