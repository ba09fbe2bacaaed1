//! Turns four rows of 16 bytes into columns, as tiles are made of them.

/// Bytes that are turned at once.
pub(super) const CHUNK_BYTES: usize = 16;

/// A row's part of what is turned.
pub(super) type Chunk = [u8; CHUNK_BYTES];

/// Of four rows of four words: the first words, the second, the third, the fourth.
#[cfg(target_arch = "x86_64")]
#[inline]
pub(super) fn words(rows: [Chunk; 4]) -> [Chunk; 4] {
    // SAFETY: every x86-64 has SSE2.
    unsafe { words_sse2(rows) }
}

#[cfg(target_arch = "x86_64")]
#[inline]
#[target_feature(enable = "sse2")]
fn words_sse2(rows: [Chunk; 4]) -> [Chunk; 4] {
    use std::arch::x86_64::{
        _mm_unpackhi_epi32, _mm_unpackhi_epi64, _mm_unpacklo_epi32, _mm_unpacklo_epi64,
    };
    let [a, b, c, d] = rows.map(load);
    let (low_ab, low_cd) = (_mm_unpacklo_epi32(a, b), _mm_unpacklo_epi32(c, d));
    let (high_ab, high_cd) = (_mm_unpackhi_epi32(a, b), _mm_unpackhi_epi32(c, d));
    [
        _mm_unpacklo_epi64(low_ab, low_cd),
        _mm_unpackhi_epi64(low_ab, low_cd),
        _mm_unpacklo_epi64(high_ab, high_cd),
        _mm_unpackhi_epi64(high_ab, high_cd),
    ]
    .map(store)
}

/// Of four rows of eight halves of words: the first halves and the second, and so on.
#[cfg(target_arch = "x86_64")]
#[inline]
pub(super) fn halves(rows: [Chunk; 4]) -> [Chunk; 4] {
    // SAFETY: every x86-64 has SSE2.
    unsafe { halves_sse2(rows) }
}

#[cfg(target_arch = "x86_64")]
#[inline]
#[target_feature(enable = "sse2")]
fn halves_sse2(rows: [Chunk; 4]) -> [Chunk; 4] {
    use std::arch::x86_64::{
        _mm_unpackhi_epi16, _mm_unpackhi_epi32, _mm_unpacklo_epi16, _mm_unpacklo_epi32,
    };
    let [a, b, c, d] = rows.map(load);
    let (low_ab, low_cd) = (_mm_unpacklo_epi16(a, b), _mm_unpacklo_epi16(c, d));
    let (high_ab, high_cd) = (_mm_unpackhi_epi16(a, b), _mm_unpackhi_epi16(c, d));
    [
        _mm_unpacklo_epi32(low_ab, low_cd),
        _mm_unpackhi_epi32(low_ab, low_cd),
        _mm_unpacklo_epi32(high_ab, high_cd),
        _mm_unpackhi_epi32(high_ab, high_cd),
    ]
    .map(store)
}

#[cfg(target_arch = "x86_64")]
#[inline]
fn load(chunk: Chunk) -> std::arch::x86_64::__m128i {
    // SAFETY: a chunk has 16 bytes, the load asks for no alignment, and every x86-64 has SSE2.
    unsafe { std::arch::x86_64::_mm_loadu_si128(chunk.as_ptr().cast()) }
}

#[cfg(target_arch = "x86_64")]
#[inline]
fn store(vector: std::arch::x86_64::__m128i) -> Chunk {
    let mut chunk = [0; CHUNK_BYTES];
    // SAFETY: a chunk has 16 bytes, the store asks for no alignment, and every x86-64 has SSE2.
    unsafe { std::arch::x86_64::_mm_storeu_si128(chunk.as_mut_ptr().cast(), vector) };
    chunk
}

#[cfg(not(target_arch = "x86_64"))]
pub(super) use plain::{halves, words};

/// The same in plain code: what it means.
#[cfg(any(test, not(target_arch = "x86_64")))]
mod plain {
    use super::Chunk;

    pub(in super::super) fn words(rows: [Chunk; 4]) -> [Chunk; 4] {
        turned::<4>(rows)
    }

    pub(in super::super) fn halves(rows: [Chunk; 4]) -> [Chunk; 4] {
        turned::<2>(rows)
    }

    fn turned<const UNIT: usize>(rows: [Chunk; 4]) -> [Chunk; 4] {
        let mut turned = [Chunk::default(); 4];
        let units = turned.as_flattened_mut().as_chunks_mut::<UNIT>().0;
        for (i, unit) in units.iter_mut().enumerate() {
            *unit = rows[i % 4].as_chunks::<UNIT>().0[i / 4];
        }
        turned
    }
}

#[cfg(all(test, target_arch = "x86_64"))]
mod tests {
    use super::*;

    #[test]
    fn vectors_turn_as_plain_code_does() {
        let rows = std::array::from_fn(|row| std::array::from_fn(|i| (16 * row + i) as u8));
        assert_eq!(words(rows), plain::words(rows));
        assert_eq!(halves(rows), plain::halves(rows));
    }
}
