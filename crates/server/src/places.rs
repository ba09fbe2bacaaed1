//! The places for connections, and who gives way when all of them are taken.

use std::{
    collections::HashMap,
    sync::Arc,
    time::{Duration, Instant},
};

use tokio::task::Id;

use crate::connection_state::{Awaited, ConnectionState, End};

/// A client has this long to do what is awaited before its connection may give way: a new one's
/// request follows at once, and many may come at the same time.
const MIN_AWAITED: Duration = Duration::from_millis(100);
/// The same where a request is on its way: networks pause for a second.
const MIN_AWAITED_IN_REQUEST: Duration = Duration::from_secs(1);

/// The connections that are open.
#[derive(Debug)]
pub(crate) struct Places {
    max_connections: usize,
    taken: HashMap<Id, Arc<ConnectionState>>,
    /// Who was told to end and has not ended yet.
    leaving: Option<Id>,
    num_gave_way: u64,
}

impl Places {
    pub(crate) fn new(max_connections: usize) -> Self {
        Self { max_connections, taken: HashMap::new(), leaving: None, num_gave_way: 0 }
    }

    pub(crate) fn are_taken(&self) -> bool {
        self.taken.len() >= self.max_connections
    }

    pub(crate) fn take(&mut self, id: Id, state: Arc<ConnectionState>) {
        self.taken.insert(id, state);
    }

    pub(crate) fn give_back(&mut self, id: Id) {
        self.taken.remove(&id);
        self.leaving = self.leaving.filter(|leaving| *leaving != id);
    }

    /// Tells one connection to end, if one has to give way at `now`. Only those may whose client has
    /// something to do; whoever waits for the server keeps its place.
    pub(crate) fn make_room(&mut self, now: Instant) {
        if self.leaving.is_some() {
            return;
        }
        let waiting = self.taken.iter().filter_map(|(&id, state)| {
            let (awaited, since) = state.awaited()?;
            let min = match awaited {
                Awaited::Close | Awaited::FirstHead | Awaited::NextHead => MIN_AWAITED,
                Awaited::Body | Awaited::Room => MIN_AWAITED_IN_REQUEST,
            };
            (now.saturating_duration_since(since) >= min).then_some((awaited, since, id))
        });
        let Some((awaited, _, id)) = waiting.min_by_key(|&(awaited, since, _)| (awaited, since))
        else {
            return;
        };
        self.num_gave_way += 1;
        if self.num_gave_way.is_power_of_two() {
            // Once in a while: this is what somebody sees who is being flooded.
            tracing::warn!(
                num_connections = self.taken.len(),
                num_gave_way = self.num_gave_way,
                ?awaited,
                "all places for connections are taken; the one whose client keeps it waiting longest gives way"
            );
        }
        self.leaving = Some(id);
        self.taken[&id].evict();
    }

    /// Notes that whatever has not ended is cut off.
    pub(crate) fn cut_off(&self) {
        self.taken.values().for_each(|state| state.set_end(End::CutOff));
    }
}
