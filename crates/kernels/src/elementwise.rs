//! Operations that treat each value by itself: sums, scales and activation functions.

#![allow(clippy::inline_always, reason = "a body takes on the features of its caller")]

use crate::{Compute, level::for_each_level, math};

/// `x += y`.
pub fn add(compute: &Compute, x: &mut [f32], y: &[f32]) {
    with_pairs(compute, x, y, |x, y| add_chunk(compute.cpu, x, y));
}

/// Adds `bias` to every row of `x`, which has rows of `bias.len()` values.
pub fn add_bias(compute: &Compute, x: &mut [f32], bias: &[f32]) {
    assert!(!bias.is_empty() || x.is_empty(), "rows of no values hold no data");
    if x.is_empty() {
        return;
    }
    assert_eq!(x.len() % bias.len(), 0, "the input must consist of whole rows");
    let rows_per_chunk = compute.rows_per_chunk(x.len() / bias.len(), bias.len());
    compute.pool.chunks_mut(x, rows_per_chunk * bias.len(), |_, x| {
        for row in x.chunks_exact_mut(bias.len()) {
            add_chunk(compute.cpu, row, bias);
        }
    });
}

/// `x *= by`.
pub fn scale(compute: &Compute, x: &mut [f32], by: f32) {
    let chunk_len = compute.rows_per_chunk(x.len(), 1);
    compute.pool.chunks_mut(x, chunk_len, |_, x| scale_chunk(compute.cpu, x, by));
}

/// `gate = gate * sigmoid(gate) * up`: the SwiGLU of Llama (Shazeer 2020).
pub fn silu_mul(compute: &Compute, gate: &mut [f32], up: &[f32]) {
    with_pairs(compute, gate, up, |gate, up| silu_mul_chunk(compute.cpu, gate, up));
}

/// `gate = gelu(gate) * up` with the tanh form of GELU (Hendrycks and Gimpel 2016), as in Gemma:
/// `0.5 x (1 + tanh(sqrt(2 / pi) (x + 0.044715 x^3)))`.
pub fn gelu_tanh_mul(compute: &Compute, gate: &mut [f32], up: &[f32]) {
    with_pairs(compute, gate, up, |gate, up| gelu_tanh_mul_chunk(compute.cpu, gate, up));
}

/// `x = cap * tanh(x / cap)`: keeps values between `-cap` and `cap`, as Gemma 2 does.
pub fn softcap(compute: &Compute, x: &mut [f32], cap: f32) {
    assert!(cap > 0.0, "a cap must be positive, not {cap}");
    let chunk_len = compute.rows_per_chunk(x.len(), 1);
    compute.pool.chunks_mut(x, chunk_len, |_, x| softcap_chunk(compute.cpu, x, cap));
}

/// Calls `task` with chunks of `x` and the same places of `y`.
fn with_pairs(
    compute: &Compute,
    x: &mut [f32],
    y: &[f32],
    task: impl Fn(&mut [f32], &[f32]) + Sync,
) {
    assert_eq!(x.len(), y.len(), "the two inputs must be equally long");
    let chunk_len = compute.rows_per_chunk(x.len(), 1);
    compute.pool.chunks_mut(x, chunk_len, |index, x| {
        let y = &y[index * chunk_len..][..x.len()];
        task(x, y);
    });
}

for_each_level! {
    fn add_chunk(x: &mut [f32], y: &[f32]);
    body = add_body; reference = add_body;
}

for_each_level! {
    fn scale_chunk(x: &mut [f32], by: f32);
    body = scale_body; reference = scale_body;
}

for_each_level! {
    fn silu_mul_chunk(gate: &mut [f32], up: &[f32]);
    body = silu_mul_body; reference = silu_mul_reference;
}

for_each_level! {
    fn gelu_tanh_mul_chunk(gate: &mut [f32], up: &[f32]);
    body = gelu_tanh_mul_body; reference = gelu_tanh_mul_reference;
}

for_each_level! {
    fn softcap_chunk(x: &mut [f32], cap: f32);
    body = softcap_body; reference = softcap_reference;
}

#[inline(always)]
fn add_body(x: &mut [f32], y: &[f32]) {
    for (x, y) in x.iter_mut().zip(y) {
        *x += y;
    }
}

#[inline(always)]
fn scale_body(x: &mut [f32], by: f32) {
    for x in x {
        *x *= by;
    }
}

fn silu_mul_reference(gate: &mut [f32], up: &[f32]) {
    for (gate, up) in gate.iter_mut().zip(up) {
        let x = *gate;
        *gate = x / (1.0 + (-x).exp()) * up;
    }
}

#[inline(always)]
fn silu_mul_body(gate: &mut [f32], up: &[f32]) {
    for (gate, up) in gate.iter_mut().zip(up) {
        let x = *gate;
        *gate = x / (1.0 + math::exp(-x)) * up;
    }
}

/// `sqrt(2 / pi)`.
const GELU_SCALE: f32 = 0.797_884_6;
const GELU_CUBIC: f32 = 0.044_715;

