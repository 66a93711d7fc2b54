//! Guides, the mix and sampler settings, and the presets of the field: pure data, and what runs it: a [`Mixer`] on the GPU, a
//! `CpuMixer` on the CPU.
//!
//! One abstraction covers the field: each row of logits gets a weight of either sign, a row may say which tokens are allowed at
//! all, scores, penalties and masks touch the weighted sum, and temperature and filters draw a token from it. The order of all
//! this stands at [`Sampling`]. Nothing here runs a model or knows what a row is made of.

#[cfg(any(test, feature = "grid"))]
pub(crate) mod cases;
#[cfg(feature = "cpu")]
mod cpu_mixer;
mod error;
mod mixer;
mod penalties;
mod presets;
mod rule;
mod sampling;
mod telemetry;
mod tokens;
pub mod twin;

#[cfg(feature = "cpu")]
pub use cpu_mixer::{CpuMixer, CpuMixerPlan};
pub use error::MixError;
pub use mixer::{Mixer, MixerPlan};
pub use penalties::Penalties;
pub use presets::{context, contrastive, dera, dexperts, genarm, multi_objective, pad, parm, proxy};
pub use rule::{FilterKind, MixRule, RowFilter, Schedule, Term};
pub use sampling::Sampling;
pub use telemetry::{Candidate, Telemetry, TelemetryLayout};
pub use tokens::{TokenRules, check_forced};
