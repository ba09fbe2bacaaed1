//! Learns how fast requests end, and so how long those that wait will wait.
//!
//! While anybody waits, every end is a beginning for the next in line: the rate of the latest ends is
//! the rate at which the queue drains. When a queue has only just formed, that rate is not known
//! yet; then it is told from how many are at work and how long such requests took lately.

use std::{collections::VecDeque, time::Duration};

/// What a request is taken to last before the first one has ended.
const FIRST_GUESS: Duration = Duration::from_secs(2);
/// Weight of the newest request in the mean, at least; the mean fades as time passes, too.
const MIN_WEIGHT: f64 = 1.0 / 16.0;
const MEMORY_S: f64 = 30.0;
/// Ends that tell a rate: fewer would be chance, and more would be long ago.
const MIN_ENDS: usize = 16;
const MAX_ENDS: usize = 32;

/// What is known of the latest requests.
#[derive(Clone, Debug, Default)]
pub(crate) struct Drain {
    /// Mean seconds from a request's first step to its end. Time in the queue is not in it: it would
    /// be counted twice.
    mean_s: f64,
    num_ended: u64,
    ended_at: Duration,
    /// Since when somebody has been waiting all the time, or as far back as `ends` goes.
    since: Option<Duration>,
    /// Ends since then.
    ends: VecDeque<Duration>,
}

impl Drain {
    /// A request has ended at `now`, so long after its first step; one that never began has no such
    /// time, and left no place behind.
    pub(crate) fn record(&mut self, at_work: Option<Duration>, now: Duration) {
        let Some(at_work) = at_work else { return };
        self.num_ended += 1;
        let passed = now.saturating_sub(self.ended_at).as_secs_f64();
        let faded = 1.0 - (-passed / MEMORY_S).exp();
        // The first ones count alike.
        let weight = faded.max(MIN_WEIGHT).max(1.0 / self.num_ended as f64);
        self.mean_s += weight * (at_work.as_secs_f64() - self.mean_s);
        self.ended_at = now;
        if self.since.is_some() {
            self.ends.push_back(now);
            if self.ends.len() > MAX_ENDS {
                self.since = self.ends.pop_front();
            }
        }
    }

    /// Whether anybody waits now.
    pub(crate) fn set_waiting(&mut self, is_waiting: bool, now: Duration) {
        if is_waiting {
            self.since.get_or_insert(now);
        } else {
            self.since = None;
            self.ends.clear();
        }
    }

    /// Time between the beginnings of two that wait, while `num_at_work` are worked on.
    pub(crate) fn interval(&self, num_at_work: usize, now: Duration) -> Duration {
        if let Some(since) = self.since
            && self.ends.len() >= MIN_ENDS
        {
            return now.saturating_sub(since).div_f64(self.ends.len() as f64);
        }
        let known = self.num_ended > 0;
        let mean = if known { Duration::from_secs_f64(self.mean_s) } else { FIRST_GUESS };
        mean.div_f64(num_at_work.max(1) as f64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tests::Chance;

    /// Requests at work at once, and how many milliseconds the shortest and the longest take.
    struct Load {
        num_places: usize,
        ms: (usize, usize),
    }

    const ONE_BY_ONE: Load = Load { num_places: 1, ms: (200, 300) };
    const SLOW: Load = Load { num_places: 8, ms: (10_000, 20_000) };

    /// Works off a queue that always holds 64, first with requests like `before`, then like `load`,
    /// and compares what was said of the wait with the wait, once `num_ended` of these have ended.
    fn check(before: &Load, load: &Load, num_ended: usize) {
        let mut chance = Chance::new(5);
        let mut drain = Drain::default();
        let (mut at_work, mut queue) = (Vec::<(u64, u64)>::new(), VecDeque::new());
        let (mut num_seen, mut num_compared) = (0, 0);
        let mut now_ms = 0;
        while num_compared < 300 {
            let now = Duration::from_millis(now_ms);
            at_work.retain(|&(begun, ends)| {
                if ends <= now_ms {
                    drain.record(Some(Duration::from_millis(ends - begun)), now);
                    num_seen += 1;
                }
                ends > now_ms
            });
            let Load { num_places, ms: (shortest, longest) } =
                if num_seen < 50 { before } else { load };
            while at_work.len() < *num_places {
                let lasts = shortest + chance.below(longest - shortest + 1);
                at_work.push((now_ms, now_ms + lasts as u64));
                if let Some((came, Some(said))) = queue.pop_front() {
                    let wait: Duration = now - came;
                    let off = Duration::as_secs_f64(&said) / wait.as_secs_f64();
                    assert!((1.0 / 1.5..1.5).contains(&off), "said {said:?}, waited {wait:?}");
                    num_compared += 1;
                }
            }
            drain.set_waiting(true, now);
            while queue.len() < 64 {
                let said = drain.interval(at_work.len(), now) * (queue.len() + 1) as u32;
                queue.push_back((now, (num_seen >= 50 + num_ended).then_some(said)));
            }
            now_ms += 10;
        }
    }

    #[test]
    fn those_that_wait_begin_about_when_it_was_said() {
        check(&ONE_BY_ONE, &Load { num_places: 8, ms: (1000, 1100) }, 32);
        check(&ONE_BY_ONE, &Load { num_places: 8, ms: (200, 2000) }, 32);
        check(&ONE_BY_ONE, &Load { num_places: 1, ms: (9000, 11_000) }, 32);
        check(&ONE_BY_ONE, &Load { num_places: 4, ms: (20_000, 60_000) }, 32);
        check(&SLOW, &Load { num_places: 8, ms: (400, 600) }, 128);
        check(&SLOW, &SLOW, 0);
    }

    #[test]
    fn a_queue_that_has_just_formed_is_told_from_the_latest_requests() {
        let second = Duration::from_secs(1);
        let mut drain = Drain::default();
        assert_eq!(drain.interval(2, second), second, "a guess");
        drain.record(Some(9 * second), 9 * second);
        drain.record(Some(11 * second), 9 * second);
        assert_eq!(drain.interval(5, 9 * second), 2 * second);
        // Nobody waited then, so those ends were no rate.
        drain.set_waiting(true, 100 * second);
        assert_eq!(drain.interval(5, 101 * second), 2 * second);
        (101..117).for_each(|at| drain.record(Some(20 * second), at * second));
        assert_eq!(drain.interval(5, 116 * second), second);
        // If no more end, those that wait must wait longer.
        assert_eq!(drain.interval(5, 132 * second), 2 * second);
        drain.set_waiting(false, 132 * second);
        assert!(drain.interval(5, 132 * second) > 2 * second);
    }
}
