//! Remembers when each tenant's entries were flushed.

use std::{
    collections::HashMap,
    sync::{
        PoisonError, RwLock,
        atomic::{AtomicBool, Ordering},
    },
};

use crate::key::Tenant;

/// Tenants that are remembered one by one.
const MAX_TENANTS: usize = 10_000;

/// The epoch of each tenant: 0 until its first flush, then the time of the last one in
/// microseconds after 1970, so that a later flush is a greater number on every instance.
///
/// An entry made in an earlier epoch than its tenant's is a miss.
#[derive(Debug, Default)]
pub(crate) struct Epochs {
    is_empty_no_more: AtomicBool,
    state: RwLock<State>,
}

#[derive(Debug, Default)]
struct State {
    /// No tenant's epoch is below this one.
    floor: u64,
    by_tenant: HashMap<Tenant, u64>,
}

impl Epochs {
    pub(crate) fn of(&self, tenant: Tenant) -> u64 {
        if !self.is_empty_no_more.load(Ordering::Acquire) {
            return 0;
        }
        let state = self.state.read().unwrap_or_else(PoisonError::into_inner);
        state.by_tenant.get(&tenant).map_or(state.floor, |epoch| (*epoch).max(state.floor))
    }

    /// Takes over an epoch that is greater than the known one. Whether it was.
    pub(crate) fn raise(&self, tenant: Tenant, epoch: u64) -> bool {
        if epoch <= self.of(tenant) {
            return false;
        }
        let mut state = self.state.write().unwrap_or_else(PoisonError::into_inner);
        if state.by_tenant.len() >= MAX_TENANTS && !state.by_tenant.contains_key(&tenant) {
            // Rather flush everybody once than forget that somebody was flushed.
            state.floor = state.by_tenant.values().copied().fold(state.floor, u64::max);
            state.by_tenant.clear();
        }
        let known = state.by_tenant.entry(tenant).or_default();
        *known = epoch.max(*known);
        drop(state);
        self.is_empty_no_more.store(true, Ordering::Release);
        true
    }

    /// Begins a new epoch at the given time, or just after the known one where the clock is behind.
    pub(crate) fn begin(&self, tenant: Tenant, now_micros: u64) -> u64 {
        let epoch = now_micros.max(self.of(tenant).saturating_add(1));
        self.raise(tenant, epoch);
        epoch
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn epochs_only_rise_and_a_full_table_forgets_no_flush() {
        let epochs = Epochs::default();
        let tenant = |n: u32| {
            let mut id = [0; 32];
            id[..4].copy_from_slice(&n.to_le_bytes());
            Tenant::new(id)
        };
        assert_eq!(epochs.of(tenant(1)), 0);
        assert_eq!(epochs.begin(tenant(1), 50), 50);
        assert_eq!(epochs.begin(tenant(1), 20), 51, "a clock that went back");
        assert!(!epochs.raise(tenant(1), 40));
        for n in 0..MAX_TENANTS as u32 + 10 {
            epochs.raise(tenant(n), 60);
        }
        assert!(epochs.of(tenant(1)) >= 51);
        assert!(epochs.state.read().unwrap().by_tenant.len() <= MAX_TENANTS);
    }
}
