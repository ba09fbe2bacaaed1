//! The matmul in plain words: dequantize a row, multiply, add.
//!
//! Activations stay `f32` here, so this is also the truth that the other kernels' rounding of
//! activations is measured by.

use crate::{
    columns::Columns,
    compute::Compute,
    weights::{PackedMatrix, TILE_ROWS},
};

/// Sums that run side by side, so that a compiler may use vectors without changing the result.
const NUM_LANES: usize = 16;

/// [`matmul`](super::matmul) for any weight type, on any processor.
pub(super) fn matmul(
    compute: &Compute,
    weights: &PackedMatrix,
    columns: &Columns,
    out: &mut [f32],
) {
    let width = columns.width();
    compute.pool.strips_mut(out, weights.rows(), TILE_ROWS, |_, mut strip| {
        let mut row = vec![0.0; width];
        for (i, row_index) in strip.columns().enumerate() {
            weights.dequantize_row(row_index, &mut row);
            for (j, column) in columns.values().chunks_exact(width).enumerate() {
                strip.row_mut(j)[i] = dot(&row, column);
            }
        }
    });
}

fn dot(a: &[f32], b: &[f32]) -> f32 {
    let (a_chunks, a_rest) = a.as_chunks::<NUM_LANES>();
    let (b_chunks, b_rest) = b.as_chunks::<NUM_LANES>();
    let mut sums = [0.0; NUM_LANES];
    for (a, b) in a_chunks.iter().zip(b_chunks) {
        for lane in 0..NUM_LANES {
            sums[lane] += a[lane] * b[lane];
        }
    }
    let rest: f32 = a_rest.iter().zip(b_rest).map(|(a, b)| a * b).sum();
    sums.iter().sum::<f32>() + rest
}
