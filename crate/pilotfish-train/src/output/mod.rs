//! What a run leaves: the adapter in two formats, a card, a plot.

mod card;
mod files;
mod peft;
mod plot;
mod results;

pub(crate) use files::write_whole;
pub use peft::write_peft;
pub use results::{About, Results, write_results};