fn gelu_tanh_mul_reference(gate: &mut [f32], up: &[f32]) {
    for (gate, up) in gate.iter_mut().zip(up) {
        let x = f64::from(*gate);
        let inner = f64::from(GELU_SCALE) * (x + f64::from(GELU_CUBIC) * x * x * x);
        *gate = (0.5 * x * (1.0 + inner.tanh())) as f32 * up;
    }
}

#[inline(always)]
fn gelu_tanh_mul_body(gate: &mut [f32], up: &[f32]) {
    for (gate, up) in gate.iter_mut().zip(up) {
        // 0.5 (1 + tanh u) = 1 / (1 + exp(-2u)), which stays exact where tanh nears -1.
        let x = *gate;
        let inner = GELU_SCALE * x * (GELU_CUBIC * x).mul_add(x, 1.0);
        *gate = x / (1.0 + math::exp(-2.0 * inner)) * up;
    }
}

fn softcap_reference(x: &mut [f32], cap: f32) {
    for x in x {
        *x = cap * (*x / cap).tanh();
    }
}

#[inline(always)]
fn softcap_body(x: &mut [f32], cap: f32) {
    let inverse = 1.0 / cap;
    for x in x {
        *x = cap * math::tanh(*x * inverse);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        cpu::Cpu,
        test_data::{LENGTHS, Random, assert_close},
    };

    /// Ours and the standard library's `exp` and `tanh` are both within 6e-7 of the truth; the
    /// rest is the rounding of four products.
    const ACTIVATION_TOLERANCE: f32 = 1.5e-6;

    type Operation = fn(&Compute, &mut [f32], &[f32]);
    type Reference = fn(&mut [f32], &[f32]);

    const OPERATIONS: [(&str, Operation, Reference); 6] = [
        ("add", add, |x, y| add_body(x, y)),
        ("add_bias", |compute, x, y| add_bias(compute, x, y), |x, y| add_body(x, y)),
        ("scale", |compute, x, _| scale(compute, x, -1.7), |x, _| scale_body(x, -1.7)),
        ("silu_mul", silu_mul, silu_mul_reference),
        ("gelu_tanh_mul", gelu_tanh_mul, gelu_tanh_mul_reference),
        ("softcap", |compute, x, _| softcap(compute, x, 3.0), |x, _| softcap_reference(x, 3.0)),
    ];

    #[test]
    fn every_level_agrees_with_the_reference() {
        for cpu in Cpu::every_level() {
            let compute = Compute::new(cpu, 2);
            for (name, operation, reference) in OPERATIONS {
                for len in LENGTHS {
                    let mut random = Random::new(len as u64);
                    let (mut x, y) = (random.values(len, 12.0), random.values(len, 2.0));
                    let mut expected = x.clone();
                    reference(&mut expected, &y);
                    operation(&compute, &mut x, &y);
                    assert_close(&x, &expected, ACTIVATION_TOLERANCE, &format!("{name} on {cpu}"));
                }
            }
        }
    }

    #[test]
    fn a_value_does_not_depend_on_its_company() {
        for cpu in Cpu::every_level() {
            let (one, three) = (Compute::new(cpu, 1), Compute::new(cpu, 3));
            for (name, operation, _) in OPERATIONS {
                let mut random = Random::new(3);
                let len = 100_003;
                let (x, y) = (random.values(len, 9.0), random.values(len, 2.0));
                let mut together = x.clone();
                operation(&three, &mut together, &y);
                for start in [0, 1, 6, 50_000, len - 37] {
                    let part = start..start + 37;
                    let mut alone = x[part.clone()].to_vec();
                    operation(&one, &mut alone, &y[part.clone()]);
                    assert_eq!(alone, together[part], "{name} on {cpu}");
                }
            }
        }
    }

    #[test]
    fn large_values_saturate_without_nan() {
        for cpu in Cpu::every_level() {
            let compute = Compute::new(cpu, 1);
            for (operation, expected) in [
                (silu_mul as Operation, [0.0, 0.0, 0.0, 1e30]),
                (gelu_tanh_mul, [0.0, 0.0, 0.0, 1e30]),
                (|compute, x, _| softcap(compute, x, 30.0), [-30.0, -30.0, 0.0, 30.0]),
            ] {
                let mut x = [-1e30, -1e3, 0.0, 1e30];
                operation(&compute, &mut x, &[1.0; 4]);
                assert_close(&x, &expected, ACTIVATION_TOLERANCE, &format!("on {cpu}"));
            }
        }
    }

    #[test]
    fn bias_is_added_to_every_row() {
        let compute = Compute::new(Cpu::detect(), 2);
        let mut x = [1.0, 2.0, 3.0, 4.0, 5.0, 6.0];
        add_bias(&compute, &mut x, &[10.0, 20.0]);
        assert_close(&x, &[11.0, 22.0, 13.0, 24.0, 15.0, 26.0], 0.0, "three rows of two");
    }
}
