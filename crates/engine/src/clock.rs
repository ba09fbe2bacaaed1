//! The engine's view of time, injected so that tests can move it.

use std::{
    fmt,
    time::{Duration, Instant},
};

/// A clock that never goes back.
pub trait Clock: Send + Sync + fmt::Debug {
    /// Time since the clock was made.
    fn now(&self) -> Duration;
}

/// The machine's monotonic clock.
#[derive(Clone, Copy, Debug)]
pub struct SystemClock {
    start: Instant,
}

impl SystemClock {
    /// A clock that starts now.
    pub fn new() -> Self {
        Self { start: Instant::now() }
    }
}

impl Default for SystemClock {
    fn default() -> Self {
        Self::new()
    }
}

impl Clock for SystemClock {
    fn now(&self) -> Duration {
        self.start.elapsed()
    }
}
