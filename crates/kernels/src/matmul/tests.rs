//! Every level against plain arithmetic in `f64`, at awkward shapes and with extreme numbers.
//!
//! The truth that quantized levels are held to uses the activations as they were rounded, so that
//! what is left is the rounding of `f32` sums. How far the rounding of activations itself is from
//! the exact product is a test of its own.

use half::{bf16, f16};

use super::matmul;
use crate::{
    Columns, Compute, Cpu, CpuLevel, PackedMatrix, WeightType, dequantize_row, test_data::Random,
};

/// Rounding of `f32` sums, relative to the sum of the products' magnitudes: a result is the sum of up
/// to a few hundred blocks' numbers, each with a handful of roundings of 2^-24.
const SUM_TOLERANCE: f64 = 2e-6;

/// Rounding of activations to 8 bits, relative to the product of both vectors' lengths: each value
/// is off by up to half of max / 127, a third of that on average, in random directions.
const ACTIVATION_TOLERANCE: f64 = 6e-3;

const ROWS: [usize; 5] = [1, 15, 16, 17, 33];
const NUM_BLOCKS: [usize; 4] = [1, 2, 3, 7];

/// Blocks that the float types are tested with: their blocks of one would make tiny rows.
fn cols(ty: WeightType, num_blocks: usize) -> usize {
    if ty.block_len() == 1 { 19 * num_blocks } else { ty.block_len() * num_blocks }
}

/// Where a block's half-precision numbers are.
fn halves(ty: WeightType) -> &'static [usize] {
    match ty {
        WeightType::F32 | WeightType::BF16 => &[],
        WeightType::F16 | WeightType::Q4_0 | WeightType::Q5_0 | WeightType::Q8_0 => &[0],
        WeightType::IQ4_NL | WeightType::IQ4_XS => &[0],
        WeightType::Q4_1 | WeightType::Q5_1 | WeightType::Q4_K | WeightType::Q5_K => &[0, 2],
        WeightType::Q2_K => &[80, 82],
        WeightType::Q3_K => &[108],
        WeightType::Q6_K => &[208],
    }
}

/// Rows of random blocks whose scales are random numbers.
fn random_rows(random: &mut Random, ty: WeightType, rows: usize, cols: usize) -> Vec<u8> {
    let mut data = vec![0; rows * ty.row_bytes(cols).unwrap()];
    for block in data.chunks_exact_mut(ty.block_bytes()) {
        match ty {
            WeightType::F32 => block.copy_from_slice(&random.value(1.0).to_le_bytes()),
            WeightType::BF16 => block.copy_from_slice(&random.value(1.0).to_le_bytes()[2..]),
            _ => block.fill_with(|| random.bits() as u8),
        }
        for &at in halves(ty) {
            let scale = f16::from_f32(random.value(1.0));
            block[at..at + 2].copy_from_slice(&scale.to_le_bytes());
        }
    }
    data
}

/// Rows that take the integers to their bounds: all bits of codes and scales set, or as the fill.
fn extreme_rows(ty: WeightType, rows: usize, cols: usize, fill: u8, scale: f16) -> Vec<u8> {
    let mut data = vec![fill; rows * ty.row_bytes(cols).unwrap()];
    for block in data.chunks_exact_mut(ty.block_bytes()) {
        match ty {
            WeightType::F32 => block.copy_from_slice(&scale.to_f32().to_le_bytes()),
            WeightType::BF16 => block.copy_from_slice(&scale.to_f32().to_le_bytes()[2..]),
            _ => {}
        }
        for &at in halves(ty) {
            block[at..at + 2].copy_from_slice(&scale.to_le_bytes());
        }
    }
    data
}

/// The activations as a level's kernels see them: rounded per block, unless the level is plain.
fn as_seen(cpu: Cpu, ty: WeightType, column: &[f32]) -> Vec<f32> {
    if ty == WeightType::BF16 && cpu.has_bf16() {
        return column.iter().map(|v| bf16::from_f32(*v).to_f32()).collect();
    }
    if cpu.level() == CpuLevel::Reference || ty.block_len() == 1 {
        return column.to_vec();
    }
    let blocks = column.chunks_exact(ty.block_len());
    blocks
        .flat_map(|block| {
            let largest = block.iter().fold(0.0f32, |largest, v| largest.max(v.abs()));
            let per_scale = if largest > 0.0 { 127.0 / largest } else { 0.0 };
            block.iter().map(move |v| (v * per_scale).round_ties_even() * (largest / 127.0))
        })
        .collect()
}

struct Truth {
    /// The exact sum.
    value: f64,
    /// The sum of the products' magnitudes.
    magnitude: f64,
}

