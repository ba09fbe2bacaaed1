//! Narrows a vocabulary down to the tokens that may be drawn, without sorting it.

use std::cmp::Ordering;

use brisk_tokenizer::TokenId;

use crate::params::SamplingParams;

/// A token that may be drawn.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Candidate {
    pub(super) token: TokenId,
    /// Its logit; while typical sampling sorts, its distance from the expected information.
    pub(super) key: f32,
    /// `exp((logit - max) / temperature)`: its probability up to a factor.
    pub(super) weight: f32,
}

/// Tokens this far below the best, in units of the temperature, are left out: all of the largest
/// vocabulary together would weigh `262144 * exp(-40) < 2e-12`.
const MAX_DEPTH: f32 = 40.0;

/// The first of the largest logits; `None` when every token is forbidden.
pub(super) fn argmax(logits: &[f32]) -> Option<(TokenId, f32)> {
    // The maximum first, as a plain loop that runs wide, then its place.
    let max = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let token = logits.iter().position(|&it| it >= max)?;
    (max > f32::NEG_INFINITY).then_some((token as TokenId, max))
}

/// Fills `candidates` with the `top_k` likeliest tokens, best first, or with all in order of id.
pub(super) fn gather(
    candidates: &mut Vec<Candidate>,
    logits: &[f32],
    max: f32,
    params: &SamplingParams,
) {
    let top_k = params.top_k as usize;
    if top_k > 0 && top_k < logits.len() {
        select_top(candidates, logits, top_k);
    } else {
        let lowest = max - MAX_DEPTH * params.temperature;
        candidates.clear();
        candidates.extend(
            (0..).zip(logits).filter(|&(_, &it)| it >= lowest).map(|(token, &it)| new(token, it)),
        );
    }
    for candidate in candidates {
        candidate.weight = ((candidate.key - max) / params.temperature).exp();
    }
}

/// Fills `out` with the `k` largest logits, best first; of equals, the lowest ids.
pub(super) fn select_top(out: &mut Vec<Candidate>, logits: &[f32], k: usize) {
    out.clear();
    if k == 0 {
        return;
    }
    // Collect twice as many as are wanted, throw the worse half away, and from then on look only at
    // what beats the worst kept. One pass, and few tokens are ever touched twice.
    let capacity = 2 * k.min(logits.len()) + 64;
    let mut threshold = f32::NEG_INFINITY;
    for (token, &logit) in (0..).zip(logits) {
        if logit > threshold {
            out.push(new(token, logit));
            if out.len() == capacity {
                out.select_nth_unstable_by(k - 1, likelier_first);
                out.truncate(k);
                threshold = out[k - 1].key;
            }
        }
    }
    if out.len() > k {
        out.select_nth_unstable_by(k - 1, likelier_first);
        out.truncate(k);
    }
    out.sort_unstable_by(likelier_first);
}

/// Applies `typical_p`, `top_p` and `min_p`, each to what the one before has left.
pub(super) fn filter(candidates: &mut Vec<Candidate>, params: &SamplingParams) {
    if params.typical_p < 1.0 {
        keep_typical(candidates, f64::from(params.typical_p));
    }
    if params.top_p < 1.0 {
        let mass = f64::from(params.top_p) * total_weight(candidates);
        keep_mass(candidates, mass, heavier_first);
    }
    if params.min_p > 0.0 {
        let max = candidates.iter().map(|it| it.weight).fold(0.0, f32::max);
        candidates.retain(|it| it.weight >= params.min_p * max);
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
    picked.or(candidates.last()).expect("the likeliest token passes every filter").token
}

/// Meister et al. 2022, "Locally Typical Sampling": keeps the tokens whose information is nearest
/// to the distribution's entropy, until they have `typical_p` of the mass.
fn keep_typical(candidates: &mut Vec<Candidate>, typical_p: f64) {
    let total = total_weight(candidates);
    let probability = |it: &Candidate| f64::from(it.weight) / total;
    // A probability of zero has infinite information and no share in the entropy.
    candidates.retain(|it| it.weight > 0.0);
    let entropy: f64 = candidates.iter().map(|it| -probability(it) * probability(it).ln()).sum();
    for candidate in candidates.iter_mut() {
        candidate.key = (-probability(candidate).ln() - entropy).abs() as f32;
    }
    keep_mass(candidates, typical_p * total, |a, b| {
        a.key.total_cmp(&b.key).then(a.token.cmp(&b.token))
    });
}

/// Keeps the shortest run of candidates, in the given order, whose weights reach `mass`. Sorts in
/// growing pieces from the front, since the run is short nearly always.
fn keep_mass(
    candidates: &mut Vec<Candidate>,
    mass: f64,
    order: fn(&Candidate, &Candidate) -> Ordering,
) {
    let mut sum = 0.0;
    let (mut num_sorted, mut piece) = (0, 64);
    while num_sorted < candidates.len() {
        let rest = &mut candidates[num_sorted..];
        let num_taken = piece.min(rest.len());
        if num_taken < rest.len() {
            rest.select_nth_unstable_by(num_taken, order);
        }
        rest[..num_taken].sort_unstable_by(order);
        for index in num_sorted..num_sorted + num_taken {
            sum += f64::from(candidates[index].weight);
            if sum >= mass {
                candidates.truncate(index + 1);
                return;
            }
        }
        num_sorted += num_taken;
        piece *= 4;
    }
}

fn total_weight(candidates: &[Candidate]) -> f64 {
    candidates.iter().map(|it| f64::from(it.weight)).sum()
}

fn new(token: TokenId, logit: f32) -> Candidate {
    Candidate { token, key: logit, weight: 0.0 }
}

/// By logit; the lower id first among equals, of which 0 and -0 are two.
fn likelier_first(a: &Candidate, b: &Candidate) -> Ordering {
    let by_key = b.key.partial_cmp(&a.key).expect("logits were checked to be numbers");
    by_key.then(a.token.cmp(&b.token))
}

fn heavier_first(a: &Candidate, b: &Candidate) -> Ordering {
    b.weight.total_cmp(&a.weight).then(a.token.cmp(&b.token))
}
