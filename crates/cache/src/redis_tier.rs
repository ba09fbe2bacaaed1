//! Shares entries with other instances through a Redis that is trusted with nothing.
//!
//! Names are a prefix and a keyed hash, so they show neither tenant nor request. Values can be read
//! by whoever can read the server, as they are not encrypted, but are
//! sealed with a key that the server does not have, so it cannot make one; what it can do is forget
//! or bring back an entry that has not ended. Beside the entries lies one sealed record per tenant
//! with its epoch, which is read along with each value.

use std::{
    sync::{Arc, Mutex, PoisonError, atomic::Ordering},
    time::{Duration, Instant},
};

use redis::Client;
use tokio::{
    sync::{mpsc, oneshot},
    time::timeout,
};
use tracing::warn;

use crate::{
    breaker::BreakerState,
    clock::{Clock, is_of_the_future},
    config::{CacheConfig, CacheError, RedisConfig, Secret},
    doorkeeper::Doorkeeper,
    entry::{Entry, Value},
    epochs::Epochs,
    key::{Digest, Key, Tenant, hex},
    memory::bytes_of,
    queue::{MAX_QUEUED_JOBS, TakenBytes, WriteBudget},
    record::{self, Opened, Refusal, SealKey},
    redis_link::{CallError, Link},
    stats::Counters,
};

/// An epoch and its seal.
const EPOCH_BYTES: usize = 8 + 32;

/// How long draining may take.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(5);

pub(crate) struct RedisTier<V: Value> {
    server: Arc<Server>,
    jobs: mpsc::Sender<Job<V>>,
    budget: Arc<WriteBudget>,
    door: Mutex<Doorkeeper>,
    counters: Arc<Counters>,
}

/// What is done behind the requests.
enum Job<V> {
    Write(Arc<Entry<V>>, TakenBytes),
    Delete(Tenant, Digest),
    WriteEpoch(Tenant),
    Drained(oneshot::Sender<()>),
}

/// The server, and how we name and seal what lies there.
struct Server {
    link: Arc<Link>,
    prefix: String,
    max_value_bytes: usize,
    max_ttl: Duration,
    name_key: [u8; 32],
    seal_key: SealKey,
    epoch_seal_key: SealKey,
    clock: Arc<dyn Clock>,
    epochs: Arc<Epochs>,
    counters: Arc<Counters>,
}

impl<V: Value> RedisTier<V> {
    pub(crate) async fn open(
        config: &RedisConfig,
        cache: &CacheConfig,
        clock: &Arc<dyn Clock>,
        epochs: &Arc<Epochs>,
        counters: &Arc<Counters>,
    ) -> Result<Self, CacheError> {
        let client = Client::open(config.url.as_str()).map_err(|error| {
            // The description does not repeat the URL, which may hold a password.
            CacheError::RedisUrl { reason: error.detail().unwrap_or("not a Redis URL").to_owned() }
        })?;
        let secret = match config.secret {
            Secret::Shared(secret) => secret,
            Secret::PerProcess => {
                warn!("the cache's Redis has no secret configured: entries are not shared");
                let mut secret = [0; 32];
                getrandom::fill(&mut secret).map_err(CacheError::NoRandomBytes)?;
                secret
            }
        };
        let link = Link::new(client, config.deadline, Arc::clone(clock), Arc::clone(counters))?;
        let server = Arc::new(Server {
            link,
            prefix: config.key_prefix.clone(),
            max_value_bytes: config.max_value_bytes,
            max_ttl: cache.max_ttl,
            name_key: blake3::derive_key("brisk response cache 2026 redis names", &secret),
            seal_key: blake3::derive_key("brisk response cache 2026 redis values", &secret),
            epoch_seal_key: blake3::derive_key("brisk response cache 2026 redis epochs", &secret),
            clock: Arc::clone(clock),
            epochs: Arc::clone(epochs),
            counters: Arc::clone(counters),
        });
        server.link.connect_now().await;
        let (jobs, inbox) = mpsc::channel(MAX_QUEUED_JOBS);
        tokio::spawn(work(Arc::clone(&server), inbox));
        Ok(Self {
            server,
            jobs,
            budget: WriteBudget::new(cache.max_bytes),
            door: Mutex::new(Doorkeeper::new()),
            counters: Arc::clone(counters),
        })
    }

    pub(crate) fn breaker_state(&self) -> BreakerState {
        self.server.link.breaker_state()
    }

