//! What is kept, what a lookup gives back, and what lists show.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64},
    },
    time::{Duration, SystemTime},
};

use crate::key::{Digest, Key};

/// A reply as the cache sees it: a size in memory, and bytes for the slower tiers.
pub trait Value: Send + Sync + Sized + 'static {
    /// All bytes it takes, on the heap and itself.
    fn num_bytes(&self) -> usize;

    /// Its bytes for disk and Redis.
    fn encode(&self) -> Vec<u8>;

    /// The value of such bytes, or `None` when they are of another version. The bytes are whole
    /// and were written by a cache with the same secret.
    fn decode(bytes: &[u8]) -> Option<Self>;
}

/// A kept reply.
#[derive(Debug)]
pub struct Entry<V> {
    /// What it answers.
    pub key: Key,
    /// The reply.
    pub value: V,
    /// When it was made, by the calendar of the instance that made it.
    pub created: SystemTime,
    /// From when on it is not served any more.
    pub expires: SystemTime,
    /// The start of the question, for lists; at most [`MAX_LABEL_BYTES`] bytes.
    pub label: Box<str>,
    /// How long generating it took: what a hit saves.
    pub saved: Duration,
    /// The tenant's epoch when it was made.
    pub(crate) epoch: u64,
    /// When it came into this process, by the monotonic clock, which no one can set.
    pub(crate) arrived: Duration,
    /// How old it was then.
    pub(crate) age_on_arrival: Duration,
    /// The end of its life, by the same clock.
    pub(crate) deadline: Duration,
    pub(crate) num_hits: AtomicU64,
    /// Whether it was handed to the Redis tier, or came from there.
    pub(crate) is_shared: AtomicBool,
}

/// The longest label, in bytes; longer ones are cut at a character.
pub const MAX_LABEL_BYTES: usize = 120;

/// A reply to keep.
#[derive(Debug)]
pub struct NewEntry<V> {
    /// What it answers.
    pub key: Key,
    /// The reply.
    pub value: V,
    /// The start of the question, for lists.
    pub label: String,
    /// How long generating it took.
    pub saved: Duration,
    /// How long it lives, where that is shorter than the configured time.
    pub ttl: Option<Duration>,
}

/// Where an entry was found.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Tier {
    /// This process.
    Memory,
    /// The file of this machine.
    Disk,
    /// The server shared with other instances.
    Redis,
}

/// What a lookup found.
#[derive(Debug)]
pub struct Hit<V> {
    /// The entry. Eviction drops only the cache's own reference.
    pub entry: Arc<Entry<V>>,
    /// Where it was.
    pub tier: Tier,
    /// Whether the entry answers the very same request, not only one that is spelled otherwise.
    pub is_exact: bool,
    pub(crate) age: Duration,
}

impl<V> Hit<V> {
    /// How old the entry was at the lookup.
    pub fn age(&self) -> Duration {
        self.age
    }
}

/// What a lookup asks for beyond the key.
#[derive(Clone, Copy, Debug, Default)]
pub struct Lookup {
    /// The oldest entry that is good enough.
    pub max_age: Option<Duration>,
    /// Only an entry that answers the very same request.
    pub exact_only: bool,
}

/// A line of a list of entries.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EntryInfo {
    /// Where it lies; names it in `remove` and `report_bad`.
    pub slot: Digest,
    /// The start of the question.
    pub label: String,
    /// When it was made.
    pub created: SystemTime,
    /// When it ends.
    pub expires: SystemTime,
    /// Bytes it takes in its tier.
    pub num_bytes: u64,
    /// Hits since it came into memory; 0 for entries that are on disk alone.
    pub num_hits: u64,
    /// The fastest tier that holds it.
    pub tier: Tier,
}

/// The beginning of `label`, at most [`MAX_LABEL_BYTES`] long.
pub(crate) fn short_label(label: &str) -> Box<str> {
    label[..label.floor_char_boundary(MAX_LABEL_BYTES)].into()
}

/// The life of an entry: `ttl`, moved by up to a tenth so that entries made together do not end
/// together, and never above `max_ttl`. The slot decides by how much, so that a test needs no luck.
pub(crate) fn jittered(ttl: Duration, max_ttl: Duration, slot: &Digest) -> Duration {
    let step = u32::from(u16::from_le_bytes([slot[0], slot[1]])); // 0 ..= 65535
    let ttl = ttl.min(max_ttl);
    let tenth = ttl / 10;
    let moved = tenth.mul_f64(f64::from(step) / 32_767.5); // 0 ..= 2 tenths
    (ttl - tenth).saturating_add(moved).min(max_ttl)
}
