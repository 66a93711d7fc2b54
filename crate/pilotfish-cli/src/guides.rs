//! The guides of a generation: from flags and mix file to what the engine takes, models loaded once each.

use std::path::PathBuf;
use std::rc::Rc;

use clap::Args;
use pilotfish::engine::{Guide, GuideKind, Model};

use crate::error::Result;
use crate::host::Host;
use crate::mix::Mix;
use crate::spec::{GuideSource, GuideSpec};

/// What steers.
#[derive(Debug, Clone, Default, Args)]
pub(crate) struct GuideArgs {
    /// A guide: NAME=model:PATH,weight=1.0 or NAME=context:TEXT,against:TEXT,weight=1.0. Any number of times.
    ///
    /// A weight may change by step: weight=0@0;2@20 goes from 0 at the first step to 2 at step 20, on a straight line.
    /// The weight is 1 and `against` the base's own prompt where they are left out. A comma inside a text is written \,
    /// or the text is put in double quotes (in which \" is a quote and \\ a backslash).
    #[arg(long = "guide", value_name = "NAME=SPEC")]
    pub(crate) guides: Vec<GuideSpec>,
    /// A JSON file with guides, sampling, filter and the rest; flags go before it, guides are added.
    #[arg(long, value_name = "FILE")]
    pub(crate) mix: Option<PathBuf>,
}

impl GuideArgs {
    /// The mix file's content and all guides: the file's, then the flags'.
    pub(crate) fn read(&self) -> Result<(Mix, Vec<GuideSpec>)> {
        let (mix, mut guides) = match &self.mix {
            None => (Mix::default(), Vec::new()),
            Some(path) => {
                let mix = Mix::read(path)?;
                let guides = mix.guides(path)?;
                (mix, guides)
            }
        };
        guides.extend(self.guides.iter().cloned());
        Ok((mix, guides))
    }
}

/// Guides as the engine takes them, with their models.
#[derive(Debug)]
pub(crate) struct Loaded {
    /// The base.
    pub(crate) base: Rc<Model>,
    /// The guides' models.
    pub(crate) models: Vec<Rc<Model>>,
    /// The guides, indexing `models`.
    pub(crate) guides: Vec<Guide>,
}

/// Loads the base and every model that guides name. One file is loaded once.
pub(crate) async fn load(host: &Host, base: &PathBuf, specs: &[GuideSpec]) -> Result<Loaded> {
    // Two names of one file are one; a file that does not exist fails when it is opened.
    let identity = |path: &PathBuf| std::fs::canonicalize(path).unwrap_or_else(|_| path.clone());
    let mut paths = vec![identity(base)];
    let mut loaded = vec![Rc::new(host.load(base).await?)];
    // For each guide model, which of `loaded` it is.
    let mut used: Vec<usize> = Vec::new();
    let mut guides = Vec::new();
    for GuideSpec { name, weight, source, .. } in specs {
        let kind = match source.clone() {
            GuideSource::Context { context, against } => GuideKind::Context { context, against },
            GuideSource::Model { path, prompt } => {
                let key = identity(&path);
                let known = paths.iter().position(|known| *known == key);
                let at = known.unwrap_or(paths.len());
                if known.is_none() {
                    loaded.push(Rc::new(host.load(&path).await?));
                    paths.push(key);
                }
                let model = used.iter().position(|known| *known == at).unwrap_or_else(|| {
                    used.push(at);
                    used.len() - 1
                });
                GuideKind::Model { model, prompt }
            }
        };
        guides.push(Guide { name: name.clone(), weight: *weight, kind });
    }
    let models = used.iter().map(|at| Rc::clone(&loaded[*at])).collect();
    Ok(Loaded { base: loaded.swap_remove(0), models, guides })
}
