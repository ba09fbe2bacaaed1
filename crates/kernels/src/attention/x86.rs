//! The two products of attention over f16 with the vectors of x86-64.
//!
//! Both are the same small matrix product: lines of 32 half-precision numbers are widened, each is
//! multiplied by one number per column, and the sums of all columns stay in registers meanwhile.

#![allow(clippy::inline_always, reason = "a body takes on the features of its caller")]

use std::arch::x86_64::{
    __m256, __m512, _MM_HINT_T1, _mm_cvtss_f32, _mm_loadu_si128, _mm_max_ps, _mm_max_ss,
    _mm_movehdup_ps, _mm_movehl_ps, _mm_prefetch, _mm256_castps256_ps128, _mm256_cvtph_ps,
    _mm256_extractf128_ps, _mm256_fmadd_ps, _mm256_loadu_ps, _mm256_loadu_si256, _mm256_max_ps,
    _mm256_mul_ps, _mm256_set1_ps, _mm256_setzero_ps, _mm256_storeu_ps, _mm512_cvtph_ps,
    _mm512_fmadd_ps, _mm512_loadu_ps, _mm512_max_ps, _mm512_mul_ps, _mm512_reduce_max_ps,
    _mm512_set1_ps, _mm512_setzero_ps, _mm512_storeu_ps,
};

use half::f16;

use super::{
    ColumnWork, Emit, columns,
    formats::F16,
    tile::{Line, Pair, Products},
};
use crate::kv_store::{F16Block, LINE};

/// Attends with AVX-512.
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx2,fma,f16c")]
pub(super) fn attend_avx512(work: &ColumnWork<'_>, emit: Emit<'_>) {
    columns::attend(Avx512(()), work, emit);
}

/// Attends with AVX2.
#[target_feature(enable = "avx2,fma,f16c")]
pub(super) fn attend_avx2(work: &ColumnWork<'_>, emit: Emit<'_>) {
    columns::attend(Avx2(()), work, emit);
}

/// Made in [`attend_avx512`] only, which runs where the features exist.
#[derive(Clone, Copy)]
struct Avx512(());

impl Products for Avx512 {
    type Format = F16;

    // 24 of 32 registers hold sums.
    const MAX_COLUMNS: usize = 12;

    #[inline(always)]
    fn scores<const N: usize>(self, q: &[[f32; N]], pair: Pair<F16Block<'_>>, out: &mut [Line; N]) {
        // SAFETY: holding an `Avx512` proves the features.
        unsafe { scores_avx512(q, pair, out) }
    }

    #[inline(always)]
    fn add_values<const N: usize>(
        self,
        factors: &[f32; N],
        weights: &[Line; N],
        pair: Pair<F16Block<'_>>,
        sums: &mut [Line],
    ) {
        // SAFETY: holding an `Avx512` proves the features.
        unsafe { add_values_avx512(factors, weights, pair, sums) }
    }

    #[inline(always)]
    fn largest(self, line: &[f32; LINE]) -> f32 {
        // SAFETY: holding an `Avx512` proves the features.
        unsafe { largest_avx512(line) }
    }
}

/// Made in [`attend_avx2`] only, which runs where the features exist.
#[derive(Clone, Copy)]
struct Avx2(());

impl Products for Avx2 {
    type Format = F16;

    // 12 of 16 registers hold sums.
    const MAX_COLUMNS: usize = 6;

    #[inline(always)]
    fn scores<const N: usize>(self, q: &[[f32; N]], pair: Pair<F16Block<'_>>, out: &mut [Line; N]) {
        // SAFETY: holding an `Avx2` proves the features.
        unsafe { scores_avx2(q, pair, out) }
    }

