//! Whether a file takes what it is given, and a log line when that changes.

use std::{
    fmt::Display,
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

use tracing::{info, warn};

/// Trouble that comes and goes is logged once in this time: a disk that is nearly full takes a small
/// write and refuses the next.
const QUIET: Duration = Duration::from_secs(60);

/// What is known of a file by the last calls.
#[derive(Debug)]
pub struct Health {
    /// What the file does, for the log: `kept replies are not written`.
    trouble: &'static str,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    is_degraded: bool,
    /// Whether the trouble that lasts was logged.
    is_said: bool,
    said_at: Option<Instant>,
}

/// What is to be logged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Said {
    Trouble,
    Recovery,
}

impl Health {
    /// A file that is well. `trouble` is logged when it is not.
    pub fn new(trouble: &'static str) -> Self {
        Self { trouble, state: Mutex::default() }
    }

    /// Whether the last call failed.
    pub fn is_degraded(&self) -> bool {
        self.state.lock().unwrap_or_else(PoisonError::into_inner).is_degraded
    }

    /// A call worked.
    pub fn worked(&self) {
        if self.note(false, Instant::now()) == Some(Said::Recovery) {
            info!("it is over: {}", self.trouble);
        }
    }

    /// A call failed.
    pub fn failed(&self, error: &dyn Display) {
        if self.note(true, Instant::now()) == Some(Said::Trouble) {
            warn!(%error, "{}", self.trouble);
        }
    }

    fn note(&self, is_degraded: bool, now: Instant) -> Option<Said> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.is_degraded = is_degraded;
        let is_quiet = state.said_at.is_some_and(|at| now.saturating_duration_since(at) < QUIET);
        if is_degraded && !state.is_said && !is_quiet {
            state.is_said = true;
            state.said_at = Some(now);
            return Some(Said::Trouble);
        }
        if !is_degraded && state.is_said {
            state.is_said = false;
            return Some(Said::Recovery);
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_change_is_logged_and_trouble_that_flickers_once_a_minute() {
        let (health, start) = (Health::new("nothing is kept"), Instant::now());
        for (second, is_degraded, expected) in [
            (0, false, None),
            (1, true, Some(Said::Trouble)),
            (2, true, None),
            (3, false, Some(Said::Recovery)),
            (4, false, None),
            (5, true, None),
            (6, false, None),
            (7, true, None),
            (62, true, Some(Said::Trouble)),
            (63, true, None),
            (200, true, None),
            (201, false, Some(Said::Recovery)),
        ] {
            let said = health.note(is_degraded, start + Duration::from_secs(second));
            assert_eq!((said, health.is_degraded()), (expected, is_degraded), "second {second}");
        }
    }
}
