//! A model's own answers, sampled on the CPU: all answers to a prompt are one batch, so that its weights are read once for all.

use std::fs::File;
use std::path::Path;

use pilotfish::chat::ChatTemplate;
use pilotfish::cpu::{Cache, Forward, Precision, Token, Weights, Workers};
use pilotfish::engine::{self, Opened};
use pilotfish::tokenizer::{Bos, Encode, TokenId, Tokenizer};
use rand::Rng as _;
use rand::SeedableRng as _;
use rand_chacha::ChaCha8Rng;
use serde::{Deserialize, Serialize};

use crate::base::encode_chat;
use crate::error::{Result, TrainError};
use crate::pairs::Prompt;

/// How answers are sampled. Equal options, model and prompts give equal answers.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct SampleOptions {
    /// Answers to each prompt.
    pub samples: u32,
    /// Tokens of an answer, if it does not end before.
    pub max_tokens: u32,
    /// Above 0; 1 samples from the model as it is.
    pub temperature: f32,
    /// Decides what is drawn, with the prompt's place and the answer's number.
    pub seed: u64,
}

/// A model that answers.
#[derive(Debug)]
pub struct Sampler {
    tokenizer: Tokenizer,
    chat: ChatTemplate,
    weights: Weights,
    forward: Forward,
}

/// An answer that is being written.
struct Lane {
    /// Where its positions are: the prompt's but the last are shared.
    slots: Vec<u32>,
    ids: Vec<TokenId>,
    last: TokenId,
    random: ChaCha8Rng,
}

impl Sampler {
    /// Reads a GGUF file.
    ///
    /// # Errors
    /// [`TrainError::File`] where it cannot be opened, [`TrainError::Engine`] where it is not a model that the CPU runs.
    pub fn open(path: &Path) -> Result<Self> {
        let mut file = File::open(path).map_err(|source| TrainError::File { path: path.to_owned(), source })?;
        let Opened { spec, tokenizer, chat, .. } = pollster::block_on(engine::open(&mut file))?;
        let weights = pollster::block_on(Weights::load(&spec, &mut file, |_| true)).map_err(pilotfish::Error::from)?;
        Ok(Self { tokenizer, chat, weights, forward: Forward::new(Workers::alone(), Precision::Fast) })
    }

    /// Answers to the prompt at place `at`, until `go_on` says no: then those that there are, as far as they go.
    ///
    /// # Errors
    /// [`TrainError::Options`] where the prompt is empty or leaves no room, or an option cannot be used.
    pub fn answers(
        &mut self,
        prompt: &Prompt,
        at: usize,
        options: &SampleOptions,
        go_on: &dyn Fn() -> bool,
    ) -> Result<Vec<String>> {
        let ids = self.encode(prompt)?;
        self.check(&ids, at, options)?;
        let (samples, most) = (options.samples as usize, options.max_tokens as usize);
        let shared = ids.len() - 1;
        let mut cache = Cache::new(self.weights.spec(), (shared + samples * most) as u32);
        let common: Vec<u32> = (0..shared as u32).collect();
        let token =
            |(t, id): (usize, &TokenId)| Token { id: *id, position: t as u32, slots: &common, row: 0, logits: false };
        let read: Vec<Token<'_>> = ids[..shared].iter().enumerate().map(token).collect();
        if !read.is_empty() {
            self.forward.run(&self.weights, &mut cache, None, &read).map_err(pilotfish::Error::from)?;
        }
        let lane = |sample: usize| {
            let own = (shared + sample * most) as u32;
            let mut random = ChaCha8Rng::seed_from_u64(options.seed);
            random.set_stream(((at as u64) << 16) | sample as u64);
            let slots = common.iter().copied().chain(own..own + most as u32).collect();
            Lane { slots, ids: Vec::new(), last: ids[shared], random }
        };
        let mut lanes: Vec<Lane> = (0..samples).map(lane).collect();
        for position in shared..shared + most {
            let ended = |lane: &Lane| lane.ids.last().is_some_and(|id| self.tokenizer.is_end(*id));
            let mut writing: Vec<&mut Lane> = lanes.iter_mut().filter(|lane| !ended(lane)).collect();
            if writing.is_empty() || !go_on() {
                break;
            }
            let token = |lane: &&mut Lane| (lane.last, lane.slots.clone());
            let next: Vec<(TokenId, Vec<u32>)> = writing.iter().map(token).collect();
            let tokens: Vec<Token<'_>> = next
                .iter()
                .map(|(id, slots)| Token { id: *id, position: position as u32, slots, row: 0, logits: true })
                .collect();
            let logits = self.forward.run(&self.weights, &mut cache, None, &tokens).map_err(pilotfish::Error::from)?;
            let vocabulary = logits.len() / writing.len();
            for (lane, logits) in writing.iter_mut().zip(logits.chunks_exact(vocabulary)) {
                lane.last = draw(logits, options.temperature, lane.random.random());
                lane.ids.push(lane.last);
            }
        }
        let text = |lane: &Lane| {
            let ids: Vec<TokenId> = lane.ids.iter().copied().filter(|id| !self.tokenizer.is_end(*id)).collect();
            self.tokenizer.decode(&ids)
        };
        Ok(lanes.iter().map(text).collect())
    }