    /// The entry of this key. Anything else than a good one is `None`, and cleared away.
    pub(crate) async fn get(&self, key: &Key) -> Option<Opened<V>> {
        let server = &*self.server;
        let max = server.max_value_bytes;
        let (name, epoch_name) =
            (server.name(key.tenant, &key.slot), server.epoch_name(key.tenant));
        // Ranges, so that an oversized value is never sent, whatever lies there.
        let mut commands = redis::pipe();
        commands.getrange(epoch_name, 0, EPOCH_BYTES as isize).getrange(name, 0, max as isize);
        let (epoch, record) = match server.link.call::<(Vec<u8>, Vec<u8>)>(&commands).await {
            Ok(found) => found,
            Err(CallError::WrongType) => {
                self.counters.redis.bad_seals.count();
                self.queue(Job::Delete(key.tenant, key.slot));
                self.queue(Job::WriteEpoch(key.tenant));
                return None;
            }
            Err(CallError::OutOfService | CallError::Failed | CallError::Refused) => return None,
        };
        if !self.learn_epoch(key.tenant, &epoch) || record.is_empty() {
            return None;
        }
        let refused = if record.len() > max {
            &self.counters.redis.too_large
        } else {
            match record::open(&record, &server.seal_key, key) {
                // One of the future is passed over by the cache and stays: it may be our clock that is
                // behind, and the server ends it in time.
                Ok(opened) => return Some(opened),
                Err(Refusal::BadSeal) => &self.counters.redis.bad_seals,
                Err(Refusal::WrongKey) => &self.counters.redis.wrong_keys,
                Err(Refusal::Undecodable) => &self.counters.redis.undecodable,
            }
        };
        refused.count();
        self.queue(Job::Delete(key.tenant, key.slot));
        None
    }

    /// Takes over a later epoch, and puts ours back where the server has an earlier one. `false`
    /// when the record is not ours, so that nobody knows what was flushed.
    fn learn_epoch(&self, tenant: Tenant, record: &[u8]) -> bool {
        let server = &*self.server;
        let stored = if record.is_empty() { Some(0) } else { server.open_epoch(tenant, record) };
        let Some(stored) = stored else {
            self.counters.redis.bad_seals.count();
            self.queue(Job::WriteEpoch(tenant));
            return false;
        };
        server.epochs.raise(tenant, stored);
        if stored < server.epochs.of(tenant) {
            self.queue(Job::WriteEpoch(tenant));
        }
        true
    }

    /// Notes an entry that was made just now. It is written when its slot was made before: most
    /// questions are asked once, and only what returns is worth a place that all share.
    pub(crate) fn inserted(&self, entry: &Arc<Entry<V>>) {
        let mut door = self.door.lock().unwrap_or_else(PoisonError::into_inner);
        let was_seen = door.see(&entry.key.slot);
        drop(door);
        if was_seen {
            self.seen_again(entry);
        }
    }

    /// Notes that an entry was asked for again, and writes it unless that was done.
    pub(crate) fn seen_again(&self, entry: &Arc<Entry<V>>) {
        if entry.is_shared.load(Ordering::Relaxed) || entry.is_shared.swap(true, Ordering::Relaxed)
        {
            return;
        }
        let job =
            self.budget.take(bytes_of(entry)).map(|taken| Job::Write(Arc::clone(entry), taken));
        if !job.is_some_and(|job| self.queue(job)) {
            self.counters.redis.dropped_writes.count();
            entry.is_shared.store(false, Ordering::Relaxed);
        }
    }

    fn queue(&self, job: Job<V>) -> bool {
        self.jobs.try_send(job).is_ok()
    }

    /// Whether there was one; `None` when the server did not take it.
    pub(crate) async fn remove(&self, tenant: Tenant, slot: &Digest) -> Option<bool> {
        let was_held = self.server.delete(tenant, slot).await;
        // Once more after the writes that are queued: one of them may be of this very entry.
        let is_queued = self.queue(Job::Delete(tenant, *slot));
        was_held.filter(|_| is_queued)
    }

    /// Writes the tenant's epoch, and says whether it is there. Where that fails, the next lookup
    /// that succeeds does it.
    pub(crate) async fn flush(&self, tenant: Tenant) -> bool {
        self.server.write_epoch(tenant).await
    }

    pub(crate) async fn drain(&self) {
        let (done, drained) = oneshot::channel();
        let waiting = async {
            if self.jobs.send(Job::Drained(done)).await.is_ok() {
                drained.await.ok();
            }
        };
        timeout(DRAIN_TIMEOUT, waiting).await.ok();
    }
}

