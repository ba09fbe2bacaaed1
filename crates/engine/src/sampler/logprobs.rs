//! Log probabilities of the model's own distribution.

use brisk_tokenizer::TokenId;

use super::{
    candidates::{Candidate, select_top},
    weights::total_weight,
};
use crate::event::TokenLogprobs;

/// The log softmax of `raw` (`vocab_size`) at `token`, and at the `num_top` likeliest tokens.
pub(super) fn logprobs(
    raw: &[f32],
    token: TokenId,
    num_top: usize,
    candidates: &mut Vec<Candidate>,
) -> TokenLogprobs {
    let max = raw.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let log_sum = f64::from(max) + total_weight(raw, max, 1.0).ln();
    let logprob = |logit: f32| (f64::from(logit) - log_sum) as f32;
    select_top(candidates, raw, num_top);
    TokenLogprobs {
        logprob: logprob(raw[token as usize]),
        top: candidates.iter().map(|it| (it.token, logprob(it.logit))).collect(),
    }
}
