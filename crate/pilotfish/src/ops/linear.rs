//! A linear layer: what every matrix kernel here computes, and the choice of the kernel.

use bytemuck::{Pod, Zeroable};

use super::{matrix::Matrix, stride};
use crate::gpu::{Binding, Dispatch, Gpu, GpuError};

/// How the matrix-vector kernels are shaped. All give the same numbers up to rounding; [`super::calibrate`] picks the fastest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum MatvecShape {
    /// A workgroup computes four weight rows and sums by a tree in workgroup memory. For GPUs; needs core WGSL only.
    Workgroup,
    /// The same, summing by subgroups. Needs `subgroups`.
    Subgroup,
    /// An invocation computes several weight rows by itself, without a barrier. For software adapters.
    Rows,
}

impl MatvecShape {
    /// The shape for a GPU that has not been measured.
    pub fn guess(gpu: &Gpu) -> Self {
        match (gpu.info().software, gpu.features().subgroups) {
            (true, _) => Self::Rows,
            (false, true) => Self::Subgroup,
            (false, false) => Self::Workgroup,
        }
    }
}

impl std::fmt::Display for MatvecShape {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Workgroup => "workgroup",
            Self::Subgroup => "subgroup",
            Self::Rows => "rows",
        })
    }
}

/// The activation of a gated unit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Activation {
    /// `x / (1 + exp(-x))`.
    Silu,
    /// GELU in its tanh form, `0.5 x (1 + tanh(sqrt(2 / pi) (x + 0.044715 x^3)))`.
    GeluTanh,
}

impl Activation {
    /// The twin.
    pub fn of(self, x: f32) -> f32 {
        match self {
            Self::Silu => x / (1.0 + (-x).exp()),
            Self::GeluTanh => 0.5 * x * (1.0 + (0.797_884_6 * (x + 0.044_715 * x * x * x)).tanh()),
        }
    }

    /// The shaders' number for it.
    pub(super) fn number(self) -> u32 {
        match self {
            Self::Silu => 1,
            Self::GeluTanh => 2,
        }
    }
}

/// What becomes of the products.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Epilogue {
    /// They are the outputs: one a weight row.
    Store,
    /// The weight holds gate rows, then as many up rows: an output is `act(gate) * up`.
    Glu(Activation),
}

/// Which tokens a layer runs over.
#[derive(Debug, Clone, Copy)]
pub enum Tokens {
    /// So many, 1 to 8, always: decoding, one for each row of the batch.
    Rows(u32),
}

/// A linear layer over one matrix.
#[derive(Debug, Clone, Copy)]
pub struct Linear<'a> {
    /// `[outputs, k]`, or `[2 * outputs, k]` for [`Epilogue::Glu`].
    pub weight: &'a Matrix,
    /// `[tokens, stride(k)]`, zero beyond `k`.
    pub input: &'a wgpu::Buffer,
    /// `[tokens, output_stride]`.
    pub output: &'a wgpu::Buffer,
    /// Floats from one token's outputs to the next's.
    pub output_stride: u32,
    /// The column of the first output.
    pub output_offset: u32,
    /// Added to the products, one a weight row.
    pub bias: Option<&'a wgpu::Buffer>,
    /// What becomes of the products.
    pub epilogue: Epilogue,
    /// Which tokens.
    pub tokens: Tokens,
}

/// The uniform of `shared/linear.wgsl`.
#[repr(C)]
#[derive(Debug, Clone, Copy, Pod, Zeroable)]
struct Params {
    rows: u32,
    units: u32,
    in_stride: u32,
    out_stride: u32,
    out_offset: u32,
    pad: [u32; 3],
}

impl Linear<'_> {
    /// The dispatches, in order.
    pub fn dispatches(&self, gpu: &Gpu, shape: MatvecShape) -> Result<Vec<Dispatch>, GpuError> {
        match self.tokens {
            Tokens::Rows(rows) => Ok(vec![super::matvec::dispatch(self, gpu, shape, rows)?]),
        }
    }

    /// Outputs for one token.
    pub(super) fn outputs(&self) -> u32 {
        match self.epilogue {
            Epilogue::Store => self.weight.rows,
            Epilogue::Glu(_) => self.weight.rows / 2,
        }
    }

    /// `(BIAS, GLU)` of `shared/linear.wgsl`.
    pub(super) fn consts(&self) -> [(&'static str, u32); 2] {
        let glu = match self.epilogue {
            Epilogue::Store => 0,
            Epilogue::Glu(activation) => activation.number(),
        };
        [("BIAS", u32::from(self.bias.is_some())), ("GLU", glu)]
    }

    /// Calls `then` with the bindings of `shared/linear.wgsl`.
    pub(super) fn bound<T>(
        &self,
        gpu: &Gpu,
        then: impl FnOnce(&[Binding<'_>; 5]) -> Result<T, GpuError>,
    ) -> Result<T, GpuError> {
        let params = Params {
            rows: self.weight.rows,
            units: self.weight.units(),
            in_stride: stride(self.weight.k) / 4,
            out_stride: self.output_stride,
            out_offset: self.output_offset,
            pad: [0; 3],
        };
        let params = gpu.uniform_of("linear params", &params)?;
        then(&[
            Binding::whole(0, &params),
            Binding::whole(1, &self.weight.buffer),
            Binding::whole(2, self.input),
            Binding::whole(3, self.bias.unwrap_or(gpu.nothing())),
            Binding::whole(4, self.output),
        ])
    }
}

/// The twin, for one token: `weights` is `[rows, k]`; sums are taken in double precision.
pub fn linear(weights: &[f32], input: &[f32], bias: Option<&[f32]>, epilogue: Epilogue) -> Vec<f32> {
    let products = weights
        .chunks_exact(input.len())
        .map(|row| row.iter().zip(input).map(|(w, x)| f64::from(*w) * f64::from(*x)).sum::<f64>());
    let mut products: Vec<f32> = products.map(|sum| sum as f32).collect();
    for (product, bias) in products.iter_mut().zip(bias.unwrap_or_default()) {
        *product += bias;
    }
    match epilogue {
        Epilogue::Store => products,
        Epilogue::Glu(activation) => {
            let (gate, up) = products.split_at(products.len() / 2);
            gate.iter().zip(up).map(|(gate, up)| activation.of(*gate) * up).collect()
        }
    }
}
