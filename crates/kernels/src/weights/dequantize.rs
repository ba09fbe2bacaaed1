//! Turns rows of GGUF blocks back into `f32`, plainly: this is what the formats mean.
//!
//! The formulas are those of the GGUF block layouts (`ggml-common.h`); all fields are little-endian.
//! Arithmetic is done in `f32` in the order the formulas are written, so results agree bit for bit
//! with other readers of the format.

use half::{bf16, f16};

use super::WeightType;

/// The 16 levels that the 4-bit codes of `IQ4_NL` and `IQ4_XS` choose from (GGUF `kvalues_iq4nl`).
pub(crate) const IQ4_LEVELS: [i8; 16] =
    [-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113];

/// Dequantizes one row of `out.len()` weights from its GGUF bytes.
///
/// # Panics
///
/// If `out.len()` is not a whole number of blocks or `row` is not exactly that many blocks long.
pub fn dequantize_row(ty: WeightType, row: &[u8], out: &mut [f32]) {
    assert_eq!(
        ty.row_bytes(out.len()),
        Some(row.len()),
        "a row of {} {ty} weights has another length in bytes",
        out.len()
    );
    match ty {
        WeightType::F32 => each::<4, 1>(row, out, |b, y| y[0] = f32::from_le_bytes(*b)),
        WeightType::F16 => each::<2, 1>(row, out, |b, y| y[0] = f16::from_le_bytes(*b).to_f32()),
        WeightType::BF16 => each::<2, 1>(row, out, |b, y| y[0] = bf16::from_le_bytes(*b).to_f32()),
        WeightType::Q4_0 => each(row, out, q4_0),
        WeightType::Q4_1 => each(row, out, q4_1),
        WeightType::Q5_0 => each(row, out, q5_0),
        WeightType::Q5_1 => each(row, out, q5_1),
        WeightType::Q8_0 => each(row, out, q8_0),
        WeightType::Q2_K => each(row, out, q2_k),
        WeightType::Q3_K => each(row, out, q3_k),
        WeightType::Q4_K => each(row, out, q4_k),
        WeightType::Q5_K => each(row, out, q5_k),
        WeightType::Q6_K => each(row, out, q6_k),
        WeightType::IQ4_NL => each(row, out, iq4_nl),
        WeightType::IQ4_XS => each(row, out, iq4_xs),
    }
}

/// Applies `block` to every block of `BYTES` bytes and `LEN` weights.
fn each<const BYTES: usize, const LEN: usize>(
    row: &[u8],
    out: &mut [f32],
    block: impl Fn(&[u8; BYTES], &mut [f32; LEN]),
) {
    let (blocks, _) = row.as_chunks::<BYTES>();
    let (outs, _) = out.as_chunks_mut::<LEN>();
    for (bytes, out) in blocks.iter().zip(outs) {
        block(bytes, out);
    }
}

/// The half-precision number at `at`.
fn half_at(bytes: &[u8], at: usize) -> f32 {
    f16::from_le_bytes([bytes[at], bytes[at + 1]]).to_f32()
}

/// The `k`-th of 32 4-bit codes: byte `j` holds code `j` below and code `j + 16` above.
fn nibble_of_32(qs: &[u8], k: usize) -> u8 {
    if k < 16 { qs[k] & 15 } else { qs[k - 16] >> 4 }
}

/// The fifth bit, worth 16, of code `k`.
fn fifth_bit(qh: &[u8], k: usize) -> u8 {
    ((qh[k / 8] >> (k % 8)) & 1) << 4
}

/// `d` f16, 16 bytes of codes.
fn q4_0(b: &[u8; 18], y: &mut [f32; 32]) {
    let d = half_at(b, 0);
    for (k, y) in y.iter_mut().enumerate() {
        *y = d * (f32::from(nibble_of_32(&b[2..], k)) - 8.0);
    }
}

/// `d` f16, `m` f16, 16 bytes of codes.
fn q4_1(b: &[u8; 20], y: &mut [f32; 32]) {
    let (d, m) = (half_at(b, 0), half_at(b, 2));
    for (k, y) in y.iter_mut().enumerate() {
        *y = d * f32::from(nibble_of_32(&b[4..], k)) + m;
    }
}

/// `d` f16, 4 bytes of fifth bits, 16 bytes of codes.
fn q5_0(b: &[u8; 22], y: &mut [f32; 32]) {
    let d = half_at(b, 0);
    for (k, y) in y.iter_mut().enumerate() {
        let q = nibble_of_32(&b[6..], k) | fifth_bit(&b[2..6], k);
        *y = d * (f32::from(q) - 16.0);
    }
}

/// `d` f16, `m` f16, 4 bytes of fifth bits, 16 bytes of codes.
fn q5_1(b: &[u8; 24], y: &mut [f32; 32]) {
    let (d, m) = (half_at(b, 0), half_at(b, 2));
    for (k, y) in y.iter_mut().enumerate() {
        let q = nibble_of_32(&b[8..], k) | fifth_bit(&b[4..8], k);
        *y = d * f32::from(q) + m;
    }
}

/// `d` f16, 32 signed bytes.
fn q8_0(b: &[u8; 34], y: &mut [f32; 32]) {
    let d = half_at(b, 0);
    for (y, &q) in y.iter_mut().zip(&b[2..]) {
        *y = d * f32::from(q.cast_signed());
    }
}

