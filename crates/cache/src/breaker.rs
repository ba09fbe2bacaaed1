//! Decides whether the Redis tier may be called.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tracing::{info, warn};

use crate::clock::Clock;

/// Failures in a row after which the tier is left alone.
const MAX_FAILURES: u32 = 5;

/// How long it is left alone at first; each failed probe doubles the time.
const FIRST_PAUSE: Duration = Duration::from_millis(500);
const LONGEST_PAUSE: Duration = Duration::from_secs(30);

/// Whether a tier is in service.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum BreakerState {
    /// It is called.
    Closed,
    /// It is left alone.
    Open,
    /// One call tries whether it works again.
    HalfOpen,
}

#[derive(Clone, Copy, Debug)]
enum State {
    Closed { num_failures: u32 },
    Open { until: Duration, pause: Duration },
    HalfOpen { pause: Duration },
}

/// Lets calls through while they succeed, none after several failures in a row, and then exactly
/// one at a time until one succeeds.
pub(crate) struct Breaker {
    state: Mutex<State>,
    clock: Arc<dyn Clock>,
}

impl Breaker {
    pub(crate) fn new(clock: Arc<dyn Clock>) -> Arc<Self> {
        Arc::new(Self { state: Mutex::new(State::Closed { num_failures: 0 }), clock })
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn state(&self) -> BreakerState {
        match *self.lock() {
            State::Closed { .. } => BreakerState::Closed,
            State::Open { .. } => BreakerState::Open,
            State::HalfOpen { .. } => BreakerState::HalfOpen,
        }
    }

    /// A permit for one call, or `None` while the tier is left alone.
    pub(crate) fn permit(self: &Arc<Self>) -> Option<Permit> {
        let mut state = self.lock();
        let is_probe = match *state {
            State::Closed { .. } => false,
            State::Open { until, pause } if self.clock.monotonic() >= until => {
                *state = State::HalfOpen { pause };
                true
            }
            State::Open { .. } | State::HalfOpen { .. } => return None,
        };
        Some(Permit { breaker: Arc::clone(self), is_probe, is_settled: false })
    }
}

/// The right to make one call. Dropped without a verdict, it says nothing about the tier, and
/// another caller may probe in its place.
pub(crate) struct Permit {
    breaker: Arc<Breaker>,
    is_probe: bool,
    is_settled: bool,
}

impl Permit {
    pub(crate) fn succeed(mut self) {
        self.is_settled = true;
        let mut state = self.breaker.lock();
        // A call from before the breaker opened does not close it.
        if self.is_probe {
            info!("the cache's Redis is in service again");
        }
        if self.is_probe || matches!(*state, State::Closed { .. }) {
            *state = State::Closed { num_failures: 0 };
        }
    }

    pub(crate) fn fail(mut self) {
        self.is_settled = true;
        let now = self.breaker.clock.monotonic();
        let mut state = self.breaker.lock();
        *state = match *state {
            State::Closed { num_failures } if num_failures + 1 < MAX_FAILURES => {
                State::Closed { num_failures: num_failures + 1 }
            }
            State::Closed { .. } => {
                warn!(num_failures = MAX_FAILURES, pause = ?FIRST_PAUSE, "the cache's Redis is left alone");
                State::Open { until: now + FIRST_PAUSE, pause: FIRST_PAUSE }
            }
            State::HalfOpen { pause } if self.is_probe => {
                let pause = (pause * 2).min(LONGEST_PAUSE);
                State::Open { until: now + pause, pause }
            }
            other => other,
        };
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        if self.is_settled || !self.is_probe {
            return;
        }
        let now = self.breaker.clock.monotonic();
        let mut state = self.breaker.lock();
        if let State::HalfOpen { pause } = *state {
            *state = State::Open { until: now, pause };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::ManualClock;

    /// Steps: `ok`, `fail`, `drop` (a call and how it ended), `none` (a call that is not let
    /// through), `take` (a call that stays under way, until `late-ok`, `late-fail` or `late-drop`),
    /// `+MS` (time). The states after each step.
    fn check(steps: &str, expected: &str) {
        let clock = Arc::new(ManualClock::new(0));
        let breaker = Breaker::new(Arc::clone(&clock) as Arc<dyn Clock>);
        let mut under_way = Vec::new();
        let mut states = Vec::new();
        for step in steps.split_whitespace() {
            match step {
                "ok" => breaker.permit().expect("a permit").succeed(),
                "fail" => breaker.permit().expect("a permit").fail(),
                "drop" => drop(breaker.permit().expect("a permit")),
                "none" => assert!(breaker.permit().is_none(), "{steps}"),
                "take" => under_way.push(breaker.permit().expect("a permit")),
                "late-ok" => under_way.remove(0).succeed(),
                "late-fail" => under_way.remove(0).fail(),
                "late-drop" => drop(under_way.remove(0)),
                time => {
                    clock.advance(Duration::from_millis(time[1..].parse().expect("milliseconds")));
                }
            }
            states.push(match breaker.state() {
                BreakerState::Closed => 'c',
                BreakerState::Open => 'o',
                BreakerState::HalfOpen => 'h',
            });
        }
        assert_eq!(states.iter().collect::<String>(), expected, "{steps}");
    }

    #[test]
    fn five_failures_in_a_row_open_it_and_one_success_closes_it() {
        check("fail fail fail fail ok fail", "cccccc");
        check("fail fail fail fail fail none", "ccccoo");
        check("fail fail fail fail fail +499 none +1 ok fail", "ccccoooocc");
    }

    #[test]
    fn exactly_one_call_probes_and_each_failed_probe_doubles_the_pause() {
        check("fail fail fail fail fail +500 take none none late-ok take", "ccccoohhhcc");
        check("fail fail fail fail fail +500 fail +999 none +1 ok", "ccccooooooc");
    }

    #[test]
    fn a_probe_that_nobody_waits_for_any_more_gives_its_place_to_the_next() {
        check("fail fail fail fail fail +500 drop ok", "ccccoooc");
        check("fail fail fail fail drop fail", "ccccco");
    }

    #[test]
    fn a_call_from_before_neither_closes_nor_prolongs_it() {
        check("take fail fail fail fail fail late-ok none", "cccccooo");
        check("take fail fail fail fail fail late-fail +500 ok", "cccccoooc");
        // Nor does it take the probe's place.
        check("take fail fail fail fail fail +500 take late-fail none late-ok", "cccccoohhhc");
        check("take fail fail fail fail fail +500 take late-drop none late-ok", "cccccoohhhc");
    }
}
