//! The two products of attention over codes of 8 bits with the vectors of x86-64.
//!
//! Four codes next to each other meet four codes of a column, which stand in every lane: one
//! instruction multiplies 64 pairs of bytes and adds them up by fours. Sums stay whole numbers over
//! a group of 32 and become f32 with its scale, so that every level gets the same bits.

#![allow(clippy::inline_always, reason = "a body takes on the features of its caller")]

use std::arch::x86_64::{
    __m256, __m256i, __m512, __m512i, _MM_HINT_T1, _mm_loadu_si128, _mm_prefetch, _mm_storeu_si128,
    _mm256_add_epi32, _mm256_cvtepi32_ps, _mm256_cvtph_ps, _mm256_cvtps_epi32, _mm256_fmadd_ps,
    _mm256_loadu_ps, _mm256_loadu_si256, _mm256_madd_epi16, _mm256_mul_ps, _mm256_set1_epi8,
    _mm256_set1_epi32, _mm256_set1_ps, _mm256_setzero_si256, _mm256_slli_epi16, _mm256_srai_epi16,
    _mm256_storeu_ps, _mm256_storeu_si256, _mm256_xor_si256, _mm512_cvtepi32_ps, _mm512_cvtph_ps,
    _mm512_cvtps_epi32, _mm512_cvtusepi32_epi8, _mm512_dpbusd_epi32, _mm512_fmadd_ps,
    _mm512_loadu_si512, _mm512_max_ps, _mm512_mul_ps, _mm512_reduce_max_ps, _mm512_set1_epi32,
    _mm512_set1_ps, _mm512_setzero_si512,
};

use super::{
    ColumnWork, Emit, columns,
    formats::{MAX_WEIGHT_CODE, Q8, QueryGroup},
    tile::{Line, Pair, Products},
    x86::{largest_avx2, largest_avx512, load_avx512, store_avx512},
};
use crate::kv_store::{
    LINE,
    q8_0::{self, Block, CODE_LINES, GROUP, GROUP_LINES, KEY_ZERO, NEGLIGIBLE},
};

/// Attends with AVX-512 and its products of bytes.
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni,avx2,fma,f16c")]
pub(super) fn attend_vnni(work: &ColumnWork<'_>, emit: Emit<'_>) {
    columns::attend(Vnni(()), work, emit);
}

/// Attends with AVX2.
#[target_feature(enable = "avx2,fma,f16c")]
pub(super) fn attend_avx2(work: &ColumnWork<'_>, emit: Emit<'_>) {
    columns::attend(Avx2(()), work, emit);
}

/// Made in [`attend_vnni`] only, which runs where the features exist.
#[derive(Clone, Copy)]
struct Vnni(());

impl Products for Vnni {
    type Format = Q8;

    // 24 of 32 registers hold sums.
    const MAX_COLUMNS: usize = 12;

    #[inline(always)]
    fn scores<const N: usize>(
        self,
        q: &[[QueryGroup; N]],
        pair: Pair<Block<'_>>,
        out: &mut [Line; N],
    ) {
        // SAFETY: holding a `Vnni` proves the features.
        unsafe { scores_vnni(q, pair, out) }
    }

    #[inline(always)]
    fn add_values<const N: usize>(
        self,
        factors: &[f32; N],
        weights: &[Line; N],
        pair: Pair<Block<'_>>,
        sums: &mut [Line],
    ) {
        // SAFETY: holding a `Vnni` proves the features.
        unsafe { add_values_vnni(factors, weights, pair, sums) }
    }

    #[inline(always)]
    fn largest(self, line: &[f32; LINE]) -> f32 {
        // SAFETY: holding a `Vnni` proves the features.
        unsafe { largest_avx512(line) }
    }
}

/// Made in [`attend_avx2`] only, which runs where the features exist.
#[derive(Clone, Copy)]
struct Avx2(());

impl Products for Avx2 {
    type Format = Q8;

    // Sums of 8 lanes: 8 of 16 registers hold them.
    const MAX_COLUMNS: usize = 8;

    #[inline(always)]
    fn scores<const N: usize>(
        self,
        q: &[[QueryGroup; N]],
        pair: Pair<Block<'_>>,
        out: &mut [Line; N],
    ) {
        // SAFETY: holding an `Avx2` proves the features.
        unsafe { scores_avx2(q, pair, out) }
    }

