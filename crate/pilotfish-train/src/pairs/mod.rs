//! Preference pairs: files of them, what they become for a model, and what was left out and why.

mod encode;
mod read;
mod report;
mod transcript;

pub use encode::{EncodeOptions, EndOfTurn, Pair, Strings, encode};
pub use read::{Answer, Prompt, Record, Split, read};
pub use report::{Dropped, LengthSummary, PairReport, Reason};
