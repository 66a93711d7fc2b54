//! The engine's edge towards JavaScript: types in, types out, errors mapped once.
//!
//! Runs inside the package's dedicated worker. Structured values cross as JSON with `snake_case` fields; bytes and token ids
//! cross as typed arrays. Nothing here decides anything: that is the engine's work.

mod error;
#[cfg(feature = "grid")]
mod grid;
mod panic;

#[cfg(feature = "grid")]
pub use grid::run_grid;
pub use panic::on_panic;
