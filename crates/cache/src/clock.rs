//! Tells the time twice: one that never jumps, for ages in memory, and the calendar's, for what is
//! stored outside the process.

use std::{
    sync::atomic::{AtomicU64, Ordering},
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

/// How far the calendars of two instances, or of one before and after it was set right, may lie apart.
/// What was made later than this from now was made while a clock was ahead.
pub(crate) const MAX_SKEW: Duration = Duration::from_secs(5 * 60);

/// A source of time. The cache asks nothing else what time it is, except for the deadlines of
/// calls to Redis and to the disk.
pub trait Clock: Send + Sync + 'static {
    /// Time since some fixed moment. It never goes back and never jumps.
    fn monotonic(&self) -> Duration;

    /// The calendar's time, which an administrator may set to anything.
    fn wall(&self) -> SystemTime;
}

/// The machine's clocks.
#[derive(Clone, Copy, Debug)]
pub struct SystemClock {
    start: Instant,
}

impl SystemClock {
    /// A clock whose monotonic time starts now.
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
    fn monotonic(&self) -> Duration {
        self.start.elapsed()
    }

    fn wall(&self) -> SystemTime {
        SystemTime::now()
    }
}

/// A clock that moves only when a test moves it.
#[derive(Debug)]
pub struct ManualClock {
    monotonic_micros: AtomicU64,
    wall_micros: AtomicU64,
}

impl ManualClock {
    /// A clock that stands at `wall_seconds` after 1970, with monotonic time zero.
    pub fn new(wall_seconds: u64) -> Self {
        let wall_micros = AtomicU64::new(wall_seconds * 1_000_000);
        Self { monotonic_micros: AtomicU64::new(0), wall_micros }
    }

    /// Lets time pass.
    pub fn advance(&self, time: Duration) {
        let micros = time.as_micros() as u64;
        self.monotonic_micros.fetch_add(micros, Ordering::SeqCst);
        self.wall_micros.fetch_add(micros, Ordering::SeqCst);
    }

    /// Sets the calendar's time without letting time pass.
    pub fn set_wall(&self, seconds: u64) {
        self.wall_micros.store(seconds * 1_000_000, Ordering::SeqCst);
    }
}

impl Clock for ManualClock {
    fn monotonic(&self) -> Duration {
        Duration::from_micros(self.monotonic_micros.load(Ordering::SeqCst))
    }

    fn wall(&self) -> SystemTime {
        UNIX_EPOCH + Duration::from_micros(self.wall_micros.load(Ordering::SeqCst))
    }
}

/// Whether an entry with these times was made while a clock was ahead: it would outlive its lifetime by as
/// much.
pub(crate) fn is_of_the_future(
    (created, expires): (SystemTime, SystemTime),
    now: SystemTime,
    max_ttl: Duration,
) -> bool {
    let ahead = |time: SystemTime| time.duration_since(now).unwrap_or_default();
    ahead(created) > MAX_SKEW || ahead(expires) > max_ttl.saturating_add(MAX_SKEW)
}

/// Microseconds after 1970, as records hold them. Times before are 0.
pub(crate) fn to_micros(time: SystemTime) -> u64 {
    let micros = time.duration_since(UNIX_EPOCH).map_or(0, |time| time.as_micros());
    u64::try_from(micros).unwrap_or(u64::MAX)
}

/// The time of a record. A number that no `SystemTime` can hold becomes 1970, which is expired.
pub(crate) fn from_micros(micros: u64) -> SystemTime {
    UNIX_EPOCH.checked_add(Duration::from_micros(micros)).unwrap_or(UNIX_EPOCH)
}
