//! What moves or forbids logits before anything is chosen: biases, penalties, n-gram blocking.

use std::collections::HashMap;

use brisk_tokenizer::TokenId;

use crate::params::SamplingParams;

/// Whether any of the three penalties is on.
#[expect(clippy::float_cmp, reason = "off is exactly these values")]
pub(super) fn has_penalty(params: &SamplingParams) -> bool {
    params.repetition_penalty != 1.0
        || params.presence_penalty != 0.0
        || params.frequency_penalty != 0.0
}

/// Applies biases, then penalties, then n-gram blocking. A forbidden token's logit is `-inf`.
///
/// `num_generated` has an entry for every token of prompt and completion: the repetition penalty
/// looks at both, as in transformers and vLLM. Presence and frequency look at generated tokens
/// alone, as in vLLM: what the caller wrote is not held against the reply.
pub(super) fn adjust(
    logits: &mut [f32],
    params: &SamplingParams,
    tokens: &[TokenId],
    num_generated: &HashMap<TokenId, u32>,
) {
    for &(token, bias) in &params.logit_bias {
        logits[token as usize] += bias;
    }
    if has_penalty(params) {
        for (&token, &count) in num_generated {
            let logit = &mut logits[token as usize];
            *logit = penalized(*logit, count, params);
        }
    }
    forbid_repeated_ngrams(logits, params.no_repeat_ngram_size as usize, tokens);
}

fn penalized(logit: f32, num_generated: u32, params: &SamplingParams) -> f32 {
    let by = params.repetition_penalty;
    let mut logit = if logit > 0.0 { logit / by } else { logit * by };
    if num_generated > 0 {
        logit -= params.frequency_penalty * num_generated as f32 + params.presence_penalty;
    }
    // A tiny penalty divides past the largest number; infinities would turn into NaN later.
    logit.clamp(f32::MIN, f32::MAX)
}

/// Forbids each token that would end an n-gram which stands in `tokens` already.
fn forbid_repeated_ngrams(logits: &mut [f32], n: usize, tokens: &[TokenId]) {
    if n == 0 || tokens.len() < n {
        return;
    }
    let suffix = &tokens[tokens.len() - (n - 1)..];
    for ngram in tokens.windows(n) {
        if ngram.starts_with(suffix) {
            logits[ngram[n - 1] as usize] = f32::NEG_INFINITY;
        }
    }
}
