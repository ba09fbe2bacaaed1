//! Root mean square normalization of rows (Zhang and Sennrich 2019): `x / rms(x) * weight`.

#![allow(clippy::inline_always, reason = "a body takes on the features of its caller")]

use crate::{Compute, level::for_each_level};

/// Writes `x / sqrt(mean(x^2) + eps) * weight` for each row of `weight.len()` values to `out`.
pub fn rms_norm(compute: &Compute, x: &[f32], weight: &[f32], eps: f32, out: &mut [f32]) {
    let num_rows = check_rows(x, weight);
    assert_eq!(out.len(), x.len(), "the output must be as long as the input");
    if num_rows == 0 {
        return;
    }
    let chunk_len = compute.rows_per_chunk(num_rows, weight.len()) * weight.len();
    compute.pool.chunks_mut(out, chunk_len, |index, out| {
        let x = &x[index * chunk_len..][..out.len()];
        out.copy_from_slice(x);
        normalize_rows(compute.cpu, out, weight, eps);
    });
}

/// [`rms_norm`] with the result in the place of the input. With a row per head it is the
/// normalization of queries and keys.
pub fn rms_norm_in_place(compute: &Compute, x: &mut [f32], weight: &[f32], eps: f32) {
    let num_rows = check_rows(x, weight);
    if num_rows == 0 {
        return;
    }
    let chunk_len = compute.rows_per_chunk(num_rows, weight.len()) * weight.len();
    compute.pool.chunks_mut(x, chunk_len, |_, x| normalize_rows(compute.cpu, x, weight, eps));
}

fn check_rows(x: &[f32], weight: &[f32]) -> usize {
    assert!(!weight.is_empty() || x.is_empty(), "rows of no values hold no data");
    let num_rows = x.len() / weight.len().max(1);
    assert_eq!(num_rows * weight.len(), x.len(), "the input must consist of whole rows");
    num_rows
}

for_each_level! {
    /// Whole rows of `weight.len()` values.
    fn normalize_rows(x: &mut [f32], weight: &[f32], eps: f32);
    body = body; reference = reference;
}

fn reference(x: &mut [f32], weight: &[f32], eps: f32) {
    for row in x.chunks_exact_mut(weight.len()) {
        let sum: f64 = row.iter().map(|&value| f64::from(value) * f64::from(value)).sum();
        let inverse = 1.0 / (sum / row.len() as f64 + f64::from(eps)).sqrt();
        for (value, weight) in row.iter_mut().zip(weight) {
            *value = (f64::from(*value) * inverse * f64::from(*weight)) as f32;
        }
    }
}

/// How many partial sums run side by side: four vectors of AVX-512 hide the latency of addition.
const NUM_SUMS: usize = 64;

#[inline(always)]
fn body(x: &mut [f32], weight: &[f32], eps: f32) {
    for row in x.chunks_exact_mut(weight.len()) {
        let mean = sum_of_squares(row) / row.len() as f32;
        let inverse = 1.0 / (mean + eps).sqrt();
        for (value, weight) in row.iter_mut().zip(weight) {
            *value = *value * inverse * weight;
        }
    }
}

/// The order of addition follows from the row's length alone.
#[inline(always)]
fn sum_of_squares(row: &[f32]) -> f32 {
    let (groups, rest) = row.as_chunks::<NUM_SUMS>();
    let mut sums = [0.0_f32; NUM_SUMS];
    for group in groups {
        for (sum, value) in sums.iter_mut().zip(group) {
            *sum = value.mul_add(*value, *sum);
        }
    }
    for (sum, value) in sums.iter_mut().zip(rest) {
        *sum = value.mul_add(*value, *sum);
    }
    let mut width = NUM_SUMS / 2;
    while width > 0 {
        for i in 0..width {
            sums[i] += sums[i + width];
        }
        width /= 2;
    }
    sums[0]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        cpu::Cpu,
        test_data::{LENGTHS, Random, assert_close},
    };

    /// Sums of squares of 64 lanes: the error grows with the steps per lane, at most 200 here, of
    /// 6e-8 each, and shrinks by half in the root.
    const NORM_TOLERANCE: f32 = 6e-6;

    #[test]
    fn every_level_agrees_with_the_reference() {
        for cpu in Cpu::every_level() {
            let compute = Compute::new(cpu, 2);
            for len in LENGTHS {
                for num_rows in [0, 1, 3] {
                    let mut random = Random::new(len as u64 + 1);
                    let x = random.values(len * num_rows, 3.0);
                    let weight = random.values(len, 1.0);
                    let mut expected = x.clone();
                    if len > 0 {
                        reference(&mut expected, &weight, 1e-5);
                    }
                    let mut out = vec![f32::NAN; x.len()];
                    rms_norm(&compute, &x, &weight, 1e-5, &mut out);
                    let what = format!("{num_rows} rows of {len} on {cpu}");
                    assert_close(&out, &expected, NORM_TOLERANCE, &what);
                    let mut in_place = x.clone();
                    rms_norm_in_place(&compute, &mut in_place, &weight, 1e-5);
                    assert_eq!(in_place, out, "{what}, in place");
                }
            }
        }
    }

    #[test]
    fn a_row_does_not_depend_on_its_company() {
        for cpu in Cpu::every_level() {
            let (len, num_rows) = (300, 500);
            let mut random = Random::new(7);
            let (x, weight) = (random.values(len * num_rows, 1.0), random.values(len, 1.0));
            let mut all = vec![0.0; x.len()];
            rms_norm(&Compute::new(cpu, 3), &x, &weight, 1e-6, &mut all);
            let alone = Compute::new(cpu, 1);
            for (row, expected) in x.chunks(len).zip(all.chunks(len)) {
                let mut out = vec![0.0; len];
                rms_norm(&alone, row, &weight, 1e-6, &mut out);
                assert_eq!(out, expected, "on {cpu}");
            }
        }
    }
}
