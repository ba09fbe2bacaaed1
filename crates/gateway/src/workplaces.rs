//! The few places at template and tokenizer: clients take turns at them.

use std::{
    collections::{BTreeMap, VecDeque},
    ops::Bound,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use brisk_engine::{ClientId, QueueBounds, QueueRefusal, WaitingRoom};
use tokio::sync::oneshot;

/// The places, and who waits for one.
#[derive(Debug)]
pub(crate) struct Workplaces {
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    /// While any is free, nobody waits.
    num_free: usize,
    room: WaitingRoom,
    /// Who waits, by client, the longest first, each under a number of its own.
    lines: BTreeMap<ClientId, VecDeque<(u64, oneshot::Sender<Workplace>)>>,
    num_came: u64,
    /// The client that got a place last.
    last: ClientId,
}

/// A place, given on when it is dropped.
#[derive(Debug)]
pub(crate) struct Workplace {
    places: Arc<Workplaces>,
}

/// One who waits; dropping it ends the wait, with a place or without.
struct Waits {
    places: Arc<Workplaces>,
    client: ClientId,
    number: u64,
}

impl Workplaces {
    /// So many places; of those who wait, as many as `bounds` says.
    pub(crate) fn new(num_places: usize, bounds: QueueBounds) -> Self {
        let state = State {
            num_free: num_places.max(1),
            room: WaitingRoom::new(bounds),
            lines: BTreeMap::new(),
            num_came: 0,
            last: ClientId(u64::MAX),
        };
        Self { state: Mutex::new(state) }
    }

    /// A free place, at once or when this client's turn has come.
    pub(crate) async fn take(
        self: &Arc<Self>,
        client: ClientId,
    ) -> Result<Workplace, QueueRefusal> {
        let (place, _waits) = {
            let mut state = self.lock();
            if state.num_free > 0 {
                state.num_free -= 1;
                return Ok(Workplace { places: Arc::clone(self) });
            }
            state.room.enter(client, 0)?;
            let number = state.num_came;
            state.num_came += 1;
            let (sender, place) = oneshot::channel();
            state.lines.entry(client).or_default().push_back((number, sender));
            (place, Waits { places: Arc::clone(self), client, number })
        };
        Ok(place.await.expect("who waits stays in line until it has a place"))
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// Who gets the next place: the client after the one that got the last.
    fn next(&mut self) -> Option<oneshot::Sender<Workplace>> {
        let after = (Bound::Excluded(self.last), Bound::Unbounded);
        let client = self.lines.range(after).next().or_else(|| self.lines.iter().next());
        let client = *client?.0;
        let line = self.lines.get_mut(&client)?;
        let (_, sender) = line.pop_front()?;
        if line.is_empty() {
            self.lines.remove(&client);
        }
        self.last = client;
        Some(sender)
    }
}

impl Drop for Workplace {
    fn drop(&mut self) {
        let mut state = self.places.lock();
        let Some(sender) = state.next() else {
            state.num_free += 1;
            return;
        };
        drop(state);
        // One that has gone away drops the place again, for the one after it.
        let _ = sender.send(Self { places: Arc::clone(&self.places) });
    }
}

impl Drop for Waits {
    fn drop(&mut self) {
        let mut state = self.places.lock();
        state.room.leave(self.client, 0);
        if let Some(line) = state.lines.get_mut(&self.client) {
            line.retain(|(number, _)| *number != self.number);
            if line.is_empty() {
                state.lines.remove(&self.client);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{
        pin::Pin,
        task::{Context, Poll, Waker},
    };

    use super::*;

    type Taking = Pin<Box<dyn Future<Output = Result<Workplace, QueueRefusal>>>>;

    fn places(num_places: usize, max_requests: usize, is_shared: bool) -> Arc<Workplaces> {
        let bounds = QueueBounds { max_requests, max_tokens: 0, is_shared };
        Arc::new(Workplaces::new(num_places, bounds))
    }

    fn take(places: &Arc<Workplaces>, client: u64) -> Taking {
        let places = Arc::clone(places);
        Box::pin(async move { places.take(ClientId(client)).await })
    }

    fn poll(taking: &mut Taking) -> Poll<Result<Workplace, QueueRefusal>> {
        taking.as_mut().poll(&mut Context::from_waker(Waker::noop()))
    }

    fn got(taking: &mut Taking) -> Workplace {
        match poll(taking) {
            Poll::Ready(place) => place.expect("it was let in"),
            Poll::Pending => panic!("it waits"),
        }
    }

    #[test]
    fn only_so_many_wait_for_a_place() {
        let places = places(1, 2, false);
        let held = got(&mut take(&places, 0));
        let [mut first, mut second] = [take(&places, 0), take(&places, 0)];
        assert!(poll(&mut first).is_pending() && poll(&mut second).is_pending());
        let full = QueueRefusal::Full { num_waiting: 2, max_waiting: 2 };
        assert!(matches!(poll(&mut take(&places, 0)), Poll::Ready(Err(it)) if it == full));
        drop(first);
        let mut third = take(&places, 0);
        assert!(poll(&mut third).is_pending());
        drop(held);
        drop(got(&mut second));
        drop(got(&mut third));
        let state = places.lock();
        assert_eq!((state.room.num_requests(), state.num_free), (0, 1));
    }

    #[test]
    fn clients_take_turns() {
        let places = places(1, 99, true);
        let held = got(&mut take(&places, 1));
        let clients = [1, 1, 1, 2, 2, 3];
        let mut waiting: Vec<_> = clients.iter().map(|&it| (it, take(&places, it))).collect();
        for (_, taking) in &mut waiting {
            assert!(poll(taking).is_pending());
        }
        drop(held);
        let mut order = Vec::new();
        while !waiting.is_empty() {
            let next = waiting.iter_mut().position(|(_, it)| match poll(it) {
                Poll::Ready(place) => {
                    drop(place);
                    true
                }
                Poll::Pending => false,
            });
            order.push(waiting.remove(next.expect("one has the place")).0);
        }
        assert_eq!(order, [1, 2, 3, 1, 2, 1]);
    }

    #[test]
    fn a_place_given_to_one_that_has_gone_goes_on() {
        let places = places(1, 99, false);
        let held = got(&mut take(&places, 0));
        let [mut first, mut second] = [take(&places, 0), take(&places, 0)];
        assert!(poll(&mut first).is_pending() && poll(&mut second).is_pending());
        // The first has the place and goes away before it looks.
        drop(held);
        drop(first);
        drop(got(&mut second));
        let state = places.lock();
        assert_eq!((state.room.num_requests(), state.num_free), (0, 1));
    }
}
