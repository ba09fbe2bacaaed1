//! Chooses the next token of a choice from the model's logits.
//!
//! The choice is a function of the logits, the sequence's own tokens, its parameters and its seed.
//! Chance comes from a stream of random numbers that is addressed by position, so neither batch
//! mates nor preemption nor a replay can move a draw.

mod adjust;
mod candidates;
mod logprobs;
#[cfg(test)]
mod tests;
mod weights;

use std::{
    collections::HashMap,
    hash::{BuildHasher, Hasher, RandomState},
    sync::Arc,
};

use brisk_tokenizer::TokenId;
use rand_chacha::ChaCha8Rng;
use rand_core::{RngCore, SeedableRng};

use self::candidates::{Candidate, argmax};
use crate::{error::GenerationError, event::TokenLogprobs, params::SamplingParams};

/// What sampling remembers of one choice.
#[derive(Debug)]
pub(crate) struct ChoiceSampler {
    params: Arc<SamplingParams>,
    seed: u64,
    /// Every token of prompt and completion, and how often it was generated. Empty when no penalty
    /// asks for it.
    num_generated: HashMap<TokenId, u32>,
}

impl ChoiceSampler {
    /// `seed` is the choice's own: the request's plus the choice's index.
    pub(crate) fn new(params: Arc<SamplingParams>, seed: u64, prompt: &[TokenId]) -> Self {
        let mut num_generated = HashMap::new();
        if adjust::has_penalty(&params) {
            num_generated.extend(prompt.iter().map(|&token| (token, 0)));
        }
        Self { params, seed, num_generated }
    }

    /// A token was chosen.
    pub(crate) fn push(&mut self, token: TokenId) {
        if adjust::has_penalty(&self.params) {
            *self.num_generated.entry(token).or_default() += 1;
        }
    }

    /// The random number in `[0, 1)` of the completion's token `index`. Each has two words of the
    /// choice's ChaCha8 stream to itself.
    fn draw(&self, index: usize) -> f64 {
        let mut stream = ChaCha8Rng::seed_from_u64(self.seed);
        stream.set_word_pos(2 * index as u128);
        // The 53 bits that a double holds.
        (stream.next_u64() >> 11) as f64 / (1u64 << 53) as f64
    }
}

/// A seed for a request that brought none. Differs from call to call and from run to run.
pub(crate) fn fresh_seed() -> u64 {
    // The standard library keys each hasher with randomness of the system.
    RandomState::new().build_hasher().finish()
}

/// A chosen token.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Sampled {
    pub(crate) token: TokenId,
    pub(crate) logprobs: Option<TokenLogprobs>,
}

/// Buffers of the size of a vocabulary, used again for every token.
#[derive(Debug, Default)]
pub(crate) struct Sampler {
    candidates: Vec<Candidate>,
    weights: Vec<f32>,
    /// The model's logits before anything moved them.
    raw: Vec<f32>,
}

impl Sampler {
    /// Chooses the token that follows `tokens`, which are prompt and completion so far. `logits`
    /// (`vocab_size`) are those of the model, and are spoiled.
    pub(crate) fn sample(
        &mut self,
        choice: &ChoiceSampler,
        tokens: &[TokenId],
        num_prompt_tokens: usize,
        logits: &mut [f32],
    ) -> Result<Sampled, GenerationError> {
        let params = &*choice.params;
        let position = tokens.len();
        if !all_finite(logits) {
            return Err(GenerationError::NotFinite { position });
        }
        if params.top_logprobs.is_some() {
            self.raw.clear();
            self.raw.extend_from_slice(logits);
        }
        adjust::adjust(logits, params, tokens, &choice.num_generated);
        let Some((best, max)) = argmax(logits) else {
            return Err(GenerationError::NoTokenLeft { position });
        };
        let token = if params.is_greedy() {
            best
        } else {
            let random = choice.draw(position - num_prompt_tokens);
            self.draw(params, logits, max, random)
        };
        let logprobs = params.top_logprobs.map(|num_top| {
            logprobs::logprobs(&self.raw, token, usize::from(num_top), &mut self.candidates)
        });
        Ok(Sampled { token, logprobs })
    }

    /// The token that a random number in `[0, 1)` points at, after the filters.
    fn draw(&mut self, params: &SamplingParams, logits: &[f32], max: f32, random: f64) -> TokenId {
        if !candidates::has_filter(params, logits.len()) {
            return weights::pick_from_all(logits, max, params.temperature, random) as TokenId;
        }
        let Self { candidates, weights, .. } = self;
        let total = candidates::gather(candidates, logits, max, params, weights);
        candidates::filter(candidates, max, total, params);
        candidates::pick(candidates, random)
    }
}

/// Whether no value is a NaN or an infinity. Without an early exit per value, so that it runs wide.
fn all_finite(values: &[f32]) -> bool {
    values.chunks(1024).all(|chunk| chunk.iter().fold(true, |all, it| all & it.is_finite()))
}
