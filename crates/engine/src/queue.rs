//! Counts who waits, and decides whether one more may.
//!
//! Where several clients may come, one of them may hold as many places as are still free: half of
//! the queue alone, a third each of two. So whoever comes next finds room however much the others
//! send, and a busy client grows into what nobody else wants. The first waiting prompt of a client
//! counts no tokens against it: a long prompt is never locked out by others' short ones.

use std::collections::BTreeMap;

use thiserror::Error;

/// Whose request it is, as far as fairness goes: a number that means nothing here.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ClientId(pub u64);

/// How much may wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct QueueBounds {
    /// Requests in all.
    pub max_requests: usize,
    /// Prompt tokens in all, but for the first prompt of each client.
    pub max_tokens: usize,
    /// Several clients may come, and none may take all places.
    pub is_shared: bool,
}

/// Why one more may not wait.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
pub enum QueueRefusal {
    /// Try later: nobody finds a place.
    #[error("{num_waiting} requests are waiting, the queue holds {max_waiting}")]
    Full {
        /// Requests waiting now.
        num_waiting: usize,
        /// The bound.
        max_waiting: usize,
    },
    /// Try later: the prompts that wait hold too many tokens.
    #[error("{num_tokens} prompt tokens are waiting, the queue holds {max_tokens}")]
    TokensFull {
        /// Prompt tokens waiting now.
        num_tokens: usize,
        /// The bound.
        max_tokens: usize,
    },
    /// Caller's move: wait for the requests sent before.
    #[error("{num_waiting} requests of this client are waiting, {num_free} places are for others")]
    ClientFull {
        /// Requests of the client that wait now.
        num_waiting: usize,
        /// Places that are free.
        num_free: usize,
    },
    /// Caller's move: wait for the prompts sent before.
    #[error(
        "{num_tokens} prompt tokens of this client are waiting, {num_free_tokens} more are for others"
    )]
    ClientTokensFull {
        /// Prompt tokens of the client that wait now.
        num_tokens: usize,
        /// Tokens that may still come.
        num_free_tokens: usize,
    },
}

impl QueueRefusal {
    /// Whether others would still find a place.
    pub fn is_clients_own(&self) -> bool {
        match self {
            Self::Full { .. } | Self::TokensFull { .. } => false,
            Self::ClientFull { .. } | Self::ClientTokensFull { .. } => true,
        }
    }
}

/// Who waits.
#[derive(Debug)]
pub struct WaitingRoom {
    bounds: QueueBounds,
    /// Clients that have something waiting.
    clients: BTreeMap<ClientId, Load>,
    total: Load,
}

#[derive(Clone, Copy, Debug, Default)]
struct Load {
    num_requests: usize,
    num_tokens: usize,
}

impl WaitingRoom {
    /// Nobody waits. There is a place for at least one request.
    pub fn new(bounds: QueueBounds) -> Self {
        let max_requests = bounds.max_requests.max(1);
        let bounds = QueueBounds { max_requests, ..bounds };
        Self { bounds, clients: BTreeMap::new(), total: Load::default() }
    }

    /// Whether one more request of this client may wait.
    ///
    /// # Errors
    ///
    /// Says whose fault it is.
    pub fn check(&self, client: ClientId, num_tokens: usize) -> Result<(), QueueRefusal> {
        let QueueBounds { max_requests, max_tokens, is_shared } = self.bounds;
        let Load { num_requests: num_waiting, num_tokens: num_waiting_tokens } = self.total;
        let num_free = max_requests.saturating_sub(num_waiting);
        let own = self.clients.get(&client);
        // Whoever has something waiting is above its share of a full queue, too.
        if let Some(own) = own.filter(|own| is_shared && own.num_requests >= num_free) {
            return Err(QueueRefusal::ClientFull { num_waiting: own.num_requests, num_free });
        }
        if num_free == 0 {
            return Err(QueueRefusal::Full { num_waiting, max_waiting: max_requests });
        }
        let Some(own) = own else { return Ok(()) };
        let num_free_tokens = max_tokens.saturating_sub(num_waiting_tokens);
        if num_tokens > num_free_tokens {
            return Err(QueueRefusal::TokensFull { num_tokens: num_waiting_tokens, max_tokens });
        }
        if is_shared && own.num_tokens + num_tokens > num_free_tokens {
            let num_tokens = own.num_tokens;
            return Err(QueueRefusal::ClientTokensFull { num_tokens, num_free_tokens });
        }
        Ok(())
    }

    /// One more waits if it may.
    ///
    /// # Errors
    ///
    /// Those of [`WaitingRoom::check`].
    pub fn enter(&mut self, client: ClientId, num_tokens: usize) -> Result<(), QueueRefusal> {
        self.check(client, num_tokens)?;
        for load in [self.clients.entry(client).or_default(), &mut self.total] {
            load.num_requests += 1;
            load.num_tokens += num_tokens;
        }
        Ok(())
    }

