//! `train recipe`: a guide again, from the file that says how it was made.

use std::env;
use std::path::PathBuf;

use clap::Args;
use pilotfish_train::output::About;
use pilotfish_train::recipe::Recipe;

use super::job::{Job, Length};
use crate::args::Global;
use crate::error::{CliError, Result};

/// Flags of `train recipe`.
#[derive(Debug, Args)]
pub(crate) struct RecipeArgs {
    /// The recipe.
    recipe: PathBuf,
    /// A folder for the guide, its card, metrics and checkpoint; the recipe's name, here, unless given.
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    /// The model, where it is not among those that `npm run models` fetches.
    #[arg(long, value_name = "FILE")]
    base: Option<PathBuf>,
    /// Go on from the folder's checkpoint.
    #[arg(long)]
    resume: bool,
}

/// Checks what the recipe needs, trains, and compares what came of it with what the recipe expects.
pub(super) fn run(args: &RecipeArgs, global: &Global) -> Result<()> {
    let recipe = Recipe::read(&args.recipe).map_err(CliError::Train)?;
    let base = args.base.clone().unwrap_or_else(|| models().join(format!("{}.gguf", recipe.base.model)));
    recipe.check(&base).map_err(CliError::Train)?;
    let options = recipe.options();
    let job = Job {
        base,
        pairs: recipe.pairs.iter().map(|pairs| (pairs.dimension.clone(), pairs.file.clone())).collect(),
        skip_bad_lines: false,
        encode: recipe.encode,
        length: Length::Steps(options.steps),
        options,
        out: args.out.clone().unwrap_or_else(|| PathBuf::from(&recipe.name)),
        name: Some(recipe.name.clone()),
        about: About {
            description: Some(recipe.description.clone()),
            data: Some(recipe.pairs.iter().map(|pairs| pairs.about.as_str()).collect::<Vec<_>>().join("\n\n")),
            license: Some(recipe.license.clone()),
            base_name: recipe.base.name.clone(),
        },
        resume: args.resume,
    };
    let done = job.run(global)?;
    let compared = done.outcome.after.map_or(Ok(()), |found| recipe.compare(&found).map_err(CliError::Train));
    // A program reads one JSON value: the guide's or the error's.
    if compared.is_ok() || !global.json {
        done.tell(global)?;
    }
    compared
}

/// Where fetched models are, as `scripts/lib/paths.mjs` has it.
fn models() -> PathBuf {
    let given = |name| env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    let cache = || given("XDG_CACHE_HOME").or_else(|| env::home_dir().map(|home| home.join(".cache")));
    let folder = given("PILOTFISH_CACHE").unwrap_or_else(|| cache().unwrap_or_default().join("pilotfish"));
    folder.join("models")
}
