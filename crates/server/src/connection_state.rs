//! What a connection's stream, its service and its driver tell each other, and what it waits for.

use std::{
    sync::{
        Mutex, MutexGuard, OnceLock, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    task::Waker,
    time::Instant,
};

use tokio::sync::Notify;

use crate::head::HeadFault;

/// What a stream, its service and its driver tell each other.
#[derive(Debug, Default)]
pub(crate) struct ConnectionState {
    progress: Mutex<Progress>,
    /// The service has the request whose head came last. What is written before is the HTTP
    /// library's own answer.
    is_answering: AtomicBool,
    /// The server goes down: a connection between two requests ends.
    is_draining: AtomicBool,
    /// The client sends nothing more: it waits for its response, or it has left.
    input_end: Latch,
    /// Another connection needs the place.
    eviction: Latch,
    /// Who reads the stream, and wants to know when serving ends: only then does the time between two
    /// requests begin.
    reader: Mutex<Option<Waker>>,
    fault: OnceLock<HeadFault>,
    end: OnceLock<End>,
}

/// Where a connection is, and since when.
#[derive(Clone, Copy, Debug)]
struct Progress {
    phase: Phase,
    since: Instant,
    /// Since when the client takes no bytes.
    blocked_since: Option<Instant>,
}

impl Default for Progress {
    fn default() -> Self {
        Self { phase: Phase::Silent, since: Instant::now(), blocked_since: None }
    }
}

/// What a connection is at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Phase {
    /// No whole head has come yet.
    Silent,
    /// Between two requests.
    Idle,
    /// A body is on its way here.
    Receiving,
    /// A request is whole, and its response is not out yet.
    Serving,
    /// Everything is said; the client may still read.
    Closing,
}

/// What a server waits for that waits for its client, in the order in which such connections give way.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Awaited {
    /// That it closes too.
    Close,
    /// Its first request.
    FirstHead,
    /// Its next request.
    NextHead,
    /// The rest of its request.
    Body,
    /// That it takes what was written.
    Room,
}

/// Why a connection ended that could have gone on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    /// The client took nothing for too long.
    ClientTooSlow,
    /// Another connection needed the place.
    GaveWay,
    /// The server went down.
    CutOff,
}

impl ConnectionState {
    fn progress(&self) -> MutexGuard<'_, Progress> {
        lock(&self.progress)
    }

    pub(crate) fn set_phase(&self, phase: Phase) {
        let mut progress = self.progress();
        if progress.phase != phase {
            *progress = Progress { phase, since: Instant::now(), ..*progress };
        }
        drop(progress);
        if phase == Phase::Idle
            && let Some(reader) = lock(&self.reader).take()
        {
            reader.wake();
        }
    }

    /// Whether a request is being served: from the end of its head to the end of its response body.
    pub(crate) fn is_serving(&self) -> bool {
        matches!(self.progress().phase, Phase::Receiving | Phase::Serving)
    }

    pub(crate) fn set_reader(&self, reader: Waker) {
        *lock(&self.reader) = Some(reader);
    }

    /// The client takes no bytes, or does again.
    pub(crate) fn set_blocked(&self, is_blocked: bool) {
        self.progress().blocked_since = is_blocked.then(Instant::now);
    }

    /// What the server waits for and since when, unless it is the client who waits for the server.
    pub(crate) fn awaited(&self) -> Option<(Awaited, Instant)> {
        let Progress { phase, since, blocked_since } = *self.progress();
        match phase {
            Phase::Closing => Some((Awaited::Close, since)),
            Phase::Silent => Some((Awaited::FirstHead, since)),
            Phase::Idle | Phase::Receiving | Phase::Serving if blocked_since.is_some() => {
                blocked_since.map(|since| (Awaited::Room, since))
            }
            Phase::Idle => Some((Awaited::NextHead, since)),
            Phase::Receiving => Some((Awaited::Body, since)),
            Phase::Serving => None,
        }
    }

    pub(crate) fn set_answering(&self, is_answering: bool) {
        self.is_answering.store(is_answering, Ordering::Release);
    }

    pub(crate) fn is_answering(&self) -> bool {
        self.is_answering.load(Ordering::Acquire)
    }

    pub(crate) fn set_draining(&self) {
        self.is_draining.store(true, Ordering::Release);
    }

    pub(crate) fn is_draining(&self) -> bool {
        self.is_draining.load(Ordering::Acquire)
    }

    /// Returns once the client sends nothing more, its last request being whole. It may have left,
    /// or it may only have closed its sending side; which of the two it is shows when something is
    /// written.
    pub(crate) async fn input_ended(&self) {
        self.input_end.passed().await;
    }

    pub(crate) fn end_input(&self) {
        self.input_end.pass();
    }

    pub(crate) fn has_input_ended(&self) -> bool {
        self.input_end.has_passed()
    }

    /// Tells the connection to end at once.
    pub(crate) fn evict(&self) {
        self.set_end(End::GaveWay);
        self.eviction.pass();
    }

    /// Returns once the place is needed.
    pub(crate) async fn evicted(&self) {
        self.eviction.passed().await;
    }

    /// Refuses a head; only the first fault counts, for the connection ends with it.
    pub(crate) fn set_fault(&self, fault: HeadFault) {
        let _ = self.fault.set(fault);
    }

    /// Why the stream refused a head, if it did.
    pub(crate) fn fault(&self) -> Option<HeadFault> {
        self.fault.get().copied()
    }

    /// Notes why the connection ends; only the first reason counts.
    pub(crate) fn set_end(&self, end: End) {
        let _ = self.end.set(end);
    }

    /// Why the connection ended, unless by the client or in good order.
    pub(crate) fn end(&self) -> Option<End> {
        self.end.get().copied()
    }
}

/// Something that happens once, and that can be waited for.
#[derive(Debug, Default)]
struct Latch {
    has_passed: AtomicBool,
    passing: Notify,
}

impl Latch {
    fn pass(&self) {
        self.has_passed.store(true, Ordering::Release);
        self.passing.notify_waiters();
    }

    fn has_passed(&self) -> bool {
        self.has_passed.load(Ordering::Acquire)
    }

    async fn passed(&self) {
        loop {
            let passing = self.passing.notified();
            if self.has_passed() {
                return;
            }
            passing.await;
        }
    }
}

/// The guarded words cannot be left half written.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
