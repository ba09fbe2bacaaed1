//! The operations on 512-bit registers with VNNI, 16 rows in one register; and the product of `bf16`
//! numbers, where the processor has one.

#[allow(clippy::wildcard_imports, reason = "the names are the instructions' own and prefixed")]
use std::arch::{asm, x86_64::*};

use super::{
    kernels::Results,
    simd::{HalfLine, Kernel, Line, Simd, operations},
};
use crate::{
    columns::Bf16Tile,
    cpu::{Cpu, CpuLevel},
    weights::TILE_ROWS,
};

/// Proof that AVX-512 with VNNI was detected.
#[derive(Clone, Copy)]
pub(super) struct Avx512Vnni(());

impl Avx512Vnni {
    pub(super) fn new(cpu: Cpu) -> Option<Self> {
        (cpu.level() == CpuLevel::Avx512 && cpu.has_vnni()).then_some(Self(()))
    }
}

impl Simd for Avx512Vnni {
    type Int = __m512i;
    type Float = __m512;

    const NUM_PARTS: usize = 1;
    // Three sets of eight sums leave eight of the 32 registers for weights and scales.
    const MAX_COLUMNS: usize = 8;
    // `vpdpbusd` multiplies unsigned codes with signed ones.
    const SIGNED_ZERO: Option<u32> = Some(7);

    #[inline(always)]
    fn vectorize<K: Kernel>(self, kernel: K) {
        #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni,avx2,fma,f16c")]
        fn vectorized<K: Kernel>(simd: Avx512Vnni, kernel: K) {
            kernel.run(simd);
        }
        // SAFETY: the token `self` was made where these instructions had been detected.
        unsafe { vectorized(self, kernel) }
    }

    #[inline(always)]
    fn dots_per_gather(_max_code: i32) -> Option<usize> {
        None
    }

    operations! {
        fn words(line: &Line, _part: usize) -> __m512i = _mm512_loadu_si512(line.as_ptr().cast());
        fn halves(line: &HalfLine, _part: usize) -> __m512i =
            _mm512_cvtepu16_epi32(_mm256_loadu_si256(line.as_ptr().cast()));
        fn half_floats(line: &HalfLine, _part: usize) -> __m512 =
            _mm512_cvtph_ps(_mm256_loadu_si256(line.as_ptr().cast()));

        fn splat(value: i32) -> __m512i = _mm512_set1_epi32(value);
        fn splat_float(value: f32) -> __m512 = _mm512_set1_ps(value);

        fn and(a: __m512i, b: __m512i) -> __m512i = _mm512_and_si512(a, b);
        fn or(a: __m512i, b: __m512i) -> __m512i = _mm512_or_si512(a, b);
        fn add(a: __m512i, b: __m512i) -> __m512i = _mm512_add_epi32(a, b);
        fn sub(a: __m512i, b: __m512i) -> __m512i = _mm512_sub_epi32(a, b);
        fn sub_bytes(a: __m512i, b: __m512i) -> __m512i = _mm512_sub_epi8(a, b);
        fn mul(a: __m512i, b: __m512i) -> __m512i = _mm512_mullo_epi32(a, b);
        fn shift_left(a: __m512i, bits: usize) -> __m512i =
            _mm512_sll_epi32(a, _mm_cvtsi32_si128(bits as i32));
        fn shift_right(a: __m512i, bits: usize) -> __m512i =
            _mm512_srl_epi32(a, _mm_cvtsi32_si128(bits as i32));
        fn shift_right_signed(a: __m512i, bits: usize) -> __m512i =
            _mm512_sra_epi32(a, _mm_cvtsi32_si128(bits as i32));
        fn look_up(table: &[i8; 16], bytes: __m512i) -> __m512i = _mm512_shuffle_epi8(
            _mm512_broadcast_i32x4(_mm_loadu_si128(table.as_ptr().cast())), bytes);

        fn even_bytes(a: __m512i) -> __m512i =
            _mm512_srai_epi16::<8>(_mm512_slli_epi16::<8>(a));
        fn odd_bytes(a: __m512i) -> __m512i = _mm512_srai_epi16::<8>(a);

        fn pin(a: __m512i) -> __m512i = pin(a);
        fn dot(sums: __m512i, codes: __m512i, activations: i32) -> __m512i =
            _mm512_dpbusd_epi32(sums, codes, _mm512_set1_epi32(activations));
        fn dot_signed(sums: __m512i, codes: __m512i, activations: i32) -> __m512i =
            _mm512_dpbusd_epi32(
                sums,
                _mm512_xor_si512(codes, _mm512_set1_epi8(i8::MIN)),
                _mm512_set1_epi32(activations),
            );
        fn dot_pairs(sums: __m512i, pairs: __m512i, activations: i32) -> __m512i =
            _mm512_dpwssd_epi32(sums, pairs, _mm512_set1_epi32(activations));

        fn to_float(a: __m512i) -> __m512 = _mm512_cvtepi32_ps(a);
        fn as_float(bits: __m512i) -> __m512 = _mm512_castsi512_ps(bits);
        fn mul_floats(a: __m512, b: __m512) -> __m512 = _mm512_mul_ps(a, b);
        fn add_floats(a: __m512, b: __m512) -> __m512 = _mm512_add_ps(a, b);
        fn mul_add(a: __m512, b: __m512, c: __m512) -> __m512 = _mm512_fmadd_ps(a, b, c);
        fn neg_mul_add(a: __m512, b: __m512, c: __m512) -> __m512 = _mm512_fnmadd_ps(a, b, c);
        fn store(a: __m512, rows: &mut [f32; TILE_ROWS], _part: usize) =
            _mm512_storeu_ps(rows.as_mut_ptr(), a);

        fn prefetch(address: *const u8) = _mm_prefetch::<_MM_HINT_T0>(address.cast());
    }
}

