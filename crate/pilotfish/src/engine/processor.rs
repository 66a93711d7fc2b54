//! What models are loaded onto and sessions run on: a GPU, or the CPU.

use std::rc::Rc;

#[cfg(feature = "cpu")]
use super::CpuInfo;
use super::model::Model;
#[cfg(feature = "cpu")]
use super::pass::CpuPass;
use super::pass::{GpuPass, Pass};
#[cfg(feature = "cpu")]
use super::runner::CpuRunner;
use super::runner::{GpuRunner, Runner, RunnerPlan};
use super::{Backend, EngineOptions, Host};
use crate::Result;
#[cfg(feature = "cpu")]
use crate::cpu::{CpuError, Isa, Precision, Workers};
use crate::gpu::Gpu;
use crate::model::{RowAdapter, Sizes};
use crate::ops::calibrate::{Calibration, calibrate};
use crate::ops::linear::MatvecShape;

/// A GPU and how it multiplies.
#[derive(Debug)]
pub(crate) struct GpuProcessor {
    pub(crate) gpu: Rc<Gpu>,
    pub(crate) shape: MatvecShape,
    /// What was measured to choose the shape; nothing where the caller chose.
    pub(crate) calibration: Option<Calibration>,
}

impl GpuProcessor {
    /// Opens the GPU and, unless told, measures which matrix-vector kernel suits it.
    pub(super) async fn open(options: &EngineOptions, host: &Host) -> Result<Self> {
        let gpu = Rc::new(Gpu::open(&options.gpu).await?);
        // GPUs that are one gain nothing by it.
        let rounded = gpu.info().software && options.precision != Some(super::Precision::Exact);
        let calibration = match options.matvec {
            Some(_) => None,
            None => Some(calibrate(&gpu, rounded, &|| host.now()).await?),
        };
        let measured = calibration.as_ref().map(|measured| measured.shape);
        let shape = options.matvec.or(measured).unwrap_or_else(|| MatvecShape::guess(&gpu, rounded));
        Ok(Self { gpu, shape, calibration })
    }
}

/// The CPU's threads and how they compute.
#[cfg(feature = "cpu")]
#[derive(Debug)]
pub(crate) struct CpuProcessor {
    pub(super) workers: Workers,
    pub(super) precision: Precision,
    pub(super) isa: Isa,
    pub(super) host: Host,
}

#[cfg(feature = "cpu")]
impl CpuProcessor {
    /// Starts the threads.
    pub(super) fn open(options: &EngineOptions, host: &Host) -> Result<Self> {
        let precision = match options.precision {
            Some(super::Precision::Exact) => Precision::Precise,
            Some(super::Precision::Fast) | None => Precision::Fast,
        };
        let workers = Workers::start(options.threads).map_err(|reason| CpuError::Threads {
            found: options.threads.unwrap_or_default(),
            reason: reason.to_string(),
        })?;
        Ok(Self { workers, precision, isa: Isa::best(), host: host.clone() })
    }

    /// What a user is told of it.
    pub(super) fn info(&self) -> CpuInfo {
        let precision = match self.precision {
            Precision::Precise => super::Precision::Exact,
            Precision::Fast => super::Precision::Fast,
        };
        CpuInfo { threads: self.workers.threads(), instructions: self.isa.name(), precision }
    }

    /// A forward pass with nothing in it.
    pub(super) fn forward(&self) -> crate::cpu::Forward {
        crate::cpu::Forward::with(self.isa, self.workers.clone(), self.precision)
    }
}

/// Either.
#[derive(Debug, Clone)]
pub(crate) enum Processor {
    Gpu(Rc<GpuProcessor>),
    #[cfg(feature = "cpu")]
    Cpu(Rc<CpuProcessor>),
}

impl Processor {
    /// Which it is.
    pub(super) fn backend(&self) -> Backend {
        match self {
            Self::Gpu(_) => Backend::Gpu,
            #[cfg(feature = "cpu")]
            Self::Cpu(_) => Backend::Cpu,
        }
    }

    /// Tokens of a prefill batch. Where a CPU computes, a long one takes seconds, and an abort must be noticed between two.
    pub(super) fn chunk(&self) -> u32 {
        match self {
            Self::Gpu(processor) if processor.gpu.info().software => 32,
            Self::Gpu(_) => 256,
            #[cfg(feature = "cpu")]
            Self::Cpu(_) => 64,
        }
    }

    /// The largest buffer that logits may take.
    pub(super) fn max_logits(&self) -> u64 {
        match self {
            Self::Gpu(processor) => processor.gpu.info().max_binding,
            #[cfg(feature = "cpu")]
            Self::Cpu(_) => 128 << 20,
        }
    }

    /// What runs a session's steps.
    pub(super) fn runner(&self, plan: &RunnerPlan<'_>) -> Result<Box<dyn Runner>> {
        Ok(match self {
            Self::Gpu(processor) => Box::new(GpuRunner::new(processor, plan, None)?),
            #[cfg(feature = "cpu")]
            Self::Cpu(processor) => Box::new(CpuRunner::new(processor, plan, None)?),
        })
    }

    /// A forward pass whose logits come to the caller.
    pub(super) fn pass(
        &self,
        model: &Rc<Model>,
        adapters: &[Vec<RowAdapter<'_>>],
        sizes: Sizes,
    ) -> Result<Box<dyn Pass>> {
        Ok(match self {
            Self::Gpu(processor) => Box::new(GpuPass::new(processor, model, adapters, sizes)?),
            #[cfg(feature = "cpu")]
            Self::Cpu(processor) => Box::new(CpuPass::new(processor, model, adapters, sizes)?),
        })
    }
}
