//! Learns from measured steps what prompt tokens cost, and says how many fit into a time.
//!
//! A prompt token costs the same work in every layer's matrices, and attention over all positions
//! before it: so `token + position * positions before it`. Both are learned from the latest steps, as
//! is the time of a step that decodes alone, for a machine has other work and a batch grows.

use std::time::Duration;

use crate::scheduler::StepPlan;

/// Share of the newest step in what is known of decoding.
const DECODE_WEIGHT: f64 = 0.25;
/// Share of its error by which the costs of prompt tokens are put right.
const LEARNING_RATE: f64 = 0.7;
/// Positions at which attention is taken to cost as much as everything else, before it is known.
const FIRST_GUESS_POSITIONS: f64 = 8192.0;
/// Positions are counted in units of this many, so that both costs are of one size.
const UNIT_POSITIONS: f64 = 512.0;

/// What steps have taken.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Pace {
    /// Seconds that a step beside decodes is to take at most.
    target_s: f64,
    /// Seconds of a step that decodes alone.
    decode_s: f64,
    /// Seconds of a prompt token, and what each unit of positions before it adds.
    costs: Option<(f64, f64)>,
}

/// Tokens, and the positions before them in units.
#[derive(Clone, Copy, Debug)]
struct Work {
    num_tokens: f64,
    num_positions: f64,
}

impl Work {
    fn of(start: usize, num_tokens: usize) -> Self {
        let (start, num_tokens) = (start as f64, num_tokens as f64);
        let num_positions = num_tokens * (start + (num_tokens - 1.0) / 2.0) / UNIT_POSITIONS;
        Self { num_tokens, num_positions }
    }
}

impl Pace {
    /// Nothing is known; a step beside decodes is to take `target`.
    pub(crate) fn new(target: Duration) -> Self {
        Self { target_s: target.as_secs_f64(), decode_s: 0.0, costs: None }
    }

    /// A machine that takes so many milliseconds for a step that decodes and for a prompt token.
    #[cfg(test)]
    pub(crate) fn of(target_ms: f64, decode_ms: f64, token_ms: f64) -> Self {
        let costs = Some((token_ms / 1e3, 0.0));
        Self { target_s: target_ms / 1e3, decode_s: decode_ms / 1e3, costs }
    }

    /// A step has taken so long.
    pub(crate) fn observe(&mut self, plan: &StepPlan, took: Duration) {
        let took_s = took.as_secs_f64();
        let prefills = plan.chunks.iter().filter(|it| it.num_tokens > 1);
        let mut work = Work { num_tokens: 0.0, num_positions: 0.0 };
        for chunk in prefills {
            let Work { num_tokens, num_positions } = Work::of(chunk.start, chunk.num_tokens);
            work.num_tokens += num_tokens;
            work.num_positions += num_positions;
        }
        let has_decodes = plan.chunks.iter().any(|it| it.num_tokens == 1);
        if work.num_tokens == 0.0 {
            let weight = if self.decode_s == 0.0 { 1.0 } else { DECODE_WEIGHT };
            self.decode_s += weight * (took_s - self.decode_s);
            return;
        }
        let decode_s = if has_decodes { self.decode_s.min(0.9 * took_s) } else { 0.0 };
        self.learn(work, took_s - decode_s);
    }

    /// Moves both costs towards what `work` has taken, each by its part in it (normalised least mean
    /// squares; Widrow and Hoff 1960).
    fn learn(&mut self, work: Work, took_s: f64) {
        let Work { num_tokens, num_positions } = work;
        let Some((token_s, unit_s)) = self.costs else {
            let unit_per_token = UNIT_POSITIONS / FIRST_GUESS_POSITIONS;
            let token_s = took_s / (num_tokens + unit_per_token * num_positions);
            self.costs = Some((token_s, unit_per_token * token_s));
            return;
        };
        let expected_s = token_s * num_tokens + unit_s * num_positions;
        // A step that the machine has held up for long says little about the next one.
        let error_s = (took_s - expected_s).min(expected_s);
        let step = LEARNING_RATE * error_s / (num_tokens.powi(2) + num_positions.powi(2));
        let token_s = (token_s + step * num_tokens).max(0.0);
        self.costs = Some((token_s, (unit_s + step * num_positions).max(0.0)));
    }

    /// Seconds that prompts may take in a step that is not to last, beside decodes or without.
    pub(crate) fn spare_s(&self, has_decodes: bool) -> f64 {
        let decode_s = if has_decodes { self.decode_s } else { 0.0 };
        (self.target_s - decode_s).max(0.0)
    }

    /// Seconds of a chunk.
    pub(crate) fn cost_s(&self, start: usize, num_tokens: usize) -> f64 {
        let (token_s, unit_s) = self.costs.unwrap_or_default();
        let Work { num_tokens, num_positions } = Work::of(start, num_tokens);
        token_s * num_tokens + unit_s * num_positions
    }

