//! Joins the tiers into one cache and decides what may be served.

use std::{
    collections::HashSet,
    fmt,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use crate::{
    clock::{Clock, SystemClock, is_of_the_future, to_micros},
    config::{CacheConfig, CacheError, NotEverywhere},
    disk::Disk,
    entry::{Entry, EntryInfo, Hit, Lookup, NewEntry, Tier, Value, jittered, short_label},
    epochs::Epochs,
    key::{Digest, Key, Tenant},
    memory::{Memory, bytes_of},
    record::Opened,
    redis_tier::RedisTier,
    stats::{CacheStats, Counters},
    tombstones::Tombstones,
};

/// Ten years: what every calendar, clock and server can still add to the present.
const LONGEST_LIFE: Duration = Duration::from_secs(10 * 365 * 24 * 60 * 60);

/// Replies by key, in memory and in the configured slower tiers. Clones share one cache.
///
/// Nothing below memory can fail a request: a tier that is slow, dead, full, or holds what is not
/// ours is a miss and a counter in [`CacheStats`].
pub struct ResponseCache<V: Value> {
    inner: Arc<Inner<V>>,
}

struct Inner<V: Value> {
    ttl: Duration,
    max_ttl: Duration,
    clock: Arc<dyn Clock>,
    memory: Memory<V>,
    disk: Option<Disk<V>>,
    redis: Option<RedisTier<V>>,
    epochs: Arc<Epochs>,
    tombstones: Tombstones,
    counters: Arc<Counters>,
}

impl<V: Value> ResponseCache<V> {
    /// Opens a cache within a Tokio runtime. A Redis that does not answer is not an error; one that
    /// does is connected when this returns.
    ///
    /// # Errors
    ///
    /// The configuration cannot work: an unusable file, or a URL that is none.
    pub async fn open(config: CacheConfig) -> Result<Self, CacheError> {
        Self::open_with_clock(config, Arc::new(SystemClock::new())).await
    }

    /// Opens a cache that reads the time from `clock`.
    ///
    /// # Errors
    ///
    /// As for [`open`](Self::open).
    pub async fn open_with_clock(
        mut config: CacheConfig,
        clock: Arc<dyn Clock>,
    ) -> Result<Self, CacheError> {
        config.max_ttl = config.max_ttl.min(LONGEST_LIFE);
        let counters = Arc::new(Counters::default());
        let epochs = Arc::new(Epochs::default());
        let disk = match &config.disk {
            Some(disk) => {
                Some(Disk::open(disk, &config, &clock, &epochs, Arc::clone(&counters)).await?)
            }
            None => None,
        };
        let redis = match &config.redis {
            Some(redis) => Some(RedisTier::open(redis, &config, &clock, &epochs, &counters).await?),
            None => None,
        };
        let inner = Inner {
            ttl: config.ttl,
            max_ttl: config.max_ttl,
            clock,
            memory: Memory::new(&config, Arc::clone(&counters)),
            disk,
            redis,
            epochs,
            tombstones: Tombstones::default(),
            counters,
        };
        Ok(Self { inner: Arc::new(inner) })
    }

    /// Looks in memory alone. It never waits.
    pub fn get_in_memory(&self, key: &Key, lookup: Lookup) -> Option<Hit<V>> {
        let counters = &self.inner.counters;
        counters.lookups.count();
        let hit = self.inner.look_in_memory(key, lookup);
        if hit.is_none() {
            counters.misses.count();
        }
        hit
    }

    /// Looks in memory once more, for whoever missed with [`get`](Self::get) a moment ago. It counts as
    /// the same lookup.
    pub fn look_again(&self, key: &Key, lookup: Lookup) -> Option<Hit<V>> {
        self.inner.look_in_memory(key, lookup)
    }

    /// Looks in memory, then on disk, then in Redis. What a slower tier has comes into memory.
    /// When memory has it, this does not wait. It can be dropped at any point.
    pub async fn get(&self, key: &Key, lookup: Lookup) -> Option<Hit<V>> {
        let inner = &*self.inner;
        inner.counters.lookups.count();
        if let Some(hit) = inner.look_in_memory(key, lookup) {
            return Some(hit);
        }
        if let Some(disk) = &inner.disk
            && let Some(opened) = disk.get(key).await
            && let Some(hit) = inner.promote(opened, Tier::Disk, key, lookup)
        {
            return Some(hit);
        }
        if let Some(redis) = &inner.redis
            && let Some(opened) = redis.get(key).await
            && let Some(hit) = inner.promote(opened, Tier::Redis, key, lookup)
        {
            return Some(hit);
        }
        inner.counters.misses.count();
        None
    }

    /// Keeps a reply. It never waits: the slower tiers are written behind it, and a write for which
    /// their queue has no room is dropped and counted. An entry that is to live for no time, or
    /// takes more than 1/64 of the memory, is not kept.
    pub fn insert(&self, new: NewEntry<V>) {
        let inner = &*self.inner;
        let NewEntry { key, value, label, saved, ttl } = new;
        let ttl = ttl.map_or(inner.ttl, |ttl| ttl.min(inner.ttl));
        let life = jittered(ttl, inner.max_ttl, &key.slot);
        if life.is_zero() {
            return;
        }
        let (now, created) = (inner.clock.monotonic(), inner.clock.wall());
        let entry = Arc::new(Entry {
            key,
            value,
            created,
            expires: created.checked_add(life).unwrap_or(created),
            label: short_label(&label),
            saved,
            epoch: inner.epochs.of(key.tenant),
            arrived: now,
            age_on_arrival: Duration::ZERO,
            deadline: now.saturating_add(life),
            num_hits: AtomicU64::new(0),
            is_shared: AtomicBool::new(false),
        });
        if !inner.memory.insert(Arc::clone(&entry)) {
            inner.counters.memory.too_large.count();
            return;
        }
        inner.counters.insertions.count();
        if let Some(disk) = &inner.disk {
            disk.write(&entry);
        }
        if let Some(redis) = &inner.redis {
            redis.inserted(&entry);
        }
    }

    /// A tenant's entries in memory and on disk, the newest first. Redis cannot be listed: its key
    /// names say nothing.
    pub async fn list(&self, tenant: Tenant, limit: usize) -> Vec<EntryInfo> {
        let inner = &*self.inner;
        let mut list: Vec<EntryInfo> = inner
            .memory
            .entries()
            .filter(|entry| entry.key.tenant == tenant && inner.is_current(entry))
            .map(|entry| EntryInfo {
                slot: entry.key.slot,
                label: entry.label.to_string(),
                created: entry.created,
                expires: entry.expires,
                num_bytes: bytes_of(&entry),
                num_hits: entry.num_hits.load(Ordering::Relaxed),
                tier: Tier::Memory,
            })
            .collect();
        if let Some(disk) = &inner.disk {
            let in_memory: HashSet<Digest> = list.iter().map(|info| info.slot).collect();
            // Some of the lines may be known from memory, so ask for that many more.
            let on_disk = disk.list(tenant, limit.saturating_add(in_memory.len())).await;
            list.extend(on_disk.into_iter().filter(|info| !in_memory.contains(&info.slot)));
        }
        list.sort_by(|a, b| b.created.cmp(&a.created).then_with(|| a.slot.cmp(&b.slot)));
        list.truncate(limit);
        list
    }

    /// Removes an entry from all tiers. Whether any tier is known to have held it.
    ///
    /// # Errors
    ///
    /// A slower tier did not take it. The others did.
    pub async fn remove(&self, tenant: Tenant, slot: &Digest) -> Result<bool, NotEverywhere> {
        self.inner.remove(tenant, slot, false).await
    }

    /// Removes an entry that was a wrong answer, and from then on serves this slot only to the very
    /// same request. This is remembered for as long as an entry may live, by this instance, for a
    /// bounded number of slots. Whether any tier is known to have held it; where none did, nothing
    /// is remembered.
    ///
    /// # Errors
    ///
    /// A slower tier did not take it. The others did.
    pub async fn report_bad(&self, tenant: Tenant, slot: &Digest) -> Result<bool, NotEverywhere> {
        self.inner.remove(tenant, slot, true).await
    }

    /// Lets go of all entries of a tenant, everywhere. Other instances learn of it at their next
    /// lookup in Redis for this tenant.
    ///
    /// # Errors
    ///
    /// A slower tier did not take it. This instance serves none of its entries all the same.
    pub async fn flush(&self, tenant: Tenant) -> Result<(), NotEverywhere> {
        let inner = &*self.inner;
        let epoch = inner.epochs.begin(tenant, to_micros(inner.clock.wall()));
        for entry in inner.memory.entries() {
            if entry.key.tenant == tenant && entry.epoch < epoch {
                inner.memory.remove(&entry.key.slot);
            }
        }
        let on_disk = match &inner.disk {
            Some(disk) => disk.flush(tenant, epoch).await,
            None => true,
        };
        let in_redis = match &inner.redis {
            Some(redis) => redis.flush(tenant).await,
            None => true,
        };
        match (on_disk, in_redis) {
            (true, true) => Ok(()),
            (false, _) => Err(NotEverywhere { tier: Tier::Disk }),
            (true, false) => Err(NotEverywhere { tier: Tier::Redis }),
        }
    }

    /// Waits until the writes queued so far were tried, or for a few seconds. For the end of a
    /// process.
    pub async fn drain(&self) {
        if let Some(disk) = &self.inner.disk {
            disk.drain().await;
        }
        if let Some(redis) = &self.inner.redis {
            redis.drain().await;
        }
    }

    /// [`drain`](Self::drain), and closes the file, so that all that is kept is in it and a copy of it
    /// alone is whole. Memory and Redis go on.
    pub async fn close(&self) {
        if let Some(disk) = &self.inner.disk {
            disk.close().await;
        }
        if let Some(redis) = &self.inner.redis {
            redis.drain().await;
        }
    }

    /// What the cache did and holds.
    pub fn stats(&self) -> CacheStats {
        let inner = &*self.inner;
        let (num_entries, num_bytes) = inner.memory.size();
        CacheStats {
            num_entries,
            num_bytes,
            is_disk_degraded: inner.disk.as_ref().map(Disk::is_degraded),
            redis_breaker: inner.redis.as_ref().map(RedisTier::breaker_state),
            ..inner.counters.snapshot()
        }
    }
}

impl<V: Value> Inner<V> {
    fn look_in_memory(&self, key: &Key, lookup: Lookup) -> Option<Hit<V>> {
        let entry = self.memory.get(&key.slot)?;
        if entry.key.tenant != key.tenant {
            return None;
        }
        let now = self.clock.monotonic();
        if !self.is_current_at(&entry, now) {
            if now >= entry.deadline {
                self.counters.expired.count();
            }
            self.memory.remove(&key.slot);
            return None;
        }
        let age = entry.age_on_arrival + now.saturating_sub(entry.arrived);
        let hit = self.hit(entry, Tier::Memory, age, key, lookup)?;
        if let Some(redis) = &self.redis {
            redis.seen_again(&hit.entry);
        }
        Some(hit)
    }

    fn is_current(&self, entry: &Entry<V>) -> bool {
        self.is_current_at(entry, self.clock.monotonic())
    }

    fn is_current_at(&self, entry: &Entry<V>, now: Duration) -> bool {
        now < entry.deadline && entry.epoch >= self.epochs.of(entry.key.tenant)
    }

    /// Takes an entry of a slower tier into memory, if it may be served at all.
    fn promote(&self, opened: Opened<V>, tier: Tier, key: &Key, lookup: Lookup) -> Option<Hit<V>> {
        let (now, wall) = (self.clock.monotonic(), self.clock.wall());
        let Ok(left) = opened.expires.duration_since(wall) else { return None };
        if left.is_zero()
            || is_of_the_future((opened.created, opened.expires), wall, self.max_ttl)
            || opened.epoch < self.epochs.of(opened.key.tenant)
            || self.tombstones.was_removed(&(key.tenant, key.slot), opened.created, now)
        {
            return None;
        }
        // An entry with a later epoch was written by someone who knows of a later flush.
        self.epochs.raise(opened.key.tenant, opened.epoch);
        // Within the skew of two clocks it may seem to have more.
        let left = left.min(self.max_ttl);
        let age = wall.duration_since(opened.created).unwrap_or_default();
        let entry = Arc::new(Entry {
            key: opened.key,
            value: opened.value,
            created: opened.created,
            expires: opened.expires,
            label: opened.label,
            saved: opened.saved,
            epoch: opened.epoch,
            arrived: now,
            age_on_arrival: age,
            deadline: now.saturating_add(left),
            num_hits: AtomicU64::new(0),
            is_shared: AtomicBool::new(tier == Tier::Redis),
        });
        let hit = self.hit(Arc::clone(&entry), tier, age, key, lookup)?;
        let is_newest = self.memory.get(&key.slot).is_none_or(|held| held.created <= entry.created);
        if is_newest {
            self.memory.insert(Arc::clone(&entry));
        }
        if let Some(redis) = &self.redis {
            redis.seen_again(&entry);
        }
        Some(hit)
    }

    /// Decides between an exact hit, a normalised one, and none, and counts it.
    fn hit(
        &self,
        entry: Arc<Entry<V>>,
        tier: Tier,
        age: Duration,
        key: &Key,
        lookup: Lookup,
    ) -> Option<Hit<V>> {
        let is_exact = entry.key.exact == key.exact;
        let place = (key.tenant, key.slot);
        let exact_only =
            lookup.exact_only || self.tombstones.is_exact_only(&place, self.clock.monotonic());
        let is_good = is_exact || !exact_only;
        if !is_good || lookup.max_age.is_some_and(|max_age| age > max_age) {
            return None;
        }
        let tier_counters = self.counters.tier(tier);
        if is_exact {
            tier_counters.exact_hits.count();
        } else {
            tier_counters.normalized_hits.count();
        }
        entry.num_hits.fetch_add(1, Ordering::Relaxed);
        let saved = u64::try_from(entry.saved.as_micros()).unwrap_or(u64::MAX);
        self.counters.saved_micros.add(saved);
        Some(Hit { entry, tier, is_exact, age })
    }

    async fn remove(
        &self,
        tenant: Tenant,
        slot: &Digest,
        is_bad: bool,
    ) -> Result<bool, NotEverywhere> {
        let until = self.clock.monotonic().saturating_add(self.max_ttl);
        let place = (tenant, *slot);
        let found = |tier_held: bool| {
            if is_bad && tier_held {
                self.tombstones.make_exact_only(place, until);
            }
            tier_held
        };
        let held = self.memory.get(slot);
        if held.as_ref().is_some_and(|entry| entry.key.tenant != tenant) {
            return Ok(false);
        }
        if self.disk.is_some() || self.redis.is_some() {
            self.tombstones.add_removal(place, self.clock.wall(), until);
        }
        let in_memory = found(self.memory.remove(slot).is_some());
        let on_disk = match &self.disk {
            Some(disk) => disk.remove(tenant, slot).await.map(found),
            None => Some(false),
        };
        let in_redis = match &self.redis {
            Some(redis) => redis.remove(tenant, slot).await.map(found),
            None => Some(false),
        };
        let on_disk = on_disk.ok_or(NotEverywhere { tier: Tier::Disk })?;
        let in_redis = in_redis.ok_or(NotEverywhere { tier: Tier::Redis })?;
        Ok(in_memory || on_disk || in_redis)
    }
}

impl<V: Value> Clone for ResponseCache<V> {
    fn clone(&self) -> Self {
        Self { inner: Arc::clone(&self.inner) }
    }
}

impl<V: Value> fmt::Debug for ResponseCache<V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ResponseCache").field("stats", &self.stats()).finish_non_exhaustive()
    }
}
