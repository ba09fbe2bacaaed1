//! Rounds activations to signed bytes with a scale per block.
//!
//! The result follows from the values alone: the arithmetic is exact or rounded once by IEEE rules,
//! so all processors compute the same bits, however the compiler vectorizes the loops.

use crate::cpu::Cpu;
#[cfg(target_arch = "x86_64")]
use crate::cpu::CpuLevel;

/// Blocks whose values are all smaller than this become zeros: 127 divided by it is still finite.
const NEGLIGIBLE: f32 = 1e-35;

/// Added to a number below 2^22, it leaves no fraction: the sum rounds to the nearest integer,
/// ties to even, which then stands in the lowest bits.
const ROUNDING: f32 = 12_582_912.0; // 1.5 * 2^23

/// Values rounded to `scale * code` with a scale per `BLOCK` values.
#[derive(Debug, Default)]
pub(super) struct Rounded<const BLOCK: usize, const RUN: usize> {
    /// One per value, between -127 and 127.
    pub(super) codes: Vec<i8>,
    /// One per block.
    pub(super) scales: Vec<f32>,
    /// One per run: the codes of `RUN` values added up.
    pub(super) sums: Vec<i16>,
}

impl<const BLOCK: usize, const RUN: usize> Rounded<BLOCK, RUN> {
    /// Takes over `values`, a whole number of blocks.
    pub(super) fn round(&mut self, cpu: Cpu, values: &[f32]) {
        assert!(values.len().is_multiple_of(BLOCK), "columns consist of whole blocks of {BLOCK}");
        self.codes.resize(values.len(), 0);
        self.scales.resize(values.len() / BLOCK, 0.0);
        self.sums.resize(values.len() / RUN, 0);
        match cpu.level() {
            #[cfg(target_arch = "x86_64")]
            // SAFETY: both levels include AVX2, which was detected when `cpu` was made.
            CpuLevel::Avx2 | CpuLevel::Avx512 => unsafe { self.round_avx2(values) },
            _ => self.round_plain(values),
        }
    }

    #[cfg(target_arch = "x86_64")]
    #[target_feature(enable = "avx2")]
    fn round_avx2(&mut self, values: &[f32]) {
        self.round_plain(values);
    }

    #[inline(always)]
    fn round_plain(&mut self, values: &[f32]) {
        let blocks = values.as_chunks::<BLOCK>().0.iter();
        let codes = self.codes.as_chunks_mut::<BLOCK>().0;
        for ((values, codes), scale) in blocks.zip(codes).zip(&mut self.scales) {
            *scale = round_block(values, codes);
        }
        for (codes, sum) in self.codes.as_chunks::<RUN>().0.iter().zip(&mut self.sums) {
            *sum = codes.iter().map(|&code| i16::from(code)).sum();
        }
    }
}

/// Returns the scale. It is NaN where a value is NaN or infinite, so that what is made of the block
/// is NaN too, and no broken activation passes for a number.
#[inline(always)]
fn round_block<const BLOCK: usize>(values: &[f32; BLOCK], codes: &mut [i8; BLOCK]) -> f32 {
    // Bits without the sign order like the magnitudes do, with infinity and NaN above all numbers.
    let largest = values.iter().fold(0, |largest, v| v.abs().to_bits().max(largest));
    let largest = f32::from_bits(largest);
    if !largest.is_finite() || largest < NEGLIGIBLE {
        codes.fill(0);
        return if largest.is_finite() { 0.0 } else { f32::NAN };
    }
    let per_scale = 127.0 / largest;
    for (code, value) in codes.iter_mut().zip(values) {
        let rounded = value * per_scale + ROUNDING;
        *code = (rounded.to_bits().wrapping_sub(ROUNDING.to_bits())) as i8;
    }
    largest / 127.0
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cpu::CpuLevel;

    fn round(cpu: Cpu, values: &[f32]) -> Rounded<32, 16> {
        let mut rounded = Rounded::default();
        rounded.round(cpu, values);
        rounded
    }

    #[test]
    fn every_level_rounds_alike_to_within_half_a_step() {
        // Magnitudes from 1e-30 to 1e30, and a block of zeros.
        let magnitudes = [1e-30, 1e-3, 1.0, 65504.0, 1e30, 0.0];
        let values: Vec<f32> = (0..32 * magnitudes.len())
            .map(|i| ((i * 7919) % 1009) as f32 / 504.5 - 1.0)
            .zip(magnitudes.iter().flat_map(|m| [*m; 32]))
            .map(|(value, magnitude)| value * magnitude)
            .collect();
        let plain = round(Cpu::forced(CpuLevel::Reference).unwrap(), &values);
        for (i, (&value, &code)) in values.iter().zip(&plain.codes).enumerate() {
            let scale = plain.scales[i / 32];
            let error = (value - scale * f32::from(code)).abs();
            assert!(error <= scale * 0.50001, "{value} became {code} times {scale}");
        }
        for (codes, &sum) in plain.codes.chunks(16).zip(&plain.sums) {
            assert_eq!(codes.iter().map(|&code| i16::from(code)).sum::<i16>(), sum);
        }
        for cpu in Cpu::every_level() {
            let rounded = round(cpu, &values);
            assert_eq!(rounded.codes, plain.codes, "{cpu}");
            assert_eq!(rounded.sums, plain.sums, "{cpu}");
            let bits = |scales: &[f32]| scales.iter().map(|s| s.to_bits()).collect::<Vec<_>>();
            assert_eq!(bits(&rounded.scales), bits(&plain.scales), "{cpu}");
        }
    }

    #[test]
    fn broken_values_make_a_broken_scale() {
        for broken in [f32::NAN, -f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
            let mut values = [1.0; 64];
            values[40] = broken;
            for cpu in Cpu::every_level() {
                let rounded = round(cpu, &values);
                assert!(rounded.scales[0].is_finite() && rounded.scales[1].is_nan(), "{broken}");
            }
        }
    }

    #[test]
    fn the_extremes_of_f32_are_rounded_without_harm() {
        for magnitude in [f32::MAX, f32::MIN_POSITIVE, 1e-45] {
            let mut values = [0.0; 32];
            (values[0], values[1]) = (magnitude, -magnitude);
            for cpu in Cpu::every_level() {
                let rounded = round(cpu, &values);
                assert!(rounded.scales[0].is_finite());
                assert!(matches!(rounded.codes[..2], [127, -127] | [0, 0]), "{magnitude}");
            }
        }
    }
}
