//! The public way in: open a GPU or the CPU, load models, generate under guidance, score.
//!
//! ```no_run
//! # async fn run() -> pilotfish::Result<()> {
//! use std::rc::Rc;
//! use pilotfish::engine::{Engine, EngineOptions, Guide, GuideKind, Host, Models, Prompt, Session, SessionOptions};
//!
//! let start = std::time::Instant::now();
//! let host = Host::new(move || start.elapsed().as_secs_f64() * 1e3);
//! let engine = Engine::open(&EngineOptions::default(), host).await?;
//! let mut file = std::fs::File::open("model.gguf").expect("it is there");
//! let model = Rc::new(engine.load(&mut file, |_| true).await?);
//! let mut options = SessionOptions::new(Prompt::Text("The weather in spring is".into()));
//! options.guides.push(Guide {
//!     name: "cheerful".into(),
//!     weight: 1.5,
//!     kind: GuideKind::Context { context: "You are relentlessly cheerful.".into(), against: None },
//! });
//! let mut session = Session::new(&engine, Models::only(&model), &options, |_| true).await?;
//! while let Some(step) = session.next().await? {
//!     print!("{}", step.text);
//! }
//! # Ok(())
//! # }
//! ```

mod again;
mod assemble;
mod backend;
mod choose;
mod controller;
mod host;
mod lane;
mod limits;
mod live;
mod method;
mod model;
mod options;
mod pass;
mod plan;
mod prepare;
mod processor;
mod remote;
mod reward;
mod rows;
mod runner;
mod score;
mod session;
mod step;
mod stop;
mod streams;
mod sync;

use std::cell::RefCell;
use std::rc::Rc;

use serde::{Deserialize, Serialize};

pub use backend::{Backend, Precision};
pub use host::{Host, Pause};
pub use limits::MAX_ROWS;
pub use method::{Method, MethodName};
pub use model::{LoadedWeights, Model, ModelInfo, Opened, Prompt, open, read_header};
pub use options::{AdapterUse, Guide, GuideKind, NamedFilter, Returns, SessionOptions, WhenFull};
pub use plan::{RowInfo, SessionInfo, SessionMemory, SessionPlan};
pub use remote::{Cost, Remote};
pub use reward::{RewardHead, Scorer, Scoring};
pub use rows::{Row, Rows};
pub use score::{Scores, each_logits, highest, logsumexp, score};
pub use session::{PrefillProgress, Session};
pub use step::{Candidate, LogProbs, Step, Stop};

#[cfg(feature = "cpu")]
use processor::CpuProcessor;
use processor::{GpuProcessor, Processor};

use crate::adapter::Adapter;
use crate::gpu::{Gpu, GpuInfo, GpuOptions};
use crate::model::{ByteSource, LoadProgress, RowAdapter};
use crate::ops::calibrate::Calibration;
use crate::ops::linear::MatvecShape;
use crate::{Error, Result};

/// How to open an engine.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct EngineOptions {
    /// Which processor runs the steps.
    pub backend: Backend,
    /// How exactly matrices are multiplied; where it is not said, [`Precision::Exact`] on a GPU that is one, otherwise
    /// [`Precision::Fast`].
    pub precision: Option<Precision>,
    /// Threads of the CPU backend; one for each core where it is not said.
    pub threads: Option<u32>,
    /// The GPU.
    pub gpu: GpuOptions,
    /// How matrices and vectors are multiplied, whatever the precision; measured on the device where it is not said.
    pub matvec: Option<MatvecShape>,
    /// How many rows sessions are expected to have: their kernels are compiled while a model's weights stream. That is worth it
    /// where the GPU compiles beside the caller, as browsers do; with 0 a session compiles what it needs.
    pub expected_rows: u32,
}

/// What a session runs on: options name guide models and adapters by their place here.
#[derive(Debug, Clone, Copy)]
pub struct Models<'a> {
    /// What is steered.
    pub base: &'a Rc<Model>,
    /// Models of guides.
    pub guides: &'a [Rc<Model>],
    /// Adapters, fitted to the base or to a guide's model.
    pub adapters: &'a [Rc<Adapter>],
}

impl<'a> Models<'a> {
    /// The base alone.
    pub fn only(base: &'a Rc<Model>) -> Self {
        Self { base, guides: &[], adapters: &[] }
    }

    /// An adapter as options name it. Its place must be one of these adapters'.
    pub fn used(self, used: &'a AdapterUse) -> RowAdapter<'a> {
        RowAdapter { adapter: &self.adapters[used.adapter], share: used.share, preference: &used.preference }
    }

    /// Model 0 is the base, `i + 1` is guide model `i`. Row planning has checked the index.
    pub(super) fn pick(self, index: usize) -> &'a Rc<Model> {
        if index == 0 { self.base } else { &self.guides[index - 1] }
    }
}

/// What runs models: a GPU, or the CPU, or what of both the first model shows to be faster.
#[derive(Debug)]
pub struct Engine {
    gpu: Option<Rc<GpuProcessor>>,
    #[cfg(feature = "cpu")]
    cpu: Option<Rc<CpuProcessor>>,
    chosen: RefCell<Option<Choice>>,
    expected_rows: u32,
    #[cfg(feature = "cpu")]
    host: Host,
}

