//! The operations on 256-bit registers, 16 rows in two; with AVX-VNNI where the processor has it.

#[allow(clippy::wildcard_imports, reason = "the names are the instructions' own and prefixed")]
use std::arch::{asm, x86_64::*};

use super::simd::{HalfLine, Kernel, Line, Simd, operations};
use crate::{
    cpu::{Cpu, CpuLevel},
    weights::TILE_ROWS,
};

/// Proof that AVX2, FMA and F16C were detected, and AVX-VNNI where `VNNI`.
#[derive(Clone, Copy)]
pub(super) struct Avx2<const VNNI: bool>(());

impl Avx2<false> {
    pub(super) fn new(cpu: Cpu) -> Option<Self> {
        matches!(cpu.level(), CpuLevel::Avx2 | CpuLevel::Avx512).then_some(Self(()))
    }
}

impl Avx2<true> {
    pub(super) fn new(cpu: Cpu) -> Option<Self> {
        (cpu.level() == CpuLevel::Avx2 && cpu.has_vnni()).then_some(Self(()))
    }
}

impl<const VNNI: bool> Simd for Avx2<VNNI> {
    type Int = __m256i;
    type Float = __m256;

    const NUM_PARTS: usize = 2;
    // Three sets of four sums leave four of the 16 registers for weights and scales.
    const MAX_COLUMNS: usize = 4;
    // `vpdpbusd` multiplies unsigned codes with signed ones. `vpmaddubsw` does too, but 16 bits do not
    // hold two products with codes up to 255: there, the codes' signs are moved to the activations.
    const SIGNED_ZERO: Option<u32> = if VNNI { Some(7) } else { None };

    #[inline(always)]
    fn vectorize<K: Kernel>(self, kernel: K) {
        #[target_feature(enable = "avx2,fma,f16c")]
        fn vectorized<K: Kernel>(simd: impl Simd, kernel: K) {
            kernel.run(simd);
        }
        #[target_feature(enable = "avx2,fma,f16c,avxvnni")]
        fn vectorized_with_vnni<K: Kernel>(simd: impl Simd, kernel: K) {
            kernel.run(simd);
        }
        // SAFETY: the token `self` was made where these instructions had been detected.
        unsafe { if VNNI { vectorized_with_vnni(self, kernel) } else { vectorized(self, kernel) } }
    }

    #[inline(always)]
    fn dots_per_gather(max_code: i32) -> Option<usize> {
        let largest_pair = 2 * max_code * 127;
        (!VNNI).then_some((i32::from(i16::MAX) / largest_pair) as usize)
    }

