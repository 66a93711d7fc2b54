//! The first half of an adapter: the layer's input, down to a few dimensions, for the rows that have one.

use bytemuck::{Pod, Zeroable};

use super::linear::MatvecShape;
use super::lora::{Change, Lora};
use super::stride;
use crate::gpu::{Binding, Dispatch, Extent, Gpu, GpuError};

/// Live shares of a row, at most.
pub const SEGMENTS: u32 = 16;

/// Invocations of a workgroup.
const SIZE: u32 = 64;
/// The same where each works by itself: groups of four ranks are few.
const SERIAL_SIZE: u32 = 4;

#[repr(C)]
#[derive(Debug, Clone, Copy, Pod, Zeroable)]
struct Params {
    octets: u32,
    in_stride: u32,
    t_stride: u32,
    pad: u32,
}

/// `t[token] = share * factor * (A x[token])`.
#[derive(Debug, Clone, Copy)]
pub struct Down<'a> {
    /// The layer's changes.
    pub lora: &'a Lora,
    /// `[tokens, stride(k)]`, the layer's input.
    pub input: &'a wgpu::Buffer,
    /// `[rows, SEGMENTS]`.
    pub shares: &'a wgpu::Buffer,
    /// `[tokens, t_stride]` in vectors of four floats.
    pub t: &'a wgpu::Buffer,
    /// Vectors from one token's to the next's: at least the layer's groups.
    pub t_stride: u32,
    /// The tokens. The binding's `at` is not looked at.
    pub batch: Binding<'a>,
}

impl Down<'_> {
    /// The dispatch over all tokens of a batch.
    pub fn dispatch(&self, gpu: &Gpu, shape: MatvecShape) -> Result<Dispatch, GpuError> {
        let Lora { shape: layer, groups, pool } = self.lora;
        let params = Params { octets: layer.octets(), in_stride: stride(layer.k) / 4, t_stride: self.t_stride, pad: 0 };
        let params = gpu.storage_of("adapter params", &[params])?;
        let (reduce, serial, size, across) = match shape {
            MatvecShape::Rows | MatvecShape::Packed => ("serial", 1, SERIAL_SIZE, groups.div_ceil(SERIAL_SIZE)),
            MatvecShape::Subgroup => ("subgroup", 0, SIZE, *groups),
            MatvecShape::Workgroup => ("tree", 0, SIZE, *groups),
        };
        let bindings = [
            Binding::whole(0, &params),
            Binding::whole(1, pool),
            Binding::whole(2, self.input),
            Binding::whole(3, self.shares),
            Binding::whole(4, self.t),
            Binding { at: 5, ..self.batch },
        ];
        let consts = [("SIZE", size), ("SERIAL", serial), ("SEGMENTS", SEGMENTS)];
        let count = [Extent::Fixed(across), Extent::Tokens(1), Extent::Fixed(1)];
        Dispatch::new(gpu, "lora_down", &[("reduce", reduce)], &consts, &bindings, count)
    }
}

/// The twin, for one change and one token; sums are taken in double precision.
pub fn lora_down(change: &Change<'_>, share: f32, x: &[f32]) -> Vec<f64> {
    let dot = |row: &[f32]| row.iter().zip(x).map(|(a, x)| f64::from(*a) * f64::from(*x)).sum::<f64>();
    let scale = f64::from(share) * f64::from(change.scale);
    change.a.chunks_exact(x.len()).map(|row| scale * dot(row)).collect()
}
