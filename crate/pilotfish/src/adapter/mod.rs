//! Adapters: low-rank changes to a loaded model's matrices, `W x + s B (A x)` (LoRA, arXiv 2106.09685).
//!
//! Here an adapter is read, checked against a model, and left as plain numbers; `model` puts it on the GPU. The weights it
//! changes are never touched, so rows with different adapters share one weight set.

mod error;
mod gguf;
mod peft;
mod safetensors;

use std::collections::BTreeMap;

use serde::Serialize;

pub use error::AdapterError;

use crate::arch::{Layer, ModelSpec, RopeStyle, TensorIndex};

/// The largest rank of one change.
pub const MOST_RANK: u32 = 512;

/// A matrix of a layer that an adapter may change.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Module {
    /// Queries.
    Q,
    /// Keys.
    K,
    /// Values.
    V,
    /// Attention's output.
    O,
    /// The gate of the feed-forward block.
    Gate,
    /// What the gate is multiplied with.
    Up,
    /// Back to the residual stream.
    Down,
}

impl Module {
    /// All of them, in the order of a layer.
    pub const ALL: [Self; 7] = [Self::Q, Self::K, Self::V, Self::O, Self::Gate, Self::Up, Self::Down];

    /// Its name in PEFT and transformers.
    pub fn peft_name(self) -> &'static str {
        match self {
            Self::Q => "q_proj",
            Self::K => "k_proj",
            Self::V => "v_proj",
            Self::O => "o_proj",
            Self::Gate => "gate_proj",
            Self::Up => "up_proj",
            Self::Down => "down_proj",
        }
    }

    /// Its name in a GGUF file, after `blk.N.`.
    pub fn gguf_name(self) -> &'static str {
        match self {
            Self::Q => "attn_q",
            Self::K => "attn_k",
            Self::V => "attn_v",
            Self::O => "attn_output",
            Self::Gate => "ffn_gate",
            Self::Up => "ffn_up",
            Self::Down => "ffn_down",
        }
    }

    /// The tensor that it is in a layer.
    pub fn tensor(self, layer: &Layer) -> TensorIndex {
        let tensors = &layer.tensors;
        match self {
            Self::Q => tensors.q,
            Self::K => tensors.k,
            Self::V => tensors.v,
            Self::O => tensors.o,
            Self::Gate => tensors.gate,
            Self::Up => tensors.up,
            Self::Down => tensors.down,
        }
    }
}

/// One low-rank change, `s B A`.
#[derive(Debug, Clone, PartialEq)]
pub struct Pair {
    /// `s`: what `B A` is multiplied with.
    pub scale: f32,
    /// Rows of A, columns of B.
    pub rank: u32,
    /// `[rank, inputs]`, row by row.
    pub a: Vec<f32>,
    /// `[outputs, rank]`, row by row.
    pub b: Vec<f32>,
}

impl Pair {
    /// Inputs of the matrix.
    pub fn inputs(&self) -> u64 {
        (self.a.len() / self.rank as usize) as u64
    }

    /// Outputs of the matrix.
    pub fn outputs(&self) -> u64 {
        (self.b.len() / self.rank as usize) as u64
    }
}

/// How the rows of B for q and k lie. A head's elements turn in pairs: transformers pairs element `i` with `i + head_dim / 2`,
/// and GGUF files of the `llama` family have their rows interleaved so that neighbours are pairs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RowOrder {
    /// As in the model file that the adapter is for.
    Model,
    /// As transformers has them.
    HalfSplit,
}

/// A place that an adapter changes: layer and matrix.
pub type Place = (u32, Module);

/// A part of an adapter that is weighed as a whole.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Component {
    /// What it changes.
    pub pairs: BTreeMap<Place, Pair>,
}

/// Low-rank changes to a model's matrices: the sum of the `fixed` component and of one for each preference, weighed by the
/// preference vector α. Most adapters are the fixed component alone.
///
/// A preference-aware one (PARM, arXiv 2505.06274, section 4.2) changes a matrix by `s (B₁ W₁ A₁ + B₂ (Σ α_k W₂ᵏ) A₂)`. That is
/// linear in α, so it is held as `s B₁W₁ · A₁` and, for each k, `s B₂W₂ᵏ · A₂`: a new α is a handful of new weights.
#[derive(Debug, Clone, PartialEq)]
pub struct Adapter {
    /// Its name, if it gives one.
    pub name: String,
    /// The family of the model it was made for, if it says.
    pub architecture: Option<String>,
    /// The model it was made for, if it says.
    pub base: Option<String>,
    /// How the rows of B for q and k lie.
    pub row_order: RowOrder,
    /// Always in force.
    pub fixed: Component,
    /// Weighed by the preference vector.
    pub preferences: Vec<Component>,
}

/// What a user is told about an adapter.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct AdapterInfo {
    /// Its name, or empty.
    pub name: String,
    /// The model it was made for, if it says.
    pub base: Option<String>,
    /// Whether that name is the loaded model's, as far as names tell; absent where either has none.
    pub base_matches: Option<bool>,
    /// The matrices that it changes in some layer.
    pub modules: Vec<Module>,
    /// Layers that it changes.
    pub layers: usize,
    /// The largest rank.
    pub rank: u32,
    /// Numbers in all its matrices.
    pub parameters: u64,
    /// Entries of its preference vector; 0 for most.
    pub preferences: usize,
}

