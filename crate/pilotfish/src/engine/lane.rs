//! A lane: one of the texts that a session makes at the same time. Its mix and its draw are the runner's.

use std::ops::Deref;
use std::rc::Rc;

use super::model::Model;
use super::step::{Candidate, LogProbs, Step, Stop};
use super::stop::StopStrings;
use crate::guidance::Telemetry;
use crate::tokenizer::{StreamDecoder, TokenId, Tokenizer};

/// One text under way.
#[derive(Debug)]
pub(super) struct Lane {
    /// What was made.
    pub(super) ids: Vec<TokenId>,
    /// Why it ended.
    pub(super) ended: Option<Stop>,
    pub(super) text: Text,
}

/// What becomes of a text's tokens on their way out: characters put together, stop strings found.
#[derive(Debug)]
pub(super) struct Text {
    base: Rc<Model>,
    decoder: StreamDecoder<SharedTokenizer>,
    stops: StopStrings,
    /// Candidates that a step lists.
    candidates: usize,
    /// Guides whose log-probabilities a step gives.
    guides: usize,
}

/// A model's tokenizer, kept alive by the model.
#[derive(Debug)]
struct SharedTokenizer(Rc<Model>);

impl Deref for SharedTokenizer {
    type Target = Tokenizer;

    fn deref(&self) -> &Tokenizer {
        &self.0.tokenizer
    }
}

impl Text {
    pub(super) fn new(base: &Rc<Model>, stops: StopStrings, candidates: u32, guides: usize) -> Self {
        let decoder = StreamDecoder::new(SharedTokenizer(Rc::clone(base)));
        Self { base: Rc::clone(base), decoder, stops, candidates: candidates as usize, guides }
    }

    /// The text after `ids`, with these stop strings from now on.
    pub(super) fn after(&self, ids: &[TokenId], stops: StopStrings) -> Self {
        let mut text = Self::new(&self.base, stops, self.candidates as u32, self.guides);
        for id in ids {
            let piece = text.decoder.push(*id);
            text.stops.push(&piece);
        }
        text
    }

    /// What was held back because it may be the beginning of a stop string, or of a character.
    pub(super) fn rest(&mut self) -> String {
        let (text, found) = self.stops.push(&self.decoder.finish());
        if found.is_some() { text } else { text + &self.stops.finish() }
    }

    /// Takes token number `index`. `last` is why no other may follow it, if so.
    pub(super) fn take(&mut self, telemetry: &Telemetry, index: usize, sample: usize, last: Option<Stop>) -> Step {
        let tokenizer = &self.base.tokenizer;
        let id = telemetry.token;
        let end = tokenizer.is_end(id);
        let mut stop = if end { Some(Stop::End) } else { last };
        let mut text = if end { String::new() } else { self.decoder.push(id) };
        if stop.is_some() {
            text += &self.decoder.finish();
        }
        let (mut text, found) = self.stops.push(&text);
        let stop_string = found.map(str::to_owned);
        if stop_string.is_some() {
            stop = Some(Stop::StopString);
        } else if stop.is_some() {
            text += &self.stops.finish();
        }
        let log_probs = |mix: f32, sampled: f32, rows: &[f32]| LogProbs {
            base: rows.first().copied().unwrap_or(f32::NAN),
            mix,
            sampled,
            guides: rows.get(1..=self.guides).unwrap_or_default().to_vec(),
        };
        Step {
            index: index as u32,
            sample: sample as u32,
            id,
            text,
            stop,
            stop_string,
            shifted: 0,
            reward: None,
            log_probs: log_probs(telemetry.mix_log_prob, telemetry.sampled_log_prob, &telemetry.log_probs),
            entropy: telemetry.base_entropy,
            kl: telemetry.kl,
            weights: Vec::new(),
            temperature: telemetry.temperature,
            candidates: telemetry
                .candidates
                .iter()
                .take(self.candidates)
                .map(|candidate| Candidate {
                    id: candidate.id,
                    text: tokenizer.decode(&[candidate.id]),
                    log_probs: log_probs(candidate.mix, candidate.sampled, &candidate.rows),
                })
                .collect(),
            logits: None,
        }
    }
}
