//! Rotary position embedding (Su et al. 2021): turns pairs of a head's values by the token's angles.

#![allow(clippy::inline_always, reason = "a body takes on the features of its caller")]

use crate::{Compute, level::for_each_level};

/// Which values of a head form a pair.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum RopeStyle {
    /// `2i` and `2i + 1`, as in the paper and in GGUF files of Llama.
    Interleaved,
    /// `i` and `i + num_rot / 2`, as in GPT-NeoX and most newer models.
    HalfSplit,
}

/// Turns the first `num_rot` values of each head of `x`, which is `(num_tokens, num_heads,
/// head_dim)`.
///
/// `cos_sin` is `(num_tokens, num_rot / 2, 2)`: the cosine and the sine of each pair's angle, which
/// the caller may have scaled (YaRN does). A pair `(a, b)` becomes `(a cos - b sin, a sin + b cos)`.
/// Values from `num_rot` on stay as they are.
pub fn rope(
    compute: &Compute,
    x: &mut [f32],
    num_heads: usize,
    head_dim: usize,
    cos_sin: &[f32],
    style: RopeStyle,
) {
    if x.is_empty() {
        return;
    }
    let token_len = num_heads * head_dim;
    assert!(token_len > 0, "a token has at least one head of at least one value");
    let num_tokens = x.len() / token_len;
    assert_eq!(num_tokens * token_len, x.len(), "the input must consist of whole tokens");
    let num_rot = cos_sin.len() / num_tokens;
    assert_eq!(num_rot * num_tokens, cos_sin.len(), "every token must have as many angles");
    assert!(num_rot.is_multiple_of(2), "an angle is a cosine and a sine");
    assert!(num_rot <= head_dim, "{num_rot} values to turn, a head has {head_dim}");
    if num_rot == 0 {
        return;
    }
    let tokens_per_chunk = compute.rows_per_chunk(num_tokens, token_len);
    compute.pool.chunks_mut(x, tokens_per_chunk * token_len, |index, x| {
        let angles = cos_sin[index * tokens_per_chunk * num_rot..].chunks_exact(num_rot);
        for (token, cos_sin) in x.chunks_exact_mut(token_len).zip(angles) {
            match style {
                RopeStyle::Interleaved => turn_interleaved(compute.cpu, token, head_dim, cos_sin),
                RopeStyle::HalfSplit => turn_halves(compute.cpu, token, head_dim, cos_sin),
            }
        }
    });
}

for_each_level! {
    /// All heads of one token.
    fn turn_interleaved(token: &mut [f32], head_dim: usize, cos_sin: &[f32]);
    body = interleaved_body; reference = interleaved_reference;
}

for_each_level! {
    /// All heads of one token.
    fn turn_halves(token: &mut [f32], head_dim: usize, cos_sin: &[f32]);
    body = halves_body; reference = halves_reference;
}

fn interleaved_reference(token: &mut [f32], head_dim: usize, cos_sin: &[f32]) {
    for head in token.chunks_exact_mut(head_dim) {
        for (i, angle) in cos_sin.chunks_exact(2).enumerate() {
            (head[2 * i], head[2 * i + 1]) = turn(head[2 * i], head[2 * i + 1], angle[0], angle[1]);
        }
    }
}

fn halves_reference(token: &mut [f32], head_dim: usize, cos_sin: &[f32]) {
    let half = cos_sin.len() / 2;
    for head in token.chunks_exact_mut(head_dim) {
        for (i, angle) in cos_sin.chunks_exact(2).enumerate() {
            (head[i], head[i + half]) = turn(head[i], head[i + half], angle[0], angle[1]);
        }
    }
}

fn turn(a: f32, b: f32, cos: f32, sin: f32) -> (f32, f32) {
    (a * cos - b * sin, a * sin + b * cos)
}

#[inline(always)]
fn interleaved_body(token: &mut [f32], head_dim: usize, cos_sin: &[f32]) {
    let (angles, _) = cos_sin.as_chunks::<2>();
    for head in token.chunks_exact_mut(head_dim) {
        let (pairs, _) = head.as_chunks_mut::<2>();
        for (pair, [cos, sin]) in pairs.iter_mut().zip(angles) {
            let [a, b] = *pair;
            *pair = [a.mul_add(*cos, -(b * sin)), a.mul_add(*sin, b * cos)];
        }
    }
}

