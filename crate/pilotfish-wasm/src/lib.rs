//! The engine's edge towards JavaScript: types in, types out, errors mapped once.
//!
//! Runs inside the package's dedicated worker. Structured values cross as JSON with `snake_case` fields; bytes and token ids
//! cross as typed arrays. Nothing here decides anything: that is the engine's work.

mod adapter;
#[cfg(feature = "cpu")]
mod crew;
mod engine;
mod error;
#[cfg(feature = "grid")]
mod grid;
mod model;
mod panic;
mod progress;
mod reward;
mod scorer;
mod session;
mod source;

pub use adapter::Adapter;
#[cfg(feature = "cpu")]
pub use crew::{instructions, join, serve, threads};
pub use engine::Engine;
#[cfg(feature = "grid")]
pub use grid::Grid;
pub use model::Model;
pub use panic::on_panic;
pub use reward::RewardModel;
pub use session::{Remote, Session};
pub use source::JsSource;