    #[inline(always)]
    fn add_values<const N: usize>(
        self,
        factors: &[f32; N],
        weights: &[Line; N],
        pair: Pair<Block<'_>>,
        sums: &mut [Line],
    ) {
        // SAFETY: holding an `Avx2` proves the features.
        unsafe { add_values_avx2(factors, weights, pair, sums) }
    }

    #[inline(always)]
    fn largest(self, line: &[f32; LINE]) -> f32 {
        // SAFETY: holding an `Avx2` proves the features.
        unsafe { largest_avx2(line) }
    }
}

#[target_feature(enable = "avx512f,avx512bw,avx512vnni,f16c")]
fn scores_vnni<const N: usize>(q: &[[QueryGroup; N]], pair: Pair<Block<'_>>, out: &mut [Line; N]) {
    *out = [Line::ZERO; N];
    let keys = pair.block.keys.as_chunks::<GROUP_LINES>().0;
    let next = pair.next.keys.as_chunks::<GROUP_LINES>().0;
    for ((groups, lines), next) in q.iter().zip(keys).zip(next) {
        prefetch(&next[0]);
        let mut dots = [[_mm512_setzero_si512(); 2]; N];
        for (dots, query) in dots.iter_mut().zip(groups) {
            *dots = [_mm512_set1_epi32(query.start); 2];
        }
        for j in 0..GROUP / 4 {
            let codes = &lines[1 + 2 * j..3 + 2 * j];
            next[1 + 2 * j..3 + 2 * j].iter().for_each(prefetch);
            let (low, high) = (load(&codes[0]), load(&codes[1]));
            for (dots, query) in dots.iter_mut().zip(groups) {
                let query = _mm512_set1_epi32(query.codes[j]);
                dots[0] = _mm512_dpbusd_epi32(dots[0], low, query);
                dots[1] = _mm512_dpbusd_epi32(dots[1], high, query);
            }
        }
        let scales = widen_avx512(&lines[0]);
        for ((out, dots), query) in out.iter_mut().zip(dots).zip(groups) {
            let factor = _mm512_set1_ps(query.scale);
            let sums = load_avx512(&out.0);
            let add = |i: usize| {
                let scale = _mm512_mul_ps(scales[i], factor);
                _mm512_fmadd_ps(_mm512_cvtepi32_ps(dots[i]), scale, sums[i])
            };
            store_avx512(&mut out.0, [add(0), add(1)]);
        }
    }
}

#[target_feature(enable = "avx512f,avx512bw,avx512vnni,f16c")]
fn add_values_vnni<const N: usize>(
    factors: &[f32; N],
    weights: &[Line; N],
    pair: Pair<Block<'_>>,
    sums: &mut [Line],
) {
    let scales = widen_avx512(&pair.block.values[0]);
    prefetch(&pair.next.values[0]);
    let mut codes = [[0_i32; GROUP / 4]; N];
    let mut scales_of_codes = [0.0_f32; N];
    for ((weights, codes), scale) in weights.iter().zip(&mut codes).zip(&mut scales_of_codes) {
        let [low, high] = load_avx512(&weights.0);
        let scaled = [_mm512_mul_ps(low, scales[0]), _mm512_mul_ps(high, scales[1])];
        let largest = _mm512_reduce_max_ps(_mm512_max_ps(scaled[0], scaled[1]));
        let inverse = if largest > NEGLIGIBLE { MAX_WEIGHT_CODE / largest } else { 0.0 };
        *scale = largest / MAX_WEIGHT_CODE;
        for (words, scaled) in codes.as_chunks_mut::<4>().0.iter_mut().zip(scaled) {
            let rounded = _mm512_cvtps_epi32(_mm512_mul_ps(scaled, _mm512_set1_ps(inverse)));
            let bytes = _mm512_cvtusepi32_epi8(rounded);
            // SAFETY: four words have room for 16 bytes, and the store asks for no alignment.
            unsafe { _mm_storeu_si128(words.as_mut_ptr().cast(), bytes) };
        }
    }
    let lines_per_value = sums.len() / N;
    let values = pair.block.values[1..].as_chunks::<CODE_LINES>().0;
    let next = pair.next.values[1..].as_chunks::<CODE_LINES>().0;
    for (group, (lines, next)) in values.iter().zip(next).enumerate() {
        let mut dots = [[_mm512_setzero_si512(); 2]; N];
        for j in 0..GROUP / 4 {
            next[2 * j..2 * j + 2].iter().for_each(prefetch);
            let (low, high) = (load(&lines[2 * j]), load(&lines[2 * j + 1]));
            for (dots, codes) in dots.iter_mut().zip(&codes) {
                let weights = _mm512_set1_epi32(codes[j]);
                dots[0] = _mm512_dpbusd_epi32(dots[0], weights, low);
                dots[1] = _mm512_dpbusd_epi32(dots[1], weights, high);
            }
        }
        for (column, dots) in dots.into_iter().enumerate() {
            let sums = &mut sums[column * lines_per_value + group].0;
            let factor = _mm512_set1_ps(factors[column]);
            let scale = _mm512_set1_ps(scales_of_codes[column]);
            let before = load_avx512(sums);
            let add = |i: usize| {
                let before = _mm512_mul_ps(before[i], factor);
                _mm512_fmadd_ps(_mm512_cvtepi32_ps(dots[i]), scale, before)
            };
            store_avx512(sums, [add(0), add(1)]);
        }
    }
}

