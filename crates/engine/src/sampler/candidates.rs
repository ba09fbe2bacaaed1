//! Narrows a vocabulary down to the tokens that may be drawn, without sorting it.

use std::cmp::Ordering;

use brisk_tokenizer::TokenId;

use super::weights::{weight, weights};
use crate::params::SamplingParams;

/// A token that may be drawn.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Candidate {
    pub(super) token: TokenId,
    pub(super) logit: f32,
    /// `exp((logit - max) / temperature)`: its probability up to a factor.
    pub(super) weight: f32,
}

/// The first of the largest logits; `None` when every token is forbidden.
pub(super) fn argmax(logits: &[f32]) -> Option<(TokenId, f32)> {
    // The maximum first, as a plain loop that runs wide, then its place.
    let max = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let token = logits.iter().position(|&it| it >= max)?;
    (max > f32::NEG_INFINITY).then_some((token as TokenId, max))
}

/// Whether any token is to be left out before one is drawn.
pub(super) fn has_filter(params: &SamplingParams, vocab_size: usize) -> bool {
    has_top_k(params, vocab_size)
        || params.typical_p < 1.0
        || params.top_p < 1.0
        || params.min_p > 0.0
}

fn has_top_k(params: &SamplingParams, vocab_size: usize) -> bool {
    params.top_k > 0 && (params.top_k as usize) < vocab_size
}

/// Tokens that are looked at together where few of a vocabulary are candidates.
const STRETCH: usize = 64;

/// Fills `candidates` with the tokens that pass `top_k`, and returns their whole weight. Tokens
/// that a later filter is certain to drop may be left out already, but still count as weight.
pub(super) fn gather(
    candidates: &mut Vec<Candidate>,
    logits: &[f32],
    max: f32,
    params: &SamplingParams,
    buffer: &mut Vec<f32>,
) -> f64 {
    if has_top_k(params, logits.len()) {
        select_top(candidates, logits, params.top_k as usize);
        for candidate in &mut *candidates {
            candidate.weight = weight((candidate.logit - max) / params.temperature);
        }
        return total_weight(candidates);
    }
    let total = weights(logits, max, params.temperature, buffer);
    let lowest = if params.typical_p < 1.0 {
        0.0
    } else if params.top_p < 1.0 {
        // All that weigh less than this have, together, less than what `top_p` leaves out.
        let left_out = f64::from(1.0 - params.top_p) * total;
        (0.99 * left_out / logits.len() as f64) as f32
    } else {
        // The likeliest weighs 1.
        params.min_p
    };
    candidates.clear();
    // Most of a vocabulary is too light, and a whole stretch of it is seen to be so at once.
    for (start, weights) in (0..).step_by(STRETCH).zip(buffer.chunks(STRETCH)) {
        let heaviest = weights.iter().fold(0.0, |most, &it| if it > most { it } else { most });
        if heaviest < lowest {
            continue;
        }
        for (token, &weight) in (start..).zip(weights) {
            if weight >= lowest && weight > 0.0 {
                let logit = logits[token];
                candidates.push(Candidate { token: token as TokenId, logit, weight });
            }
        }
    }
    total
}

/// Fills `out` with the `k` largest logits, best first; of equals, the lowest ids.
pub(super) fn select_top(out: &mut Vec<Candidate>, logits: &[f32], k: usize) {
    out.clear();
    if k == 0 {
        return;
    }
    // Collect twice as many as are wanted, throw the worse half away, and from then on look only at
    // what beats the worst kept. One pass, few tokens are ever touched twice, and of most stretches only
    // the largest logit is looked at.
    let capacity = 2 * k.min(logits.len()) + 64;
    let mut threshold = f32::NEG_INFINITY;
    for (start, logits) in (0..).step_by(STRETCH).zip(logits.chunks(STRETCH)) {
        let largest = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
        if largest <= threshold {
            continue;
        }
        for (token, &logit) in (start..).zip(logits) {
            if logit > threshold {
                out.push(new(token, logit));
                if out.len() == capacity {
                    out.select_nth_unstable_by(k - 1, likelier_first);
                    out.truncate(k);
                    threshold = out[k - 1].logit;
                }
            }
        }
    }
    if out.len() > k {
        out.select_nth_unstable_by(k - 1, likelier_first);
        out.truncate(k);
    }
    out.sort_unstable_by(likelier_first);
}

