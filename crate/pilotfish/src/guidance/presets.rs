//! The methods of the field as plain rules. Rows are counted over all weight sets; π is a row's softmax.

use super::{FilterKind, MixRule, RowFilter, Term};

fn terms(terms: &[(usize, f32)]) -> MixRule {
    MixRule { terms: terms.iter().map(|&(row, weight)| Term { row, weight }).collect(), ..MixRule::default() }
}

fn filtered(row: usize, kind: FilterKind, rule: MixRule) -> MixRule {
    MixRule { filter: Some(RowFilter { row, kind }), ..rule }
}

/// `GenARM` (arXiv 2410.08193, eq. 8 and section 4.3): log `π_base` + Σ α · log `π_arm`, with α = 1/β for each reward model.
pub fn genarm(base: usize, arms: &[(usize, f32)]) -> MixRule {
    let mut rule = MixRule::only(base);
    rule.terms.extend(arms.iter().map(|&(row, weight)| Term { row, weight }));
    rule
}

/// Multi-objective decoding (MOD, arXiv 2406.18853): Σ w · log π over models aligned to one objective each, Σ w = 1. The
/// weights are divided by their sum, so that one alone can be changed.
pub fn multi_objective(models: &[(usize, f32)]) -> MixRule {
    MixRule { normalize: true, ..terms(models) }
}

/// Decoding-time realignment (`DeRa`, arXiv 2402.02992): (1 - λ) · log `π_sft` + λ · log `π_aligned`. λ above 1 goes beyond the aligned model.
pub fn dera(sft: usize, aligned: usize, lambda: f32) -> MixRule {
    terms(&[(sft, 1.0 - lambda), (aligned, lambda)])
}

/// Proxy tuning (arXiv 2401.08565) and emulated fine-tuning (EFT, arXiv 2310.12962): log `π_base` + w · (log `π_tuned` - log `π_untuned`),
/// where a small model before and after tuning shows a large one the way; w = 1 in the papers.
pub fn proxy(base: usize, tuned: usize, untuned: usize, weight: f32) -> MixRule {
    terms(&[(base, 1.0), (tuned, weight), (untuned, -weight)])
}

/// `DExperts` (arXiv 2105.03023): log `π_base` + α · (log `π_expert` - log `π_anti`) on the tokens of the base's top-p, which is applied first
/// (section 2.2).
pub fn dexperts(base: usize, expert: usize, anti: usize, alpha: f32, top_p: f32) -> MixRule {
    filtered(base, FilterKind::TopP { p: top_p }, terms(&[(base, 1.0), (expert, alpha), (anti, -alpha)]))
}

/// Contrastive decoding (arXiv 2210.15097): log `π_expert` - λ · log `π_amateur` on the tokens with `π_expert` at least
/// `plausibility` times its maximum (0.1 in the paper).
pub fn contrastive(expert: usize, amateur: usize, lambda: f32, plausibility: f32) -> MixRule {
    let rule = terms(&[(expert, 1.0), (amateur, -lambda)]);
    filtered(expert, FilterKind::Plausibility { alpha: plausibility }, rule)
}

/// Context steering (`CoS`, arXiv 2405.01768): log `π_base` + α · (log `π_with` - log `π_without`), one model with and without a context.
/// `without` may be the base's own row.
pub fn context(base: usize, with: usize, without: usize, alpha: f32) -> MixRule {
    terms(&[(base, 1.0), (with, alpha), (without, -alpha)])
}

/// Personalised alignment at decoding time (PAD, arXiv 2410.04070): the reward w · (log `π_personal` - log `π_reference`) among the
/// base's `k` most likely tokens. `base_weight` adds that much of log `π_base`; 0 ranks by the reward alone.
pub fn pad(base: usize, base_weight: f32, personal: usize, reference: usize, weight: f32, k: u32) -> MixRule {
    let rule = terms(&[(base, base_weight), (personal, weight), (reference, -weight)]);
    filtered(base, FilterKind::TopK { k }, rule)
}

/// Preference-aware ARM (PARM, arXiv 2505.06274, section 3): log `π_base` + (1/β) · log `π_parm`(α), where one reward model
/// serves all objectives, its adapter conditioned on the preference vector α. To the mix it is one arm of weight 1/β: α is
/// in the row, not in the rule.
pub fn parm(base: usize, arm: usize, weight: f32) -> MixRule {
    genarm(base, &[(arm, weight)])
}

/// Each preset against its paper's formula, written out over probabilities.
#[cfg(test)]
mod tests {
    use super::super::{Sampling, Telemetry, twin};
    use super::*;
    use crate::ops::grid::Numbers;

