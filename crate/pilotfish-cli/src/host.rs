//! This machine: its GPU or CPU opened, model files loaded onto it, its clock and its memory.

use std::fs::File;
use std::path::Path;
use std::time::Instant;

use pilotfish::adapter::{Adapter, AdapterInfo};
use pilotfish::engine::{self, Engine, Model};
use serde::Serialize;

use crate::args::Global;
use crate::error::{CliError, Result};
use crate::interrupt;
use crate::progress::Progress;
use crate::{input, output};

/// An engine, and how to tell people about it.
#[derive(Debug)]
pub(crate) struct Host {
    /// The engine.
    pub(crate) engine: Engine,
    /// Say nothing but errors.
    pub(crate) quiet: bool,
}

impl Host {
    /// Opens what runs the models.
    pub(crate) async fn open(global: &Global) -> Result<Self> {
        let started = Instant::now();
        let clock = engine::Host::new(move || started.elapsed().as_secs_f64() * 1e3);
        let engine = Engine::open(&global.engine_options(), clock).await?;
        Ok(Self { engine, quiet: global.quiet })
    }

    /// Loads a GGUF file, with a progress line; Ctrl-C aborts.
    pub(crate) async fn load(&self, path: &Path) -> Result<Model> {
        let mut file = open(path)?;
        let mut progress = Progress::new(format!("loading {}", path.display()), self.quiet);
        let model = self.engine.load(&mut file, |state| {
            progress.update(state.done, state.total);
            !interrupt::asked()
        });
        Ok(model.await?)
    }

    /// Reads an adapter and fits it to `model`; says so where it names another base.
    pub(crate) fn load_adapter(&self, path: &Path, model: &Model) -> Result<Adapter> {
        let adapter = read_adapter(path)?.fitted(&model.spec).map_err(pilotfish::Error::from)?;
        if let AdapterInfo { base: Some(base), base_matches: Some(false), .. } = adapter.info(&model.spec.name)
            && !self.quiet
        {
            let name = &model.spec.name;
            output::diagnostic(&format!("{} was made for {base}; the model is called {name}", path.display()));
        }
        Ok(adapter)
    }
}

/// Reads an adapter: a GGUF file, a PEFT directory, or the safetensors file in one.
pub(crate) fn read_adapter(path: &Path) -> Result<Adapter> {
    let folder = match path.extension() {
        _ if path.is_dir() => Some(path),
        Some(extension) if extension.eq_ignore_ascii_case("safetensors") => path.parent(),
        _ => None,
    };
    let read = match folder {
        None => Adapter::from_gguf(&input::bytes(path)?),
        Some(folder) => {
            let config = input::bytes(&folder.join("adapter_config.json"))?;
            let weights = input::bytes(&folder.join("adapter_model.safetensors"))?;
            Adapter::from_peft(&String::from_utf8_lossy(&config), &weights)
        }
    };
    let mut adapter = read.map_err(pilotfish::Error::from)?;
    if adapter.name.is_empty() {
        // Files name themselves seldom, folders well.
        let stem = folder.unwrap_or(path).file_stem();
        adapter.name = stem.map_or_else(String::new, |stem| stem.to_string_lossy().into_owned());
    }
    Ok(adapter)
}

/// Opens a file to read.
pub(crate) fn open(path: &Path) -> Result<File> {
    File::open(path).map_err(|source| CliError::File { path: path.to_owned(), source })
}

/// Memory of this process, in bytes; `None` where the system does not say.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub(crate) struct HostMemory {
    /// In use now.
    pub(crate) resident: Option<u64>,
    /// The most so far.
    pub(crate) peak: Option<u64>,
}

impl HostMemory {
    /// Now. Linux says `VmRSS` and `VmHWM`. A software GPU's memory is the process's too.
    pub(crate) fn now() -> Self {
        Self::parse(&std::fs::read_to_string("/proc/self/status").unwrap_or_default())
    }

    fn parse(status: &str) -> Self {
        let field = |name: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))?;
            line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok().map(|kib| kib * 1024)
        };
        Self { resident: field("VmRSS"), peak: field("VmHWM") }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_is_read_from_the_status_page() {
        let status = "Name:\tpilotfish\nVmPeak:\t  999 kB\nVmHWM:\t   2048 kB\nVmRSS:\t    1024 kB\n";
        assert_eq!(HostMemory::parse(status), HostMemory { resident: Some(1 << 20), peak: Some(2 << 20) });
        assert_eq!(HostMemory::parse(""), HostMemory::default());
    }
}
