//! What is trained: low-rank changes to some matrices of each layer, as plain numbers.

use pilotfish::adapter::{Adapter, Component, Module, Pair, Place, RowOrder};
use pilotfish::arch::ModelSpec;
use rand::Rng as _;
use rand::SeedableRng as _;
use rand_chacha::ChaCha8Rng;
use serde::{Deserialize, Serialize};

use crate::error::{Result, TrainError};
use crate::parm::{Mixing, ParmOptions, mixed};

/// The largest rank that the engine takes.
const MOST_RANK: u32 = pilotfish::adapter::MOST_RANK;

/// Which matrices are changed, and how much room the change has.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct LoraOptions {
    /// Rank of each change, 1 to 512.
    pub rank: u32,
    /// The change is `alpha / rank · B A`.
    pub alpha: f32,
    /// Share of A's inputs that are dropped while training, 0 to below 1.
    pub dropout: f32,
    /// What a learned change is multiplied with to be judged and written, above 0. A change that has learned its pairs well often goes
    /// further than a guide should; turned down, it says the same more fluently.
    pub strength: f32,
    /// Matrices by PEFT's names.
    pub targets: Vec<Target>,
}

impl Default for LoraOptions {
    /// GenARM's: queries, keys and values (arXiv 2410.08193, appendix).
    fn default() -> Self {
        Self {
            rank: 8,
            alpha: 16.0,
            dropout: 0.0,
            strength: 1.0,
            targets: vec![Target(Module::Q), Target(Module::K), Target(Module::V)],
        }
    }
}

/// A matrix that is changed, written as `q_proj` or `q`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Target(pub Module);

impl TryFrom<String> for Target {
    type Error = String;

    fn try_from(name: String) -> Result<Self, String> {
        name.parse()
    }
}

impl std::str::FromStr for Target {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, String> {
        let known =
            |module: &Module| module.peft_name() == name || module.peft_name().trim_end_matches("_proj") == name;
        let found = Module::ALL.into_iter().find(known);
        found.map(Self).ok_or_else(|| format!("no matrix is named {name:?}: q, k, v, o, gate, up and down are"))
    }
}

impl From<Target> for String {
    fn from(target: Target) -> Self {
        target.0.peft_name().into()
    }
}

impl LoraOptions {
    /// Refuses what cannot be trained.
    pub fn check(&self) -> Result<()> {
        let refuse = |message: String| Err(TrainError::Options { message });
        if !(1..=MOST_RANK).contains(&self.rank) {
            return refuse(format!("rank is {}, expected 1 to {MOST_RANK}", self.rank));
        }
        if !(self.alpha.is_finite() && self.alpha > 0.0) {
            return refuse(format!("alpha is {}, expected a number above 0", self.alpha));
        }
        if !(self.strength.is_finite() && self.strength > 0.0) {
            return refuse(format!("strength is {}, expected a number above 0", self.strength));
        }
        if !(0.0..1.0).contains(&self.dropout) {
            return refuse(format!("dropout is {}, expected 0 to below 1", self.dropout));
        }
        if self.targets.is_empty() {
            return refuse("no matrix is to be changed: name some of q, k, v, o, gate, up, down".into());
        }
        Ok(())
    }
}

/// What is trained of one matrix.
#[derive(Debug, Clone, PartialEq)]
pub struct Change {
    /// Layer and matrix.
    pub place: Place,
    /// `[rank, inputs]`
    pub a: Vec<f32>,
    /// `[outputs, rank]`; rows of q and k in the order of the model's file.
    pub b: Vec<f32>,
    /// What stands between them in a preference-conditioned adapter.
    pub mixing: Option<Mixing>,
}

/// All changes, by layer, then matrix.
#[derive(Debug, Clone, PartialEq)]
pub struct Lora {
    /// Rank of each: with preferences, of the shared part and the one that turns together.
    pub rank: u32,
    /// What `B A` is multiplied with: alpha / rank, with preferences alpha / the rank of the part that turns.
    pub scale: f32,
    /// Share of inputs dropped while training.
    pub dropout: f32,
    /// Entries of the preference vector; 0 for plain LoRA.
    pub dimensions: usize,
    /// The matrices.
    pub changes: Vec<Change>,
}