    operations! {
        fn words(line: &Line, part: usize) -> __m256i =
            _mm256_loadu_si256(line.as_chunks::<32>().0[part].as_ptr().cast());
        fn halves(line: &HalfLine, part: usize) -> __m256i =
            _mm256_cvtepu16_epi32(_mm_loadu_si128(line.as_chunks::<16>().0[part].as_ptr().cast()));
        fn half_floats(line: &HalfLine, part: usize) -> __m256 =
            _mm256_cvtph_ps(_mm_loadu_si128(line.as_chunks::<16>().0[part].as_ptr().cast()));

        fn splat(value: i32) -> __m256i = _mm256_set1_epi32(value);
        fn splat_float(value: f32) -> __m256 = _mm256_set1_ps(value);

        fn and(a: __m256i, b: __m256i) -> __m256i = _mm256_and_si256(a, b);
        fn or(a: __m256i, b: __m256i) -> __m256i = _mm256_or_si256(a, b);
        fn add(a: __m256i, b: __m256i) -> __m256i = _mm256_add_epi32(a, b);
        fn sub(a: __m256i, b: __m256i) -> __m256i = _mm256_sub_epi32(a, b);
        fn sub_bytes(a: __m256i, b: __m256i) -> __m256i = _mm256_sub_epi8(a, b);
        fn mul(a: __m256i, b: __m256i) -> __m256i = _mm256_mullo_epi32(a, b);
        fn shift_left(a: __m256i, bits: usize) -> __m256i =
            _mm256_sll_epi32(a, _mm_cvtsi32_si128(bits as i32));
        fn shift_right(a: __m256i, bits: usize) -> __m256i =
            _mm256_srl_epi32(a, _mm_cvtsi32_si128(bits as i32));
        fn shift_right_signed(a: __m256i, bits: usize) -> __m256i =
            _mm256_sra_epi32(a, _mm_cvtsi32_si128(bits as i32));
        fn look_up(table: &[i8; 16], bytes: __m256i) -> __m256i = _mm256_shuffle_epi8(
            _mm256_broadcastsi128_si256(_mm_loadu_si128(table.as_ptr().cast())), bytes);

        fn even_bytes(a: __m256i) -> __m256i =
            _mm256_srai_epi16::<8>(_mm256_slli_epi16::<8>(a));
        fn odd_bytes(a: __m256i) -> __m256i = _mm256_srai_epi16::<8>(a);

        // Two products make 2 * 63 * 127 at most, which 16 bits hold.
        fn dot(sums: __m256i, codes: __m256i, activations: i32) -> __m256i = if VNNI {
            _mm256_dpbusd_avx_epi32(sums, codes, _mm256_set1_epi32(activations))
        } else {
            let pairs = _mm256_maddubs_epi16(codes, _mm256_set1_epi32(activations));
            _mm256_add_epi16(sums, pairs)
        };
        fn pin(a: __m256i) -> __m256i = pin(a);
        fn gather(totals: __m256i, sums: __m256i, factors: __m256i) -> __m256i =
            _mm256_add_epi32(totals, _mm256_madd_epi16(sums, factors));
        // Two products make 2 * 128 * 127 = 32,512 at most, which 16 bits hold.
        fn dot_signed(sums: __m256i, codes: __m256i, activations: i32) -> __m256i = if VNNI {
            let codes = _mm256_xor_si256(codes, _mm256_set1_epi8(i8::MIN));
            _mm256_dpbusd_avx_epi32(sums, codes, _mm256_set1_epi32(activations))
        } else {
            let signed = _mm256_sign_epi8(_mm256_set1_epi32(activations), codes);
            let pairs = _mm256_maddubs_epi16(_mm256_abs_epi8(codes), signed);
            _mm256_add_epi32(sums, _mm256_madd_epi16(pairs, _mm256_set1_epi16(1)))
        };
        fn dot_pairs(sums: __m256i, pairs: __m256i, activations: i32) -> __m256i =
            _mm256_add_epi32(sums, _mm256_madd_epi16(pairs, _mm256_set1_epi32(activations)));

        fn to_float(a: __m256i) -> __m256 = _mm256_cvtepi32_ps(a);
        fn as_float(bits: __m256i) -> __m256 = _mm256_castsi256_ps(bits);
        fn mul_floats(a: __m256, b: __m256) -> __m256 = _mm256_mul_ps(a, b);
        fn add_floats(a: __m256, b: __m256) -> __m256 = _mm256_add_ps(a, b);
        fn mul_add(a: __m256, b: __m256, c: __m256) -> __m256 = _mm256_fmadd_ps(a, b, c);
        fn neg_mul_add(a: __m256, b: __m256, c: __m256) -> __m256 = _mm256_fnmadd_ps(a, b, c);
        fn store(a: __m256, rows: &mut [f32; TILE_ROWS], part: usize) =
            _mm256_storeu_ps(rows.as_chunks_mut::<8>().0[part].as_mut_ptr(), a);

        fn prefetch(address: *const u8) = _mm_prefetch::<_MM_HINT_T0>(address.cast());
    }
}

/// The same number, which the compiler takes for another.
#[inline]
#[target_feature(enable = "avx")]
fn pin(a: __m256i) -> __m256i {
    let mut a = a;
    // SAFETY: no instruction at all.
    unsafe {
        asm!("/* {a} */", a = inout(ymm_reg) a, options(pure, nomem, nostack, preserves_flags));
    }
    a
}