    const VOCAB: usize = 50;

    /// Three rows of logits and their probabilities.
    fn rows() -> (Vec<Vec<f32>>, Vec<Vec<f64>>) {
        let mut numbers = Numbers::new(11);
        let logits: Vec<Vec<f32>> = (0..3).map(|_| numbers.floats(VOCAB).iter().map(|l| l * 4.0).collect()).collect();
        let probs = logits.iter().map(|row| normalised(row.iter().map(|l| f64::from(*l).exp()).collect())).collect();
        (logits, probs)
    }

    fn normalised(weights: Vec<f64>) -> Vec<f64> {
        let sum: f64 = weights.iter().sum();
        weights.into_iter().map(|weight| weight / sum).collect()
    }

    /// The rule's distribution at temperature 1 equals `want`, which need not be normalised.
    fn holds(rule: &MixRule, want: impl Fn(usize, &[Vec<f64>]) -> f64) {
        let (logits, probs) = rows();
        let rows: Vec<&[f32]> = logits.iter().map(Vec::as_slice).collect();
        rule.validate(rows.len(), VOCAB as u32).expect("a preset is a rule");
        let sampling = Sampling::default();
        let step = twin::Step { report: &[0, 1, 2], candidates: VOCAB, ..twin::Step::new(rule, &sampling, 0) };
        let said: Telemetry = step.run(&rows).expect("there is something to say");
        let want = normalised((0..VOCAB).map(|id| want(id, &probs)).collect());
        assert_eq!(said.candidates.len(), want.iter().filter(|p| **p > 0.0).count());
        for candidate in &said.candidates {
            let (got, want) = (f64::from(candidate.mix).exp(), want[candidate.id as usize]);
            assert!((got - want).abs() < 1e-5 * want.max(1e-3), "{}: {got} {want}", candidate.id);
        }
    }

    #[test]
    fn genarm_multiplies_powers() {
        holds(&genarm(0, &[(1, 0.7), (2, -0.3)]), |id, p| p[0][id] * p[1][id].powf(0.7) * p[2][id].powf(-0.3));
    }

    #[test]
    fn parm_is_one_arm_for_all_objectives() {
        holds(&parm(0, 1, 1.0 / 0.8), |id, p| p[0][id] * p[1][id].powf(1.25));
    }

    #[test]
    fn multi_objective_is_a_weighted_geometric_mean() {
        holds(&multi_objective(&[(0, 1.0), (1, 2.0), (2, 1.0)]), |id, p| {
            p[0][id].powf(0.25) * p[1][id].powf(0.5) * p[2][id].powf(0.25)
        });
    }

    #[test]
    fn dera_moves_between_and_beyond() {
        holds(&dera(0, 1, 0.4), |id, p| p[0][id].powf(0.6) * p[1][id].powf(0.4));
        holds(&dera(0, 1, 1.5), |id, p| p[1][id].powf(1.5) / p[0][id].powf(0.5));
    }

    #[test]
    fn proxy_and_context_add_a_difference() {
        holds(&proxy(0, 1, 2, 1.0), |id, p| p[0][id] * p[1][id] / p[2][id]);
        holds(&context(0, 1, 0, 1.5), |id, p| p[0][id] * (p[1][id] / p[0][id]).powf(1.5));
    }

    #[test]
    fn dexperts_filters_the_base_first() {
        holds(&dexperts(0, 1, 2, 2.0, 0.8), |id, p| {
            let above: f64 = p[0].iter().filter(|other| **other > p[0][id]).sum();
            if above < 0.8 { p[0][id] * (p[1][id] / p[2][id]).powi(2) } else { 0.0 }
        });
    }

    #[test]
    fn contrastive_keeps_what_the_expert_finds_plausible() {
        holds(&contrastive(1, 2, 0.5, 0.1), |id, p| {
            let most = p[1].iter().copied().fold(0.0, f64::max);
            if p[1][id] >= 0.1 * most { p[1][id] / p[2][id].sqrt() } else { 0.0 }
        });
    }

    #[test]
    fn pad_ranks_the_base_s_top_k_by_the_reward() {
        for base_weight in [0.0, 1.0] {
            holds(&pad(0, base_weight, 1, 2, 1.5, 10), |id, p| {
                let kept = p[0].iter().filter(|other| **other > p[0][id]).count() < 10;
                let reward = (p[1][id] / p[2][id]).powf(1.5) * p[0][id].powf(base_weight.into());
                if kept { reward } else { 0.0 }
            });
        }
    }
}
