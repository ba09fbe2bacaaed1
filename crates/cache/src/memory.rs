//! Holds entries in memory under two caps: bytes and number.

use std::{
    mem::size_of,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use moka::{Expiry, notification::RemovalCause, sync::Cache};

use crate::{
    config::CacheConfig,
    entry::{Entry, Value},
    key::Digest,
    stats::Counters,
};

/// What the map keeps per entry beside the entry: key, hash table, queues, timer, counts, and the
/// allocator's own bytes. Measured by `tests/memory.rs`, which holds it to the truth.
const BOOKKEEPING_BYTES: usize = 400;

/// One entry may take this share of the memory: it is there for a moment before others give way.
const LARGEST_SHARE: u64 = 20;

/// The first tier: W-TinyLFU, so that what is asked once does not push out what is asked often.
///
/// `moka` knows one weight. Each entry weighs its bytes, but at least `max_bytes / max_entries`, so
/// neither cap is ever passed. What that costs: a cache of very large and very small entries may be
/// full at half of both caps.
pub(crate) struct Memory<V> {
    map: Cache<Digest, Arc<Entry<V>>>,
    max_entry_bytes: u64,
    num_bytes: Arc<AtomicU64>,
    /// One insertion at a time, each finished before the next: else many would be over the cap
    /// together before any gave way.
    inserting: Mutex<()>,
}

impl<V: Value> Memory<V> {
    pub(crate) fn new(config: &CacheConfig, counters: Arc<Counters>) -> Self {
        let least = config.max_bytes.div_ceil(config.max_entries.max(1)).max(1);
        let num_bytes = Arc::new(AtomicU64::new(0));
        let let_go = {
            let num_bytes = Arc::clone(&num_bytes);
            move |_slot, entry: Arc<Entry<V>>, cause| {
                num_bytes.fetch_sub(bytes_of(&entry), Ordering::Relaxed);
                match cause {
                    RemovalCause::Size => counters.evictions.count(),
                    RemovalCause::Expired => counters.expired.count(),
                    RemovalCause::Explicit | RemovalCause::Replaced => {}
                }
            }
        };
        let map = Cache::builder()
            .max_capacity(config.max_bytes)
            .weigher(move |_, entry: &Arc<Entry<V>>| {
                u32::try_from(bytes_of(entry).max(least)).unwrap_or(u32::MAX)
            })
            .expire_after(Lifetime)
            .eviction_listener(let_go)
            .build();
        let max_entry_bytes = (config.max_bytes / LARGEST_SHARE).min(u64::from(u32::MAX));
        let max_entry_bytes = if config.max_entries == 0 { 0 } else { max_entry_bytes };
        Self { map, max_entry_bytes, num_bytes, inserting: Mutex::new(()) }
    }

    pub(crate) fn get(&self, slot: &Digest) -> Option<Arc<Entry<V>>> {
        self.map.get(slot)
    }

    /// Takes an entry in. `false` when it is larger than an entry may be.
    pub(crate) fn insert(&self, entry: Arc<Entry<V>>) -> bool {
        let num_bytes = bytes_of(&entry);
        if num_bytes > self.max_entry_bytes {
            return false;
        }
        let _one_at_a_time = self.inserting.lock().unwrap_or_else(PoisonError::into_inner);
        self.num_bytes.fetch_add(num_bytes, Ordering::Relaxed);
        self.map.insert(entry.key.slot, entry);
        self.map.run_pending_tasks();
        true
    }

    pub(crate) fn remove(&self, slot: &Digest) -> Option<Arc<Entry<V>>> {
        let removed = self.map.remove(slot);
        self.map.run_pending_tasks();
        removed
    }

    /// All entries, in no order.
    pub(crate) fn entries(&self) -> impl Iterator<Item = Arc<Entry<V>>> {
        self.map.iter().map(|(_, entry)| entry)
    }

    /// Entries and bytes held now.
    pub(crate) fn size(&self) -> (u64, u64) {
        self.map.run_pending_tasks();
        (self.map.entry_count(), self.num_bytes.load(Ordering::Relaxed))
    }
}

/// What an entry takes, bookkeeping included.
pub(crate) fn bytes_of<V: Value>(entry: &Entry<V>) -> u64 {
    let own = size_of::<Entry<V>>() - size_of::<V>() + BOOKKEEPING_BYTES;
    (own + entry.label.len()).saturating_add(entry.value.num_bytes()) as u64
}

/// Frees ended entries that nobody asks for. Whether an entry is served is decided by its own
/// deadline at the lookup; this only gives its room back.
struct Lifetime;

impl<V: Value> Expiry<Digest, Arc<Entry<V>>> for Lifetime {
    fn expire_after_create(
        &self,
        _slot: &Digest,
        entry: &Arc<Entry<V>>,
        _now: Instant,
    ) -> Option<Duration> {
        Some(entry.deadline.saturating_sub(entry.arrived))
    }

    fn expire_after_update(
        &self,
        _slot: &Digest,
        entry: &Arc<Entry<V>>,
        _now: Instant,
        _remaining: Option<Duration>,
    ) -> Option<Duration> {
        Some(entry.deadline.saturating_sub(entry.arrived))
    }
}
