//! Lets identical requests that are under way share one generation.

use std::{
    collections::{BTreeMap, HashMap},
    fmt,
    future::poll_fn,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll, Waker},
};

use crate::key::Key;

/// The generations under way, by the request they answer.
///
/// The first to [`join`](Self::join) a key leads: it generates and publishes events. Everyone who
/// joins until the leader ends follows and reads all events from the first one on. A reader
/// never delays the others. The events of a flight are kept until its last handle is dropped; the leader
/// bounds their number, as it bounds its generation.
pub struct Flights<E> {
    shared: Arc<Shared<E>>,
}

struct Shared<E> {
    max_followers: usize,
    /// Flights that can be joined. Locked before a flight's own state, never after.
    by_key: Mutex<HashMap<Key, Arc<Flight<E>>>>,
}

struct Flight<E> {
    key: Key,
    state: Mutex<State<E>>,
}

struct State<E> {
    events: Vec<E>,
    end: Option<End>,
    /// Readers that still read; the first one is the leader's own.
    num_readers: usize,
    next_reader: u64,
    has_first_reader: bool,
    /// What the first reader gets after so many events, as its last one, while the flight goes on.
    failure: Option<(usize, Option<E>)>,
    waiting_readers: BTreeMap<u64, Waker>,
    waiting_leader: Option<Waker>,
    /// Events that the foremost reader has read.
    num_read: usize,
    /// The leader, while it is too far ahead of all readers.
    leader_ahead: Option<Waker>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum End {
    Finished,
    Interrupted,
}

/// The number of the leader's own reader.
const FIRST_READER: u64 = 0;

/// What joining gave.
#[derive(Debug)]
pub enum Joined<E> {
    /// Nobody generates this yet: generate, and read along.
    Lead(Leader<E>, Reader<E>),
    /// Somebody does: read.
    Follow(Reader<E>),
    /// Somebody does, and as many follow as may.
    Full,
}

impl<E> Flights<E> {
    /// No flights yet; each may have up to `max_followers` readers beside its leader's own.
    pub fn new(max_followers: usize) -> Self {
        Self { shared: Arc::new(Shared { max_followers, by_key: Mutex::default() }) }
    }

    /// Joins the flight of this key, or starts it.
    pub fn join(&self, key: Key) -> Joined<E> {
        let mut by_key = lock(&self.shared.by_key);
        if let Some(flight) = by_key.get(&key) {
            let mut state = lock(&flight.state);
            let num_followers = state.num_readers - usize::from(state.has_first_reader);
            if num_followers >= self.shared.max_followers {
                return Joined::Full;
            }
            let id = state.next_reader;
            state.next_reader += 1;
            state.num_readers += 1;
            drop(state);
            return Joined::Follow(Reader { flight: Arc::clone(flight), id, num_read: 0 });
        }
        let state = State {
            events: Vec::new(),
            end: None,
            num_readers: 1,
            next_reader: FIRST_READER + 1,
            has_first_reader: true,
            failure: None,
            waiting_readers: BTreeMap::new(),
            waiting_leader: None,
            num_read: 0,
            leader_ahead: None,
        };
        let flight = Arc::new(Flight { key, state: Mutex::new(state) });
        by_key.insert(key, Arc::clone(&flight));
        let reader = Reader { flight: Arc::clone(&flight), id: FIRST_READER, num_read: 0 };
        Joined::Lead(Leader { shared: Arc::clone(&self.shared), flight }, reader)
    }

    /// How many flights can be joined now.
    pub fn len(&self) -> usize {
        lock(&self.shared.by_key).len()
    }

    /// Whether none can.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// The one who generates. Dropping it without [`finish`](Self::finish) interrupts the readers.
pub struct Leader<E> {
    shared: Arc<Shared<E>>,
    flight: Arc<Flight<E>>,
}

impl<E> Leader<E> {
    /// Appends an event and wakes the readers that wait for one.
    pub fn publish(&self, event: E) {
        let mut state = lock(&self.flight.state);
        state.events.push(event);
        let woken = std::mem::take(&mut state.waiting_readers);
        drop(state);
        wake(woken);
    }

    /// Waits until the foremost reader has all but `max_unread` events, so that a generation nobody
    /// reads does not run on. Readers that are further behind never delay it.
    pub async fn has_room(&self, max_unread: usize) {
        poll_fn(|cx| {
            let mut state = lock(&self.flight.state);
            if state.events.len().saturating_sub(state.num_read) <= max_unread {
                return Poll::Ready(());
            }
            state.leader_ahead = Some(cx.waker().clone());
            Poll::Pending
        })
        .await;
    }

    /// Ends the flight: readers get what they have not read yet, then their end. Whoever joins from
    /// now on leads anew; so a reply that is to be kept is inserted into the cache before.
    pub fn finish(self) {
        self.end(End::Finished);
    }

    /// Gives the first reader, the leader's own, this event as its last one after what is published
    /// already; the others are not affected and may be served by another attempt. `false` when it has left already.
    pub fn fail_first_reader(&self, event: E) -> bool {
        let mut state = lock(&self.flight.state);
        if !state.has_first_reader {
            return false;
        }
        state.failure = Some((state.events.len(), Some(event)));
        let waiting = state.waiting_readers.remove(&FIRST_READER);
        let leader = leave(&mut state, FIRST_READER);
        drop(state);
        waiting.into_iter().chain(leader).for_each(Waker::wake);
        true
    }