/// The same number, which the compiler takes for another.
#[inline]
#[target_feature(enable = "avx512f")]
fn pin(a: __m512i) -> __m512i {
    let mut a = a;
    // SAFETY: no instruction at all.
    unsafe {
        asm!("/* {a} */", a = inout(zmm_reg) a, options(pure, nomem, nostack, preserves_flags));
    }
    a
}

/// Proof that AVX-512 with products of `bf16` was detected.
#[derive(Clone, Copy)]
pub(super) struct Avx512Bf16(());

impl Avx512Bf16 {
    /// Columns that fit beside each other: two sets of sums each.
    pub(super) const MAX_COLUMNS: usize = 8;

    pub(super) fn new(cpu: Cpu) -> Option<Self> {
        (cpu.level() == CpuLevel::Avx512 && cpu.has_bf16()).then_some(Self(()))
    }

    /// Multiplies a row of tiles of `bf16` weights with `N` columns.
    pub(super) fn multiply<const N: usize>(
        self,
        tiles: &[HalfLine],
        columns: &Bf16Tile,
        results: &mut Results<N>,
    ) {
        // SAFETY: the token `self` was made where these instructions had been detected.
        unsafe { multiply_bf16(self, tiles, columns, results) }
    }
}

/// A lane of `vdpbf16ps` adds up two products, so the weights of two tiles are joined lane by lane.
#[target_feature(enable = "avx512f,avx512bw,avx512bf16")]
fn multiply_bf16<const N: usize>(
    _simd: Avx512Bf16,
    tiles: &[HalfLine],
    columns: &Bf16Tile,
    results: &mut Results<N>,
) {
    // Word `2r` of a joined line is that of row `r` in the first tile, word `2r + 1` in the second.
    const JOINED: [u16; 2 * TILE_ROWS] = {
        let mut joined = [0; 2 * TILE_ROWS];
        let mut row = 0;
        while row < TILE_ROWS {
            (joined[2 * row], joined[2 * row + 1]) = (row as u16, (TILE_ROWS + row) as u16);
            row += 1;
        }
        joined
    };
    // SAFETY: the table has 64 bytes, and the load asks for no alignment.
    let joined = unsafe { _mm512_loadu_si512(JOINED.as_ptr().cast()) };
    let (pairs, _) = columns.pairs.as_chunks::<N>();
    assert_eq!(pairs.len(), tiles.len().div_ceil(2), "a column has one number per weight of a row");

    // Two chains of additions per column, so that one column alone does not wait for itself.
    let mut even = [_mm512_setzero_ps(); N];
    let mut odd = [_mm512_setzero_ps(); N];
    let (fours, rest) = tiles.as_chunks::<4>();
    let (pairs_of_fours, pairs_of_rest) = pairs.split_at(2 * fours.len());
    let load = |tiles: &[HalfLine; 2]| {
        // SAFETY: two tiles have 64 bytes, and the load asks for no alignment.
        let lines = unsafe { _mm512_loadu_si512(tiles.as_ptr().cast()) };
        _mm512_permutexvar_epi16(joined, lines)
    };
    for (tiles, pairs) in fours.iter().zip(pairs_of_fours.as_chunks::<2>().0) {
        let (tiles, _) = tiles.as_chunks::<2>();
        let weights = [load(&tiles[0]), load(&tiles[1])];
        for j in 0..N {
            even[j] = dot_bf16(even[j], weights[0], _mm512_set1_epi32(pairs[0][j]));
            odd[j] = dot_bf16(odd[j], weights[1], _mm512_set1_epi32(pairs[1][j]));
        }
    }
    for (tiles, pairs) in rest.chunks(2).zip(pairs_of_rest) {
        let mut both = [[0; 2 * TILE_ROWS]; 2];
        both[..tiles.len()].copy_from_slice(tiles);
        let weights = load(&both);
        for j in 0..N {
            even[j] = dot_bf16(even[j], weights, _mm512_set1_epi32(pairs[j]));
        }
    }
    for (results, (even, odd)) in results.iter_mut().zip(even.into_iter().zip(odd)) {
        // SAFETY: the results have 16 rows, and the store asks for no alignment.
        unsafe { _mm512_storeu_ps(results.as_mut_ptr(), _mm512_add_ps(even, odd)) };
    }
}

/// Adds the products of two `bf16` numbers to each lane.
#[inline]
#[target_feature(enable = "avx512f,avx512bf16")]
fn dot_bf16(sums: __m512, a: __m512i, b: __m512i) -> __m512 {
    // SAFETY: both are 64 bytes, and any bits are `bf16` numbers.
    let [a, b]: [__m512bh; 2] = unsafe { std::mem::transmute([a, b]) };
    _mm512_dpbf16_ps(sums, a, b)
}
