//! Holds back what waits to be written, in number and in bytes.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

/// Jobs that wait for a slower tier.
pub(crate) const MAX_QUEUED_JOBS: usize = 64;

/// Bytes of entries that wait for one tier. They may have left memory already, so they count on
/// top of its cap, and are kept to a small part of it.
#[derive(Debug)]
pub(crate) struct WriteBudget {
    max_bytes: u64,
    used: AtomicU64,
}

impl WriteBudget {
    pub(crate) fn new(cache_bytes: u64) -> Arc<Self> {
        Arc::new(Self { max_bytes: cache_bytes / 64, used: AtomicU64::new(0) })
    }

    /// Takes the bytes, or `None` when too many wait. A single entry may always wait.
    pub(crate) fn take(self: &Arc<Self>, num_bytes: u64) -> Option<TakenBytes> {
        let fits =
            |used| (used == 0 || used + num_bytes <= self.max_bytes).then_some(used + num_bytes);
        self.used.fetch_update(Ordering::Relaxed, Ordering::Relaxed, fits).ok()?;
        Some(TakenBytes { budget: Arc::clone(self), num_bytes })
    }
}

/// Bytes that wait; dropping gives them back.
#[derive(Debug)]
pub(crate) struct TakenBytes {
    budget: Arc<WriteBudget>,
    num_bytes: u64,
}

impl Drop for TakenBytes {
    fn drop(&mut self) {
        self.budget.used.fetch_sub(self.num_bytes, Ordering::Relaxed);
    }
}
