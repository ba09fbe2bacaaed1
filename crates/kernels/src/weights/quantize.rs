//! Quantizes `f32` rows to `Q8_0`, for tools and tests that write GGUF files.

use half::f16;

/// Quantizes a row to `Q8_0` blocks: per 32 values, `d = max |x| / 127` as f16, then 32 signed bytes.
///
/// # Panics
///
/// If `values` is not a whole number of 32-blocks or `out` is not 34 bytes per block.
pub fn quantize_row_q8_0(values: &[f32], out: &mut [u8]) {
    let (blocks, rest) = values.as_chunks::<32>();
    assert!(rest.is_empty(), "{} values end inside a block of 32", values.len());
    assert_eq!(out.len(), blocks.len() * 34, "a Q8_0 block has 34 bytes");
    for (values, out) in blocks.iter().zip(out.as_chunks_mut::<34>().0) {
        let largest = values.iter().fold(0.0f32, |largest, v| largest.max(v.abs()));
        let scale = largest / 127.0;
        let per_scale = if scale > 0.0 { 1.0 / scale } else { 0.0 };
        out[..2].copy_from_slice(&f16::from_f32(scale).to_le_bytes());
        for (byte, value) in out[2..].iter_mut().zip(values) {
            *byte = ((value * per_scale).round() as i8).cast_unsigned();
        }
    }
}