#[inline]
#[target_feature(enable = "avx512f")]
fn load(line: &q8_0::Line) -> __m512i {
    // SAFETY: a line has 64 bytes, and the load asks for no alignment.
    unsafe { _mm512_loadu_si512(line.as_ptr().cast()) }
}

/// Widens a line of 32 scales.
#[inline]
#[target_feature(enable = "avx512f")]
fn widen_avx512(line: &q8_0::Line) -> [__m512; 2] {
    let (halves, _) = line.as_chunks::<32>();
    // SAFETY: each half has 16 numbers of two bytes, and the load asks for no alignment.
    let load = |i: usize| unsafe { _mm256_loadu_si256(halves[i].as_ptr().cast()) };
    [_mm512_cvtph_ps(load(0)), _mm512_cvtph_ps(load(1))]
}

/// Asks for a line that will be read soon, in the second level of cache.
#[inline(always)]
fn prefetch(line: &q8_0::Line) {
    // SAFETY: a prefetch reads nothing that the program can see, and SSE is in every x86-64.
    unsafe { _mm_prefetch::<_MM_HINT_T1>(line.as_ptr().cast()) };
}

// Without products of four bytes, bytes are widened to 16 bits, the even and the odd ones apart, and
// multiplied and added by twos: no sum of two products of a code and a weight overflows 32 bits.

#[target_feature(enable = "avx2,fma,f16c")]
fn scores_avx2<const N: usize>(q: &[[QueryGroup; N]], pair: Pair<Block<'_>>, out: &mut [Line; N]) {
    *out = [Line::ZERO; N];
    let zero = _mm256_set1_epi8(KEY_ZERO as i8);
    let keys = pair.block.keys.as_chunks::<GROUP_LINES>().0;
    let next = pair.next.keys.as_chunks::<GROUP_LINES>().0;
    for ((groups, lines), next) in q.iter().zip(keys).zip(next) {
        next.iter().for_each(prefetch);
        let codes = lines[1..].as_flattened().as_chunks::<32>().0;
        for quarter in 0..4 {
            let mut dots = [_mm256_setzero_si256(); N];
            for j in 0..GROUP / 4 {
                let keys = _mm256_xor_si256(load_bytes(&codes[4 * j + quarter]), zero);
                let (even, odd) = signed_pairs(keys);
                for (dots, query) in dots.iter_mut().zip(groups) {
                    let (q_even, q_odd) = signed_pairs(_mm256_set1_epi32(query.codes[j]));
                    *dots = _mm256_add_epi32(*dots, _mm256_madd_epi16(even, q_even));
                    *dots = _mm256_add_epi32(*dots, _mm256_madd_epi16(odd, q_odd));
                }
            }
            let scales = widen_avx2(&lines[0].as_chunks().0[quarter]);
            for ((out, dots), query) in out.iter_mut().zip(dots).zip(groups) {
                let scale = _mm256_mul_ps(scales, _mm256_set1_ps(query.scale));
                add_product(&mut out.0.as_chunks_mut().0[quarter], dots, scale);
            }
        }
    }
}