/// Does the queued jobs one after another, until the cache is dropped.
async fn work<V: Value>(server: Arc<Server>, mut inbox: mpsc::Receiver<Job<V>>) {
    while let Some(job) = inbox.recv().await {
        match job {
            Job::Write(entry, _taken) => {
                if !server.write(&entry).await {
                    entry.is_shared.store(false, Ordering::Relaxed);
                }
            }
            Job::Delete(tenant, slot) => {
                server.delete(tenant, &slot).await;
            }
            Job::WriteEpoch(tenant) => {
                server.write_epoch(tenant).await;
            }
            Job::Drained(done) => {
                done.send(()).ok();
            }
        }
    }
}

impl Server {
    /// Writes an entry. `false` when it should be tried again at its next hit.
    async fn write<V: Value>(&self, entry: &Entry<V>) -> bool {
        let now = self.clock.wall();
        let left = entry.expires.duration_since(now).unwrap_or_default();
        let left_ms = u64::try_from(left.as_millis()).unwrap_or(u64::MAX);
        if left_ms == 0
            || is_of_the_future((entry.created, entry.expires), now, self.max_ttl)
            || entry.epoch < self.epochs.of(entry.key.tenant)
        {
            return true; // it has ended meanwhile, or the clock was set back
        }
        let record = record::seal(entry, &self.seal_key);
        if record.len() > self.max_value_bytes {
            self.counters.redis.too_large.count();
            return true;
        }
        let mut commands = redis::pipe();
        commands.pset_ex(self.name(entry.key.tenant, &entry.key.slot), record, left_ms).ignore();
        let is_written = self.link.call::<()>(&commands).await.is_ok();
        let counter = if is_written {
            &self.counters.redis.writes
        } else {
            &self.counters.redis.dropped_writes
        };
        counter.count();
        is_written
    }

    /// Whether there was an entry; `None` when the call failed.
    async fn delete(&self, tenant: Tenant, slot: &Digest) -> Option<bool> {
        let mut commands = redis::pipe();
        commands.del(self.name(tenant, slot));
        let (num_deleted,) = self.link.call::<(u64,)>(&commands).await.ok()?;
        Some(num_deleted > 0)
    }

    /// Writes the epoch as we know it, unless a later one is there by now. It stays for longer than
    /// any entry that it speaks about. Whether one of them is there.
    async fn write_epoch(&self, tenant: Tenant) -> bool {
        let started = Instant::now();
        let name = self.epoch_name(tenant);
        let mut commands = redis::pipe();
        commands.getrange(&name, 0, EPOCH_BYTES as isize);
        match self.link.call::<(Vec<u8>,)>(&commands).await {
            Ok((record,)) => {
                let stored = self.open_epoch(tenant, &record);
                if let Some(stored) = stored
                    && stored >= self.epochs.of(tenant)
                {
                    self.epochs.raise(tenant, stored);
                    return true;
                }
            }
            Err(CallError::WrongType) => {}
            Err(CallError::OutOfService | CallError::Failed | CallError::Refused) => return false,
        }
        let epoch = self.epochs.of(tenant);
        let mut commands = redis::pipe();
        if epoch == 0 {
            commands.del(name).ignore();
        } else {
            let mut record = epoch.to_le_bytes().to_vec();
            record.extend_from_slice(self.seal_epoch(tenant, epoch).as_bytes());
            let life_ms = u64::try_from((self.max_ttl * 2).as_millis()).unwrap_or(u64::MAX);
            commands.pset_ex(name, record, life_ms.max(1)).ignore();
        }
        self.link.call_after::<()>(started.elapsed(), &commands).await.is_ok()
    }

    fn open_epoch(&self, tenant: Tenant, record: &[u8]) -> Option<u64> {
        let (epoch, seal) = record.split_first_chunk()?;
        let epoch = u64::from_le_bytes(*epoch);
        (self.seal_epoch(tenant, epoch) == *<&[u8; 32]>::try_from(seal).ok()?).then_some(epoch)
    }

    fn seal_epoch(&self, tenant: Tenant, epoch: u64) -> blake3::Hash {
        let mut hasher = blake3::Hasher::new_keyed(&self.epoch_seal_key);
        hasher.update(tenant.as_bytes()).update(&epoch.to_le_bytes()).finalize()
    }

    fn name(&self, tenant: Tenant, slot: &Digest) -> String {
        self.hidden("v", tenant, slot)
    }

    fn epoch_name(&self, tenant: Tenant) -> String {
        self.hidden("e", tenant, &[])
    }

    fn hidden(&self, kind: &str, tenant: Tenant, rest: &[u8]) -> String {
        let mut hasher = blake3::Hasher::new_keyed(&self.name_key);
        hasher.update(kind.as_bytes()).update(tenant.as_bytes()).update(rest);
        format!("{}{kind}:{}", self.prefix, hex(hasher.finalize().as_bytes()))
    }
}
