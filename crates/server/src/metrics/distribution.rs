//! Counts durations in buckets that are fine enough for percentiles, in fixed memory, without locks.

use std::{
    collections::VecDeque,
    sync::atomic::{AtomicU64, Ordering},
};

/// Buckets of each doubling: a percentile is the middle of its bucket, right to 1/32, about 3 %.
const NUM_PARTS: usize = 16;
const PART_BITS: u32 = NUM_PARTS.ilog2();
/// Durations from 2^36 microseconds (19 hours) on count as that.
const NUM_DOUBLINGS: u32 = 36;
const NUM_BUCKETS: usize = NUM_PARTS * (1 + (NUM_DOUBLINGS - PART_BITS) as usize);

/// Durations as they come.
#[derive(Debug)]
pub(crate) struct Distribution {
    buckets: Box<[AtomicU64]>,
    sum_nanos: AtomicU64,
}

/// Durations that were counted.
#[derive(Clone, Debug)]
pub(crate) struct Counts {
    buckets: Box<[u64]>,
    sum_nanos: u64,
}

impl Default for Distribution {
    fn default() -> Self {
        let buckets = (0..NUM_BUCKETS).map(|_| AtomicU64::new(0)).collect();
        Self { buckets, sum_nanos: AtomicU64::new(0) }
    }
}

impl Distribution {
    pub(crate) fn observe(&self, seconds: f64) {
        let nanos = (seconds * 1e9) as u64;
        self.buckets[bucket(nanos / 1000)].fetch_add(1, Ordering::Relaxed);
        self.sum_nanos.fetch_add(nanos, Ordering::Relaxed);
    }

    pub(crate) fn counts(&self) -> Counts {
        let buckets = self.buckets.iter().map(|count| count.load(Ordering::Relaxed)).collect();
        Counts { buckets, sum_nanos: self.sum_nanos.load(Ordering::Relaxed) }
    }
}

impl Counts {
    /// What came after `earlier`.
    fn since(&self, earlier: &Self) -> Self {
        // Bucket by bucket, counts only rise.
        let pairs = self.buckets.iter().zip(&earlier.buckets);
        Self {
            buckets: pairs.map(|(now, then)| now - then).collect(),
            sum_nanos: self.sum_nanos.wrapping_sub(earlier.sum_nanos),
        }
    }

    /// Durations counted.
    pub(crate) fn total(&self) -> u64 {
        self.buckets.iter().sum()
    }

    /// Their sum, in seconds.
    pub(crate) fn sum_s(&self) -> f64 {
        self.sum_nanos as f64 / 1e9
    }

    /// Their mean, in seconds.
    pub(crate) fn mean_s(&self) -> Option<f64> {
        let total = self.total();
        (total > 0).then(|| self.sum_s() / total as f64)
    }

    /// The duration, in seconds, that `share` of them do not exceed.
    pub(crate) fn percentile_s(&self, share: f64) -> Option<f64> {
        let total = self.total();
        let rank = ((share * total as f64).ceil() as u64).clamp(1, total.max(1));
        let mut num_below = 0;
        let found = self.buckets.iter().position(|count| {
            num_below += count;
            num_below >= rank
        });
        found.map(|bucket| middle_micros(bucket) / 1e6)
    }
}

/// Microseconds below 16 have a bucket each; above, every doubling has 16.
fn bucket(micros: u64) -> usize {
    let micros = micros.min((1 << NUM_DOUBLINGS) - 1);
    if micros < NUM_PARTS as u64 {
        return micros as usize;
    }
    let shift = micros.ilog2() - PART_BITS;
    let part = (micros >> shift) as usize - NUM_PARTS;
    (shift as usize + 1) * NUM_PARTS + part
}

fn middle_micros(bucket: usize) -> f64 {
    if bucket < NUM_PARTS {
        return bucket as f64 + 0.5;
    }
    let width = (1_u64 << (bucket / NUM_PARTS - 1)) as f64;
    ((bucket % NUM_PARTS + NUM_PARTS) as f64 + 0.5) * width
}

/// Earlier counts, taken every so often: what came since the oldest is the latest past.
#[derive(Debug)]
pub(crate) struct Window {
    earlier: VecDeque<Counts>,
    max_snapshots: usize,
}

impl Window {
    /// A window as long as the time in which `max_snapshots` are taken.
    pub(crate) fn new(max_snapshots: usize) -> Self {
        let none = Distribution::default().counts();
        Self { earlier: VecDeque::from([none]), max_snapshots }
    }

    /// What came within the window.
    pub(crate) fn latest(&self, now: &Counts) -> Counts {
        self.earlier.front().map_or_else(|| now.clone(), |earlier| now.since(earlier))
    }

    /// Moves on by one snapshot.
    pub(crate) fn push(&mut self, now: Counts) {
        if self.earlier.len() == self.max_snapshots {
            self.earlier.pop_front();
        }
        self.earlier.push_back(now);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_percentile_is_right_to_3_percent() {
        for micros in [0, 1, 15, 16, 17, 31, 32, 33, 999, 1_000_000, 123_456_789, (1 << 36) - 1] {
            let middle = middle_micros(bucket(micros));
            let error = (middle - micros as f64).abs();
            assert!(error <= 0.5 + micros as f64 / 32.0, "{micros} is counted as {middle}");
        }
        assert_eq!(bucket(u64::MAX), NUM_BUCKETS - 1);
        let buckets: Vec<_> = (0..100_000).map(bucket).collect();
        assert!(buckets.windows(2).all(|pair| pair[1] == pair[0] || pair[1] == pair[0] + 1));
    }

    fn check(seconds: &[f64], expected: [Option<f64>; 4]) {
        let distribution = Distribution::default();
        seconds.iter().for_each(|seconds| distribution.observe(*seconds));
        let counts = distribution.counts();
        assert_eq!(counts.total(), seconds.len() as u64);
        let percentiles = [0.5, 0.9, 0.99].map(|share| counts.percentile_s(share));
        let got = [counts.mean_s(), percentiles[0], percentiles[1], percentiles[2]];
        for (got, expected) in got.iter().zip(expected) {
            let is_near = match (got, expected) {
                (Some(got), Some(expected)) => (got / expected - 1.0).abs() < 1.0 / 32.0,
                (None, None) => true,
                _ => false,
            };
            assert!(is_near, "{seconds:?}: {got:?} instead of {expected:?}");
        }
    }

    #[test]
    fn percentiles_are_by_rank() {
        check(&[], [None; 4]);
        check(&[2.0], [Some(2.0); 4]);
        check(&[0.001, 4.0], [Some(2.0005), Some(0.001), Some(4.0), Some(4.0)]);
        let hundred: Vec<_> = (1..=100).map(f64::from).collect();
        check(&hundred, [Some(50.5), Some(50.0), Some(90.0), Some(99.0)]);
    }

    #[test]
    fn a_window_forgets_what_is_older() {
        let distribution = Distribution::default();
        let mut window = Window::new(2);
        let mut totals = Vec::new();
        for _ in 0..4 {
            distribution.observe(1.0);
            let now = distribution.counts();
            totals.push(window.latest(&now).total());
            window.push(now);
        }
        assert_eq!(totals, [1, 2, 2, 2]);
    }
}
