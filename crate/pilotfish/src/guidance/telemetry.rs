//! What a step reports.

use serde::Serialize;

use super::MixError;
use crate::ops::finish::{HEADER, NO_ID};
use crate::ops::mixing::IMPOSSIBLE;

/// One of the most likely tokens of a step. All log-probabilities are natural.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Candidate {
    /// The token.
    pub id: u32,
    /// Its log-prob in the mix.
    pub mix: f32,
    /// Its log-prob in softmax(z / T).
    pub sampled: f32,
    /// Its log-prob in each reported row, the base first.
    pub rows: Vec<f32>,
}

/// How one token came about. The mix here is softmax(z): at temperature 1, as the rows are, so that what differs is the work of
/// guides, scores and penalties and not of the temperature, and before top-k, top-p, min-p and typical-p; what a row filter
/// or a mask left out has probability 0. A row's log-probs are over the ids that are mixed.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Telemetry {
    /// The step, from 0.
    pub step: u32,
    /// The token.
    pub token: u32,
    /// The token's log-prob in each reported row, the base first.
    pub log_probs: Vec<f32>,
    /// The token's log-prob in the mix.
    pub mix_log_prob: f32,
    /// The token's log-prob in softmax(z / T), with T = 1 when the temperature is 0: what was drawn from, before the filters.
    pub sampled_log_prob: f32,
    /// Entropy of the base, in nats.
    pub base_entropy: f32,
    /// KL(mix || base), in nats; infinite where a token was forced that the base rules out.
    pub kl: f32,
    /// The weights it was made with, one per term, as their schedules had them.
    pub weights: Vec<f32>,
    /// The temperature it was made with.
    pub temperature: f32,
    /// The most likely tokens, most likely first.
    pub candidates: Vec<Candidate>,
}

/// How a report is laid out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TelemetryLayout {
    /// Weights.
    pub terms: usize,
    /// Reported rows.
    pub rows: usize,
    /// Candidates.
    pub candidates: usize,
    /// Bytes of a report, a multiple of 16.
    pub bytes: usize,
}

impl Telemetry {
    /// The same, without what it says of single rows: no log-probs of theirs, and NaN for the base's entropy and KL.
    #[must_use]
    pub fn of_the_mix(mut self) -> Self {
        self.log_probs.clear();
        self.candidates.iter_mut().for_each(|candidate| candidate.rows.clear());
        Self { base_entropy: f32::NAN, kl: f32::NAN, ..self }
    }

    /// Reads a report. Fails with [`MixError::Logits`] if a row held NaN or infinity, and with [`MixError::Empty`] if no token was
    /// left; the session is usable after both.
    pub fn decode(report: &[u8], layout: &TelemetryLayout) -> Result<Self, MixError> {
        let words: Vec<u32> = report
            .chunks_exact(4)
            .map(|word| word.iter().rev().fold(0, |all, byte| all << 8 | u32::from(*byte)))
            .collect();
        let TelemetryLayout { terms, rows, candidates, bytes } = *layout;
        let header = HEADER as usize;
        if report.len() < bytes || words.len() < header + terms + rows + candidates * (rows + 2) {
            return Err(MixError::Report { found: report.len(), expected: bytes });
        }
        let float = |at: usize| f32::from_bits(words[at]);
        let log_prob = |at: usize| if float(at) < 0.5 * IMPOSSIBLE { f32::NEG_INFINITY } else { float(at).min(0.0) };
        let step = words[0];
        if words[2] != 0 {
            let rows = (0..32).filter(|row| words[2] >> row & 1 == 1).collect();
            return Err(MixError::Logits { step, rows });
        }
        if words[3] != 0 {
            return Err(MixError::Empty { step });
        }
        let log_probs = |at: usize| (at..at + rows).map(log_prob).collect();
        let temperature = float(4);
        let inv_t = if temperature == 0.0 { 1.0 } else { 1.0 / temperature };
        let sampled = |at: usize| (log_prob(at) * inv_t + float(8)).min(0.0);
        let first = header + terms + rows;
        Ok(Self {
            step,
            token: words[1],
            log_probs: log_probs(header + terms),
            mix_log_prob: log_prob(7),
            sampled_log_prob: sampled(7),
            // Rounding can take either a little below its bound.
            base_entropy: float(5).max(0.0),
            kl: if float(6) > -0.5 * IMPOSSIBLE { f32::INFINITY } else { float(6).max(0.0) },
            weights: (header..header + terms).map(float).collect(),
            temperature,
            candidates: (0..candidates)
                .map(|candidate| first + candidate * (rows + 2))
                .take_while(|at| words[*at] != NO_ID)
                .map(|at| Candidate {
                    id: words[at],
                    mix: log_prob(at + 1),
                    sampled: sampled(at + 1),
                    rows: log_probs(at + 2),
                })
                .collect(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_report_that_is_cut_or_tells_of_a_fault_is_an_error() {
        let layout = TelemetryLayout { terms: 1, rows: 1, candidates: 1, bytes: 64 };
        let mut report = [0u8; 64];
        assert!(Telemetry::decode(&report, &layout).is_ok());
        let cut = Telemetry::decode(&report[..60], &layout);
        assert_eq!(cut, Err(MixError::Report { found: 60, expected: 64 }));
        report[12] = 1;
        assert_eq!(Telemetry::decode(&report, &layout), Err(MixError::Empty { step: 0 }));
        report[8] = 0b101;
        assert_eq!(Telemetry::decode(&report, &layout), Err(MixError::Logits { step: 0, rows: vec![0, 2] }));
    }
}
