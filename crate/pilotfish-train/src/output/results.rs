//! All files of a run.

use std::path::{Path, PathBuf};

use super::{card, plot, write_peft, write_whole};
use crate::base::Base;
use crate::error::Result;
use crate::pairs::PairReport;
use crate::run::{Outcome, RunOptions};

/// What only people know about a guide.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct About {
    /// What it does, in a sentence or two.
    pub description: Option<String>,
    /// Where the pairs come from.
    pub data: Option<String>,
    /// Its licence, the base's unless given.
    pub license: Option<String>,
    /// The base as PEFT and readers of the card find it, such as `HuggingFaceTB/SmolLM2-135M-Instruct`.
    pub base_name: String,
}

/// What there is to write about.
#[derive(Debug, Clone, Copy)]
pub struct Results<'r> {
    /// The guide's name.
    pub name: &'r str,
    /// More about it.
    pub about: &'r About,
    /// The model it is for.
    pub base: &'r Base,
    /// How it was trained.
    pub options: &'r RunOptions,
    /// On what: the name of each dimension of preference, empty where there is only one, and its pairs.
    pub reports: &'r [(String, PairReport)],
    /// What came of it.
    pub outcome: &'r Outcome,
}

/// Writes the adapter as PEFT and as GGUF, the card and the plot; the files, in that order.
pub fn write_results(folder: &Path, results: &Results<'_>) -> Result<Vec<PathBuf>> {
    let Results { name, about, base, outcome, .. } = results;
    write_peft(folder, &outcome.lora, &base.spec, &about.base_name)?;
    let mut files = vec![folder.join("adapter_config.json"), folder.join("adapter_model.safetensors")];
    let mut write = |name: &str, bytes: &[u8]| {
        let path = folder.join(name);
        write_whole(&path, bytes)?;
        files.push(path);
        Ok::<_, crate::TrainError>(())
    };
    let adapter = outcome.lora.adapter(&base.spec, name);
    write(&format!("{name}.gguf"), &adapter.to_gguf().map_err(pilotfish::Error::from)?)?;
    write("README.md", card::card(results).as_bytes())?;
    if let Some(png) = plot::png(outcome) {
        write("training.png", &png)?;
    }
    Ok(files)
}
