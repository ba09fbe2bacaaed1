//! What a cache may use: bytes, entries, time, a file, a server.

use std::{fmt, path::PathBuf, time::Duration};

use brisk_storage::FileError;

use crate::entry::Tier;

/// The limits of a [`crate::ResponseCache`] and the tiers below its memory.
#[derive(Clone, Debug)]
pub struct CacheConfig {
    /// Bytes that the entries in memory may take together, bookkeeping included.
    pub max_bytes: u64,
    /// Entries that memory may hold.
    pub max_entries: u64,
    /// How long an entry lives when its insertion names no time.
    pub ttl: Duration,
    /// The longest that any entry lives, whatever its insertion says. Never more than ten years.
    pub max_ttl: Duration,
    /// Keeps entries across restarts. Off by default.
    pub disk: Option<DiskConfig>,
    /// Shares entries between instances. Off by default.
    pub redis: Option<RedisConfig>,
}

impl Default for CacheConfig {
    /// 64 MiB, 10,000 entries, a day and at most a week, memory alone.
    fn default() -> Self {
        Self {
            max_bytes: 64 << 20,
            max_entries: 10_000,
            ttl: Duration::from_secs(24 * 60 * 60),
            max_ttl: Duration::from_secs(7 * 24 * 60 * 60),
            disk: None,
            redis: None,
        }
    }
}

/// A tier in one SQLite file.
#[derive(Clone, Debug)]
pub struct DiskConfig {
    /// The file. Its folder is created when it is missing.
    pub path: PathBuf,
    /// Bytes that the records may take together.
    pub max_bytes: u64,
}

/// How long a request waits for Redis where nobody names another time.
///
/// A request may lose 20 ms to Redis. On a machine whose cores are all busy a timer ends late: the
/// lookups of `tests/e2e/shared_cache.py` that gave up then took 11 to 16 ms, and seldom more. A healthy
/// server in the same network answers within 1 ms.
const DEADLINE: Duration = Duration::from_millis(10);

/// A tier in a Redis or Valkey server.
#[derive(Clone)]
pub struct RedisConfig {
    /// `redis://[user:password@]host[:port][/database]`.
    pub url: String,
    /// How long a request waits for this tier. A timer may end some milliseconds late, so this is to be
    /// less than what a request may lose. Connecting does not count: no request waits for that.
    pub deadline: Duration,
    /// The longest record that is written or read.
    pub max_value_bytes: usize,
    /// What every key begins with, for the server's access rules.
    pub key_prefix: String,
    /// Makes values unforgeable and key names unreadable. Instances that share it share entries.
    pub secret: Secret,
}

impl RedisConfig {
    /// A server with a deadline of 10 ms, values of up to 1 MiB and the prefix `brisk:`.
    pub fn new(url: impl Into<String>, secret: Secret) -> Self {
        Self {
            url: url.into(),
            deadline: DEADLINE,
            max_value_bytes: 1 << 20,
            key_prefix: "brisk:".to_owned(),
            secret,
        }
    }
}

impl fmt::Debug for RedisConfig {
    /// Without the URL, which may hold a password.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RedisConfig")
            .field("deadline", &self.deadline)
            .field("max_value_bytes", &self.max_value_bytes)
            .field("key_prefix", &self.key_prefix)
            .finish_non_exhaustive()
    }
}

/// The secret of a Redis tier. It prints as nothing.
#[derive(Clone)]
pub enum Secret {
    /// Of all instances that are configured with the same text.
    Shared([u8; 32]),
    /// Of this process alone: what other processes and earlier runs wrote is not found.
    PerProcess,
}

impl Secret {
    /// The secret that a configured text stands for.
    pub fn new(text: &str) -> Self {
        Self::Shared(blake3::derive_key("brisk response cache 2026 secret", text.as_bytes()))
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Shared(_) => "Secret::Shared(..)",
            Self::PerProcess => "Secret::PerProcess",
        })
    }
}

/// Why a cache cannot be opened. A running cache has misses instead of errors, but for
/// [`NotEverywhere`].
#[derive(Debug, thiserror::Error)]
pub enum CacheError {
    /// The configured file cannot be made or written.
    #[error("cannot use the cache file {path}: {source}")]
    DiskPath {
        /// The configured path.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// The configured file is not ours.
    #[error("cannot use the cache file: {0}")]
    DiskFile(#[from] FileError),
    /// The thread of the disk tier cannot be started.
    #[error("cannot start the thread of the disk cache: {0}")]
    DiskThread(std::io::Error),
    /// The URL is not one of a Redis server. It is not shown, as it may hold a password.
    #[error(
        "the cache's Redis URL is not of the form redis://[user:password@]host[:port][/database]: {reason}"
    )]
    RedisUrl {
        /// What is wrong with it.
        reason: String,
    },
    /// The thread of the Redis tier cannot be started.
    #[error("cannot start the thread of the Redis cache: {0}")]
    RedisThread(std::io::Error),
    /// The system gives no random bytes for a secret.
    #[error("the system gives no random bytes: {0}")]
    NoRandomBytes(getrandom::Error),
}

/// A removal that a slower tier did not take: it is locked, full, slow or dead. Memory has let go of
/// what was to be removed, but it may come back from that tier, at the latest after a restart. The
/// same call can be made again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "the cache's tier {tier:?} did not take this: what was removed may come back from there; try again"
)]
pub struct NotEverywhere {
    /// The tier; when there are two, the faster one.
    pub tier: Tier,
}
