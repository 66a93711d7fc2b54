//! Rewards of whole texts, from outside the session's rows.

use std::future::Future;
use std::pin::Pin;

use crate::Result;

/// The rewards of some texts, when they are there.
pub type Scoring<'a> = Pin<Box<dyn Future<Output = Result<Vec<f32>>> + 'a>>;

/// What rewards a text: a reward model, a classifier, a rule.
pub trait Scorer: std::fmt::Debug {
    /// The reward of each of `texts`: what was said after the prompt, so far. As many as there are texts, all finite.
    fn score<'a>(&'a mut self, texts: &'a [String]) -> Scoring<'a>;
}
