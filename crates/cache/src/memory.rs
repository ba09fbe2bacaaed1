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

/// One entry may take this share of the memory. It is there for a moment before others give way,
/// and the map frees the latest few of those late.
const LARGEST_SHARE: u64 = 64;

/// In a small cache one entry may take so much all the same, up to a quarter of it.
const SMALL_ENTRY_BYTES: u64 = 16 << 10;

/// This share of the memory is left to the holes that entries of many sizes leave in the heap.
const HOLES_SHARE: u64 = 32;

/// `moka` halves its frequencies after ten requests per counter. With one counter per entry, which
/// is what it takes, that is too early to tell the hundredth most popular item from the thousandth;
/// four of them come within a point of what is possible (`tests/hit_ratio.rs`).
const COUNTERS_PER_ENTRY: u64 = 4;

/// Beyond so many counters there are no more than one per entry: a long memory also means that it
/// takes long until new questions displace those that nobody asks any more.
const MANY_COUNTERS: u64 = 16_384;

/// The first tier: W-TinyLFU, so that what is asked once does not push out what is asked often.
///
/// `moka` knows one weight. Each entry weighs its bytes, but at least `max_bytes / max_entries`, so
/// neither cap is ever passed. What that costs: a cache of very large and very small entries may be
/// full at half of both caps.
pub(crate) struct Memory<V> {
    map: Cache<Digest, Held<V>>,
    max_entry_bytes: u64,
    num_bytes: Arc<AtomicU64>,
    /// One insertion at a time, each finished before the next: else many would be over the cap
    /// together before any gave way.
    inserting: Mutex<()>,
}

enum Held<V> {
    Entry(Arc<Entry<V>>),
    /// See [`size_sketch`]; none is left when the cache is open.
    Placeholder {
        weight: u32,
    },
}

impl<V> Held<V> {
    fn entry(self) -> Option<Arc<Entry<V>>> {
        match self {
            Self::Entry(entry) => Some(entry),
            Self::Placeholder { .. } => None,
        }
    }

    fn lifetime(&self) -> Option<Duration> {
        match self {
            Self::Entry(entry) => Some(entry.deadline.saturating_sub(entry.arrived)),
            Self::Placeholder { .. } => None,
        }
    }
}

impl<V> Clone for Held<V> {
    fn clone(&self) -> Self {
        match self {
            Self::Entry(entry) => Self::Entry(Arc::clone(entry)),
            Self::Placeholder { weight } => Self::Placeholder { weight: *weight },
        }
    }
}

impl<V: Value> Memory<V> {
    pub(crate) fn new(config: &CacheConfig, counters: Arc<Counters>) -> Self {
        let max_bytes = config.max_bytes;
        let num_counters = num_counters(config);
        let counters_bytes = num_counters.next_power_of_two() * 8;
        let capacity = max_bytes.saturating_sub(counters_bytes + max_bytes / HOLES_SHARE);
        let least = capacity.div_ceil(config.max_entries.max(1)).max(1);
        let num_bytes = Arc::new(AtomicU64::new(0));
        let let_go = {
            let num_bytes = Arc::clone(&num_bytes);
            move |_slot, held: Held<V>, cause| {
                let Held::Entry(entry) = held else { return };
                num_bytes.fetch_sub(bytes_of(&entry), Ordering::Relaxed);
                match cause {
                    RemovalCause::Size => counters.evictions.count(),
                    RemovalCause::Expired => counters.expired.count(),
                    RemovalCause::Explicit | RemovalCause::Replaced => {}
                }
            }
        };
        let map = Cache::builder()
            .max_capacity(capacity)
            .weigher(move |_slot, held: &Held<V>| match held {
                Held::Entry(entry) => u32::try_from(bytes_of(entry).max(least)).unwrap_or(u32::MAX),
                Held::Placeholder { weight } => *weight,
            })
            .expire_after(Lifetime)
            .eviction_listener(let_go)
            .build();
        size_sketch(&map, num_counters);
        let max_entry_bytes = (max_bytes / LARGEST_SHARE)
            .max(SMALL_ENTRY_BYTES.min(max_bytes / 4))
            .min(u64::from(u32::MAX));
        let max_entry_bytes = if config.max_entries == 0 { 0 } else { max_entry_bytes };
        Self { map, max_entry_bytes, num_bytes, inserting: Mutex::new(()) }
    }