#[inline(always)]
fn halves_body(token: &mut [f32], head_dim: usize, cos_sin: &[f32]) {
    let (angles, _) = cos_sin.as_chunks::<2>();
    for head in token.chunks_exact_mut(head_dim) {
        let (first, rest) = head.split_at_mut(angles.len());
        let second = &mut rest[..angles.len()];
        for ((a, b), [cos, sin]) in first.iter_mut().zip(second).zip(angles) {
            (*a, *b) = (a.mul_add(*cos, -(*b * sin)), a.mul_add(*sin, *b * cos));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        cpu::Cpu,
        test_data::{Random, assert_close},
    };

    /// Two products and a sum of values up to 4, rounded once less with fused arithmetic.
    const ROPE_TOLERANCE: f32 = 1e-6;

    const STYLES: [RopeStyle; 2] = [RopeStyle::Interleaved, RopeStyle::HalfSplit];

    fn angles(random: &mut Random, num_tokens: usize, num_rot: usize) -> Vec<f32> {
        let angles = (0..num_tokens * num_rot / 2).map(|_| random.value(3.1));
        angles.flat_map(|angle| [angle.cos(), angle.sin()]).collect()
    }

    #[test]
    fn every_level_agrees_with_the_reference() {
        for cpu in Cpu::every_level() {
            let compute = Compute::new(cpu, 2);
            for (head_dim, num_rot) in
                [(1, 0), (2, 2), (6, 2), (18, 18), (32, 16), (64, 64), (80, 32), (130, 130)]
            {
                for (num_tokens, num_heads) in [(0, 1), (1, 1), (3, 5), (700, 3)] {
                    for style in STYLES {
                        let mut random = Random::new(head_dim as u64);
                        let mut x = random.values(num_tokens * num_heads * head_dim, 4.0);
                        let cos_sin = angles(&mut random, num_tokens, num_rot);
                        let mut expected = x.clone();
                        let tokens = expected.chunks_exact_mut(num_heads * head_dim);
                        for (token, cos_sin) in tokens.zip(cos_sin.chunks_exact(num_rot.max(1))) {
                            match style {
                                RopeStyle::Interleaved => {
                                    interleaved_reference(token, head_dim, cos_sin);
                                }
                                RopeStyle::HalfSplit => halves_reference(token, head_dim, cos_sin),
                            }
                        }
                        rope(&compute, &mut x, num_heads, head_dim, &cos_sin, style);
                        let what = format!("{style:?} {num_rot} of {head_dim} on {cpu}");
                        assert_close(&x, &expected, ROPE_TOLERANCE, &what);
                    }
                }
            }
        }
    }

    #[test]
    fn a_quarter_turn_moves_a_pair_and_leaves_the_rest() {
        let compute = Compute::new(Cpu::detect(), 1);
        for (style, expected) in [
            (RopeStyle::Interleaved, [-2.0, 1.0, -4.0, 3.0, 5.0, 6.0]),
            (RopeStyle::HalfSplit, [-3.0, -4.0, 1.0, 2.0, 5.0, 6.0]),
        ] {
            let mut x = [1.0, 2.0, 3.0, 4.0, 5.0, 6.0];
            rope(&compute, &mut x, 1, 6, &[0.0, 1.0, 0.0, 1.0], style);
            assert_close(&x, &expected, 0.0, &format!("{style:?}"));
        }
    }

    #[test]
    fn a_token_does_not_depend_on_its_company() {
        for cpu in Cpu::every_level() {
            for style in STYLES {
                let (num_tokens, num_heads, head_dim) = (600, 4, 48);
                let mut random = Random::new(5);
                let x = random.values(num_tokens * num_heads * head_dim, 2.0);
                let cos_sin = angles(&mut random, num_tokens, head_dim);
                let mut all = x.clone();
                let three = Compute::new(cpu, 3);
                rope(&three, &mut all, num_heads, head_dim, &cos_sin, style);
                let one = Compute::new(cpu, 1);
                let tokens = x.chunks(num_heads * head_dim).zip(cos_sin.chunks(head_dim));
                for ((token, cos_sin), expected) in tokens.zip(all.chunks(num_heads * head_dim)) {
                    let mut alone = token.to_vec();
                    rope(&one, &mut alone, num_heads, head_dim, cos_sin, style);
                    assert_eq!(alone, expected, "{style:?} on {cpu}");
                }
            }
        }
    }
}
