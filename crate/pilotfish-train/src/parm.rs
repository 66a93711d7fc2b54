//! Preference-conditioned adapters: PARM (arXiv 2505.06274). One adapter for several dimensions of preference, changed by a vector
//! α of their weights, which the reader sets while it writes.
//!
//! A matrix is changed by `s B W(α) A`, where `W(α)` has two blocks: `W₁` for what all dimensions share, and `Σ α_k W₂ᵏ`, which
//! turns with the preference (section 4.2). For each step a vector is drawn, the matrices `B W(α)` made of it, and the losses of
//! the dimensions' pairs added up with its weights (section 4.3).

use rand::Rng as _;
use rand::SeedableRng as _;
use rand_chacha::ChaCha8Rng;
use serde::{Deserialize, Serialize};

use crate::error::{Result, TrainError};

/// The dimensions, and the room that they have.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ParmOptions {
    /// Names, in the order of the preference vector: two at least.
    pub dimensions: Vec<String>,
    /// Rank of the part that turns with the preference. [`crate::LoraOptions::rank`] is that of the part that does not.
    pub rank: u32,
}

impl ParmOptions {
    /// Refuses what means nothing.
    pub fn check(&self) -> Result<()> {
        let refuse = |message: String| Err(TrainError::Options { message });
        let most = pilotfish::adapter::MOST_RANK;
        if !(1..=most).contains(&self.rank) {
            return refuse(format!("the preference's rank is {}, expected 1 to {most}", self.rank));
        }
        if self.dimensions.len() < 2 {
            return refuse(format!("{} dimension of preference, expected two at least", self.dimensions.len()));
        }
        let twice = |at: usize| self.dimensions[..at].contains(&self.dimensions[at]);
        if let Some(at) = (0..self.dimensions.len()).find(|at| twice(*at)) {
            return refuse(format!("two dimensions are named {:?}: each needs a name of its own", self.dimensions[at]));
        }
        Ok(())
    }
}

/// The mixing matrices of one change.
#[derive(Debug, Clone, PartialEq)]
pub struct Mixing {
    /// `W₁`, `[shared, shared]`.
    pub shared: Vec<f32>,
    /// `W₂ᵏ` behind each other, `[dimensions, turned * turned]`.
    pub turned: Vec<f32>,
}

impl Mixing {
    /// Near the identity: with α's weights adding up to one, so is `W(α)`, and training begins as plain LoRA's does. What is
    /// random, uniform in ±1/sqrt(rank), tells the dimensions apart.
    pub(crate) fn new(shared: usize, turned: usize, dimensions: usize, random: &mut ChaCha8Rng) -> Self {
        let mut near_identity = |rank: usize| -> Vec<f32> {
            let bound = 1.0 / (rank as f32).sqrt();
            let identity = |at: usize| f32::from(u8::from(at.is_multiple_of(rank + 1)));
            (0..rank * rank).map(|at| identity(at) + random.random_range(-bound..bound)).collect()
        };
        let w_1 = near_identity(shared);
        Self { shared: w_1, turned: (0..dimensions).flat_map(|_| near_identity(turned)).collect() }
    }

    /// Rank of the part that turns.
    pub(crate) fn turned_rank(&self, dimensions: usize) -> usize {
        (self.turned.len() / dimensions.max(1)).isqrt()
    }
}

/// `left * right`: `[rows, r]` taken from columns `from..from + r` of `left [rows, columns]`, times `right [r, r]`.
pub(crate) fn mixed(left: &[f32], columns: usize, from: usize, right: &[f32], r: usize) -> Vec<f32> {
    let entry = |row: &[f32], column: usize| {
        let terms = row[from..from + r].iter().zip(right.iter().skip(column).step_by(r));
        terms.map(|(l, r)| f64::from(*l) * f64::from(*r)).sum::<f64>() as f32
    };
    left.chunks_exact(columns).flat_map(|row| (0..r).map(move |column| entry(row, column))).collect()
}

/// The preference vector of a step: Dirichlet's distribution with all parameters ½, as the paper draws it, which likes corners.
/// It is the distribution of the squares of a direction that is uniform on the sphere.
pub(crate) fn draw(dimensions: usize, seed: u64, step: usize) -> Vec<f32> {
    let mut random = ChaCha8Rng::seed_from_u64(seed);
    random.set_stream(step as u64);
    let mut normal = || {
        // Box and Muller's.
        let (u, v): (f64, f64) = (random.random(), random.random());
        (-2.0 * (1.0 - u).ln()).sqrt() * (std::f64::consts::TAU * v).cos()
    };
    let squares: Vec<f64> = (0..dimensions).map(|_| normal().powi(2)).collect();
    let sum: f64 = squares.iter().sum();
    squares.iter().map(|square| if sum > 0.0 { square / sum } else { 1.0 / dimensions as f64 } as f32).collect()
}

/// All weight on one dimension.
pub(crate) fn corner(dimension: usize, dimensions: usize) -> Vec<f32> {
    (0..dimensions).map(|at| f32::from(u8::from(at == dimension))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn vectors_are_drawn_as_dirichlets_are() {
        let drawn: Vec<Vec<f32>> = (0..4000).map(|step| draw(2, 7, step)).collect();
        assert!(drawn.iter().all(|vector| (vector.iter().sum::<f32>() - 1.0).abs() < 1e-6));
        assert_eq!(draw(2, 7, 3), drawn[3], "a step's vector depends on seed and step alone");
        let moment = |of: &dyn Fn(f64) -> f64| {
            drawn.iter().map(|vector| of(f64::from(vector[0]))).sum::<f64>() / drawn.len() as f64
        };
        // Beta(½, ½): mean 1/2, variance 1/8, a third of the weight below 1/4.
        let mean = moment(&|x| x);
        assert!((mean - 0.5).abs() < 0.02, "{mean}");
        assert!((moment(&|x| (x - mean).powi(2)) - 0.125).abs() < 0.01);
        assert!((moment(&|x| f64::from(x < 0.25)) - 1.0 / 3.0).abs() < 0.03);
        assert_eq!(draw(5, 7, 3).len(), 5);
    }

    #[test]
    fn dimensions_are_two_at_least_and_have_names_of_their_own() {
        let options = |names: &[&str], rank| {
            let dimensions = names.iter().map(|name| (*name).to_owned()).collect();
            ParmOptions { dimensions, rank }.check().map_err(|error| error.to_string())
        };
        assert_eq!(options(&["a", "b"], 4), Ok(()));
        for (names, rank, said) in
            [(&["a"][..], 4, "two at least"), (&["a", "a"], 4, "\"a\""), (&["a", "b"], 0, "rank is 0")]
        {
            assert!(options(names, rank).is_err_and(|error| error.contains(said)), "{said}");
        }
    }
}
