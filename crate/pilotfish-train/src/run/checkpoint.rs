//! Everything a run needs to go on exactly: trained numbers, the optimiser's moments, the step, and the best so far.

use std::collections::HashMap;
use std::path::Path;

use safetensors::tensor::{Dtype, TensorView};
use safetensors::{SafeTensors, serialize};
use serde::{Deserialize, Serialize};

use super::{Evaluation, RunOptions};
use crate::error::{Result, TrainError};
use crate::lora::Lora;
use crate::optimizer::AdamW;
use crate::output::write_whole;

/// Where a run is.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Checkpoint {
    pub(super) state: State,
    pub(super) lora: Lora,
    pub(super) adam: AdamW,
    /// The numbers of the best evaluation, where early stopping keeps them.
    pub(super) best: Option<Vec<Vec<f32>>>,
}

/// The part that is no tensor.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct State {
    /// Steps taken.
    pub(super) step: usize,
    /// What the run was told.
    pub(super) options: RunOptions,
    /// Of base and pairs.
    pub(super) fingerprint: String,
    /// Tokens read so far.
    pub(super) tokens: usize,
    /// Seconds spent on steps so far.
    pub(super) seconds: f64,
    /// The best evaluation, after which step, and how many have not been better since.
    pub(super) best: Option<(Evaluation, usize)>,
    /// Evaluations since the best.
    pub(super) worse: usize,
    /// The step after which the last evaluation was made.
    pub(super) evaluated: Option<usize>,
}

/// The key of [`State`] in the file's metadata.
const STATE: &str = "pilotfish";

impl Checkpoint {
    /// Writes it whole, or leaves the one before.
    pub(super) fn write(&self, path: &Path) -> Result<()> {
        let groups = [
            ("value", self.lora.slices().collect::<Vec<_>>()),
            ("first", self.adam.first.iter().map(Vec::as_slice).collect()),
            ("second", self.adam.second.iter().map(Vec::as_slice).collect()),
            ("best", self.best.iter().flatten().map(Vec::as_slice).collect()),
        ];
        let mut tensors = Vec::new();
        let named = groups.into_iter().flat_map(|(group, slices)| {
            slices.into_iter().enumerate().map(move |(index, slice)| (format!("{group}.{index}"), slice))
        });
        for (name, slice) in named {
            let bytes: Vec<u8> = slice.iter().flat_map(|value| value.to_le_bytes()).collect();
            tensors.push((name, slice.len(), bytes));
        }
        let damaged = |error: &dyn std::fmt::Display| TrainError::Checkpoint {
            path: path.to_owned(),
            message: format!("cannot be put together: {error}"),
        };
        let mut views = Vec::with_capacity(tensors.len());
        for (name, length, bytes) in &tensors {
            let view = TensorView::new(Dtype::F32, vec![*length], bytes).map_err(|error| damaged(&error))?;
            views.push((name, view));
        }
        let state = serde_json::to_string(&self.state).map_err(|error| damaged(&error))?;
        let metadata = HashMap::from([(STATE.to_owned(), state)]);
        let bytes = serialize(views, Some(metadata)).map_err(|error| damaged(&error))?;
        write_whole(path, &bytes)
    }

    /// Reads it; `lora` has the shapes that its options ask for.
    pub(super) fn read(path: &Path, lora: impl FnOnce(&RunOptions) -> Result<Lora>) -> Result<Self> {
        let bytes = std::fs::read(path).map_err(|source| TrainError::File { path: path.to_owned(), source })?;
        let damaged = |message: String| TrainError::Checkpoint { path: path.to_owned(), message };
        let refuse = |error: safetensors::SafeTensorError| damaged(format!("{error}; the file is damaged"));
        let (_, metadata) = SafeTensors::read_metadata(&bytes).map_err(refuse)?;
        let tensors = SafeTensors::deserialize(&bytes).map_err(refuse)?;
        let state = metadata.metadata().as_ref().and_then(|metadata| metadata.get(STATE));
        let state = state.ok_or_else(|| damaged("it is no checkpoint of pilotfish train".into()))?;
        let state: State =
            serde_json::from_str(state).map_err(|error| damaged(format!("{error}; the file is damaged")))?;
        let mut lora = lora(&state.options)?;
        let lengths: Vec<usize> = lora.slices().map(<[f32]>::len).collect();
        let group = |group: &str| -> Result<Vec<Vec<f32>>> {
            let slice = |(index, length): (usize, &usize)| {
                let tensor = tensors.tensor(&format!("{group}.{index}")).map_err(refuse)?;
                let values: Vec<f32> = tensor
                    .data()
                    .chunks_exact(4)
                    .map(|four| f32::from_le_bytes([four[0], four[1], four[2], four[3]]))
                    .collect();
                if values.len() != *length {
                    return Err(damaged(format!(
                        "{group}.{index} has {} values, the model needs {length}",
                        values.len()
                    )));
                }
                Ok(values)
            };
            lengths.iter().enumerate().map(slice).collect()
        };
        for (slice, values) in lora.slices_mut().zip(group("value")?) {
            slice.copy_from_slice(&values);
        }
        let adam = AdamW { steps: state.step as u64, first: group("first")?, second: group("second")? };
        let best = state.best.is_some().then(|| group("best")).transpose()?;
        Ok(Self { state, lora, adam, best })
    }
}