impl Adapter {
    /// The fixed component, then those of the preferences.
    pub fn components(&self) -> impl Iterator<Item = &Component> {
        std::iter::once(&self.fixed).chain(&self.preferences)
    }

    /// Every change.
    pub fn pairs(&self) -> impl Iterator<Item = (Place, &Pair)> {
        self.components().flat_map(|component| component.pairs.iter().map(|(place, pair)| (*place, pair)))
    }

    /// Checks that it is for a model of this shape, and puts its rows in the model's order.
    pub fn fitted(mut self, spec: &ModelSpec) -> Result<Self, AdapterError> {
        self.check(spec)?;
        if self.row_order == RowOrder::HalfSplit && spec.rope_style == RopeStyle::Interleaved {
            let components = std::iter::once(&mut self.fixed).chain(&mut self.preferences);
            for (place, pair) in components.flat_map(|component| &mut component.pairs) {
                if matches!(place.1, Module::Q | Module::K) {
                    interleave(&mut pair.b, pair.rank as usize, spec.head_dim as usize);
                }
            }
        }
        self.row_order = RowOrder::Model;
        Ok(self)
    }

    /// Refuses a model of another family or shape.
    pub fn check(&self, spec: &ModelSpec) -> Result<(), AdapterError> {
        if let Some(found) = self.architecture.as_deref().filter(|found| *found != spec.family) {
            return Err(AdapterError::Architecture { found: found.to_owned(), expected: spec.family });
        }
        for ((layer, module), pair) in self.pairs() {
            let layers = spec.n_layers();
            let Some(tensors) = spec.layers.get(layer as usize) else {
                return Err(AdapterError::Layer { found: layer, expected: layers });
            };
            let shape = &spec.tensors[module.tensor(tensors)].shape;
            let expected = [shape[0], shape[1]];
            let found = [pair.inputs(), pair.outputs()];
            if found != expected {
                let module = module.peft_name();
                return Err(AdapterError::Shape { layer, module, found, expected });
            }
        }
        Ok(())
    }

    /// Facts to show; `model` is the loaded model's name.
    pub fn info(&self, model: &str) -> AdapterInfo {
        let places = || self.pairs().map(|(place, _)| place);
        let mut layers: Vec<u32> = places().map(|(layer, _)| layer).collect();
        layers.sort_unstable();
        layers.dedup();
        let base_matches = self.base.as_deref().filter(|_| !model.is_empty()).map(|base| same_name(base, model));
        AdapterInfo {
            name: self.name.clone(),
            base: self.base.clone(),
            base_matches,
            modules: Module::ALL.into_iter().filter(|module| places().any(|(_, other)| other == *module)).collect(),
            layers: layers.len(),
            rank: self.pairs().map(|(_, pair)| pair.rank).max().unwrap_or_default(),
            parameters: self.pairs().map(|(_, pair)| (pair.a.len() + pair.b.len()) as u64).sum(),
            preferences: self.preferences.len(),
        }
    }

    /// Refuses an adapter that changes nothing, or holds what is no number.
    fn checked(self) -> Result<Self, AdapterError> {
        if self.pairs().next().is_none() {
            return Err(AdapterError::Empty);
        }
        for ((layer, module), pair) in self.pairs() {
            let finite = pair.scale.is_finite() && pair.a.iter().chain(&pair.b).all(|value| value.is_finite());
            if !finite {
                return Err(AdapterError::NotFinite { layer, module: module.peft_name() });
            }
        }
        Ok(self)
    }
}

/// The value that goes with `key`, made if there is none. The lists are of a few hundred, and a map type of its own would weigh
/// more in a page's download than the search does.
fn entry<K: PartialEq, V: Default>(list: &mut Vec<(K, V)>, key: K) -> &mut V {
    let at = list.iter().position(|(known, _)| *known == key).unwrap_or_else(|| {
        list.push((key, V::default()));
        list.len() - 1
    });
    &mut list[at].1
}

/// Refuses ranks out of range.
fn check_rank(tensor: &str, found: u64) -> Result<u32, AdapterError> {
    match u32::try_from(found) {
        Ok(rank) if (1..=MOST_RANK).contains(&rank) => Ok(rank),
        _ => Err(AdapterError::Rank { tensor: tensor.to_owned(), found, most: MOST_RANK }),
    }
}

/// Rows of `b` (`[heads * head_dim, rank]`) from half-split to interleaved order: row `i` of a head's first half becomes row
/// `2 i`, row `i` of the second `2 i + 1`.
fn interleave(b: &mut [f32], rank: usize, head_dim: usize) {
    let half = head_dim / 2;
    for head in b.chunks_exact_mut(head_dim * rank) {
        let from = head.to_vec();
        for (row, into) in head.chunks_exact_mut(rank).enumerate() {
            let source = row / 2 + row % 2 * half;
            into.copy_from_slice(&from[source * rank..][..rank]);
        }
    }
}

/// Whether two names seem to mean one model: they begin with the same two words, case apart, as family and size do. Files are
/// often named after a training run from the third word on.
fn same_name(one: &str, other: &str) -> bool {
    let begin = |name: &str| -> Vec<String> {
        let last = name.trim_end_matches('/').rsplit('/').next().unwrap_or_default().to_lowercase();
        let words = last.split(|c: char| !c.is_alphanumeric() && c != '.').filter(|word| !word.is_empty());
        words.take(2).map(str::to_owned).collect()
    };
    let (one, other) = (begin(one), begin(other));
    !one.is_empty() && one == other
}

#[cfg(test)]
mod tests;
