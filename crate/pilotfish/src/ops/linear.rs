//! A linear layer: what every matrix kernel here computes, and the choice of the kernel.

use bytemuck::{Pod, Zeroable};

use super::lora_up::Delta;
use super::{matrix::Matrix, quantise, stride};
use crate::gpu::{Binding, Dispatch, Extent, Gpu, GpuError};

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
    /// The same over activations of 8 bits ([`super::quantise`]), except with float weights. For software adapters, where not
    /// every bit of f32 is wanted.
    Packed,
}

impl MatvecShape {
    /// The shape for a GPU that has not been measured. `rounded` says whether activations may have 8 bits.
    pub fn guess(gpu: &Gpu, rounded: bool) -> Self {
        match (gpu.info().software, gpu.features().subgroups) {
            (true, _) if rounded => Self::Packed,
            (true, _) => Self::Rows,
            (false, true) => Self::Subgroup,
            (false, false) => Self::Workgroup,
        }
    }

    /// Whether an invocation works by itself.
    pub fn serial(self) -> bool {
        matches!(self, Self::Rows | Self::Packed)
    }
}

impl std::fmt::Display for MatvecShape {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Workgroup => "workgroup",
            Self::Subgroup => "subgroup",
            Self::Rows => "rows",
            Self::Packed => "packed",
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

/// The most tokens that a matrix-vector kernel takes: what it multiplies in one read of the weights.
pub const MAX_VECTORS: u32 = 8;

/// Which tokens a layer runs over.
#[derive(Debug, Clone, Copy)]
pub enum Tokens<'a> {
    /// So many, 1 to [`MAX_VECTORS`], always: decoding, one for each row of the batch.
    Rows(u32),
    /// The tokens of a prefill chunk, as many as the header of `batch` says. The binding's `at` is not looked at.
    Chunk(Binding<'a>),
}

/// A linear layer over one matrix.
#[derive(Debug, Clone, Copy)]
pub struct Linear<'a> {
    /// `[outputs, k]`, or `[2 * outputs, k]` for [`Epilogue::Glu`].
    pub weight: &'a Matrix,
    /// `[tokens, stride(k)]`, zero beyond `k`.
    pub input: &'a wgpu::Buffer,
    /// The same as [`super::quantise`] leaves it, which [`MatvecShape::Packed`] reads.
    pub levels: Option<&'a wgpu::Buffer>,
    /// `[tokens, output_stride]`.
    pub output: &'a wgpu::Buffer,
    /// Floats from one token's outputs to the next's.
    pub output_stride: u32,
    /// The column of the first output.
    pub output_offset: u32,
    /// Added to the products, one a weight row.
    pub bias: Option<&'a wgpu::Buffer>,
    /// What adapters add to the products.
    pub delta: Option<Delta<'a>>,
    /// What becomes of the products.
    pub epilogue: Epilogue,
    /// Which tokens.
    pub tokens: Tokens<'a>,
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
    tokens: u32,
    t_stride: u32,
    column: u32,
    bounds: [u32; 2],
    pad: [u32; 2],
}

