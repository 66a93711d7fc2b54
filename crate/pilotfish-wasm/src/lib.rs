//! The engine's edge towards JavaScript: types in, types out, errors mapped once.
//!
//! Runs inside the package's dedicated worker. Structured values cross as JSON with `snake_case` fields; bytes and token ids
//! cross as typed arrays. Nothing here decides anything: that is the engine's work.

mod error;
mod panic;

pub use panic::on_panic;