    pub(crate) fn get(&self, slot: &Digest) -> Option<Arc<Entry<V>>> {
        self.map.get(slot)?.entry()
    }

    /// Takes an entry in. `false` when it is larger than an entry may be.
    pub(crate) fn insert(&self, entry: Arc<Entry<V>>) -> bool {
        let num_bytes = bytes_of(&entry);
        if num_bytes > self.max_entry_bytes {
            return false;
        }
        let _one_at_a_time = self.inserting.lock().unwrap_or_else(PoisonError::into_inner);
        self.num_bytes.fetch_add(num_bytes, Ordering::Relaxed);
        self.map.insert(entry.key.slot, Held::Entry(entry));
        self.map.run_pending_tasks();
        true
    }

    pub(crate) fn remove(&self, slot: &Digest) -> Option<Arc<Entry<V>>> {
        let removed = self.map.remove(slot).and_then(Held::entry);
        self.map.run_pending_tasks();
        removed
    }

    /// All entries, in no order.
    pub(crate) fn entries(&self) -> impl Iterator<Item = Arc<Entry<V>>> {
        self.map.iter().filter_map(|(_, held)| held.entry())
    }

    /// Entries and bytes held now.
    pub(crate) fn size(&self) -> (u64, u64) {
        self.map.run_pending_tasks();
        (self.map.entry_count(), self.num_bytes.load(Ordering::Relaxed))
    }
}

/// How many counters of frequency there are. At eight bytes each, they never take more than a 64th
/// of the memory.
fn num_counters(config: &CacheConfig) -> u64 {
    let most = config.max_entries.min(config.max_bytes / BOOKKEEPING_BYTES as u64);
    let wanted = most.saturating_mul(COUNTERS_PER_ENTRY).min(MANY_COUNTERS).max(most);
    wanted.min(config.max_bytes / 64 / 8).max(1)
}

/// Makes `moka` keep this many counters.
///
/// It sizes its counters once, when the cache is half full: the number of entries at that moment,
/// times the share of the capacity that they take. For weighed entries that is a quarter of what
/// it takes for unweighed ones. So at the start, placeholders that weigh nothing are brought in and
/// some of them made heavy at once, to give the product that is right for the full cache.
fn size_sketch<V: Value>(map: &Cache<Digest, Held<V>>, num_counters: u64) {
    /// Changes that `moka` takes up in one go.
    const NUM_HEAVY: u64 = 32;
    const MAX_PLACEHOLDERS: u64 = 20_000;
    let capacity = map.policy().max_capacity().unwrap_or(0);
    let product = u128::from(num_counters) * u128::from(capacity);
    let num_all = product / u128::from(NUM_HEAVY) / u128::from(u32::MAX);
    let num_all = u64::try_from(num_all).unwrap_or(u64::MAX).clamp(NUM_HEAVY, MAX_PLACEHOLDERS);
    let weight = product / u128::from(NUM_HEAVY) / u128::from(num_all);
    let weight = u32::try_from(weight).unwrap_or(u32::MAX);
    let slot = |n: u64| {
        let mut slot = [0; 32];
        slot[..8].copy_from_slice(&n.to_le_bytes());
        slot
    };
    for (num, weight) in [(num_all, 0), (NUM_HEAVY, weight)] {
        (0..num).for_each(|n| map.insert(slot(n), Held::Placeholder { weight }));
        map.run_pending_tasks();
    }
    (0..num_all).for_each(|n| map.invalidate(&slot(n)));
    map.run_pending_tasks();
}

/// What an entry takes, bookkeeping included.
pub(crate) fn bytes_of<V: Value>(entry: &Entry<V>) -> u64 {
    let own = size_of::<Entry<V>>() - size_of::<V>() + BOOKKEEPING_BYTES;
    (own + entry.label.len()).saturating_add(entry.value.num_bytes()) as u64
}

/// Frees ended entries that nobody asks for. Whether an entry is served is decided by its own
/// deadline at the lookup; this only gives its room back.
struct Lifetime;

impl<V: Value> Expiry<Digest, Held<V>> for Lifetime {
    fn expire_after_create(
        &self,
        _slot: &Digest,
        held: &Held<V>,
        _now: Instant,
    ) -> Option<Duration> {
        held.lifetime()
    }

    fn expire_after_update(
        &self,
        _slot: &Digest,
        held: &Held<V>,
        _now: Instant,
        _remaining: Option<Duration>,
    ) -> Option<Duration> {
        held.lifetime()
    }
}
