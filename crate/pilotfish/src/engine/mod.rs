//! The public way in: open a GPU, load models, generate under guidance, score.
//!
//! ```no_run
//! # async fn run() -> pilotfish::Result<()> {
//! use std::rc::Rc;
//! use pilotfish::engine::{Engine, EngineOptions, Guide, GuideKind, Models, Prompt, Session, SessionOptions};
//!
//! let engine = Engine::open(&EngineOptions::default(), &|| 0.0).await?;
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
mod controller;
mod lane;
mod limits;
mod live;
mod method;
mod model;
mod options;
mod plan;
mod prepare;
mod remote;
mod reward;
mod rows;
mod score;
mod session;
mod step;
mod stop;
mod streams;
mod sync;

use std::rc::Rc;

use serde::{Deserialize, Serialize};

pub use backend::{Backend, Precision};
pub use limits::MAX_ROWS;
pub use method::{Method, MethodName};
pub use model::{Model, ModelInfo, Opened, Prompt, open, read_header};
pub use options::{AdapterUse, Guide, GuideKind, NamedFilter, Returns, SessionOptions, WhenFull};
pub use plan::{RowInfo, SessionInfo, SessionMemory, SessionPlan};
pub use remote::{Cost, Remote};
pub use reward::{RewardHead, Scorer, Scoring};
pub use rows::{Row, Rows};
pub use score::{Scores, each_logits, highest, logsumexp, score};
pub use session::{PrefillProgress, Session};
pub use step::{Candidate, LogProbs, Step, Stop};

use crate::Result;
use crate::adapter::Adapter;
use crate::gpu::{Gpu, GpuInfo, GpuOptions};
use crate::model::{ByteSource, LoadProgress, RowAdapter};
use crate::ops::calibrate::{Calibration, calibrate};
use crate::ops::linear::MatvecShape;

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
    pub(super) fn pick(self, index: usize) -> &'a Model {
        if index == 0 { self.base } else { &self.guides[index - 1] }
    }
}

/// A GPU and what was measured on it.
#[derive(Debug)]
pub struct Engine {
    pub(crate) gpu: Rc<Gpu>,
    pub(crate) shape: MatvecShape,
    expected_rows: u32,
    calibration: Option<Calibration>,
}

/// What a user is told about an engine.
#[derive(Debug, Clone, Serialize)]
pub struct EngineInfo {
    /// The GPU.
    #[serde(flatten)]
    pub gpu: GpuInfo,
    /// How matrices and vectors are multiplied.
    pub matvec: MatvecShape,
    /// What was measured to choose it; absent where the caller chose.
    pub calibration: Option<Calibration>,
}

impl Engine {
    /// Opens the GPU and, unless told, measures which matrix-vector kernel suits it. `now` gives
    /// milliseconds from any origin.
    pub async fn open(options: &EngineOptions, now: &dyn Fn() -> f64) -> Result<Self> {
        let gpu = Rc::new(Gpu::open(&options.gpu).await?);
        // GPUs that are one gain nothing by it.
        let rounded = gpu.info().software && options.precision != Some(Precision::Exact);
        let calibration = if options.matvec.is_some() { None } else { Some(calibrate(&gpu, rounded, now).await?) };
        let measured = calibration.as_ref().map(|measured| measured.shape);
        let shape = options.matvec.or(measured).unwrap_or_else(|| MatvecShape::guess(&gpu, rounded));
        let expected_rows = options.expected_rows.min(MAX_ROWS as u32);
        Ok(Self { gpu, shape, expected_rows, calibration })
    }

    /// What this engine runs on.
    pub fn info(&self) -> EngineInfo {
        EngineInfo { gpu: self.gpu.info().clone(), matvec: self.shape, calibration: self.calibration.clone() }
    }

    /// The GPU.
    pub fn gpu(&self) -> &Gpu {
        &self.gpu
    }

    /// Loads a GGUF file. `progress` answers `false` to abort.
    pub async fn load(
        &self,
        source: &mut impl ByteSource,
        progress: impl FnMut(LoadProgress) -> bool,
    ) -> Result<Model> {
        Model::load(self, source, progress).await
    }

    /// Tokens of a prefill batch. A software adapter takes seconds for a long one, and must notice an abort between two.
    pub(crate) fn chunk(&self) -> u32 {
        if self.gpu.info().software { 32 } else { 256 }
    }
}
