//! Device and limits, buffers, pipelines, the one-pass recorder, readback.
//!
//! Nothing here knows what a kernel computes; nothing above here calls wgpu except through these types.

mod buffer;
mod device;
mod error;
mod pass;
mod pipeline;
mod scope;
mod wgsl;

pub use buffer::{Readback, Usage};
pub use device::{Features, Gpu, GpuInfo, GpuOptions};
pub use error::GpuError;
pub use pass::{Count, Dispatch, Extent, StepShape, record};
pub use pipeline::{Binding, Pipeline, Shader};
pub use scope::{Owned, Scope};