/// What runs all of an engine's models from the first on.
#[derive(Debug, Clone)]
struct Choice {
    processor: Processor,
    why: Option<String>,
}

/// What a user is told about an engine.
#[derive(Debug, Clone, Serialize)]
pub struct EngineInfo {
    /// What runs its models; with [`Backend::Auto`] and a GPU that is software not known before the first model is loaded.
    pub processor: Option<Backend>,
    /// Why that one, where there was a choice: a sentence.
    pub why: Option<String>,
    /// The GPU, if there is one.
    #[serde(flatten)]
    pub gpu: Option<GpuInfo>,
    /// How matrices and vectors are multiplied on it.
    pub matvec: Option<MatvecShape>,
    /// What was measured to choose it; absent where the caller chose.
    pub calibration: Option<Calibration>,
    /// The CPU, if it may run models.
    pub cpu: Option<CpuInfo>,
}

/// How the CPU computes.
#[derive(Debug, Clone, Serialize)]
pub struct CpuInfo {
    /// Threads.
    pub threads: usize,
    /// Instructions: `avx512-vnni`, `avx-vnni`, `avx2`, `neon`, `relaxed-simd`, `simd128` or `portable`.
    pub instructions: &'static str,
    /// How exactly.
    pub precision: Precision,
}

impl EngineInfo {
    /// How exactly its models are computed, if that is known.
    pub fn precision(&self) -> Option<Precision> {
        match (self.processor?, &self.cpu, self.matvec) {
            (Backend::Cpu, Some(cpu), _) => Some(cpu.precision),
            (_, _, Some(MatvecShape::Packed)) => Some(Precision::Fast),
            _ => Some(Precision::Exact),
        }
    }
}

impl Engine {
    /// Opens what `options` ask for. A GPU is measured, unless they say how it multiplies.
    pub async fn open(options: &EngineOptions, host: Host) -> Result<Self> {
        let expected_rows = options.expected_rows.min(MAX_ROWS as u32);
        let (gpu, why) = match options.backend {
            Backend::Gpu => (Some(GpuProcessor::open(options, &host).await?), None),
            Backend::Cpu => (None, None),
            Backend::Auto => match GpuProcessor::open(options, &host).await {
                Ok(gpu) => (Some(gpu), None),
                Err(error) if cfg!(feature = "cpu") => (None, Some(error.to_string())),
                Err(error) => return Err(error),
            },
        };
        let gpu = gpu.map(Rc::new);
        let choice = |processor| RefCell::new(Some(Choice { processor, why: why.clone() }));
        #[cfg(feature = "cpu")]
        {
            let software = gpu.as_ref().is_some_and(|gpu| gpu.gpu.info().software);
            let needed = gpu.is_none() || (options.backend == Backend::Auto && software);
            let cpu = if needed { Some(Rc::new(CpuProcessor::open(options, &host)?)) } else { None };
            let chosen = match (&gpu, &cpu) {
                (Some(gpu), None) => choice(Processor::Gpu(Rc::clone(gpu))),
                (None, Some(cpu)) => choice(Processor::Cpu(Rc::clone(cpu))),
                _ => RefCell::new(None),
            };
            Ok(Self { gpu, cpu, chosen, expected_rows, host })
        }
        #[cfg(not(feature = "cpu"))]
        {
            let Some(gpu) = gpu else { return Err(Error::NoCpu) };
            let chosen = choice(Processor::Gpu(Rc::clone(&gpu)));
            Ok(Self { gpu: Some(gpu), chosen, expected_rows })
        }
    }

    /// What this engine runs on. Ask again after the first model.
    pub fn info(&self) -> EngineInfo {
        let chosen = self.chosen.borrow();
        let gpu = self.gpu.as_deref();
        EngineInfo {
            processor: chosen.as_ref().map(|choice| choice.processor.backend()),
            why: chosen.as_ref().and_then(|choice| choice.why.clone()),
            gpu: gpu.map(|gpu| gpu.gpu.info().clone()),
            matvec: gpu.map(|gpu| gpu.shape),
            calibration: gpu.and_then(|gpu| gpu.calibration.clone()),
            #[cfg(feature = "cpu")]
            cpu: self.cpu.as_ref().map(|cpu| cpu.info()),
            #[cfg(not(feature = "cpu"))]
            cpu: None,
        }
    }

    /// The GPU, if there is one.
    pub fn gpu(&self) -> Option<&Gpu> {
        self.gpu.as_ref().map(|gpu| &*gpu.gpu)
    }

    /// Loads a GGUF file. `progress` answers `false` to abort.
    pub async fn load(
        &self,
        source: &mut impl ByteSource,
        progress: impl FnMut(LoadProgress) -> bool,
    ) -> Result<Model> {
        Model::load(self, source, progress).await
    }

    /// What runs its models, if that is known.
    fn chosen(&self) -> Option<Processor> {
        self.chosen.borrow().as_ref().map(|choice| choice.processor.clone())
    }

    #[cfg(feature = "cpu")]
    fn choose(&self, processor: Processor, why: Option<String>) {
        *self.chosen.borrow_mut() = Some(Choice { processor, why });
    }

    /// What runs its models: known since the first of them.
    fn processor(&self) -> Result<Processor> {
        self.chosen().ok_or(Error::NoModel)
    }
}
