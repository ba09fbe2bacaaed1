//! Counts what the cache did.

use std::{
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

use crate::{breaker::BreakerState, entry::Tier};

/// What a cache did since it was opened, and what it holds.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct CacheStats {
    /// Entries in memory.
    pub num_entries: u64,
    /// Bytes that the entries in memory take, bookkeeping included.
    pub num_bytes: u64,
    /// Lookups.
    pub num_lookups: u64,
    /// Lookups that found nothing.
    pub num_misses: u64,
    /// Entries taken in by `insert`.
    pub num_insertions: u64,
    /// Entries that memory let go, or did not admit, for want of room.
    pub num_evictions: u64,
    /// Entries of memory that ended.
    pub num_expired: u64,
    /// The time that the hits would have taken to generate.
    pub saved: Duration,
    /// The tiers.
    pub memory: TierStats,
    /// See `memory`.
    pub disk: TierStats,
    /// See `memory`.
    pub redis: TierStats,
    /// Whether the file takes or gives nothing now, where there is one.
    pub is_disk_degraded: Option<bool>,
    /// The state of the Redis tier's breaker, where there is such a tier.
    pub redis_breaker: Option<BreakerState>,
}

/// What one tier did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TierStats {
    /// Hits by an entry for the very same request.
    pub num_exact_hits: u64,
    /// Hits by an entry for another spelling.
    pub num_normalized_hits: u64,
    /// Entries written behind a request.
    pub num_writes: u64,
    /// Writes that were given up: the queue was full, or the tier out of service.
    pub num_dropped_writes: u64,
    /// What went wrong.
    pub errors: TierErrors,
}

/// What went wrong in a tier. To a request, each of these is a miss.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TierErrors {
    /// Values whose seal is not ours: cut, changed, or forged.
    pub num_bad_seals: u64,
    /// Values, or entries, above the tier's limit.
    pub num_too_large: u64,
    /// Sealed values that answer another key.
    pub num_wrong_keys: u64,
    /// Sealed values of another version, or whose inside the caller could not decode.
    pub num_undecodable: u64,
    /// Calls that took longer than the deadline.
    pub num_timeouts: u64,
    /// Calls that failed, connecting included.
    pub num_failures: u64,
}

/// The counters behind [`CacheStats`].
#[derive(Debug, Default)]
pub(crate) struct Counters {
    pub(crate) lookups: Counter,
    pub(crate) misses: Counter,
    pub(crate) insertions: Counter,
    pub(crate) evictions: Counter,
    pub(crate) expired: Counter,
    pub(crate) saved_micros: Counter,
    pub(crate) memory: TierCounters,
    pub(crate) disk: TierCounters,
    pub(crate) redis: TierCounters,
}

#[derive(Debug, Default)]
pub(crate) struct TierCounters {
    pub(crate) exact_hits: Counter,
    pub(crate) normalized_hits: Counter,
    pub(crate) writes: Counter,
    pub(crate) dropped_writes: Counter,
    pub(crate) bad_seals: Counter,
    pub(crate) too_large: Counter,
    pub(crate) wrong_keys: Counter,
    pub(crate) undecodable: Counter,
    pub(crate) timeouts: Counter,
    pub(crate) failures: Counter,
}

/// A number that only rises.
#[derive(Debug, Default)]
pub(crate) struct Counter(AtomicU64);

impl Counter {
    pub(crate) fn count(&self) {
        self.add(1);
    }

    pub(crate) fn add(&self, amount: u64) {
        self.0.fetch_add(amount, Ordering::Relaxed);
    }

    pub(crate) fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

impl Counters {
    pub(crate) fn tier(&self, tier: Tier) -> &TierCounters {
        match tier {
            Tier::Memory => &self.memory,
            Tier::Disk => &self.disk,
            Tier::Redis => &self.redis,
        }
    }

    /// All counters as they stand; what memory holds is filled in by the caller.
    pub(crate) fn snapshot(&self) -> CacheStats {
        CacheStats {
            num_lookups: self.lookups.get(),
            num_misses: self.misses.get(),
            num_insertions: self.insertions.get(),
            num_evictions: self.evictions.get(),
            num_expired: self.expired.get(),
            saved: Duration::from_micros(self.saved_micros.get()),
            memory: self.memory.snapshot(),
            disk: self.disk.snapshot(),
            redis: self.redis.snapshot(),
            ..CacheStats::default()
        }
    }
}

impl TierCounters {
    fn snapshot(&self) -> TierStats {
        TierStats {
            num_exact_hits: self.exact_hits.get(),
            num_normalized_hits: self.normalized_hits.get(),
            num_writes: self.writes.get(),
            num_dropped_writes: self.dropped_writes.get(),
            errors: TierErrors {
                num_bad_seals: self.bad_seals.get(),
                num_too_large: self.too_large.get(),
                num_wrong_keys: self.wrong_keys.get(),
                num_undecodable: self.undecodable.get(),
                num_timeouts: self.timeouts.get(),
                num_failures: self.failures.get(),
            },
        }
    }
}
