//! The adapters of a weight set's rows, on the GPU: what each row adds to each layer, and the live shares.

use std::collections::BTreeMap;

use crate::adapter::{Adapter, AdapterError, Module, Pair};
use crate::arch::ModelSpec;
use crate::gpu::{Gpu, GpuError, Usage};
use crate::ops::lora::{Change, Lora, Shape};
use crate::ops::lora_down::SEGMENTS;

/// The largest magnitude of a share or of an entry of a preference vector.
const MOST_SHARE: f32 = 1e4;

/// An adapter as a row uses it: multiplied by a share, and by a preference vector where it has preferences.
#[derive(Debug, Clone, Copy)]
pub struct RowAdapter<'a> {
    /// The adapter, fitted to the model.
    pub adapter: &'a Adapter,
    /// What it is multiplied with.
    pub share: f32,
    /// As long as the adapter's preferences.
    pub preference: &'a [f32],
}

impl RowAdapter<'_> {
    /// What each component is multiplied with: the fixed one, then those of the preferences.
    pub fn shares(&self) -> Result<Vec<f32>, AdapterError> {
        let (found, expected) = (self.preference.len(), self.adapter.preferences.len());
        if found != expected {
            return Err(AdapterError::Preference { found, expected });
        }
        let check = |what, found: f32| {
            // NaN fails this too.
            if found.abs() <= MOST_SHARE {
                Ok(found)
            } else {
                Err(AdapterError::Share { what, found, most: MOST_SHARE })
            }
        };
        let share = check("the share of an adapter", self.share)?;
        let entry = |entry: &f32| Ok(share * check("an entry of the preference vector", *entry)?);
        std::iter::once(Ok(share)).chain(self.preference.iter().map(entry)).collect()
    }

    /// Live shares that it takes.
    pub fn segments(&self) -> u32 {
        1 + self.adapter.preferences.len() as u32
    }
}

/// The inputs of a layer that adapted matrices read, and the matrices that read them, below each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Site {
    Qkv,
    AttnOutput,
    GateUp,
    Down,
}

impl Site {
    const ALL: [Self; 4] = [Self::Qkv, Self::AttnOutput, Self::GateUp, Self::Down];

    fn modules(self) -> &'static [Module] {
        match self {
            Self::Qkv => &[Module::Q, Module::K, Module::V],
            Self::AttnOutput => &[Module::O],
            Self::GateUp => &[Module::Gate, Module::Up],
            Self::Down => &[Module::Down],
        }
    }
}

/// The adapters of all rows of a weight set.
#[derive(Debug)]
pub struct RowAdapters {
    /// By layer and [`Site`]; `None` where no row changes anything.
    sites: Vec<[Option<Lora>; 4]>,
    /// `[rows, SEGMENTS]` in f32.
    pub(super) shares: wgpu::Buffer,
    /// Bytes on the GPU.
    pub bytes: u64,
}

impl RowAdapters {
    /// Packs and uploads what each row uses; `None` where no row uses anything. The adapters are fitted to `spec`.
    pub fn new(gpu: &Gpu, spec: &ModelSpec, rows: &[Vec<RowAdapter<'_>>]) -> Result<Option<Self>, crate::Error> {
        if rows.iter().all(Vec::is_empty) {
            return Ok(None);
        }
        let shares = gpu.buffer("adapter shares", 4 * u64::from(SEGMENTS) * rows.len() as u64, Usage::Storage)?;
        for row in rows {
            for used in row {
                used.adapter.check(spec)?;
            }
        }
        let layer = |layer: usize| -> Result<[Option<Lora>; 4], GpuError> {
            let mut sites = [None, None, None, None];
            for (at, site) in Site::ALL.into_iter().enumerate() {
                sites[at] = site_of(gpu, spec, layer, site, rows)?;
            }
            Ok(sites)
        };
        let sites = (0..spec.layers.len()).map(layer).collect::<Result<Vec<_>, _>>()?;
        let pools = sites.iter().flatten().flatten().map(|lora| lora.pool.size());
        let made = Self { bytes: pools.sum::<u64>() + shares.size(), sites, shares };
        for (row, used) in rows.iter().enumerate() {
            let mut segment = 0;
            for used in used {
                made.set_shares(gpu, row, segment, &used.shares()?);
                segment += used.segments();
            }
        }
        Ok(Some(made))
    }

    /// Writes live shares of a row, from `segment` on; they act from the next submitted step.
    pub fn set_shares(&self, gpu: &Gpu, row: usize, segment: u32, shares: &[f32]) {
        gpu.write(&self.shares, 4 * (row as u64 * u64::from(SEGMENTS) + u64::from(segment)), shares);
    }

    pub(super) fn site(&self, layer: usize, site: Site) -> Option<&Lora> {
        self.sites.get(layer)?[site as usize].as_ref()
    }

    /// The most groups of four ranks of any row anywhere.
    pub(super) fn groups(&self) -> u32 {
        self.sites.iter().flatten().flatten().map(|lora| lora.groups).max().unwrap_or_default()
    }
}

fn site_of(
    gpu: &Gpu,
    spec: &ModelSpec,
    layer: usize,
    site: Site,
    rows: &[Vec<RowAdapter<'_>>],
) -> Result<Option<Lora>, GpuError> {
    let modules = site.modules();
    let tensor = |module: &Module| &spec.tensors[module.tensor(&spec.layers[layer])];
    let mut parts = [0; 3];
    parts.iter_mut().zip(modules).for_each(|(part, module)| *part = tensor(module).rows() as u32);
    let shape = Shape { k: tensor(&modules[0]).row_len() as u32, parts };
    let changes: Vec<Vec<Change<'_>>> = rows.iter().map(|row| changes(row, layer as u32, modules)).collect();
    if changes.iter().all(Vec::is_empty) {
        return Ok(None);
    }
    Lora::new(gpu, shape, &changes).map(Some)
}

fn changes<'a>(row: &[RowAdapter<'a>], layer: u32, modules: &[Module]) -> Vec<Change<'a>> {
    let components = row.iter().flat_map(|used| used.adapter.components());
    let mut changes = Vec::new();
    for (segment, component) in components.enumerate() {
        let pairs: &'a BTreeMap<_, Pair> = &component.pairs;
        for (part, module) in modules.iter().enumerate() {
            if let Some(Pair { scale, rank, a, b }) = pairs.get(&(layer, *module)) {
                let rank = *rank as usize;
                changes.push(Change { part, segment: segment as u32, scale: *scale, rank, a, b });
            }
        }
    }
    changes
}
