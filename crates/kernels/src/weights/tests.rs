//! What the bytes of every weight type mean, and that packing keeps it.

use super::{PackedMatrix, WeightType, dequantize_row, quantize_row_q8_0};
use crate::{Compute, Cpu, Error};

/// Rows of random bytes with their values, as the file's own header says.
const GOLDEN_ROWS: &str = include_str!("../../test_data/golden_rows.txt");

struct Golden {
    weight_type: WeightType,
    row: Vec<u8>,
    first_values: Vec<u32>,
    hash: u64,
}

fn golden_rows() -> Vec<Golden> {
    let lines = GOLDEN_ROWS.lines().filter(|line| !line.starts_with('#'));
    lines
        .map(|line| {
            let fields: Vec<&str> = line.split(" | ").collect();
            let byte = |pair: &[u8]| u8::from_str_radix(str::from_utf8(pair).unwrap(), 16).unwrap();
            let word = |hex| u32::from_str_radix(hex, 16).unwrap();
            Golden {
                weight_type: *WeightType::ALL.iter().find(|ty| ty.name() == fields[0]).unwrap(),
                row: fields[1].as_bytes().chunks(2).map(byte).collect(),
                first_values: fields[2].split(',').map(word).collect(),
                hash: u64::from_str_radix(fields[3], 16).unwrap(),
            }
        })
        .collect()
}

fn num_values(ty: WeightType, row: &[u8]) -> usize {
    row.len() / ty.block_bytes() * ty.block_len()
}

/// FNV-1a, as the script that made the golden rows computes it.
fn hash_of_bits(values: &[f32]) -> u64 {
    let bytes = values.iter().flat_map(|value| value.to_le_bytes());
    bytes.fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3)
    })
}

#[test]
fn every_type_dequantizes_as_the_reference_implementation_does() {
    let rows = golden_rows();
    assert_eq!(rows.len(), WeightType::ALL.len(), "one row per type");
    for Golden { weight_type, row, first_values, hash } in rows {
        let mut values = vec![0.0; num_values(weight_type, &row)];
        dequantize_row(weight_type, &row, &mut values);
        let first: Vec<u32> = values[..8].iter().map(|value| value.to_bits()).collect();
        assert_eq!(first, first_values, "{weight_type}: the first values' bits");
        assert_eq!(hash_of_bits(&values), hash, "{weight_type}: some later value");
    }
}

#[test]
fn a_packed_row_dequantizes_as_it_did_before() {
    let compute = Compute::new(Cpu::detect(), 2);
    for Golden { weight_type, row, .. } in golden_rows() {
        let cols = num_values(weight_type, &row);
        let mut expected = vec![0.0; cols];
        dequantize_row(weight_type, &row, &mut expected);
        for rows in [1, 15, 16, 17, 33] {
            // The row stands at every place once; the others are zero.
            for place in 0..rows {
                let mut data = vec![0; rows * row.len()];
                data[place * row.len()..][..row.len()].copy_from_slice(&row);
                let matrix = PackedMatrix::pack(&compute, weight_type, rows, cols, &data).unwrap();
                let mut values = vec![f32::NAN; cols];
                for other in 0..rows {
                    matrix.dequantize_row(other, &mut values);
                    if other == place {
                        assert_eq!(hash_of_bits(&values), hash_of_bits(&expected), "{matrix:?}");
                    } else {
                        assert!(values.iter().all(|&v| v == 0.0), "{matrix:?}, row {other}");
                    }
                }
            }
        }
    }
}

#[test]
fn q8_0_is_near_what_was_quantized() {
    let values: Vec<f32> = (0..96u32).map(|i| ((i * 37) % 64) as f32 / 8.0 - 4.0).collect();
    let mut bytes = vec![0; 3 * 34];
    quantize_row_q8_0(&values, &mut bytes);
    let mut back = vec![0.0; 96];
    dequantize_row(WeightType::Q8_0, &bytes, &mut back);
    // Half a step of max / 127, and the rounding of the scale to half precision.
    let tolerance = 4.0 / 127.0 * 0.5 + 4.0 / 2048.0;
    for (value, back) in values.iter().zip(&back) {
        assert!((value - back).abs() <= tolerance, "{value} came back as {back}");
    }
    quantize_row_q8_0(&[0.0; 32], &mut bytes[..34]);
    assert_eq!(bytes[..34], [0; 34]);
}

#[test]
fn data_of_the_wrong_size_is_an_error() {
    let compute = Compute::new(Cpu::detect(), 1);
    let pack = |rows, cols, len| {
        PackedMatrix::pack(&compute, WeightType::Q4_K, rows, cols, &vec![0; len]).err()
    };
    let weight_type = WeightType::Q4_K;
    let partial = Error::PartialBlock { weight_type, cols: 255, block_len: 256 };
    assert_eq!(pack(1, 255, 144), Some(partial));
    let wrong = |rows, num_bytes| Error::WeightBytes { weight_type, rows, cols: 256, num_bytes };
    assert_eq!(pack(2, 256, 144), Some(wrong(2, 144)));
    assert_eq!(pack(usize::MAX, 256, 144), Some(wrong(usize::MAX, 144)));
    assert_eq!(pack(0, 256, 0), None);
    assert_eq!(pack(3, 0, 0), None);
    assert_eq!(pack(1, 256, 144), None);
}
