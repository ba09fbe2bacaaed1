//! Remembers removed entries, so that a slower tier cannot bring them back.

use std::time::{Duration, SystemTime};

use moka::{policy::EvictionPolicy, sync::Cache};

use crate::key::{Digest, Tenant};

/// Removals that are remembered; beyond, the one longest unused is forgotten.
const MAX_TOMBSTONES: u64 = 1_000;

#[derive(Clone, Copy, Debug)]
struct Tombstone {
    removed: SystemTime,
    /// Whether the entry was reported as a wrong answer, so that the slot gives exact hits only.
    exact_only: bool,
    /// When it may be forgotten, by the monotonic clock: nothing it speaks about lives longer.
    until: Duration,
}

/// What was removed by hand within the longest life of an entry.
#[derive(Debug)]
pub(crate) struct Tombstones {
    map: Cache<(Tenant, Digest), Tombstone>,
}

impl Tombstones {
    pub(crate) fn new() -> Self {
        let map = Cache::builder()
            .max_capacity(MAX_TOMBSTONES)
            .eviction_policy(EvictionPolicy::lru())
            .build();
        Self { map }
    }

    pub(crate) fn add(
        &self,
        place: (Tenant, Digest),
        exact_only: bool,
        removed: SystemTime,
        until: Duration,
    ) {
        let exact_only = exact_only || self.map.get(&place).is_some_and(|old| old.exact_only);
        self.map.insert(place, Tombstone { removed, exact_only, until });
        self.map.run_pending_tasks();
    }

    /// Whether only exact hits may come from this slot.
    pub(crate) fn is_exact_only(&self, place: &(Tenant, Digest), now: Duration) -> bool {
        self.map.get(place).is_some_and(|tombstone| tombstone.exact_only && now < tombstone.until)
    }

    /// Whether an entry of this slot that was made at `created` was removed since.
    pub(crate) fn was_removed(
        &self,
        place: &(Tenant, Digest),
        created: SystemTime,
        now: Duration,
    ) -> bool {
        let is_older = |tombstone: Tombstone| created <= tombstone.removed && now < tombstone.until;
        self.map.get(place).is_some_and(is_older)
    }
}