    /// One that was let in waits no more.
    ///
    /// # Panics
    ///
    /// When none of this client waits.
    pub fn leave(&mut self, client: ClientId, num_tokens: usize) {
        let own = self.clients.get_mut(&client).expect("who leaves has waited");
        for load in [&mut *own, &mut self.total] {
            load.num_requests -= 1;
            load.num_tokens -= num_tokens;
        }
        if own.num_requests == 0 {
            self.clients.remove(&client);
        }
    }

    /// Requests that wait.
    pub fn num_requests(&self) -> usize {
        self.total.num_requests
    }

    /// Prompt tokens that wait.
    pub fn num_tokens(&self) -> usize {
        self.total.num_tokens
    }

    /// Requests that begin before all that this client has waiting now, and these: clients take
    /// turns, so that of each other one no more begin than of this one.
    pub fn num_before(&self, client: ClientId) -> usize {
        let own = self.clients.get(&client).map_or(0, |it| it.num_requests);
        self.clients.values().map(|it| it.num_requests.min(own)).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Clients enter (`a`, `b 500`: one with so many tokens, else 1) and leave (`-a`); what is said
    /// to the last who enters.
    fn check(is_shared: bool, script: &str, expected: &str) {
        let bounds = QueueBounds { max_requests: 8, max_tokens: 1000, is_shared };
        let mut room = WaitingRoom::new(bounds);
        let mut said = String::new();
        for step in script.split(", ") {
            let (who, num_tokens) = step.split_once(' ').unwrap_or((step, "1"));
            let num_tokens = num_tokens.parse().unwrap();
            let client = ClientId(u64::from(*who.as_bytes().last().unwrap()));
            if who.starts_with('-') {
                room.leave(client, num_tokens);
            } else {
                let entered = room.enter(client, num_tokens);
                said = entered.map_or_else(|it| it.to_string(), |()| "in".to_owned());
            }
        }
        assert_eq!(said, expected, "{script}");
    }

    #[test]
    fn a_client_among_others_holds_no_more_than_is_free() {
        check(true, "a, a, a, a", "in");
        let full = "4 requests of this client are waiting, 4 places are for others";
        check(true, "a, a, a, a, a", full);
        check(true, "a, a, a, a, a, b, b", "in");
        let third = "2 requests of this client are waiting, 2 places are for others";
        check(true, "a, a, a, a, b, b, b", third);
        // Who had more than a share of its own gets in again when it has less.
        let over = "3 requests of this client are waiting, 3 places are for others";
        check(true, "a, a, a, a, b, b, -a, a", over);
        check(true, "a, a, a, a, b, b, -a, -a, a", "in");
        // The last place is for somebody who has none.
        let none = "1 requests of this client are waiting, 1 places are for others";
        check(true, "a, b, c, d, e, f, g, a", none);
        check(true, "a, b, c, d, e, f, g, h", "in");
        let full = "1 requests of this client are waiting, 0 places are for others";
        check(true, "a, b, c, d, e, f, g, h, a", full);
        check(true, "a, b, c, d, e, f, g, h, i", "8 requests are waiting, the queue holds 8");
    }

    #[test]
    fn a_client_alone_holds_all() {
        check(false, "a, a, a, a, a, a, a, a", "in");
        check(false, "a, a, a, a, a, a, a, a, a", "8 requests are waiting, the queue holds 8");
        check(false, "a 900, a 100", "in");
        check(false, "a 900, a 101", "900 prompt tokens are waiting, the queue holds 1000");
    }

    #[test]
    fn tokens_are_shared_like_places() {
        let full = "300 prompt tokens of this client are waiting, 700 more are for others";
        check(true, "a 300, a 401", full);
        check(true, "a 300, a 400", "in");
        check(true, "a 300, a 300, b 150, b 100", "in");
        check(true, "a 300, a 701", "300 prompt tokens are waiting, the queue holds 1000");
        // The first prompt may always wait.
        check(true, "a 9000", "in");
        check(true, "a 9000, b 9000", "in");
        check(true, "a 9000, b 9000, b", "18000 prompt tokens are waiting, the queue holds 1000");
    }

    #[test]
    fn clients_take_turns_before_one_is_through() {
        let bounds = QueueBounds { max_requests: 99, max_tokens: 99, is_shared: true };
        let mut room = WaitingRoom::new(bounds);
        for client in [1, 1, 1, 1, 1, 2, 2, 3] {
            room.enter(ClientId(client), 1).unwrap();
        }
        for (client, expected) in [(1, 8), (2, 5), (3, 3), (4, 0)] {
            assert_eq!(room.num_before(ClientId(client)), expected, "client {client}");
        }
    }
}
