//! Recipes: everything that makes a guide, in a file, so that one command makes it again. What a recipe names is checked against
//! its SHA-256 before anything is trained.

use std::path::{Path, PathBuf};

use serde::Deserialize;

use crate::error::{Result, TrainError};
use crate::hash::file_sha256;
use crate::lora::LoraOptions;
use crate::objective::Objective;
use crate::optimizer::OptimizerOptions;
use crate::pairs::EncodeOptions;
use crate::parm::ParmOptions;
use crate::run::{Evaluation, RunOptions};

/// A recipe, as its TOML file has it.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Recipe {
    /// The guide's name.
    pub name: String,
    /// What it does, in a sentence or two.
    pub description: String,
    /// Its licence.
    pub license: String,
    /// The model that it is for.
    pub base: RecipeBase,
    /// What it learns from: one file, or one of each dimension of preference.
    pub pairs: Vec<RecipePairs>,
    /// How pairs become ids.
    #[serde(default)]
    pub encode: EncodeOptions,
    /// The loss.
    pub objective: Objective,
    /// What is trained.
    #[serde(default)]
    pub lora: LoraOptions,
    /// Rank of the part that turns with the preference, where there are dimensions.
    pub preference_rank: Option<u32>,
    /// How it is trained.
    #[serde(default)]
    pub optimizer: OptimizerOptions,
    /// How long, and how it is watched.
    pub run: RecipeRun,
    /// What came of it where it was written.
    pub expected: Option<Expected>,
}

/// The model of a recipe.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RecipeBase {
    /// As PEFT finds it, such as `HuggingFaceTB/SmolLM2-135M-Instruct`.
    pub name: String,
    /// The file's name without its ending; as models are named in `models/manifest.json`.
    pub model: String,
    /// Of the file.
    pub sha256: String,
}

/// A file of pairs.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RecipePairs {
    /// Its dimension of preference, where there are several.
    #[serde(default)]
    pub dimension: String,
    /// Beside the recipe.
    pub file: PathBuf,
    /// Of the file.
    pub sha256: String,
    /// What is in it, for the card.
    pub about: String,
    /// How it was made, or where to get it: told where it is not there.
    pub from: String,
}

/// Length and watch of a run, as in [`RunOptions`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RecipeRun {
    /// Pairs of a step, of each dimension.
    pub batch: usize,
    /// Steps in all.
    pub steps: usize,
    /// Evaluations between the first and the last.
    #[serde(default)]
    pub eval_every: usize,
    /// Evaluations in a row without a better one that end it.
    #[serde(default)]
    pub patience: usize,
    /// Of the first weights, the order of pairs and dropout.
    #[serde(default)]
    pub seed: u64,
}

/// Held-out figures of the run that a recipe was written after.
#[derive(Debug, Clone, Copy, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Expected {
    /// As [`Evaluation::accuracy`], at the end.
    pub accuracy: f64,
    /// As [`Evaluation::accuracy_over_base`], at the end.
    pub accuracy_over_base: f64,
    /// How far another machine's rounding may lead from them.
    pub tolerance: f64,
}

impl Recipe {
    /// Reads a recipe.
    ///
    /// # Errors
    /// [`TrainError::File`], and [`TrainError::Recipe`] where it is none.
    pub fn read(path: &Path) -> Result<Self> {
        let text =
            std::fs::read_to_string(path).map_err(|source| TrainError::File { path: path.to_owned(), source })?;
        let refuse = |message: String| TrainError::Recipe { path: path.to_owned(), message };
        let mut recipe: Self = toml::from_str(&text).map_err(|error| refuse(error.to_string()))?;
        if recipe.pairs.is_empty() {
            return Err(refuse("it names no pairs: [[pairs]] with file, sha256, about and from".into()));
        }
        if (recipe.pairs.len() > 1) != recipe.preference_rank.is_some() {
            let message = "several [[pairs]] and preference_rank belong together: they make a preference-aware guide";
            return Err(refuse(message.into()));
        }
        let folder = path.parent().unwrap_or(Path::new(""));
        recipe.pairs.iter_mut().for_each(|pairs| pairs.file = folder.join(&pairs.file));
        Ok(recipe)
    }

    /// Whether base and pairs are there and are those that the recipe means.
    ///
    /// # Errors
    /// [`TrainError::Ingredient`], which says where to get what is missing.
    pub fn check(&self, base: &Path) -> Result<()> {
        let model = &self.base.model;
        let from = format!("`npm run models -- {model}` fetches it, or name it with --base");
        check_file(base, &self.base.sha256, &from)?;
        self.pairs.iter().try_for_each(|pairs| check_file(&pairs.file, &pairs.sha256, &pairs.from))
    }

    /// What the run is told.
    pub fn options(&self) -> RunOptions {
        let RecipeRun { batch, steps, eval_every, patience, seed } = self.run;
        RunOptions {
            objective: self.objective,
            lora: self.lora.clone(),
            optimizer: self.optimizer,
            parm: self.preference_rank.map(|rank| ParmOptions {
                dimensions: self.pairs.iter().map(|pairs| pairs.dimension.clone()).collect(),
                rank,
            }),
            batch,
            steps,
            eval_every,
            patience,
            save_every: 20,
            seed,
        }
    }

    /// Refuses figures that are not those that the recipe expects.
    pub fn compare(&self, found: &Evaluation) -> Result<()> {
        let Some(expected) = &self.expected else { return Ok(()) };
        let figures = [
            ("accuracy", expected.accuracy, found.accuracy),
            ("accuracy over the base", expected.accuracy_over_base, found.accuracy_over_base),
        ];
        let far = |(_, expected, found): &(&str, f64, f64)| (expected - found).abs() > self.tolerance();
        match figures.into_iter().find(far) {
            None => Ok(()),
            Some((what, expected, found)) => Err(TrainError::Unexpected { what, expected, found }),
        }
    }

    fn tolerance(&self) -> f64 {
        // Decimal digits of the figures.
        self.expected.map_or(0.0, |expected| expected.tolerance) + 5e-4
    }
}

fn check_file(path: &Path, sha256: &str, from: &str) -> Result<()> {
    let refuse = |message: &str| {
        let (path, message) = (path.to_owned(), message.to_owned());
        Err(TrainError::Ingredient { path, message, from: from.to_owned() })
    };
    if !path.is_file() {
        return refuse("is not there");
    }
    match file_sha256(path)? {
        found if found == sha256 => Ok(()),
        found => refuse(&format!("has the SHA-256 {found}, the recipe expects {sha256}")),
    }
}
