//! What the engine's thread and its handles both see.

use std::{
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use tokio::sync::watch;

use crate::{
    config::EngineConfig,
    error::{GenerationError, SubmitError},
    queue::{ClientId, QueueRefusal, WaitingRoom},
    stats::EngineStats,
};

/// State shared between the engine's thread and every handle and stream. The locks guard a few
/// words each and are never held across work.
#[derive(Debug)]
pub(crate) struct Shared {
    queue: Mutex<WaitingRoom>,
    stats: Mutex<EngineStats>,
    /// Why the engine ended; set before `alive` turns false.
    end: Mutex<Option<GenerationError>>,
    alive: watch::Sender<bool>,
    /// No request is taken any more.
    closing: AtomicBool,
    /// Set by a shutdown: how long what was taken may still run.
    grace: Mutex<Option<Duration>>,
}

impl Shared {
    pub(crate) fn new(stats: EngineStats, config: &EngineConfig) -> Self {
        Self {
            queue: Mutex::new(WaitingRoom::new(config.queue_bounds())),
            stats: Mutex::new(stats),
            end: Mutex::new(None),
            alive: watch::Sender::new(true),
            closing: AtomicBool::new(false),
            grace: Mutex::new(None),
        }
    }

    /// Takes a place in the queue, which is given back when the ticket is dropped.
    pub(crate) fn enqueue(
        self: &Arc<Self>,
        client: ClientId,
        num_tokens: usize,
    ) -> Result<QueueTicket, SubmitError> {
        let entered = lock(&self.queue).enter(client, num_tokens);
        entered.map_err(|refusal| self.refuse(client, refusal))?;
        Ok(QueueTicket { shared: Arc::clone(self), client, num_tokens })
    }

    /// Whether there is a place in the queue.
    pub(crate) fn check_queue(&self, client: ClientId) -> Result<(), SubmitError> {
        let checked = lock(&self.queue).check(client, 0);
        checked.map_err(|refusal| self.refuse(client, refusal))
    }

    /// A refusal and when to come back: when everything that waits now should have begun, or as much
    /// of it as comes before what the client itself has waiting.
    pub(crate) fn refuse(&self, client: ClientId, refusal: QueueRefusal) -> SubmitError {
        let queue = lock(&self.queue);
        let num_before =
            if refusal.is_clients_own() { queue.num_before(client) } else { queue.num_requests() };
        drop(queue);
        let interval = lock(&self.stats).queue_interval;
        let wait = interval.saturating_mul(u32::try_from(num_before).unwrap_or(u32::MAX));
        SubmitError::QueueFull { refusal, wait }
    }

    /// The figures of the latest step, with the queue as it is now.
    pub(crate) fn stats(&self) -> EngineStats {
        let mut stats = *lock(&self.stats);
        let queue = lock(&self.queue);
        stats.num_waiting += queue.num_requests();
        stats.num_queued_requests = queue.num_requests();
        stats.num_queued_tokens = queue.num_tokens();
        stats
    }

    /// Publishes the figures of a step; `num_waiting` without the queue.
    pub(crate) fn set_stats(&self, stats: EngineStats) {
        *lock(&self.stats) = stats;
    }

    /// No request is taken from now on; those taken have `grace` to finish. A later call may
    /// shorten the grace, never lengthen it.
    pub(crate) fn shut_down(&self, grace: Duration) {
        self.closing.store(true, Ordering::SeqCst);
        let mut current = lock(&self.grace);
        *current = Some(current.map_or(grace, |it| it.min(grace)));
    }

    /// The grace period, once a shutdown was asked for.
    pub(crate) fn grace(&self) -> Option<Duration> {
        *lock(&self.grace)
    }

    pub(crate) fn is_accepting(&self) -> bool {
        !self.closing.load(Ordering::SeqCst) && self.is_alive()
    }

    /// The engine's thread leaves; streams without an end get `error`.
    pub(crate) fn end(&self, error: GenerationError) {
        self.closing.store(true, Ordering::SeqCst);
        *lock(&self.end) = Some(error);
        self.alive.send_replace(false);
    }

    pub(crate) fn is_alive(&self) -> bool {
        *self.alive.borrow()
    }

    pub(crate) fn watch_alive(&self) -> watch::Receiver<bool> {
        self.alive.subscribe()
    }

    /// Why a stream may have closed without a last event.
    pub(crate) fn why_ended(&self) -> GenerationError {
        lock(&self.end).clone().unwrap_or_else(|| GenerationError::EngineStopped {
            reason: "its thread let a request go".to_owned(),
        })
    }
}

/// A place in the queue of requests that wait for their first step.
#[derive(Debug)]
pub(crate) struct QueueTicket {
    shared: Arc<Shared>,
    client: ClientId,
    num_tokens: usize,
}

impl Drop for QueueTicket {
    fn drop(&mut self) {
        lock(&self.shared.queue).leave(self.client, self.num_tokens);
    }
}

/// The guarded words are plain numbers and enums: a panic elsewhere cannot leave them half written.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