    fn encode(&self, prompt: &Prompt) -> Result<Vec<TokenId>> {
        match prompt {
            Prompt::Chat(messages) => encode_chat(&self.tokenizer, &self.chat, messages),
            Prompt::Text(text) => {
                let how = Encode { special: false, bos: Bos::Auto };
                Ok(self.tokenizer.encode(text, how).map_err(pilotfish::Error::from)?)
            }
        }
    }

    fn check(&self, ids: &[TokenId], at: usize, options: &SampleOptions) -> Result<()> {
        let refuse = |message: String| Err(TrainError::Options { message });
        let (prompt, context) = (ids.len(), self.weights.spec().context_length as usize);
        if !(options.temperature.is_finite() && options.temperature > 0.0) {
            return refuse(format!("the temperature is {}, expected a number above 0", options.temperature));
        }
        if prompt == 0 {
            return refuse(format!("prompt {} has no token", at + 1));
        }
        if prompt + options.max_tokens as usize > context {
            let more = options.max_tokens;
            return refuse(format!(
                "prompt {} has {prompt} tokens, with {more} more they exceed the context of {context}",
                at + 1
            ));
        }
        Ok(())
    }
}

/// The token at which the softmax of `logits / temperature`, summed up, passes `uniform`, 0 to below 1.
fn draw(logits: &[f32], temperature: f32, uniform: f64) -> TokenId {
    let most = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let weight = |logit: &f32| f64::from(((logit - most) / temperature).exp());
    let mut left = uniform * logits.iter().map(weight).sum::<f64>();
    let passed = |logit: &f32| {
        left -= weight(logit);
        left < 0.0
    };
    // Rounding may leave a crumb at the end.
    logits.iter().position(passed).unwrap_or(logits.len() - 1) as TokenId
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_are_drawn_as_often_as_they_are_likely() {
        let logits = [0.0f32, 2.0, f32::NEG_INFINITY, 1.0];
        let mut random = ChaCha8Rng::seed_from_u64(5);
        let count = 20_000;
        for temperature in [1.0f32, 0.5] {
            let mut found = [0usize; 4];
            (0..count).for_each(|_| found[draw(&logits, temperature, random.random()) as usize] += 1);
            let weights = logits.map(|logit| f64::from(logit / temperature).exp());
            let sum: f64 = weights.iter().sum();
            for (found, weight) in found.iter().zip(weights) {
                assert!((*found as f64 / f64::from(count) - weight / sum).abs() < 0.015, "{found} {weight}");
            }
        }
        assert_eq!((draw(&logits, 1.0, 0.0), draw(&logits, 1.0, 1.0 - f64::EPSILON)), (0, 3));
    }
}
