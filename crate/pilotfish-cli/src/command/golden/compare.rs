//! How far ours is from the reference.

use std::fmt;

use pilotfish::tokenizer::TokenId;
use serde::Serialize;

/// Two logits closer than this may change places by rounding alone.
const NEAR_TIE: f64 = 0.02;

/// KL(reference || ours) in nats, over the tokens that the reference lists and we know, and one bucket for all others.
///
/// A lower bound of the whole KL: putting tokens together never makes it larger. `ours` gives log-probabilities.
pub(super) fn kl(top: &[(TokenId, f64)], logsumexp: f64, ours: impl Fn(TokenId) -> Option<f64>) -> f64 {
    let (mut sum, mut p_rest, mut q_rest) = (0.0, 1.0, 1.0);
    for (id, logit) in top {
        let Some(log_q) = ours(*id) else { continue };
        let log_p = logit - logsumexp;
        sum += log_p.exp() * (log_p - log_q);
        p_rest -= log_p.exp();
        q_rest -= log_q.exp();
    }
    // Rounding can leave less than nothing for the rest; the reference has six digits.
    let (p_rest, q_rest) = (f64::max(p_rest, 0.0), f64::max(q_rest, 1e-12));
    if p_rest > 0.0 {
        sum += p_rest * (p_rest / q_rest).ln();
    }
    if sum.is_nan() { f64::NAN } else { sum.max(0.0) }
}

/// The largest of some differences; NaN if one is.
pub(super) fn largest(differences: impl IntoIterator<Item = f64>) -> f64 {
    differences.into_iter().fold(0.0, |most, difference| if difference <= most { most } else { difference })
}

/// Positions at which the likeliest token is the reference's.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub(super) struct Top1 {
    /// It is.
    pub(super) agree: usize,
    /// Of so many.
    pub(super) of: usize,
    /// It is not, and the reference's two likeliest are closer than rounding.
    pub(super) near_ties: usize,
}

impl Top1 {
    /// Counts one position.
    pub(super) fn count(&mut self, agrees: bool, margin: f64) {
        self.of += 1;
        self.agree += usize::from(agrees);
        self.near_ties += usize::from(!agrees && margin < NEAR_TIE);
    }

    /// Adds others.
    pub(super) fn add(&mut self, other: Self) {
        self.agree += other.agree;
        self.of += other.of;
        self.near_ties += other.near_ties;
    }

    /// The part that agrees: near-ties that went the other way count against it.
    pub(super) fn rate(&self) -> f64 {
        self.agree as f64 / self.of.max(1) as f64
    }
}

/// How far a greedy continuation follows the reference's.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize)]
pub(super) struct Greedy {
    /// Tokens that are the same, from the start.
    pub(super) same: usize,
    /// Tokens of the reference.
    pub(super) of: usize,
    /// Where the two part, if they do.
    pub(super) parted_at: Option<usize>,
    /// There or before, the reference was near a tie: from then on nothing can be said.
    pub(super) near_tie: bool,
}

impl fmt::Display for Greedy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.same, self.of)?;
        match (self.parted_at, self.near_tie) {
            (None, _) => Ok(()),
            (Some(_), true) => f.write_str(" near-tie"),
            (Some(_), false) => f.write_str(" PARTED"),
        }
    }
}

/// Compares continuations. `ended`: ours stopped with a token that ends a text, where the reference may have gone on.
pub(super) fn greedy(reference: &[TokenId], margins: &[f64], ours: &[TokenId], ended: bool) -> Greedy {
    let same = reference.iter().zip(ours).take_while(|(reference, ours)| reference == ours).count();
    let complete = same == reference.len() || (ended && same == ours.len());
    let parted_at = (!complete).then_some(same);
    let near_tie = parted_at.is_some_and(|at| margins.iter().take(at + 1).any(|margin| *margin < NEAR_TIE));
    Greedy { same, of: reference.len(), parted_at, near_tie }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Logits 0, ln 2, ln 4, ln 9: probabilities 1, 2, 4, 9 sixteenths.
    fn top() -> ([(TokenId, f64); 2], f64) {
        ([(3, 9f64.ln()), (2, 4f64.ln())], 16f64.ln())
    }

    #[test]
    fn equal_distributions_have_no_kl() {
        let (top, logsumexp) = top();
        let ours = |id| top.iter().find(|(listed, _)| *listed == id).map(|(_, logit)| logit - logsumexp);
        assert!(kl(&top, logsumexp, ours) < 1e-15);
    }

    #[test]
    fn kl_is_that_of_three_buckets() {
        let (top, logsumexp) = top();
        let q = [0.0, 0.0, 0.5, 0.25];
        let expected =
            9.0 / 16.0 * (9.0 / 16.0 / 0.25f64).ln() + 0.25 * 0.5f64.ln() + 3.0 / 16.0 * (3.0 / 16.0 / 0.25f64).ln();
        assert!((kl(&top, logsumexp, |id| Some(f64::ln(q[id as usize]))) - expected).abs() < 1e-12);
        // A token we know nothing of joins the rest.
        let expected = 9.0 / 16.0 * (9.0 / 16.0 / 0.25f64).ln() + 7.0 / 16.0 * (7.0 / 16.0 / 0.75f64).ln();
        assert!((kl(&top, logsumexp, |id| (id == 3).then(|| 0.25f64.ln())) - expected).abs() < 1e-12);
    }

    #[test]
    fn what_is_not_a_number_is_not_hidden() {
        let (top, logsumexp) = top();
        assert!(kl(&top, logsumexp, |_| Some(f64::NAN)).is_nan());
        assert!(largest([1.0, f64::NAN]).is_nan());
        assert_eq!(largest([1.0, 3.0, 2.0]), 3.0);
    }

    #[test]
    fn a_continuation_may_part_only_from_a_near_tie_on() {
        let margins = [1.0, 0.01, 1.0, 1.0];
        let reference = [1, 2, 3, 4];
        let compared = |ours: &[TokenId], ended| greedy(&reference, &margins, ours, ended);
        assert_eq!(compared(&[1, 2, 3, 4], false), Greedy { same: 4, of: 4, parted_at: None, near_tie: false });
        assert_eq!(compared(&[9, 2, 3, 4], false), Greedy { same: 0, of: 4, parted_at: Some(0), near_tie: false });
        assert_eq!(compared(&[1, 9, 3, 4], false), Greedy { same: 1, of: 4, parted_at: Some(1), near_tie: true });
        assert_eq!(compared(&[1, 2, 9, 4], false), Greedy { same: 2, of: 4, parted_at: Some(2), near_tie: true });
    }

    #[test]
    fn an_end_is_complete_only_if_it_came_by_an_ending_token() {
        let compared = |ended| greedy(&[1, 2, 3], &[1.0; 3], &[1, 2], ended).parted_at;
        assert_eq!(compared(true), None);
        assert_eq!(compared(false), Some(2));
    }

    #[test]
    fn near_ties_count_against_agreement_and_are_counted() {
        let mut top1 = Top1::default();
        top1.count(true, 1.0);
        top1.count(false, 0.01);
        top1.count(false, 0.5);
        top1.count(true, 0.001);
        assert_eq!(top1, Top1 { agree: 2, of: 4, near_ties: 1 });
        assert_eq!(top1.rate(), 0.5);
    }
}
