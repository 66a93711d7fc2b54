//! What a run is told.

use serde::{Deserialize, Serialize};

use crate::error::{Result, TrainError};
use crate::lora::LoraOptions;
use crate::objective::Objective;
use crate::optimizer::OptimizerOptions;
use crate::parm::ParmOptions;

/// Everything that decides what a run computes. Two runs with equal options, pairs and base give the same curve, whatever the
/// number of threads and interruptions.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RunOptions {
    /// The loss.
    pub objective: Objective,
    /// What is trained.
    pub lora: LoraOptions,
    /// How it is trained.
    pub optimizer: OptimizerOptions,
    /// Dimensions of preference, where the adapter is conditioned on their weights (PARM).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parm: Option<ParmOptions>,
    /// Pairs of a step, of each dimension. Any number: they are worked through in parts whose gradients add up.
    pub batch: usize,
    /// Steps in all.
    pub steps: usize,
    /// Evaluate on the held-out pairs every so many steps, besides before and after; 0 never.
    pub eval_every: usize,
    /// Stop after so many evaluations in a row without a better held-out loss, and keep the best; 0 never.
    pub patience: usize,
    /// Write a checkpoint every so many steps; 0 only at the end and when interrupted.
    pub save_every: usize,
    /// Of the first A, the order of pairs, and dropout.
    pub seed: u64,
}

impl RunOptions {
    /// Refuses what cannot be run.
    pub fn check(&self) -> Result<()> {
        self.objective.check()?;
        self.lora.check()?;
        self.optimizer.check()?;
        self.parm.as_ref().map_or(Ok(()), ParmOptions::check)?;
        if self.parm.is_some() && !matches!(self.objective, Objective::Arm { .. }) {
            let message =
                "a preference-conditioned adapter is trained as a reward model: choose the objective arm".into();
            return Err(TrainError::Options { message });
        }
        if self.batch == 0 || self.steps == 0 {
            let (batch, steps) = (self.batch, self.steps);
            let message = format!("{batch} pairs a step and {steps} steps, expected at least 1 of each");
            return Err(TrainError::Options { message });
        }
        if self.patience > 0 && self.eval_every == 0 {
            let message = "stopping early needs evaluations: say after how many steps".into();
            return Err(TrainError::Options { message });
        }
        Ok(())
    }
}
