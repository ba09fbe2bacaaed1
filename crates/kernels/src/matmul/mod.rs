//! Multiplies columns of activations by a weight matrix.

#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(target_arch = "x86_64")]
mod avx512;
mod formats;
mod kernels;
#[cfg(target_arch = "aarch64")]
mod neon;
mod reference;
mod simd;
mod tiled;

#[cfg(test)]
mod tests;

#[cfg(target_arch = "x86_64")]
use crate::weights::WeightType;
use crate::{columns::Columns, compute::Compute, weights::PackedMatrix};

/// Multiplies every column by the matrix: `out[column][row] = sum(weights[row] * column)`.
///
/// `out` is `(num_columns, weights.rows())` and is overwritten. The bits of a column's results do
/// not depend on the other columns or the number of threads.
///
/// Quantized weights meet activations that were rounded to 8 bits per block (of 256 values for the
/// K types and `IQ4_XS`, of 32 for the others), and `BF16` weights meet activations rounded to the
/// same format where the processor multiplies it; `F32` and `F16` weights meet them as they are. A NaN or an infinity among a column's activations leaves no result of that column finite.
///
/// # Panics
///
/// If the columns are not `weights.cols()` long or `out` has another size.
pub fn matmul(compute: &Compute, weights: &PackedMatrix, columns: &mut Columns, out: &mut [f32]) {
    assert_eq!(columns.width(), weights.cols(), "a column has one value per weight of a row");
    assert_eq!(out.len(), columns.num_columns() * weights.rows(), "out is (num_columns, rows)");
    if out.is_empty() {
        return;
    }
    if weights.cols() == 0 {
        out.fill(0.0);
        return;
    }
    #[cfg(target_arch = "x86_64")]
    if weights.weight_type() == WeightType::BF16
        && let Some(simd) = avx512::Avx512Bf16::new(compute.cpu)
    {
        return tiled::matmul_bf16(simd, compute, weights, columns, out);
    }
    #[cfg(target_arch = "x86_64")]
    if let Some(simd) = avx512::Avx512Vnni::new(compute.cpu) {
        return tiled::matmul(simd, compute, weights, columns, out);
    } else if let Some(simd) = avx2::Avx2::<true>::new(compute.cpu) {
        return tiled::matmul(simd, compute, weights, columns, out);
    } else if let Some(simd) = avx2::Avx2::<false>::new(compute.cpu) {
        return tiled::matmul(simd, compute, weights, columns, out);
    }
    #[cfg(target_arch = "aarch64")]
    if let Some(simd) = neon::NeonDot::new(compute.cpu) {
        return tiled::matmul(simd, compute, weights, columns, out);
    }
    reference::matmul(compute, weights, columns, out);
}