    /// The longest chunk from `start` on, of at most `max_tokens`, that takes no longer than this.
    pub(crate) fn affordable(&self, start: usize, seconds: f64, max_tokens: usize) -> usize {
        let (mut fits, mut too_many) = (0, max_tokens + 1);
        while too_many - fits > 1 {
            let middle = fits.midpoint(too_many);
            if self.cost_s(start, middle) <= seconds { fits = middle } else { too_many = middle }
        }
        fits
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scheduler::{Chunk, SequenceId};

    /// A machine on which a step, a token and a position take so many microseconds.
    #[derive(Clone, Copy)]
    struct Machine {
        decode_us: f64,
        token_us: f64,
        position_us: f64,
    }

    impl Machine {
        fn took(&self, decodes: usize, start: usize, num_tokens: usize) -> Duration {
            let num_positions = num_tokens as f64 * (start as f64 + num_tokens as f64 / 2.0);
            let decode_us = if decodes > 0 { self.decode_us } else { 0.0 };
            let us =
                decode_us + self.token_us * num_tokens as f64 + self.position_us * num_positions;
            Duration::from_secs_f64(us / 1e6)
        }
    }

    fn plan(num_decodes: usize, start: usize, num_tokens: usize) -> StepPlan {
        let chunk =
            |start, num_tokens| Chunk { id: SequenceId(0), start, num_tokens, is_last: false };
        let mut chunks = vec![chunk(9, 1); num_decodes];
        if num_tokens > 0 {
            chunks.push(chunk(start, num_tokens));
        }
        StepPlan { chunks, ..StepPlan::default() }
    }

    /// Reads a prompt of 6000 tokens beside a stream, a short one now and then, and looks that steps take
    /// what they should once the first are over.
    fn check(machine: Machine) {
        let mut pace = Pace::new(Duration::from_millis(100));
        // The stream's own prompt came first.
        pace.observe(&plan(0, 0, 40), machine.took(0, 0, 40));
        for _ in 0..20 {
            pace.observe(&plan(1, 0, 0), machine.took(1, 0, 0));
        }
        let (mut start, mut num_steps) = (0, 0);
        while start < 6000 {
            let is_short = num_steps % 7 == 3;
            let from = if is_short { 0 } else { start };
            let num_tokens = pace.affordable(from, pace.spare_s(true), 512);
            let num_tokens = num_tokens.clamp(8, if is_short { 24 } else { 512 });
            let took = machine.took(1, from, num_tokens);
            if num_steps > 8 && num_tokens > 8 && num_tokens < 512 && !is_short {
                let ms = took.as_secs_f64() * 1e3;
                assert!((60.0..140.0).contains(&ms), "{num_tokens} from {from} took {ms} ms");
            }
            pace.observe(&plan(1, from, num_tokens), took);
            start += if is_short { 0 } else { num_tokens };
            num_steps += 1;
        }
    }

    #[test]
    fn steps_take_what_they_should_wherever_the_prompt_is() {
        check(Machine { decode_us: 25e3, token_us: 1500.0, position_us: 0.5 });
        check(Machine { decode_us: 2e3, token_us: 300.0, position_us: 0.2 });
        check(Machine { decode_us: 40e3, token_us: 3000.0, position_us: 0.0 });
        check(Machine { decode_us: 1e3, token_us: 100.0, position_us: 1.0 });
        // Nothing fits: the caller's minimum is what is read.
        check(Machine { decode_us: 200e3, token_us: 9000.0, position_us: 3.0 });
    }

    #[test]
    fn a_machine_that_changes_is_noticed() {
        let mut pace = Pace::new(Duration::from_millis(100));
        for token_us in [1000.0, 4000.0, 500.0] {
            let machine = Machine { decode_us: 0.0, token_us, position_us: 0.0 };
            for _ in 0..20 {
                pace.observe(&plan(0, 0, 50), machine.took(0, 0, 50));
            }
            let expected = 100e3 / token_us;
            let got = pace.affordable(0, 0.1, 512) as f64;
            assert!((0.9..1.1).contains(&(got / expected)), "{got} of {expected}");
        }
    }

    #[test]
    fn one_delay_costs_little() {
        let mut pace = Pace::new(Duration::from_millis(100));
        let machine = Machine { decode_us: 0.0, token_us: 1000.0, position_us: 0.0 };
        (0..20).for_each(|_| pace.observe(&plan(0, 0, 50), machine.took(0, 0, 50)));
        pace.observe(&plan(0, 0, 50), Duration::from_secs(60));
        assert!(pace.affordable(0, 0.1, 512) >= 40);
    }

    #[test]
    fn where_nothing_is_known_everything_fits() {
        let mut pace = Pace::new(Duration::from_millis(100));
        assert_eq!(pace.affordable(0, pace.spare_s(true), 512), 512);
        // Nor does anything take time on a clock that stands.
        pace.observe(&plan(1, 0, 50), Duration::ZERO);
        assert_eq!(pace.affordable(5000, pace.spare_s(true), 512), 512);
    }
}