#[target_feature(enable = "avx2,fma,f16c")]
fn add_values_avx2<const N: usize>(
    factors: &[f32; N],
    weights: &[Line; N],
    pair: Pair<Block<'_>>,
    sums: &mut [Line],
) {
    pair.next.values.iter().for_each(prefetch);
    let scales = pair.block.values[0].as_chunks().0;
    // As pairs of 16 bits: of four tokens the even ones, then the odd ones.
    let mut codes = [[0_i32; GROUP / 2]; N];
    let mut scales_of_codes = [0.0_f32; N];
    for ((weights, codes), scale) in weights.iter().zip(&mut codes).zip(&mut scales_of_codes) {
        let mut scaled = weights.0;
        for (scaled, scales) in scaled.as_chunks_mut().0.iter_mut().zip(scales) {
            store_eight(scaled, _mm256_mul_ps(load_eight(scaled), widen_avx2(scales)));
        }
        let largest = largest_avx2(&scaled);
        let inverse = if largest > NEGLIGIBLE { MAX_WEIGHT_CODE / largest } else { 0.0 };
        *scale = largest / MAX_WEIGHT_CODE;
        let rounded = scaled.as_chunks().0.iter().map(|scaled| {
            _mm256_cvtps_epi32(_mm256_mul_ps(load_eight(scaled), _mm256_set1_ps(inverse)))
        });
        let mut tokens = [0_i32; LINE];
        for (eight, rounded) in tokens.as_chunks_mut::<8>().0.iter_mut().zip(rounded) {
            // SAFETY: there is room for eight numbers, and the store asks for no alignment.
            unsafe { _mm256_storeu_si256(eight.as_mut_ptr().cast(), rounded) };
        }
        for (words, t) in codes.as_chunks_mut::<2>().0.iter_mut().zip(tokens.as_chunks::<4>().0) {
            *words = [t[0] | t[2] << 16, t[1] | t[3] << 16];
        }
    }
    let lines_per_value = sums.len() / N;
    let values = pair.block.values[1..].as_chunks::<CODE_LINES>().0;
    for (group, lines) in values.iter().enumerate() {
        let bytes = lines.as_flattened().as_chunks::<32>().0;
        for quarter in 0..4 {
            let mut dots = [_mm256_setzero_si256(); N];
            for j in 0..GROUP / 4 {
                let (even, odd) = signed_pairs(load_bytes(&bytes[4 * j + quarter]));
                for (dots, codes) in dots.iter_mut().zip(&codes) {
                    let w_even = _mm256_set1_epi32(codes[2 * j]);
                    let w_odd = _mm256_set1_epi32(codes[2 * j + 1]);
                    *dots = _mm256_add_epi32(*dots, _mm256_madd_epi16(even, w_even));
                    *dots = _mm256_add_epi32(*dots, _mm256_madd_epi16(odd, w_odd));
                }
            }
            for (column, dots) in dots.into_iter().enumerate() {
                let sums = &mut sums[column * lines_per_value + group].0;
                let eight = &mut sums.as_chunks_mut().0[quarter];
                let factor = _mm256_set1_ps(factors[column]);
                store_eight(eight, _mm256_mul_ps(load_eight(eight), factor));
                add_product(eight, dots, _mm256_set1_ps(scales_of_codes[column]));
            }
        }
    }
}

/// Widens the even and the odd signed bytes to 16 bits.
#[inline]
#[target_feature(enable = "avx2")]
fn signed_pairs(bytes: __m256i) -> (__m256i, __m256i) {
    (_mm256_srai_epi16::<8>(_mm256_slli_epi16::<8>(bytes)), _mm256_srai_epi16::<8>(bytes))
}

/// `out += dots * scale`.
#[inline]
#[target_feature(enable = "avx2,fma")]
fn add_product(out: &mut [f32; 8], dots: __m256i, scale: __m256) {
    store_eight(out, _mm256_fmadd_ps(_mm256_cvtepi32_ps(dots), scale, load_eight(out)));
}

#[inline]
#[target_feature(enable = "avx2")]
fn load_bytes(bytes: &[u8; 32]) -> __m256i {
    // SAFETY: there are 32 bytes, and the load asks for no alignment.
    unsafe { _mm256_loadu_si256(bytes.as_ptr().cast()) }
}

#[inline]
#[target_feature(enable = "avx2,f16c")]
fn widen_avx2(scales: &[u8; 16]) -> __m256 {
    // SAFETY: there are 8 numbers of two bytes, and the load asks for no alignment.
    _mm256_cvtph_ps(unsafe { _mm_loadu_si128(scales.as_ptr().cast()) })
}

#[inline]
#[target_feature(enable = "avx2")]
fn load_eight(values: &[f32; 8]) -> __m256 {
    // SAFETY: there are 8 numbers, and the load asks for no alignment.
    unsafe { _mm256_loadu_ps(values.as_ptr()) }
}

#[inline]
#[target_feature(enable = "avx2")]
fn store_eight(values: &mut [f32; 8], vector: __m256) {
    // SAFETY: there is room for 8 numbers, and the store asks for no alignment.
    unsafe { _mm256_storeu_ps(values.as_mut_ptr(), vector) };
}