    #[inline(always)]
    fn add_values<const N: usize>(
        self,
        factors: &[f32; N],
        weights: &[Line; N],
        pair: Pair<F16Block<'_>>,
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

#[target_feature(enable = "avx512f")]
fn scores_avx512<const N: usize>(q: &[[f32; N]], pair: Pair<F16Block<'_>>, out: &mut [Line; N]) {
    let mut sums = [[_mm512_setzero_ps(); 2]; N];
    for ((q, line), next) in q.iter().zip(pair.block.keys).zip(pair.block.values) {
        prefetch(next);
        let [low, high] = widen_avx512(line);
        for (sums, q) in sums.iter_mut().zip(q) {
            let q = _mm512_set1_ps(*q);
            sums[0] = _mm512_fmadd_ps(low, q, sums[0]);
            sums[1] = _mm512_fmadd_ps(high, q, sums[1]);
        }
    }
    for (out, sums) in out.iter_mut().zip(sums) {
        store_avx512(&mut out.0, sums);
    }
}

#[target_feature(enable = "avx512f")]
fn add_values_avx512<const N: usize>(
    factors: &[f32; N],
    weights: &[Line; N],
    pair: Pair<F16Block<'_>>,
    sums: &mut [Line],
) {
    let lines_per_value = sums.len() / N;
    for i in 0..lines_per_value {
        let mut parts = [[_mm512_setzero_ps(); 2]; N];
        for (column, (part, factor)) in parts.iter_mut().zip(factors).enumerate() {
            let factor = _mm512_set1_ps(*factor);
            *part = load_avx512(&sums[column * lines_per_value + i].0)
                .map(|sum| _mm512_mul_ps(sum, factor));
        }
        let tokens = pair.block.values.chunks_exact(lines_per_value);
        for (t, lines) in tokens.enumerate().take(LINE) {
            prefetch(pair.next.keys.as_ptr().wrapping_add(i * LINE + t));
            let [low, high] = widen_avx512(&lines[i]);
            for (part, weights) in parts.iter_mut().zip(weights) {
                let weight = _mm512_set1_ps(weights.0[t]);
                part[0] = _mm512_fmadd_ps(low, weight, part[0]);
                part[1] = _mm512_fmadd_ps(high, weight, part[1]);
            }
        }
        for (column, part) in parts.into_iter().enumerate() {
            store_avx512(&mut sums[column * lines_per_value + i].0, part);
        }
    }
}

#[inline]
#[target_feature(enable = "avx512f")]
pub(super) fn largest_avx512(line: &[f32; LINE]) -> f32 {
    let [low, high] = load_avx512(line);
    _mm512_reduce_max_ps(_mm512_max_ps(low, high))
}

#[inline]
#[target_feature(enable = "avx512f")]
fn widen_avx512(line: &[f16; LINE]) -> [__m512; 2] {
    let (halves, _) = line.as_chunks::<{ LINE / 2 }>();
    // SAFETY: each half has 16 numbers of two bytes, and the load asks for no alignment.
    let load = |i: usize| unsafe { _mm256_loadu_si256(halves[i].as_ptr().cast()) };
    [_mm512_cvtph_ps(load(0)), _mm512_cvtph_ps(load(1))]
}

#[inline]
#[target_feature(enable = "avx512f")]
pub(super) fn load_avx512(line: &[f32; LINE]) -> [__m512; 2] {
    let (halves, _) = line.as_chunks::<{ LINE / 2 }>();
    // SAFETY: each half has 16 numbers, and the load asks for no alignment.
    unsafe { [_mm512_loadu_ps(halves[0].as_ptr()), _mm512_loadu_ps(halves[1].as_ptr())] }
}

#[inline]
#[target_feature(enable = "avx512f")]
pub(super) fn store_avx512(line: &mut [f32; LINE], sums: [__m512; 2]) {
    let (halves, _) = line.as_chunks_mut::<{ LINE / 2 }>();
    for (half, sum) in halves.iter_mut().zip(sums) {
        // SAFETY: the half has room for 16 numbers, and the store asks for no alignment.
        unsafe { _mm512_storeu_ps(half.as_mut_ptr(), sum) };
    }
}

/// Asks for a line that will be read soon, in the second level of cache: of requests from the first
/// too few can be under way to keep the memory busy.
#[inline(always)]
fn prefetch(line: *const [f16; LINE]) {
    // SAFETY: a prefetch reads nothing that the program can see, wherever it points, and SSE is in
    // every x86-64.
    unsafe { _mm_prefetch::<_MM_HINT_T1>(line.cast()) };
}

// With 16 registers of half the width, a line is taken in two halves, one after the other.

#[target_feature(enable = "avx2,fma,f16c")]
fn scores_avx2<const N: usize>(q: &[[f32; N]], pair: Pair<F16Block<'_>>, out: &mut [Line; N]) {
    for half in 0..2 {
        let mut sums = [[_mm256_setzero_ps(); 2]; N];
        for ((q, line), next) in q.iter().zip(pair.block.keys).zip(pair.block.values) {
            prefetch(next);
            let [low, high] = widen_avx2(&line.as_chunks().0[half]);
            for (sums, q) in sums.iter_mut().zip(q) {
                let q = _mm256_set1_ps(*q);
                sums[0] = _mm256_fmadd_ps(low, q, sums[0]);
                sums[1] = _mm256_fmadd_ps(high, q, sums[1]);
            }
        }
        for (out, sums) in out.iter_mut().zip(sums) {
            store_avx2(&mut out.0.as_chunks_mut().0[half], sums);
        }
    }
}

#[target_feature(enable = "avx2,fma,f16c")]
fn add_values_avx2<const N: usize>(
    factors: &[f32; N],
    weights: &[Line; N],
    pair: Pair<F16Block<'_>>,
    sums: &mut [Line],
) {
    let lines_per_value = sums.len() / N;
    for index in 0..2 * lines_per_value {
        let (i, half) = (index / 2, index % 2);
        let mut parts = [[_mm256_setzero_ps(); 2]; N];
        for (column, (part, factor)) in parts.iter_mut().zip(factors).enumerate() {
            let factor = _mm256_set1_ps(*factor);
            *part = load_avx2(&sums[column * lines_per_value + i].0.as_chunks().0[half])
                .map(|sum| _mm256_mul_ps(sum, factor));
        }
        let tokens = pair.block.values.chunks_exact(lines_per_value);
        for (t, lines) in tokens.enumerate().take(LINE) {
            prefetch(pair.next.keys.as_ptr().wrapping_add(i * LINE + t));
            let [low, high] = widen_avx2(&lines[i].as_chunks().0[half]);
            for (part, weights) in parts.iter_mut().zip(weights) {
                let weight = _mm256_set1_ps(weights.0[t]);
                part[0] = _mm256_fmadd_ps(low, weight, part[0]);
                part[1] = _mm256_fmadd_ps(high, weight, part[1]);
            }
        }
        for (column, part) in parts.into_iter().enumerate() {
            let line = &mut sums[column * lines_per_value + i];
            store_avx2(&mut line.0.as_chunks_mut().0[half], part);
        }
    }
}

#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
pub(super) fn largest_avx2(line: &[f32; LINE]) -> f32 {
    let (halves, _) = line.as_chunks();
    let [[a, b], [c, d]] = [load_avx2(&halves[0]), load_avx2(&halves[1])];
    let eight = _mm256_max_ps(_mm256_max_ps(a, b), _mm256_max_ps(c, d));
    let four = _mm_max_ps(_mm256_castps256_ps128(eight), _mm256_extractf128_ps::<1>(eight));
    let two = _mm_max_ps(four, _mm_movehl_ps(four, four));
    _mm_cvtss_f32(_mm_max_ss(two, _mm_movehdup_ps(two)))
}

#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
fn widen_avx2(half: &[f16; LINE / 2]) -> [__m256; 2] {
    let (quarters, _) = half.as_chunks::<{ LINE / 4 }>();
    // SAFETY: each quarter has 8 numbers of two bytes, and the load asks for no alignment.
    let load = |i: usize| unsafe { _mm_loadu_si128(quarters[i].as_ptr().cast()) };
    [_mm256_cvtph_ps(load(0)), _mm256_cvtph_ps(load(1))]
}

#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
fn load_avx2(half: &[f32; LINE / 2]) -> [__m256; 2] {
    let (quarters, _) = half.as_chunks::<{ LINE / 4 }>();
    // SAFETY: each quarter has 8 numbers, and the load asks for no alignment.
    unsafe { [_mm256_loadu_ps(quarters[0].as_ptr()), _mm256_loadu_ps(quarters[1].as_ptr())] }
}

#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
fn store_avx2(half: &mut [f32; LINE / 2], sums: [__m256; 2]) {
    let (quarters, _) = half.as_chunks_mut::<{ LINE / 4 }>();
    for (quarter, sum) in quarters.iter_mut().zip(sums) {
        // SAFETY: the quarter has room for 8 numbers, and the store asks for no alignment.
        unsafe { _mm256_storeu_ps(quarter.as_mut_ptr(), sum) };
    }
}
