//! Turns logits into weights, `exp((logit - max) / temperature)`: probabilities up to a factor.
//!
//! Written without calls and branches in the inner loop, so that the compiler makes it wide: a
//! vocabulary has up to 262144 tokens, and each asks for an exponential.

/// Tokens this far below the best, in units of the temperature, weigh nothing: all of the largest
/// vocabulary together would weigh `262144 * exp(-40) < 2e-12`.
pub(super) const MAX_DEPTH: f32 = 40.0;

/// `exp(depth)` for `depth <= 0`; 0 below `-MAX_DEPTH`. Its relative error is below 3e-7.
#[inline]
pub(super) fn weight(depth: f32) -> f32 {
    /// `ln 2`, with trailing zeros so that small multiples are exact, and the rest of it.
    const LN_2_HIGH: f32 = 0.693_359_4;
    const LN_2_LOW: f32 = -2.121_944_4e-4;
    /// Adding 1.5 * 2^23 leaves no room for a fraction: the sum is rounded to a whole number, which
    /// then stands in its lowest bits.
    const ROUND: f32 = 12_582_912.0;
    // exp(depth) = 2^n * exp(r), with |r| <= ln(2) / 2.
    let rounded = depth * std::f32::consts::LOG2_E + ROUND;
    let n = rounded - ROUND;
    let r = depth - n * LN_2_HIGH - n * LN_2_LOW;
    // The first terms of the exponential's series; the next is below 1.3e-7.
    let series = 1.0 / 720.0;
    let series = series * r + 1.0 / 120.0;
    let series = series * r + 1.0 / 24.0;
    let series = series * r + 1.0 / 6.0;
    let series = series * r + 0.5;
    let series = series * r + 1.0;
    let series = series * r + 1.0;
    let exponent = rounded.to_bits().wrapping_sub(ROUND.to_bits()).wrapping_add(127) << 23;
    let value = series * f32::from_bits(exponent);
    if depth >= -MAX_DEPTH { value } else { 0.0 }
}

/// Weights of a part of a vocabulary, and their sum.
pub(super) fn sum_of_weights(logits: &[f32], max: f32, temperature: f32) -> f64 {
    let by = 1.0 / temperature;
    let mut lanes = [0.0f32; 16];
    let (wide, rest) = logits.as_chunks::<16>();
    for chunk in wide {
        for (lane, &logit) in lanes.iter_mut().zip(chunk) {
            *lane += weight((logit - max) * by);
        }
    }
    for (lane, &logit) in lanes.iter_mut().zip(rest) {
        *lane += weight((logit - max) * by);
    }
    lanes.iter().map(|&it| f64::from(it)).sum()
}

/// The sum of the weights of a whole vocabulary. In pieces, so that small weights are not lost beside a
/// large sum.
pub(super) fn total_weight(logits: &[f32], max: f32, temperature: f32) -> f64 {
    logits.chunks(PIECE).map(|piece| sum_of_weights(piece, max, temperature)).sum()
}

/// Fills `out` with the weights of a whole vocabulary; returns their sum.
pub(super) fn weights(logits: &[f32], max: f32, temperature: f32, out: &mut Vec<f32>) -> f64 {
    let by = 1.0 / temperature;
    out.clear();
    out.extend(logits.iter().map(|&it| weight((it - max) * by)));
    // In pieces, so that small weights are not lost beside a large sum; and in lanes, as one sum would
    // wait for each addition.
    let sum = |piece: &[f32]| {
        let mut lanes = [0.0f32; 16];
        for chunk in piece.chunks(16) {
            for (lane, weight) in lanes.iter_mut().zip(chunk) {
                *lane += weight;
            }
        }
        lanes.iter().map(|&it| f64::from(it)).sum::<f64>()
    };
    out.chunks(PIECE).map(sum).sum()
}

/// The token that a random number in `[0, 1)` points at when nothing is filtered.
pub(super) fn pick_from_all(logits: &[f32], max: f32, temperature: f32, random: f64) -> usize {
    let sums: Vec<f64> =
        logits.chunks(PIECE).map(|piece| sum_of_weights(piece, max, temperature)).collect();
    let mut left = random * sums.iter().sum::<f64>();
    let by = 1.0 / temperature;
    for (piece, sum) in sums.iter().enumerate() {
        if left >= *sum {
            left -= sum;
            continue;
        }
        let start = piece * PIECE;
        for (token, &logit) in (start..).zip(logits[start..].iter().take(PIECE)) {
            let weight = f64::from(weight((logit - max) * by));
            if left < weight {
                return token;
            }
            left -= weight;
        }
    }
    // Rounding may leave the target a hair above the sum.
    let last = logits.iter().rposition(|&it| weight((it - max) * by) > 0.0);
    last.expect("the likeliest token weighs 1")
}

/// Tokens whose weights are added up in single precision.
const PIECE: usize = 1024;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn weights_are_exponentials() {
        for step in 0..400_000 {
            let depth = -40.0 * step as f32 / 400_000.0;
            let expected = f64::from(depth).exp();
            let error = (f64::from(weight(depth)) - expected).abs() / expected;
            assert!(error < 3e-7, "exp({depth}) is off by {error}");
        }
        let check = |depth, expected: f32| assert_eq!(weight(depth).to_bits(), expected.to_bits());
        check(0.0, 1.0);
        check(-0.0, 1.0);
        check(-40.1, 0.0);
        check(-1e30, 0.0);
        check(f32::NEG_INFINITY, 0.0);
    }

    #[test]
    fn a_token_without_weight_is_never_picked() {
        let mut logits = vec![f32::NEG_INFINITY; 3000];
        logits[1500] = 2.0;
        for random in [0.0, 0.5, 1.0 - f64::EPSILON / 2.0, 1.0] {
            assert_eq!(pick_from_all(&logits, 2.0, 1.0, random), 1500);
        }
    }

    #[test]
    fn each_token_has_its_share_of_the_numbers() {
        let logits: Vec<f32> = (0..2500).map(|it| (it % 7) as f32).collect();
        let mut all = vec![];
        let total = weights(&logits, 6.0, 0.7, &mut all);
        let mut before = 0.0;
        for (token, &weight) in all.iter().enumerate() {
            let middle = (before + f64::from(weight) / 2.0) / total;
            // Far into the vocabulary, single precision sums move the borders a little.
            if f64::from(weight) / total > 1e-5 {
                assert_eq!(pick_from_all(&logits, 6.0, 0.7, middle), token);
            }
            before += f64::from(weight);
        }
    }
}
