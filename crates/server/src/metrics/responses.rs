//! Counts responses by route and status.

use std::{
    collections::BTreeMap,
    sync::{
        PoisonError, RwLock,
        atomic::{AtomicU64, Ordering},
    },
};

/// Counts by status and route. Both come from closed sets, so the map stays small; and only the
/// first response of its kind takes the lock for itself.
#[derive(Debug, Default)]
pub(crate) struct Responses {
    counts: RwLock<BTreeMap<u16, BTreeMap<String, AtomicU64>>>,
}

impl Responses {
    pub(crate) fn count(&self, route: &str, status: u16) {
        let counts = self.counts.read().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = counts.get(&status).and_then(|routes| routes.get(route)) {
            count.fetch_add(1, Ordering::Relaxed);
            return;
        }
        drop(counts);
        let mut counts = self.counts.write().unwrap_or_else(PoisonError::into_inner);
        let routes = counts.entry(status).or_default();
        routes.entry(route.to_owned()).or_default().fetch_add(1, Ordering::Relaxed);
    }

    /// Calls `visit` with each route, status and count.
    pub(crate) fn visit(&self, mut visit: impl FnMut(&str, u16, u64)) {
        let counts = self.counts.read().unwrap_or_else(PoisonError::into_inner);
        for (status, routes) in &*counts {
            for (route, count) in routes {
                visit(route, *status, count.load(Ordering::Relaxed));
            }
        }
    }
}
