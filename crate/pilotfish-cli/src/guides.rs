//! The guides of a generation: from flags and mix file to what the engine takes, models and adapters loaded once each.

use std::path::{Path, PathBuf};
use std::rc::Rc;

use clap::Args;
use pilotfish::adapter::Adapter;
use pilotfish::engine::{AdapterUse, Guide, GuideKind, Model, Models};

use crate::error::Result;
use crate::host::Host;
use crate::mix::Mix;
use crate::spec::{AdapterSpec, GuideSource, GuideSpec};

/// What steers.
#[derive(Debug, Clone, Default, Args)]
pub(crate) struct GuideArgs {
    /// A guide: NAME=adapter:PATH, NAME=model:PATH or NAME=context:TEXT,against:TEXT, each with ,weight=1.0. Any number.
    ///
    /// An adapter is a GGUF file or a PEFT directory, over the base's weights or those of a `model:` beside it. Several are a
    /// soup: adapter:A,share=0.3,adapter:B,share=0.7. One with preferences takes preference=0.8;0.2; relative=true adds
    /// only what the adapters change. A weight may change by
    /// step: weight=0@0;2@20 goes from 0 at the first step to 2 at step 20, on a straight line. The weight is 1, a share is 1
    /// and `against` the base's own prompt where they are left out. A comma inside a text is written \, or the text is put in
    /// double quotes (in which \" is a quote and \\ a backslash).
    #[arg(long = "guide", value_name = "NAME=SPEC")]
    pub(crate) guides: Vec<GuideSpec>,
    /// An adapter of the base itself: PATH, or PATH,share=0.5. Several add up.
    #[arg(long = "adapter", value_name = "PATH")]
    pub(crate) adapters: Vec<AdapterSpec>,
    /// A JSON file with guides, sampling, filter and the rest; flags go before it, guides are added.
    #[arg(long, value_name = "FILE")]
    pub(crate) mix: Option<PathBuf>,
}

/// What was asked for, nothing loaded yet.
#[derive(Debug)]
pub(crate) struct Asked {
    /// The mix file's content.
    pub(crate) mix: Mix,
    /// All guides: the file's, then the flags'.
    pub(crate) guides: Vec<GuideSpec>,
    /// The base's adapters: the file's, then the flags'.
    pub(crate) adapters: Vec<AdapterSpec>,
}

impl GuideArgs {
    /// The mix file's content and what the flags add.
    pub(crate) fn read(&self) -> Result<Asked> {
        let mut asked = match &self.mix {
            None => Asked { mix: Mix::default(), guides: Vec::new(), adapters: Vec::new() },
            Some(path) => {
                let mix = Mix::read(path)?;
                Asked { guides: mix.guides(path)?, adapters: mix.adapters(path), mix }
            }
        };
        asked.guides.extend(self.guides.iter().cloned());
        asked.adapters.extend(self.adapters.iter().cloned());
        Ok(asked)
    }
}

/// Guides as the engine takes them, with their models and adapters.
#[derive(Debug)]
pub(crate) struct Loaded {
    /// What is steered.
    pub(crate) base: Rc<Model>,
    /// What guides name as models.
    pub(crate) models: Vec<Rc<Model>>,
    /// What guides and the base name as adapters.
    pub(crate) adapters: Vec<Rc<Adapter>>,
    /// The base's own.
    pub(crate) base_adapters: Vec<AdapterUse>,
    /// The guides.
    pub(crate) guides: Vec<Guide>,
}

impl Loaded {
    /// As the engine takes them.
    pub(crate) fn models(&self) -> Models<'_> {
        Models { base: &self.base, guides: &self.models, adapters: &self.adapters }
    }
}

/// Loads the base and what guides need, each file once.
pub(crate) async fn load(
    host: &Host,
    base: &Path,
    specs: &[GuideSpec],
    base_adapters: &[AdapterSpec],
) -> Result<Loaded> {
    let mut shelf = Shelf {
        host,
        loaded: vec![(identity(base), Rc::new(host.load(base).await?))],
        used: Vec::new(),
        adapters: Vec::new(),
    };
    let base_adapters = shelf.adapters(None, base_adapters)?;
    let mut guides = Vec::new();
    for GuideSpec { name, weight, source, .. } in specs {
        let kind = match source.clone() {
            GuideSource::Context { context, against } => GuideKind::Context { context, against },
            GuideSource::Model { path, prompt } => GuideKind::Model { model: shelf.model(&path).await?, prompt },
            GuideSource::Adapter { adapters, relative, model, prompt } => {
                let model = match model {
                    None => None,
                    Some(path) => Some(shelf.model(&path).await?),
                };
                GuideKind::Adapter { adapters: shelf.adapters(model, &adapters)?, relative, model, prompt }
            }
        };
        guides.push(Guide { name: name.clone(), weight: *weight, kind });
    }
    let models = shelf.used.iter().map(|at| Rc::clone(&shelf.loaded[*at].1)).collect();
    let adapters = shelf.adapters.into_iter().map(|(_, _, adapter)| adapter).collect();
    Ok(Loaded { base: shelf.loaded.swap_remove(0).1, models, adapters, base_adapters, guides })
}

/// What is loaded so far.
struct Shelf<'a> {
    host: &'a Host,
    /// The base first.
    loaded: Vec<(PathBuf, Rc<Model>)>,
    /// For each guide model, which of `loaded` it is.
    used: Vec<usize>,
    /// Adapters, with the guide model (`None`: the base) that they were fitted to.
    adapters: Vec<(PathBuf, Option<usize>, Rc<Adapter>)>,
}

impl Shelf<'_> {
    /// The place among guide models of the model at `path`.
    async fn model(&mut self, path: &Path) -> Result<usize> {
        let key = identity(path);
        let known = self.loaded.iter().position(|(known, _)| *known == key);
        let at = known.unwrap_or(self.loaded.len());
        if known.is_none() {
            self.loaded.push((key, Rc::new(self.host.load(path).await?)));
        }
        Ok(self.used.iter().position(|known| *known == at).unwrap_or_else(|| {
            self.used.push(at);
            self.used.len() - 1
        }))
    }

    /// Adapters over the base, or over a guide model.
    fn adapters(&mut self, model: Option<usize>, specs: &[AdapterSpec]) -> Result<Vec<AdapterUse>> {
        let mut uses = Vec::new();
        for AdapterSpec { path, share, preference } in specs {
            let key = identity(path);
            let known = self.adapters.iter().position(|(known, on, _)| *known == key && *on == model);
            let adapter = known.unwrap_or(self.adapters.len());
            if known.is_none() {
                let on = &self.loaded[model.map_or(0, |model| self.used[model])].1;
                self.adapters.push((key, model, Rc::new(self.host.load_adapter(path, on)?)));
            }
            uses.push(AdapterUse { adapter, share: *share, preference: preference.clone() });
        }
        Ok(uses)
    }
}

/// One name for a file, however it was written.
fn identity(path: &Path) -> PathBuf {
    path.canonicalize().unwrap_or_else(|_| path.to_owned())
}