impl Linear<'_> {
    /// The dispatches, in order. On [serial](MatvecShape::serial) shapes a delta is added after the products are stored, so that there it goes
    /// with [`Epilogue::Store`] only.
    pub fn dispatches(&self, gpu: &Gpu, shape: MatvecShape) -> Result<Vec<Dispatch>, GpuError> {
        let dispatch = match self.tokens {
            _ if shape.serial() => {
                let levels = self.levels.filter(|_| shape == MatvecShape::Packed && quantise::suits(self.weight.ty));
                let mut dispatches = vec![super::linear_rows::dispatch(self, levels, gpu)?];
                if let Some(delta) = &self.delta {
                    if self.epilogue != Epilogue::Store {
                        let message = "an adapter under a gated unit that is computed in one".into();
                        return Err(GpuError::Invalid { message });
                    }
                    dispatches.push(super::lora_up::dispatch(self, delta, gpu)?);
                }
                return Ok(dispatches);
            }
            Tokens::Rows(rows) => super::matvec::dispatch(self, gpu, shape, rows),
            Tokens::Chunk(_) => super::matmul::dispatch(self, gpu),
        };
        Ok(vec![dispatch?])
    }

    /// Blocks of `pairs` pairs of weight rows (`shared/linear.wgsl`).
    pub(super) fn blocks(&self, pairs: u32) -> u32 {
        match self.epilogue {
            Epilogue::Store => self.weight.rows.div_ceil(2 * pairs),
            Epilogue::Glu(_) => (self.weight.rows / 2).div_ceil(pairs),
        }
    }

    /// Compiles `kernel` and binds it: one workgroup for so many `blocks` of weight rows, and `z` for tokens. Where there are
    /// `levels`, they are the input.
    #[allow(clippy::too_many_arguments, reason = "three kernels' differences, named where they are called")]
    pub(super) fn dispatch(
        &self,
        gpu: &Gpu,
        kernel: &'static str,
        slot: Option<(&'static str, &str)>,
        levels: Option<&wgpu::Buffer>,
        consts: &[(&'static str, u32)],
        groups: u32,
        z: Extent,
    ) -> Result<Dispatch, GpuError> {
        // Software adapters add it apart.
        let delta = self.delta.as_ref().filter(|_| kernel != "linear_rows");
        let params = Params {
            rows: self.weight.rows,
            units: self.weight.units(),
            in_stride: levels.map_or(stride(self.weight.k) / 4, |_| quantise::words(self.weight.k)),
            out_stride: self.output_stride,
            out_offset: self.output_offset,
            tokens: if let Tokens::Rows(rows) = self.tokens { rows } else { 0 },
            t_stride: delta.map_or(0, |delta| delta.t_stride),
            column: delta.map_or(0, |delta| delta.column),
            bounds: delta.map_or([0; 2], |delta| delta.lora.shape.bounds()),
            pad: [0; 2],
        };
        // See the shader.
        let params = match kernel {
            "linear_rows" => gpu.storage_of("linear params", &[params])?,
            _ => gpu.uniform_of("linear params", &params)?,
        };
        let mut bindings = vec![
            Binding::whole(0, &params),
            Binding::whole(1, &self.weight.buffer),
            Binding::whole(2, levels.unwrap_or(self.input)),
            Binding::whole(3, self.bias.unwrap_or(gpu.nothing())),
            Binding::whole(4, self.output),
        ];
        let (count, batch) = match self.tokens {
            Tokens::Rows(_) => (0, Binding::whole(5, gpu.nothing())),
            Tokens::Chunk(batch) => (1, batch),
        };
        // `matvec.wgsl` alone has no use for the batch, and WebGPU leaves unused bindings out of the layout.
        if kernel != "matvec" || delta.is_some() {
            bindings.push(Binding { at: 5, ..batch });
        }
        if let Some(delta) = delta {
            bindings.extend([Binding::whole(6, &delta.lora.pool), Binding::whole(7, delta.t)]);
        }
        let glu = match self.epilogue {
            Epilogue::Store => 0,
            Epilogue::Glu(activation) => activation.number(),
        };
        let mut consts = consts.to_vec();
        consts.extend([("BIAS", u32::from(self.bias.is_some())), ("GLU", glu), ("COUNT", count)]);
        let mut slots = vec![("format", self.weight.ty.name())];
        if kernel != "linear_rows" {
            slots.push(("delta", if delta.is_some() { "lora" } else { "none" }));
        }
        slots.extend(slot);
        // A dimension has at most 65,535 workgroups; the kernels pass over the surplus.
        let y = groups.div_ceil(65_535).max(1);
        let count = [Extent::Fixed(groups.div_ceil(y)), Extent::Fixed(y), z];
        Dispatch::new(gpu, kernel, &slots, &consts, &bindings, count)
    }

    /// One workgroup in z for each `per` tokens.
    pub(super) fn token_blocks(&self, per: u32) -> Extent {
        match self.tokens {
            Tokens::Rows(rows) => Extent::Fixed(rows.div_ceil(per)),
            Tokens::Chunk(_) => Extent::Tokens(per),
        }
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
        Epilogue::Glu(activation) => super::glu::glu(&products, activation),
    }
}

#[cfg(any(test, feature = "grid"))]
pub(super) mod cases {
    use super::super::grid::{Case, Comparison, Numbers, run};
    use super::super::quantise::{self, Quantise};
    use super::super::{matrix::random, stride};
    use super::{Epilogue, Linear, MatvecShape, Tokens, linear};
    use crate::gpu::Binding;
    use crate::quant::TensorType;

    /// One point of a kernel's grid.
    #[derive(Debug, Clone, Copy)]
    pub(crate) struct Point {
        pub(crate) shape: MatvecShape,
        pub(crate) ty: TensorType,
        pub(crate) rows: usize,
        pub(crate) k: usize,
        pub(crate) tokens: usize,
        pub(crate) bias: bool,
        pub(crate) epilogue: Epilogue,
    }

    /// Which of [`Tokens`] a case is about.
    #[derive(Debug, Clone, Copy, PartialEq, Eq)]
    pub(crate) enum Over {
        Rows,
        Chunk,
    }

    impl Point {
        pub(crate) fn new(shape: MatvecShape, ty: TensorType, rows: usize, k: usize, tokens: usize) -> Self {
            Self { shape, ty, rows, k, tokens, bias: false, epilogue: Epilogue::Store }
        }

        pub(crate) fn case(self, kernel: &str, over: Over) -> Case {
            let Self { shape, ty, rows, k, tokens, bias, epilogue } = self;
            let name = format!("{kernel}/{shape}/{ty}/{rows}x{k}/{over:?}={tokens}/bias={bias}/{epilogue:?}");
            let case = Case::new(name, move |gpu| {
                Box::pin(async move {
                    let mut numbers = Numbers::new((rows * k + tokens) as u64);
                    let (weight, weights) = random::matrix(gpu, &mut numbers, ty, rows, k)?;
                    let width = stride(k as u32) as usize;
                    let mut input = numbers.rows(tokens, k, width);
                    let rounded = shape == MatvecShape::Packed && quantise::suits(ty);
                    if rounded {
                        quantise::random::clear_of_ties(&mut input);
                    }
                    let biases = numbers.floats(rows);
                    let outputs = if epilogue == Epilogue::Store { rows } else { rows / 2 };
                    let (offset, out_stride) = (3, outputs + 5);
                    // What lies around the outputs, and in rows beyond the tokens, must stay as it is.
                    let mut want = numbers.floats((tokens + 1) * out_stride);
                    let header = [tokens as u32, 0, 1, 0];
                    let buffers = (
                        gpu.storage_of("input", &input)?,
                        gpu.storage_of("output", &want)?,
                        gpu.storage_of("bias", &biases)?,
                        gpu.storage_of("batch", &header)?,
                    );
                    let batch = Binding::whole(0, &buffers.3);
                    let levels = vec![0u32; tokens * quantise::words(k as u32) as usize];
                    let levels = gpu.storage_of("levels", &levels)?;
                    let round = Quantise { k: k as u32, input: &buffers.0, output: &levels };
                    let op = Linear {
                        weight: &weight,
                        input: &buffers.0,
                        levels: rounded.then_some(&levels),
                        output: &buffers.1,
                        output_stride: out_stride as u32,
                        output_offset: offset as u32,
                        bias: bias.then_some(&buffers.2),
                        delta: None,
                        epilogue,
                        tokens: match over {
                            Over::Rows => Tokens::Rows(tokens as u32),
                            Over::Chunk => Tokens::Chunk(batch),
                        },
                    };
                    let mut dispatches = if rounded { vec![round.dispatch(gpu)?] } else { Vec::new() };
                    dispatches.extend(op.dispatches(gpu, shape)?);
                    run(gpu, &dispatches, tokens as u32);
                    let got = gpu.read::<f32>(&buffers.1, want.len()).await?;
                    for (token, want) in want.chunks_exact_mut(out_stride).take(tokens).enumerate() {
                        let input = &input[token * width..token * width + k];
                        let input = if rounded { quantise::quantise(input) } else { input.to_vec() };
                        let one = linear(&weights, &input, bias.then_some(&biases[..]), epilogue);
                        want[offset..offset + outputs].copy_from_slice(&one);
                    }
                    Ok(Comparison::close(got, want, 2e-6))
                })
            });
            if shape == MatvecShape::Subgroup { case.with_subgroups() } else { case }
        }
    }
}
