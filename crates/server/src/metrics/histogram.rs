//! Counts values up to each of some bounds, as Prometheus wants them.

use std::sync::atomic::{AtomicU64, Ordering};

/// Counts of values up to each bound, and beyond the last.
#[derive(Debug)]
pub(crate) struct Histogram {
    bounds: &'static [f64],
    counts: Vec<AtomicU64>,
    sum: AtomicU64,
    /// What the sum counts, in parts of the value's unit.
    parts: f64,
}

impl Histogram {
    /// Of durations in seconds; the sum is exact to a nanosecond each.
    pub(crate) fn of_seconds(bounds: &'static [f64]) -> Self {
        Self::new(bounds, 1e9)
    }

    /// Of other values; the sum is exact to a thousandth each.
    pub(crate) fn of_numbers(bounds: &'static [f64]) -> Self {
        Self::new(bounds, 1e3)
    }

    fn new(bounds: &'static [f64], parts: f64) -> Self {
        let counts = (0..=bounds.len()).map(|_| AtomicU64::new(0)).collect();
        Self { bounds, counts, sum: AtomicU64::new(0), parts }
    }

    pub(crate) fn observe(&self, value: f64) {
        let bucket = self.bounds.partition_point(|bound| *bound < value);
        self.counts[bucket].fetch_add(1, Ordering::Relaxed);
        self.sum.fetch_add((value * self.parts).round() as u64, Ordering::Relaxed);
    }

    /// Each bound, infinity last, with the number of values up to it.
    pub(crate) fn cumulative(&self) -> impl Iterator<Item = (f64, u64)> {
        let bounds = self.bounds.iter().copied().chain([f64::INFINITY]);
        bounds.zip(&self.counts).scan(0, |total, (bound, count)| {
            *total += count.load(Ordering::Relaxed);
            Some((bound, *total))
        })
    }

    pub(crate) fn sum(&self) -> f64 {
        self.sum.load(Ordering::Relaxed) as f64 / self.parts
    }
}