/// Applies `typical_p`, `top_p` and `min_p`, each to what the one before has left. `max` is the
/// largest logit and `total` what [`gather`] returned.
pub(super) fn filter(
    candidates: &mut Vec<Candidate>,
    max: f32,
    mut total: f64,
    params: &SamplingParams,
) {
    if params.typical_p < 1.0 {
        keep_typical(candidates, max, total, params);
        total = total_weight(candidates);
    }
    if params.top_p < 1.0 {
        keep_mass(candidates, f64::from(params.top_p) * total, |it| -it.logit);
    }
    if params.min_p > 0.0 {
        let heaviest = candidates.iter().map(|it| it.weight).fold(0.0, f32::max);
        candidates.retain(|it| it.weight >= params.min_p * heaviest);
    }
}

/// The candidate that the random number in `[0, 1)` points at.
pub(super) fn pick(candidates: &[Candidate], random: f64) -> TokenId {
    let target = random * total_weight(candidates);
    let mut sum = 0.0;
    let picked = candidates.iter().find(|it| {
        sum += f64::from(it.weight);
        sum > target
    });
    // Rounding may leave the target a hair above the sum.
    let last = || candidates.iter().rfind(|it| it.weight > 0.0);
    picked.or_else(last).expect("every filter leaves a token with weight").token
}

/// Meister et al. 2022, "Locally Typical Sampling": keeps the tokens whose information is nearest
/// to the distribution's entropy, until they have `typical_p` of the mass.
fn keep_typical(candidates: &mut Vec<Candidate>, max: f32, total: f64, params: &SamplingParams) {
    // -ln(probability), without a logarithm for each.
    let (by, log_total) = (1.0 / f64::from(params.temperature), total.ln());
    let information = |it: &Candidate| (f64::from(max) - f64::from(it.logit)) * by + log_total;
    let expected = |it: &Candidate| f64::from(it.weight) * information(it);
    let entropy = candidates.iter().map(expected).sum::<f64>() / total;
    let mass = f64::from(params.typical_p) * total;
    keep_mass(candidates, mass, |it| (information(it) - entropy).abs() as f32);
}

/// Keeps those with the lowest `key`, the fewest whose weights reach `mass`; of equal keys, the
/// lowest ids. Finds the bin of the last one that is kept, and sorts nothing but that bin.
fn keep_mass(candidates: &mut Vec<Candidate>, mass: f64, key: impl Fn(&Candidate) -> f32) {
    const NUM_BINS: usize = 1024;
    let keys = || candidates.iter().map(&key);
    let lowest = keys().fold(f32::INFINITY, f32::min);
    let highest = keys().fold(f32::NEG_INFINITY, f32::max);
    // Halves, since the whole range may be too wide for a number.
    let bins_per_half = NUM_BINS as f32 / (highest / 2.0 - lowest / 2.0);
    let bin = |key: f32| {
        let bin = ((key / 2.0 - lowest / 2.0) * bins_per_half) as usize;
        bin.min(NUM_BINS - 1)
    };
    let mut masses = [0.0; NUM_BINS];
    for candidate in candidates.iter() {
        masses[bin(key(candidate))] += f64::from(candidate.weight);
    }
    let mut sum = 0.0;
    let Some(last_bin) = masses.iter().position(|&mass_of_bin| {
        sum += mass_of_bin;
        sum >= mass
    }) else {
        // Rounding has kept the sum a hair below the mass: all are needed.
        return;
    };
    sum -= masses[last_bin];
    let in_last = candidates.iter().map(|it| (key(it), *it)).filter(|it| bin(it.0) == last_bin);
    let mut in_last: Vec<(f32, Candidate)> = in_last.collect();
    in_last.sort_unstable_by(|a, b| a.0.total_cmp(&b.0).then(a.1.token.cmp(&b.1.token)));
    let last = in_last.iter().find(|it| {
        sum += f64::from(it.1.weight);
        sum >= mass
    });
    let last = last.or(in_last.last()).map(|it| (it.0, it.1.token));
    let (last_key, last_token) = last.expect("the bin that reaches the mass holds a token");
    candidates.retain(|it| {
        let key = key(it);
        key < last_key || (key <= last_key && it.token <= last_token)
    });
}

fn total_weight(candidates: &[Candidate]) -> f64 {
    candidates.iter().map(|it| f64::from(it.weight)).sum()
}

fn new(token: TokenId, logit: f32) -> Candidate {
    Candidate { token, logit, weight: 0.0 }
}

/// By logit; the lower id first among equals, of which 0 and -0 are two.
fn likelier_first(a: &Candidate, b: &Candidate) -> Ordering {
    let by_logit = b.logit.partial_cmp(&a.logit).expect("logits were checked to be numbers");
    by_logit.then(a.token.cmp(&b.token))
}
