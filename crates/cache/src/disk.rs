//! Keeps entries in a file, from a thread of its own.

use std::{
    sync::Arc,
    thread,
    time::{Duration, SystemTime},
};

use tokio::{
    sync::{mpsc, oneshot},
    time::timeout,
};

use crate::{
    clock::Clock,
    config::{CacheConfig, CacheError, DiskConfig},
    disk_store::{DiskHealth, Store},
    entry::{Entry, EntryInfo, Value},
    epochs::Epochs,
    key::{Digest, Key, Tenant},
    memory::bytes_of,
    queue::{MAX_QUEUED_JOBS, TakenBytes, WriteBudget},
    record::{self, Opened, Refusal, SealKey},
    stats::Counters,
};

/// The longest that a request waits for the disk. Generating takes longer than even a slow read,
/// so this is only there for a disk that hangs.
const GET_DEADLINE: Duration = Duration::from_millis(500);

/// The longest that an administrator's call waits.
const ADMIN_DEADLINE: Duration = Duration::from_secs(5);

pub(crate) struct Disk<V: Value> {
    jobs: mpsc::Sender<Job<V>>,
    budget: Arc<WriteBudget>,
    seal_key: SealKey,
    health: Arc<DiskHealth>,
    counters: Arc<Counters>,
}

/// What the thread is asked to do.
enum Job<V> {
    Get(Digest, oneshot::Sender<Option<Vec<u8>>>),
    Write(Arc<Entry<V>>, TakenBytes),
    Remove(Tenant, Digest, oneshot::Sender<Option<bool>>),
    List(Tenant, usize, oneshot::Sender<Vec<EntryInfo>>),
    Flush(Tenant, u64, oneshot::Sender<bool>),
    Drained(oneshot::Sender<()>),
    Close(oneshot::Sender<()>),
}

impl<V: Value> Disk<V> {
    /// Opens the file and learns the epochs that it holds.
    pub(crate) async fn open(
        config: &DiskConfig,
        cache: &CacheConfig,
        clock: &Arc<dyn Clock>,
        epochs: &Arc<Epochs>,
        counters: Arc<Counters>,
    ) -> Result<Self, CacheError> {
        // The file belongs to whoever may write it, so this seal is against damage, not forgery:
        // its key is no secret, and entries outlive a change of secrets.
        let seal_key = blake3::derive_key("brisk response cache 2026 disk values", &[]);
        let (jobs, inbox) = mpsc::channel(MAX_QUEUED_JOBS);
        let (opened, is_open) = oneshot::channel();
        let (config, clock, epochs) = (config.clone(), Arc::clone(clock), Arc::clone(epochs));
        let thread_counters = Arc::clone(&counters);
        let health = Arc::new(DiskHealth::new());
        let (max_ttl, thread_health) = (cache.max_ttl, Arc::clone(&health));
        let open = move |counters| Store::open(config, max_ttl, thread_health, counters);
        let run = move || match open(Arc::clone(&thread_counters)) {
            Ok(mut store) => {
                for (tenant, epoch) in store.epochs() {
                    epochs.raise(tenant, epoch);
                }
                opened.send(Ok(())).ok();
                work(store, inbox, &seal_key, &*clock, &thread_counters);
            }
            Err(error) => {
                opened.send(Err(error)).ok();
            }
        };
        thread::Builder::new()
            .name("brisk-cache-disk".to_owned())
            .spawn(run)
            .map_err(CacheError::DiskThread)?;
        match is_open.await {
            Ok(result) => result?,
            Err(_) => {
                let source = std::io::Error::other("the thread ended");
                return Err(CacheError::DiskThread(source));
            }
        }
        Ok(Self { jobs, budget: WriteBudget::new(cache.max_bytes), seal_key, health, counters })
    }

