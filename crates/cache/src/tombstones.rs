//! Remembers removed entries, so that a slower tier cannot bring them back, and wrong ones, so that
//! their slots stay strict.

use std::{
    collections::HashMap,
    sync::{PoisonError, RwLock},
    time::{Duration, SystemTime},
};

use crate::key::{Digest, Tenant};

/// Removals, and beside them strict slots, that are remembered for all tenants together.
const MAX_NOTES: usize = 10_000;

/// What was removed by hand within the longest life of an entry.
#[derive(Debug, Default)]
pub(crate) struct Tombstones {
    /// When.
    removals: Notes<SystemTime>,
    /// Slots whose entry was reported as a wrong answer. Removals cannot crowd them out.
    exact_only: Notes<()>,
}

impl Tombstones {
    pub(crate) fn add_removal(
        &self,
        place: (Tenant, Digest),
        removed: SystemTime,
        until: Duration,
    ) {
        self.removals.add(place, removed, until);
    }

    /// From now on only exact hits may come from this slot.
    pub(crate) fn make_exact_only(&self, place: (Tenant, Digest), until: Duration) {
        self.exact_only.add(place, (), until);
    }

    /// Whether only exact hits may come from this slot.
    pub(crate) fn is_exact_only(&self, place: &(Tenant, Digest), now: Duration) -> bool {
        self.exact_only.get(place, now).is_some()
    }

    /// Whether an entry of this slot that was made at `created` was removed since.
    pub(crate) fn was_removed(
        &self,
        place: &(Tenant, Digest),
        created: SystemTime,
        now: Duration,
    ) -> bool {
        self.removals.get(place, now).is_some_and(|removed| created <= removed)
    }
}

/// One fact per slot, for a bounded number of slots. When there are too many, the tenant with the
/// most forgets its oldest one, so that nobody can make another tenant forget who has noted less.
#[derive(Debug)]
struct Notes<T> {
    state: RwLock<State<T>>,
}

#[derive(Debug)]
struct State<T> {
    num_notes: usize,
    by_tenant: HashMap<Tenant, HashMap<Digest, Note<T>>>,
}

#[derive(Debug)]
struct Note<T> {
    fact: T,
    /// When it may be forgotten, by the monotonic clock: nothing it speaks about lives longer.
    until: Duration,
}

impl<T> Default for Notes<T> {
    fn default() -> Self {
        Self { state: RwLock::new(State { num_notes: 0, by_tenant: HashMap::new() }) }
    }
}

impl<T: Copy> Notes<T> {
    fn add(&self, (tenant, slot): (Tenant, Digest), fact: T, until: Duration) {
        let mut state = self.state.write().unwrap_or_else(PoisonError::into_inner);
        let share = state.by_tenant.entry(tenant).or_default();
        let is_new = share.insert(slot, Note { fact, until }).is_none();
        state.num_notes += usize::from(is_new);
        if state.num_notes > MAX_NOTES {
            state.forget_one();
        }
    }

    fn get(&self, (tenant, slot): &(Tenant, Digest), now: Duration) -> Option<T> {
        let state = self.state.read().unwrap_or_else(PoisonError::into_inner);
        let note = state.by_tenant.get(tenant)?.get(slot)?;
        (now < note.until).then_some(note.fact)
    }
}

impl<T> State<T> {
    fn forget_one(&mut self) {
        let size = |tenant: &Tenant, share: &HashMap<_, _>| (share.len(), *tenant.as_bytes());
        let largest = self.by_tenant.iter_mut().max_by_key(|(tenant, share)| size(tenant, share));
        let Some((&tenant, share)) = largest else { return };
        // All were to last equally long, so the one that ends first is the oldest.
        let oldest = share.iter().min_by_key(|(slot, note)| (note.until, **slot));
        let oldest = oldest.map(|(&slot, _)| slot);
        if oldest.is_some_and(|slot| share.remove(&slot).is_some()) {
            self.num_notes -= 1;
        }
        if share.is_empty() {
            self.by_tenant.remove(&tenant);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn slot(n: u32) -> Digest {
        let mut slot = [0; 32];
        slot[..4].copy_from_slice(&n.to_le_bytes());
        slot
    }

    #[test]
    fn who_notes_most_forgets_first() {
        let notes = Notes::default();
        let (ann, ben) = (Tenant::new([1; 32]), Tenant::new([2; 32]));
        notes.add((ann, slot(0)), "ann's", Duration::from_secs(1));
        let num_bens = MAX_NOTES as u32 + 500;
        for n in 0..num_bens {
            notes.add((ben, slot(n)), "ben's", Duration::from_secs(2 + u64::from(n)));
        }
        let now = Duration::ZERO;
        assert_eq!(notes.get(&(ann, slot(0)), now), Some("ann's"));
        assert_eq!(notes.get(&(ann, slot(0)), Duration::from_secs(1)), None, "it is over");
        // Ben's newest are left, one after the other.
        let num_left = MAX_NOTES as u32 - 1;
        for (n, is_left) in
            [(num_bens - 1, true), (num_bens - num_left, true), (num_bens - num_left - 1, false)]
        {
            assert_eq!(notes.get(&(ben, slot(n)), now).is_some(), is_left, "{n}");
        }
        // However many tenants there are, together they have no more.
        for n in 0..500 {
            notes.add((Tenant::new(slot(n)), slot(n)), "", Duration::from_secs(9));
        }
        let state = notes.state.read().unwrap();
        assert_eq!(state.by_tenant.values().map(HashMap::len).sum::<usize>(), MAX_NOTES);
    }
}