fn truth(weights: &[f32], column: &[f32]) -> Truth {
    let products = || weights.iter().zip(column).map(|(w, x)| f64::from(*w) * f64::from(*x));
    Truth { value: products().sum(), magnitude: products().map(f64::abs).sum() }
}

fn multiply(compute: &Compute, matrix: &PackedMatrix, values: &[f32]) -> Vec<f32> {
    let num_columns = values.len() / matrix.cols();
    let mut columns = Columns::new();
    columns.reset(num_columns, matrix.cols()).copy_from_slice(values);
    let mut out = vec![f32::NAN; num_columns * matrix.rows()];
    matmul(compute, matrix, &mut columns, &mut out);
    out
}

/// Multiplies on every level and compares with the truth for what the level sees.
fn check(ty: WeightType, rows: usize, cols: usize, data: &[u8], values: &[f32], what: &str) {
    let mut weights = vec![0.0; rows * cols];
    let row_bytes = ty.row_bytes(cols).unwrap();
    for (row, weights) in data.chunks_exact(row_bytes).zip(weights.chunks_exact_mut(cols)) {
        dequantize_row(ty, row, weights);
    }
    for cpu in Cpu::every_level() {
        let compute = Compute::new(cpu, 1);
        let matrix = PackedMatrix::pack(&compute, ty, rows, cols, data).unwrap();
        let out = multiply(&compute, &matrix, values);
        for (j, column) in values.chunks_exact(cols).enumerate() {
            let column = as_seen(cpu, ty, column);
            for (i, weights) in weights.chunks_exact(cols).enumerate() {
                let got = f64::from(out[j * rows + i]);
                let Truth { value, magnitude } = truth(weights, &column);
                // Minima are taken away from sums of their size, which may exceed the products.
                let error = (got - value).abs();
                let allowed = SUM_TOLERANCE * magnitude.max(largest_part(ty, weights, &column));
                assert!(
                    error <= allowed,
                    "{cpu} {ty} {rows} x {cols}, {what}: row {i} of column {j} is {got}, expected \
                     {value} to within {allowed}"
                );
            }
        }
    }
}

/// The size of the parts that formats with minima are summed from.
fn largest_part(ty: WeightType, weights: &[f32], column: &[f32]) -> f64 {
    let per_block = weights.chunks(ty.block_len()).zip(column.chunks(ty.block_len()));
    per_block
        .map(|(weights, column)| {
            let largest = weights.iter().fold(0.0f32, |largest, w| largest.max(w.abs()));
            let sum: f32 = column.iter().map(|x| x.abs()).sum();
            f64::from(largest) * f64::from(sum)
        })
        .sum()
}

#[test]
fn every_level_agrees_with_plain_sums_at_awkward_shapes() {
    for seed in 0..2 {
        for ty in WeightType::ALL {
            let mut random = Random::new(seed);
            for rows in ROWS {
                for num_blocks in NUM_BLOCKS {
                    let cols = cols(ty, num_blocks);
                    let num_columns = 1 + random.below(13);
                    let data = random_rows(&mut random, ty, rows, cols);
                    let values = random.values(num_columns * cols, 3.0);
                    check(ty, rows, cols, &data, &values, &format!("seed {seed}"));
                }
            }
        }
    }
}

#[test]
fn extreme_numbers_overflow_nothing() {
    for ty in WeightType::ALL {
        let cols = cols(ty, 3);
        for fill in [0x00, 0x7f, 0x80, 0xff] {
            for scale in [f16::MAX, f16::MIN, f16::from_bits(1), f16::from_f32(1.0)] {
                for value in [1.0, -1.0, 1e-30, 1e20] {
                    let data = extreme_rows(ty, 17, cols, fill, scale);
                    let what = format!("bytes {fill:#x}, scale {scale}, activations {value}");
                    check(ty, 17, cols, &data, &vec![value; cols], &what);
                    let alternating: Vec<f32> =
                        (0..cols).map(|k| if k % 2 == 0 { value } else { -value }).collect();
                    check(ty, 17, cols, &data, &alternating, &what);
                }
            }
        }
    }
}