impl Lora {
    /// As PEFT begins: A uniform in ±1/sqrt(inputs) (Kaiming's with a = √5), B zero, so that nothing is changed yet.
    pub fn new(spec: &ModelSpec, options: &LoraOptions, parm: Option<&ParmOptions>, seed: u64) -> Result<Self> {
        options.check()?;
        parm.map_or(Ok(()), ParmOptions::check)?;
        let mut targets = options.targets.clone();
        targets.sort_unstable();
        targets.dedup();
        let turned = parm.map_or(0, |parm| parm.rank);
        let dimensions = parm.map_or(0, |parm| parm.dimensions.len());
        let rank = options.rank + turned;
        let mut random = ChaCha8Rng::seed_from_u64(seed);
        let mut changes = Vec::new();
        for (index, layer) in spec.layers.iter().enumerate() {
            for Target(module) in &targets {
                let shape = &spec.tensors[module.tensor(layer)].shape;
                let (inputs, outputs) = (shape[0] as usize, shape[1] as usize);
                let bound = 1.0 / (inputs as f32).sqrt();
                let a = (0..rank as usize * inputs).map(|_| random.random_range(-bound..bound)).collect();
                let b = vec![0.0; outputs * rank as usize];
                let mixing = parm.map(|_| Mixing::new(options.rank as usize, turned as usize, dimensions, &mut random));
                changes.push(Change { place: (index as u32, *module), a, b, mixing });
            }
        }
        let divisor = if parm.is_some() { turned } else { rank };
        Ok(Self { rank, scale: options.alpha / divisor as f32, dropout: options.dropout, dimensions, changes })
    }

    /// The same changes, multiplied.
    #[must_use]
    pub fn times(&self, strength: f32) -> Self {
        Self { scale: self.scale * strength, ..self.clone() }
    }

    /// The rank of the part that turns with the preference, if there is one.
    pub fn turned_rank(&self) -> u32 {
        let mixing = self.changes.iter().find_map(|change| change.mixing.as_ref());
        mixing.map_or(0, |mixing| mixing.turned_rank(self.dimensions) as u32)
    }

    /// Every trained number's slice, in a fixed order.
    pub fn slices(&self) -> impl Iterator<Item = &[f32]> {
        self.changes.iter().flat_map(|change| {
            let mixing = change.mixing.iter().flat_map(|mixing| [&mixing.shared[..], &mixing.turned[..]]);
            [&change.a[..], &change.b[..]].into_iter().chain(mixing)
        })
    }

    /// The same, to be changed.
    pub fn slices_mut(&mut self) -> impl Iterator<Item = &mut [f32]> {
        self.changes.iter_mut().flat_map(|change| {
            let mixing = change.mixing.iter_mut().flat_map(|mixing| [&mut mixing.shared[..], &mut mixing.turned[..]]);
            [&mut change.a[..], &mut change.b[..]].into_iter().chain(mixing)
        })
    }

    /// How many numbers are trained.
    pub fn parameters(&self) -> usize {
        self.slices().map(<[f32]>::len).sum()
    }

    /// The adapter as the engine knows it: with preferences, `B₁ W₁` and each `B₂ W₂ᵏ` multiplied out.
    pub fn adapter(&self, spec: &ModelSpec, name: &str) -> Adapter {
        let (rank, turned) = (self.rank as usize, self.turned_rank() as usize);
        let shared = rank - turned;
        let mut fixed = Component::default();
        let mut preferences = vec![Component::default(); self.dimensions];
        for Change { place, a, b, mixing } in &self.changes {
            let pair =
                |rank: usize, a: &[f32], b: Vec<f32>| Pair { scale: self.scale, rank: rank as u32, a: a.to_vec(), b };
            let Some(mixing) = mixing else {
                fixed.pairs.insert(*place, pair(rank, a, b.clone()));
                continue;
            };
            let (a_1, a_2) = a.split_at(a.len() / rank * shared);
            fixed.pairs.insert(*place, pair(shared, a_1, mixed(b, rank, 0, &mixing.shared, shared)));
            for (component, w_2) in preferences.iter_mut().zip(mixing.turned.chunks_exact(turned * turned)) {
                component.pairs.insert(*place, pair(turned, a_2, mixed(b, rank, shared, w_2, turned)));
            }
        }
        Adapter {
            name: name.to_owned(),
            architecture: Some(spec.family.to_owned()),
            base: Some(spec.name.clone()),
            row_order: RowOrder::Model,
            fixed,
            preferences,
        }
    }
}
