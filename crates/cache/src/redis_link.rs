//! Calls a Redis server within a deadline, or does not call it.

use std::{
    fmt,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use redis::{
    AsyncConnectionConfig, Client, FromRedisValue, Pipeline, RedisError, aio::MultiplexedConnection,
};
use tokio::time::timeout;
use tracing::{debug, warn};

use crate::{
    breaker::{Breaker, BreakerState, Permit},
    clock::Clock,
    config::CacheError,
    redis_thread::RedisThread,
    stats::Counters,
};

/// The longest that the task in the background tries to connect.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(1);

/// One connection, made in the background and given up at the first doubt: a call that failed or
/// came too late may have left half a reply behind.
pub(crate) struct Link {
    client: Client,
    thread: RedisThread,
    deadline: Duration,
    breaker: Arc<Breaker>,
    connection: Mutex<Option<Connection>>,
    next_connection: AtomicU64,
    is_connecting: AtomicBool,
    counters: Arc<Counters>,
}

#[derive(Clone)]
struct Connection {
    id: u64,
    multiplexed: MultiplexedConnection,
}

/// Why a call gave nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum CallError {
    /// The server is left alone, or being connected.
    OutOfService,
    /// No reply in time, no connection, or no sense in the reply.
    Failed,
    /// The key holds something that is not a string.
    WrongType,
    /// The server refuses this command, and is well otherwise: full, or read-only.
    Refused,
}

impl Link {
    pub(crate) fn new(
        client: Client,
        deadline: Duration,
        clock: Arc<dyn Clock>,
        counters: Arc<Counters>,
    ) -> Result<Arc<Self>, CacheError> {
        Ok(Arc::new(Self {
            client,
            thread: RedisThread::start().map_err(CacheError::RedisThread)?,
            deadline,
            breaker: Breaker::new(clock),
            connection: Mutex::new(None),
            next_connection: AtomicU64::new(0),
            is_connecting: AtomicBool::new(false),
            counters,
        }))
    }

    pub(crate) fn breaker_state(&self) -> BreakerState {
        self.breaker.state()
    }

    /// Sends the commands and reads their replies, within the deadline.
    pub(crate) async fn call<T: FromRedisValue>(
        self: &Arc<Self>,
        commands: &Pipeline,
    ) -> Result<T, CallError> {
        self.call_after(Duration::ZERO, commands).await
    }

    /// As [`call`](Self::call), for whoever has waited for earlier calls already: one deadline holds
    /// for all of them.
    pub(crate) async fn call_after<T: FromRedisValue>(
        self: &Arc<Self>,
        waited: Duration,
        commands: &Pipeline,
    ) -> Result<T, CallError> {
        let permit = self.breaker.permit().ok_or(CallError::OutOfService)?;
        let Some(mut connection) = self.lock().clone() else {
            self.connect_in_background(permit);
            return Err(CallError::OutOfService);
        };
        let reply = commands.query_async(&mut connection.multiplexed);
        match timeout(self.deadline.saturating_sub(waited), reply).await {
            Ok(Ok(reply)) => {
                permit.succeed();
                Ok(reply)
            }
            Ok(Err(error)) => Err(self.judge(&error, permit, connection.id)),
            Err(_) => {
                self.counters.redis.timeouts.count();
                self.give_up(connection.id);
                permit.fail();
                Err(CallError::Failed)
            }
        }
    }

    /// What an error says about the server.
    fn judge(&self, error: &RedisError, permit: Permit, connection_id: u64) -> CallError {
        debug!(kind = ?error.kind(), "a call to the cache's Redis failed");
        self.counters.redis.failures.count();
        let replies = error.clone().into_server_errors().unwrap_or_default();
        let has = |code| replies.iter().any(|(_, reply)| reply.code() == code);
        if has("WRONGTYPE") {
            permit.succeed();
            CallError::WrongType
        } else if has("OOM") || has("READONLY") {
            permit.succeed();
            CallError::Refused
        } else {
            // LOADING, NOAUTH, NOPERM, MOVED and their like: the next call would be refused too.
            self.give_up(connection_id);
            permit.fail();
            CallError::Failed
        }
    }

    fn connect_in_background(self: &Arc<Self>, permit: Permit) {
        if self.is_connecting.swap(true, Ordering::AcqRel) {
            return; // the permit goes back unused
        }
        let link = Arc::clone(self);
        tokio::spawn(async move { link.connect(permit).await });
    }

    /// Connects at the start. A server that is down is tried again at the first lookup.
    pub(crate) async fn connect_now(self: &Arc<Self>) {
        if let Some(permit) = self.breaker.permit()
            && !self.is_connecting.swap(true, Ordering::AcqRel)
        {
            self.connect(permit).await;
        }
    }

    /// A connection proves little: the verdict on the server is left to the first call.
    async fn connect(&self, permit: Permit) {
        let _until_the_end = Connecting(&self.is_connecting);
        let client = self.client.clone();
        // A connection is read where it was made.
        let connecting = self.thread.spawn(async move {
            let config = AsyncConnectionConfig::new()
                .set_connection_timeout(Some(CONNECT_TIMEOUT))
                .set_response_timeout(None);
            let connecting = client.get_multiplexed_async_connection_with_config(&config);
            timeout(CONNECT_TIMEOUT, connecting).await
        });
        match connecting.await {
            Ok(Ok(Ok(multiplexed))) => {
                let id = self.next_connection.fetch_add(1, Ordering::Relaxed);
                *self.lock() = Some(Connection { id, multiplexed });
                drop(permit);
            }
            Ok(Ok(Err(error))) => {
                warn!(kind = ?error.kind(), "cannot connect to the cache's Redis");
                self.counters.redis.failures.count();
                permit.fail();
            }
            Ok(Err(_)) | Err(_) => {
                warn!(timeout = ?CONNECT_TIMEOUT, "the cache's Redis does not answer");
                self.counters.redis.timeouts.count();
                permit.fail();
            }
        }
    }

    /// Drops a connection, so that a late or endless reply on it is not read any further.
    fn give_up(&self, id: u64) {
        let mut connection = self.lock();
        if connection.as_ref().is_some_and(|current| current.id == id) {
            *connection = None;
        }
    }

    fn lock(&self) -> MutexGuard<'_, Option<Connection>> {
        self.connection.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Says that nobody connects any more, however the attempt ends.
struct Connecting<'a>(&'a AtomicBool);

impl Drop for Connecting<'_> {
    fn drop(&mut self) {
        self.0.store(false, Ordering::Release);
    }
}

impl fmt::Debug for Link {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Link").field("breaker", &self.breaker_state()).finish_non_exhaustive()
    }
}