/// `d` f16, 16 bytes of codes into [`IQ4_LEVELS`].
fn iq4_nl(b: &[u8; 18], y: &mut [f32; 32]) {
    let d = half_at(b, 0);
    for (k, y) in y.iter_mut().enumerate() {
        *y = d * f32::from(IQ4_LEVELS[usize::from(nibble_of_32(&b[2..], k))]);
    }
}

/// The low two bits of code `k` of 256: each half of 128 codes has 32 bytes, and byte `l` holds
/// codes `l`, `l + 32`, `l + 64` and `l + 96` of its half from the low bits up.
fn two_bits(qs: &[u8], k: usize) -> u8 {
    let (half, in_half) = (k / 128, k % 128);
    (qs[32 * half + in_half % 32] >> (2 * (in_half / 32))) & 3
}

/// 16 bytes of scales (low nibble) and minima (high nibble), 64 bytes of codes, `d` f16, `dmin` f16.
fn q2_k(b: &[u8; 84], y: &mut [f32; 256]) {
    let (d, dmin) = (half_at(b, 80), half_at(b, 82));
    for (k, y) in y.iter_mut().enumerate() {
        let scale = b[k / 16];
        let q = two_bits(&b[16..80], k);
        *y = (d * f32::from(scale & 15)) * f32::from(q) - dmin * f32::from(scale >> 4);
    }
}

/// 32 bytes of third bits, 64 bytes of low bits, 12 bytes of scales, `d` f16.
fn q3_k(b: &[u8; 110], y: &mut [f32; 256]) {
    let d = half_at(b, 108);
    let scales = &b[96..108];
    for (k, y) in y.iter_mut().enumerate() {
        let run = k / 16;
        let low = (scales[run % 8] >> (4 * (run / 8))) & 15;
        let high = (scales[8 + run % 4] >> (2 * (run / 4))) & 3;
        let scale = f32::from(low | high << 4) - 32.0;
        let third_bit = (b[k % 32] >> (k / 32)) & 1;
        let q = f32::from(two_bits(&b[32..96], k) | third_bit << 2) - 4.0;
        *y = (d * scale) * q;
    }
}

/// The 6-bit scale and minimum of run `j` of 8, from the 12 bytes that `Q4_K` and `Q5_K` share.
fn six_bit_scale_and_min(s: &[u8], j: usize) -> (u8, u8) {
    if j < 4 {
        (s[j] & 63, s[j + 4] & 63)
    } else {
        let scale = (s[j + 4] & 15) | (s[j - 4] >> 6) << 4;
        let min = (s[j + 4] >> 4) | (s[j] >> 6) << 4;
        (scale, min)
    }
}

/// Code `k` of 256 in 4 chunks of 32 bytes: chunk `c` holds codes `64c..` below, `64c + 32..` above.
fn nibble_of_256(qs: &[u8], k: usize) -> u8 {
    let (chunk, in_chunk) = (k / 64, k % 64);
    (qs[32 * chunk + in_chunk % 32] >> (4 * (in_chunk / 32))) & 15
}

/// `d` f16, `dmin` f16, 12 bytes of 6-bit scales and minima, 128 bytes of codes.
fn q4_k(b: &[u8; 144], y: &mut [f32; 256]) {
    let (d, dmin) = (half_at(b, 0), half_at(b, 2));
    for (k, y) in y.iter_mut().enumerate() {
        let (scale, min) = six_bit_scale_and_min(&b[4..16], k / 32);
        let q = nibble_of_256(&b[16..], k);
        *y = (d * f32::from(scale)) * f32::from(q) - dmin * f32::from(min);
    }
}

/// `d` f16, `dmin` f16, 12 bytes of 6-bit scales and minima, 32 bytes of fifth bits, 128 of codes.
fn q5_k(b: &[u8; 176], y: &mut [f32; 256]) {
    let (d, dmin) = (half_at(b, 0), half_at(b, 2));
    for (k, y) in y.iter_mut().enumerate() {
        let (scale, min) = six_bit_scale_and_min(&b[4..16], k / 32);
        let fifth_bit = (b[16 + k % 32] >> (k / 32)) & 1;
        let q = nibble_of_256(&b[48..], k) | fifth_bit << 4;
        *y = (d * f32::from(scale)) * f32::from(q) - dmin * f32::from(min);
    }
}

/// 128 bytes of low nibbles, 64 bytes of high bit pairs, 16 signed scales, `d` f16.
fn q6_k(b: &[u8; 210], y: &mut [f32; 256]) {
    let d = half_at(b, 208);
    for (k, y) in y.iter_mut().enumerate() {
        let (half, in_half) = (k / 128, k % 128);
        let low = (b[64 * half + in_half % 64] >> (4 * (in_half / 64))) & 15;
        let high = two_bits(&b[128..192], k);
        let q = f32::from(low | high << 4) - 32.0;
        *y = (d * f32::from(b[192 + k / 16].cast_signed())) * q;
    }
}

/// `d` f16, u16 of high scale bits, 4 bytes of low scale bits, 128 bytes of codes.
fn iq4_xs(b: &[u8; 136], y: &mut [f32; 256]) {
    let d = half_at(b, 0);
    let scales_high = u16::from_le_bytes([b[2], b[3]]);
    for (k, y) in y.iter_mut().enumerate() {
        let run = k / 32;
        let low = (b[4 + run / 2] >> (4 * (run % 2))) & 15;
        let high = ((scales_high >> (2 * run)) & 3) as u8;
        let scale = f32::from(low | high << 4) - 32.0;
        let code = nibble_of_32(&b[8 + 16 * run..], k % 32);
        *y = (d * scale) * f32::from(IQ4_LEVELS[usize::from(code)]);
    }
}
