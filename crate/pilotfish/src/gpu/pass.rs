//! A recorded kernel call, and the one compute pass that a step is.

use std::rc::Rc;

use super::{Binding, Gpu, GpuError, Pipeline, Shader};

/// What a batch of tokens looks like to the dispatch counts. Everything else about a step lives in GPU memory.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct StepShape {
    /// Tokens in the batch: one per row while decoding, up to a chunk while prefilling.
    pub tokens: u32,
    /// Parts the key-value cache is split in while decoding.
    pub splits: u32,
}

/// One dimension of a dispatch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Extent {
    /// The same for every batch.
    Fixed(u32),
    /// One workgroup per so many tokens of the batch, rounded up.
    Tokens(u32),
    /// One workgroup per split.
    Splits,
    /// So many workgroups where there is more than one split to be combined, otherwise none.
    IfSplit(u32),
}

impl Extent {
    fn of(self, shape: StepShape) -> u32 {
        match self {
            Self::Fixed(n) => n,
            Self::Tokens(per) => shape.tokens.div_ceil(per),
            Self::Splits => shape.splits,
            Self::IfSplit(n) => n * u32::from(shape.splits > 1),
        }
    }
}

/// Workgroups in x, y, z. WebGPU allows 65,535 in each.
pub type Count = [Extent; 3];

/// A kernel with its buffers bound, ready to be dispatched any number of times.
#[derive(Debug)]
pub struct Dispatch {
    /// The kernel's name, for timers and listings.
    pub kernel: &'static str,
    pipeline: Rc<Pipeline>,
    bind_group: wgpu::BindGroup,
    count: Count,
}

impl Dispatch {
    /// Compiles (or finds) the pipeline and binds the buffers.
    pub fn new(
        gpu: &Gpu,
        kernel: &'static str,
        slots: &[(&str, &str)],
        consts: &[(&str, u32)],
        bindings: &[Binding<'_>],
        count: Count,
    ) -> Result<Self, GpuError> {
        let pipeline = gpu.pipeline(&Shader { kernel, slots, consts })?;
        let bind_group = gpu.bind(&pipeline, bindings);
        Ok(Self { kernel, pipeline, bind_group, count })
    }
}

/// Records `dispatches` in one compute pass of `encoder`; those with an empty extent are left out. Returns how many ran.
pub fn record<'a>(
    encoder: &mut wgpu::CommandEncoder,
    dispatches: impl IntoIterator<Item = (&'a Dispatch, StepShape)>,
    timestamps: Option<wgpu::ComputePassTimestampWrites<'_>>,
) -> u32 {
    let mut pass =
        encoder.begin_compute_pass(&wgpu::ComputePassDescriptor { label: Some("step"), timestamp_writes: timestamps });
    let mut ran = 0;
    for (dispatch, shape) in dispatches {
        let [x, y, z] = dispatch.count.map(|extent| extent.of(shape));
        if x == 0 || y == 0 || z == 0 {
            continue;
        }
        pass.set_pipeline(&dispatch.pipeline.pipeline);
        pass.set_bind_group(0, &dispatch.bind_group, &[]);
        pass.dispatch_workgroups(x, y, z);
        ran += 1;
    }
    ran
}
