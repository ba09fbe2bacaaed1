//! Counts the open requests of each key, so that none takes all connections.
//!
//! One key may have as many open as there are places free, half of them alone. A request is open
//! until its response has gone out: also one that comes along with an equal one, reads a stream or
//! sends its body slowly, and so takes no place in any other queue.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use brisk_gateway::Tenant;

use crate::error::HttpError;

/// Who has how many open.
#[derive(Debug)]
pub(crate) struct OpenRequests {
    max_open: usize,
    by_tenant: Mutex<HashMap<Tenant, usize>>,
}

/// An open request, until it is dropped.
#[derive(Debug)]
pub(crate) struct OpenRequest {
    all: Arc<OpenRequests>,
    tenant: Tenant,
}

impl OpenRequests {
    /// Nothing is open, and so many may be.
    pub(crate) fn new(max_open: usize) -> Self {
        Self { max_open, by_tenant: Mutex::default() }
    }

    /// One more request of this tenant.
    pub(crate) fn open(self: &Arc<Self>, tenant: Tenant) -> Result<OpenRequest, HttpError> {
        let mut by_tenant = self.lock();
        let num_free = self.max_open.saturating_sub(by_tenant.values().sum());
        let num_open = by_tenant.entry(tenant).or_default();
        if *num_open > 0 && *num_open >= num_free {
            return Err(HttpError::TooManyOpen { num_open: *num_open, num_free });
        }
        *num_open += 1;
        Ok(OpenRequest { all: Arc::clone(self), tenant })
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Tenant, usize>> {
        self.by_tenant.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for OpenRequest {
    fn drop(&mut self) {
        let mut by_tenant = self.all.lock();
        if let Some(num_open) = by_tenant.get_mut(&self.tenant) {
            *num_open -= 1;
            if *num_open == 0 {
                by_tenant.remove(&self.tenant);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_has_no_more_open_than_are_free() {
        let all = Arc::new(OpenRequests::new(8));
        let [a, b] = [1, 2].map(|it| Tenant::new([it; 32]));
        let mut open: Vec<_> = (0..4).map(|_| all.open(a).unwrap()).collect();
        let error = all.open(a).unwrap_err().to_string();
        assert_eq!(error, "4 requests of this key are open, 4 places are for others");
        open.extend((0..2).map(|_| all.open(b).unwrap()));
        assert!(all.open(b).is_err());
        // Two that end make room for one.
        open.drain(..2);
        open.push(all.open(a).unwrap());
        assert!(all.open(a).is_err());
        drop(open);
        assert!(all.lock().is_empty());
    }
}
