//! Keeps replies so that a repeated request is answered without generating again.
//!
//! The crate knows keys and bytes; what a request or a reply is, its caller knows.
//!
//! - [`KeyHasher`] turns the parts of a request into a [`Key`]; [`normalize()`] gives the form of a
//!   question under which its spellings meet.
//! - [`ResponseCache`] holds entries in memory, and, where configured, on disk ([`DiskConfig`]) and
//!   in a Redis or Valkey that several instances share ([`RedisConfig`]). The two slower tiers only
//!   ever show as a miss: when they are slow, dead, full or hold something that is not ours.
//! - [`Flights`] lets identical requests that are under way at the same time share one generation.

mod breaker;
mod cache;
mod clock;
mod config;
mod disk;
mod disk_store;
mod doorkeeper;
mod entry;
mod epochs;
mod flights;
mod key;
mod memory;
mod normalize;
mod queue;
mod record;
mod redis_link;
mod redis_thread;
mod redis_tier;
mod stats;
mod tombstones;

pub use breaker::BreakerState;
pub use cache::ResponseCache;
pub use clock::{Clock, ManualClock, SystemClock};
pub use config::{CacheConfig, CacheError, DiskConfig, NotEverywhere, RedisConfig, Secret};
pub use entry::{Entry, EntryInfo, Hit, Lookup, MAX_LABEL_BYTES, NewEntry, Tier, Value};
pub use flights::{Flights, Joined, Leader, Reader};
pub use key::{Digest, Key, KeyHasher, Tenant};
pub use normalize::normalize;
pub use stats::{CacheStats, TierErrors, TierStats};
