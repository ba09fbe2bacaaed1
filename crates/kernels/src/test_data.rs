//! What the tests of every kernel share: seeded numbers, awkward lengths, and a comparison.

/// Lengths around the number of lanes of every level, none, one, and large odd ones.
pub(crate) const LENGTHS: [usize; 14] = [0, 1, 3, 4, 5, 7, 8, 9, 15, 16, 17, 63, 1025, 12_289];

/// A small generator (xorshift64*, Vigna 2016), so that a failing case can be run again.
pub(crate) struct Random(u64);

impl Random {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1)
    }

    pub(crate) fn bits(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 16
    }

    /// A whole number below `end`.
    pub(crate) fn below(&mut self, end: usize) -> usize {
        (self.bits() % end as u64) as usize
    }

    /// A number between `-limit` and `limit`.
    pub(crate) fn value(&mut self, limit: f32) -> f32 {
        let unit = (self.bits() & 0xFF_FFFF) as f32 / 0x80_0000 as f32;
        (unit - 1.0) * limit
    }

    pub(crate) fn values(&mut self, len: usize, limit: f32) -> Vec<f32> {
        (0..len).map(|_| self.value(limit)).collect()
    }
}

/// Asserts that values differ by at most `tolerance`, relative where they are larger than one.
#[track_caller]
pub(crate) fn assert_close(got: &[f32], expected: &[f32], tolerance: f32, what: &str) {
    assert_eq!(got.len(), expected.len(), "{what}: lengths differ");
    for (i, (got, expected)) in got.iter().zip(expected).enumerate() {
        let error = (got - expected).abs() / expected.abs().max(1.0);
        assert!(error <= tolerance, "{what}: value {i} is {got}, expected {expected}");
    }
}