#[test]
fn rounding_activations_costs_little() {
    let mut random = Random::new(7);
    for ty in WeightType::ALL {
        let (rows, cols) = (16, 2048);
        let data = random_rows(&mut random, ty, rows, cols);
        let values = random.values(cols, 1.0);
        let mut weights = vec![0.0; cols];
        for cpu in Cpu::every_level() {
            let compute = Compute::new(cpu, 1);
            let matrix = PackedMatrix::pack(&compute, ty, rows, cols, &data).unwrap();
            let out = multiply(&compute, &matrix, &values);
            for (i, got) in out.iter().enumerate() {
                matrix.dequantize_row(i, &mut weights);
                let length = |v: &[f32]| v.iter().map(|v| f64::from(v * v)).sum::<f64>().sqrt();
                let error = (f64::from(*got) - truth(&weights, &values).value).abs();
                let relative = error / (length(&weights) * length(&values));
                assert!(relative <= ACTIVATION_TOLERANCE, "{cpu} {ty}: row {i} is off {relative}");
            }
        }
    }
}

#[test]
fn a_column_has_the_same_bits_in_any_company() {
    let mut random = Random::new(11);
    for ty in WeightType::ALL {
        let (rows, cols) = (33, cols(ty, 3));
        let data = random_rows(&mut random, ty, rows, cols);
        let values = random.values(19 * cols, 2.0);
        for cpu in Cpu::every_level() {
            let alone = Compute::new(cpu, 1);
            let together = Compute::new(cpu, 3);
            let matrix = PackedMatrix::pack(&together, ty, rows, cols, &data).unwrap();
            let bits = |out: &[f32]| out.iter().map(|v| v.to_bits()).collect::<Vec<_>>();
            let expected: Vec<Vec<u32>> = values
                .chunks_exact(cols)
                .map(|column| bits(&multiply(&alone, &matrix, column)))
                .collect();
            for num_columns in 1..=19 {
                // The columns start anywhere, so that each has every place in a tile once.
                let first = random.below(19 - num_columns + 1);
                let some = &values[first * cols..(first + num_columns) * cols];
                let out = multiply(&together, &matrix, some);
                for (j, column) in out.chunks_exact(rows).enumerate() {
                    let expected = &expected[first + j];
                    assert_eq!(&bits(column), expected, "{cpu} {ty}, {num_columns} columns");
                }
            }
        }
    }
}

#[test]
fn broken_activations_are_not_passed_off_as_numbers() {
    let mut random = Random::new(13);
    for ty in WeightType::ALL {
        let (rows, cols) = (17, cols(ty, 3));
        let data = random_rows(&mut random, ty, rows, cols);
        for broken in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
            let mut values = random.values(2 * cols, 2.0);
            values[cols / 2] = broken;
            for cpu in Cpu::every_level() {
                let compute = Compute::new(cpu, 1);
                let matrix = PackedMatrix::pack(&compute, ty, rows, cols, &data).unwrap();
                let out = multiply(&compute, &matrix, &values);
                let (first, second) = out.split_at(rows);
                assert!(first.iter().all(|v| !v.is_finite()), "{cpu} {ty}: {broken} was lost");
                assert!(second.iter().all(|v| v.is_finite()), "{cpu} {ty}: {broken} spread");
            }
        }
    }
}

#[test]
fn columns_may_be_used_again_for_other_sizes_and_types() {
    let mut random = Random::new(17);
    for cpu in Cpu::every_level() {
        let compute = Compute::new(cpu, 2);
        let mut columns = Columns::new();
        for num_columns in [9, 2, 17, 0, 1] {
            for ty in [WeightType::Q4_K, WeightType::Q8_0, WeightType::F16, WeightType::Q6_K] {
                let data = random_rows(&mut random, ty, 16, 512);
                let matrix = PackedMatrix::pack(&compute, ty, 16, 512, &data).unwrap();
                let values = random.values(num_columns * 512, 1.0);
                columns.reset(num_columns, 512).copy_from_slice(&values);
                let mut out = vec![f32::NAN; num_columns * 16];
                matmul(&compute, &matrix, &mut columns, &mut out);
                assert_eq!(out, multiply(&compute, &matrix, &values), "{cpu} {ty}");
            }
        }
    }
}

#[test]
fn matrices_without_rows_or_weights_are_matrices() {
    for cpu in Cpu::every_level() {
        let compute = Compute::new(cpu, 2);
        let empty = PackedMatrix::pack(&compute, WeightType::Q4_K, 0, 256, &[]).unwrap();
        assert_eq!(multiply(&compute, &empty, &[1.0; 512]), []);
        let flat = PackedMatrix::pack(&compute, WeightType::Q4_K, 3, 0, &[]).unwrap();
        let mut columns = Columns::new();
        columns.reset(2, 0);
        let mut out = [f32::NAN; 6];
        matmul(&compute, &flat, &mut columns, &mut out);
        assert!(out.iter().all(|&sum| sum == 0.0), "{cpu}: a sum of nothing");
    }
}
