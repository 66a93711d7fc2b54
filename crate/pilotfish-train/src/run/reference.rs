//! The base's own scores, computed once and kept beside the run: evaluations take them off, and DPO's loss needs them.

use std::path::Path;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::base::Base;
use crate::batch::evaluate;
use crate::error::Result;
use crate::hash::hex;
use crate::objective::PairScore;
use crate::output::write_whole;
use crate::pairs::Pair;

/// The file: whose scores they are, and the scores.
#[derive(Debug, Serialize, Deserialize)]
struct Kept {
    key: String,
    scores: Vec<PairScore>,
}

/// The scores of `pairs` under the base, from the file at `path` where it has them. `None` where `progress` aborted.
pub(super) fn reference(
    base: &Base,
    pairs: &[&Pair],
    path: &Path,
    threads: usize,
    progress: &(dyn Fn(usize) -> bool + Sync),
) -> Result<Option<Vec<PairScore>>> {
    let key = fingerprint(base, pairs);
    if let Ok(bytes) = std::fs::read(path)
        && let Ok(kept) = serde_json::from_slice::<Kept>(&bytes)
        && kept.key == key
        && kept.scores.len() == pairs.len()
    {
        return Ok(Some(kept.scores));
    }
    let trees: Vec<_> = pairs.iter().map(|pair| &pair.tree).collect();
    let Some(scores) = pair_scores(evaluate(base, None, &trees, threads, progress)?) else { return Ok(None) };
    let text = serde_json::to_vec(&Kept { key, scores: scores.clone() }).unwrap_or_default();
    write_whole(path, &text)?;
    // As a resumed run will read them: decimal digits may cost the last bit.
    Ok(Some(serde_json::from_slice::<Kept>(&text).map_or(scores, |kept| kept.scores)))
}

/// Scores by pair, if none is missing.
pub(super) fn pair_scores(scores: Vec<Vec<crate::objective::AnswerScore>>) -> Option<Vec<PairScore>> {
    scores.into_iter().map(|answers| <PairScore>::try_from(answers).ok()).collect()
}

/// Base and pairs as one number: the weights as they were decoded, and the ids.
pub(super) fn fingerprint(base: &Base, pairs: &[&Pair]) -> String {
    let mut hash = Sha256::new();
    hash.update(base.sha256);
    for pair in pairs {
        hash.update((pair.dimension as u64).to_le_bytes());
        for ids in std::iter::once(&pair.tree.prompt).chain(&pair.tree.answers) {
            hash.update((ids.len() as u64).to_le_bytes());
            for id in ids {
                hash.update(id.to_le_bytes());
            }
        }
    }
    hex(hash)
}