    /// How many events were published.
    pub fn len(&self) -> usize {
        lock(&self.flight.state).events.len()
    }

    /// Whether none was.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// How many readers still read, the leader's own included.
    pub fn num_readers(&self) -> usize {
        lock(&self.flight.state).num_readers
    }

    /// Waits until no reader is left. From that moment on nobody can join, so nobody is lost when
    /// the leader then stops; a new request leads a new flight.
    pub async fn abandoned(&self) {
        poll_fn(|cx| self.poll_abandoned(cx)).await;
    }

    fn poll_abandoned(&self, cx: &Context<'_>) -> Poll<()> {
        // Both locks, in the order of `join`: who joins comes before or after, never in between.
        let mut by_key = lock(&self.shared.by_key);
        let mut state = lock(&self.flight.state);
        if state.num_readers > 0 {
            state.waiting_leader = Some(cx.waker().clone());
            return Poll::Pending;
        }
        drop(state);
        close(&mut by_key, &self.flight);
        Poll::Ready(())
    }

    /// Lets nobody join any more, and tells the readers how it ended. Only the first end counts.
    fn end(&self, end: End) {
        let mut by_key = lock(&self.shared.by_key);
        let mut state = lock(&self.flight.state);
        close(&mut by_key, &self.flight);
        state.end.get_or_insert(end);
        let woken = std::mem::take(&mut state.waiting_readers);
        drop(state);
        drop(by_key);
        wake(woken);
    }
}

impl<E> Drop for Leader<E> {
    fn drop(&mut self) {
        self.end(End::Interrupted);
    }
}

/// One who reads a flight's events, from the first one on. Dropping it leaves the flight.
pub struct Reader<E> {
    flight: Arc<Flight<E>>,
    id: u64,
    num_read: usize,
}

impl<E> Reader<E> {
    /// Whether this is the leader's own reader.
    pub fn is_leader(&self) -> bool {
        self.id == FIRST_READER
    }

    /// Whether the leader was dropped before it finished.
    pub fn interrupted(&self) -> bool {
        lock(&self.flight.state).end == Some(End::Interrupted)
    }
}

impl<E: Clone> Reader<E> {
    /// The next event, or `None` after the last one.
    pub fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Option<E>> {
        let mut state = lock(&self.flight.state);
        if self.is_leader()
            && let Some((num_before, failure)) = &mut state.failure
            && self.num_read >= *num_before
        {
            return Poll::Ready(failure.take());
        }
        if let Some(event) = state.events.get(self.num_read).cloned() {
            self.num_read += 1;
            let is_foremost = self.num_read > state.num_read;
            state.num_read = state.num_read.max(self.num_read);
            let ahead = if is_foremost { state.leader_ahead.take() } else { None };
            drop(state);
            ahead.into_iter().for_each(Waker::wake);
            return Poll::Ready(Some(event));
        }
        if state.end.is_some() {
            return Poll::Ready(None);
        }
        state.waiting_readers.insert(self.id, cx.waker().clone());
        Poll::Pending
    }

    /// Waits for the next event; `None` after the last one.
    pub async fn next(&mut self) -> Option<E> {
        poll_fn(|cx| self.poll_next(cx)).await
    }
}

impl<E> Drop for Reader<E> {
    fn drop(&mut self) {
        let mut state = lock(&self.flight.state);
        state.waiting_readers.remove(&self.id);
        let leader = if self.is_leader() && !state.has_first_reader {
            None // it failed, and so has left already
        } else {
            leave(&mut state, self.id)
        };
        drop(state);
        if let Some(leader) = leader {
            leader.wake();
        }
    }
}

/// Takes a reader out. Gives the leader's waker when it was the last one.
fn leave<E>(state: &mut State<E>, id: u64) -> Option<Waker> {
    state.num_readers -= 1;
    state.has_first_reader &= id != FIRST_READER;
    if state.num_readers == 0 { state.waiting_leader.take() } else { None }
}

/// Takes a flight from the map, unless another one has its key by now.
fn close<E>(by_key: &mut HashMap<Key, Arc<Flight<E>>>, flight: &Arc<Flight<E>>) {
    if by_key.get(&flight.key).is_some_and(|current| Arc::ptr_eq(current, flight)) {
        by_key.remove(&flight.key);
    }
}

fn wake(woken: BTreeMap<u64, Waker>) {
    woken.into_values().for_each(Waker::wake);
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl<E> Clone for Flights<E> {
    /// Another handle on the same flights.
    fn clone(&self) -> Self {
        Self { shared: Arc::clone(&self.shared) }
    }
}

impl<E> fmt::Debug for Flights<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Flights").field("len", &self.len()).finish_non_exhaustive()
    }
}

impl<E> fmt::Debug for Leader<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Leader").field("key", &self.flight.key).finish_non_exhaustive()
    }
}

impl<E> fmt::Debug for Reader<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reader")
            .field("id", &self.id)
            .field("num_read", &self.num_read)
            .finish_non_exhaustive()
    }
}