    /// The entry of this key. Anything else than a good one is `None`.
    pub(crate) async fn get(&self, key: &Key) -> Option<Opened<V>> {
        let (reply, record) = oneshot::channel();
        if self.jobs.try_send(Job::Get(key.slot, reply)).is_err() {
            self.counters.disk.failures.count();
            return None;
        }
        let Ok(record) = timeout(GET_DEADLINE, record).await else {
            self.counters.disk.timeouts.count();
            return None;
        };
        let refused = match record::open(&record.ok()??, &self.seal_key, key) {
            Ok(opened) => return Some(opened),
            Err(Refusal::BadSeal) => &self.counters.disk.bad_seals,
            Err(Refusal::WrongKey) => &self.counters.disk.wrong_keys,
            Err(Refusal::Undecodable) => &self.counters.disk.undecodable,
        };
        refused.count();
        let (reply, _) = oneshot::channel();
        self.jobs.try_send(Job::Remove(key.tenant, key.slot, reply)).ok();
        None
    }

    pub(crate) fn write(&self, entry: &Arc<Entry<V>>) {
        let taken = self.budget.take(bytes_of(entry));
        let job = taken.map(|taken| Job::Write(Arc::clone(entry), taken));
        if job.is_none_or(|job| self.jobs.try_send(job).is_err()) {
            self.counters.disk.dropped_writes.count();
        }
    }

    /// Whether there was one; `None` when the file did not take it.
    pub(crate) async fn remove(&self, tenant: Tenant, slot: &Digest) -> Option<bool> {
        self.ask(|reply| Job::Remove(tenant, *slot, reply)).await.flatten()
    }

    pub(crate) async fn list(&self, tenant: Tenant, limit: usize) -> Vec<EntryInfo> {
        self.ask(|reply| Job::List(tenant, limit, reply)).await.unwrap_or_default()
    }

    /// Whether the file took it.
    pub(crate) async fn flush(&self, tenant: Tenant, epoch: u64) -> bool {
        self.ask(|reply| Job::Flush(tenant, epoch, reply)).await.unwrap_or(false)
    }

    pub(crate) async fn drain(&self) {
        self.ask(Job::Drained).await;
    }

    /// Writes what is queued and closes the file: from then on everything is a miss.
    pub(crate) async fn close(&self) {
        self.ask(Job::Close).await;
    }

    pub(crate) fn is_degraded(&self) -> bool {
        self.health.is_degraded()
    }

    async fn ask<T>(&self, job: impl FnOnce(oneshot::Sender<T>) -> Job<V>) -> Option<T> {
        let (reply, answer) = oneshot::channel();
        let asking = async {
            self.jobs.send(job(reply)).await.ok()?;
            answer.await.ok()
        };
        let answer = timeout(ADMIN_DEADLINE, asking).await;
        if answer.is_err() {
            self.counters.disk.timeouts.count();
        }
        answer.ok().flatten()
    }
}

/// The thread: one job after another, until the cache is closed or dropped.
fn work<V: Value>(
    mut store: Store,
    mut inbox: mpsc::Receiver<Job<V>>,
    seal_key: &SealKey,
    clock: &dyn Clock,
    counters: &Counters,
) {
    while let Some(job) = inbox.blocking_recv() {
        let now = clock.wall();
        match job {
            // A request that gave up needs no answer.
            Job::Get(_, reply) if reply.is_closed() => {}
            Job::Get(slot, reply) => {
                reply.send(store.get(&slot, now)).ok();
            }
            Job::Write(entry, _taken) => {
                let is_written = write(&mut store, &entry, seal_key, now);
                let counter =
                    if is_written { &counters.disk.writes } else { &counters.disk.dropped_writes };
                counter.count();
            }
            Job::Remove(tenant, slot, reply) => {
                reply.send(store.remove(tenant, &slot)).ok();
            }
            Job::List(tenant, limit, reply) => {
                reply.send(store.list(tenant, limit, now)).ok();
            }
            Job::Flush(tenant, epoch, reply) => {
                reply.send(store.flush(tenant, epoch)).ok();
            }
            Job::Drained(reply) => {
                reply.send(()).ok();
            }
            Job::Close(reply) => {
                store.close();
                reply.send(()).ok();
                return;
            }
        }
    }
    store.close();
}

fn write<V: Value>(
    store: &mut Store,
    entry: &Entry<V>,
    seal_key: &SealKey,
    now: SystemTime,
) -> bool {
    let record = record::seal(entry, seal_key);
    let Entry { key, label, created, expires, .. } = entry;
    store.write(key, label, (*created, *expires), &record, now)
}
