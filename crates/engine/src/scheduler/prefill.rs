//! Divides what a step has left among the prompts that are to be read.

use std::collections::{BTreeMap, HashMap};

use super::{Sequence, SequenceId, plan::Draft, turns_until};
use crate::{pace::Pace, queue::ClientId};

/// Tokens that prompts get on by in a step, however long these take.
const MIN_TOKENS: usize = 16;
/// A piece that is cut for want of time is a multiple of this: kernels take so many columns at once.
const TOKENS_AT_ONCE: usize = 8;

/// A sequence that lacks more than its next token.
#[derive(Clone, Copy)]
struct Candidate<'a> {
    id: SequenceId,
    sequence: &'a Sequence,
    is_waiting: bool,
    /// What is computed, or found so when it is admitted.
    start: usize,
    /// How many of its client are older.
    rank: usize,
}

impl Candidate<'_> {
    fn num_missing(&self) -> usize {
        self.sequence.num_tokens - self.start
    }

    fn client(&self) -> ClientId {
        self.sequence.client
    }
}

/// What may still be given out.
struct Allowance {
    num_tokens: usize,
    seconds: f64,
    /// Of the tokens, those that are given whatever time they take.
    num_certain: usize,
}

impl Allowance {
    /// Takes a half off.
    fn split(&mut self) -> Self {
        let half = Self {
            num_tokens: self.num_tokens / 2,
            seconds: self.seconds / 2.0,
            num_certain: self.num_certain / 2,
        };
        self.num_tokens -= half.num_tokens;
        self.seconds -= half.seconds;
        self.num_certain -= half.num_certain;
        half
    }

    /// Takes back what was not given out.
    fn join(&mut self, rest: &Self) {
        self.num_tokens += rest.num_tokens;
        self.seconds += rest.seconds;
        self.num_certain += rest.num_certain;
    }

    /// The tokens that a sequence gets which lacks `num_missing` from `start` on.
    fn num_for(&self, start: usize, num_missing: usize, pace: &Pace) -> usize {
        let most = num_missing.min(self.num_tokens);
        match pace.affordable(start, self.seconds, most) {
            all if all == most => most,
            part => (part - part % TOKENS_AT_ONCE).max(self.num_certain.min(most)),
        }
    }

    fn spend(&mut self, num_tokens: usize, seconds: f64) {
        self.num_tokens -= num_tokens;
        self.seconds = (self.seconds - seconds).max(0.0);
        self.num_certain = self.num_certain.saturating_sub(num_tokens);
    }
}

impl<'a> Draft<'a> {
    /// Chunks for sequences that lack more than one token, running ones and newcomers.
    pub(super) fn prefill(&mut self, pace: &Pace) {
        self.next_in_line = self.find_next_in_line();
        let mut candidates = self.candidates();
        candidates.sort_by_key(|it| (it.num_missing(), it.id));
        let Some(shortest) = candidates.first() else { return };
        let mut rest = self.allowance(shortest, pace);
        let mut half = rest.split();
        let mut given = BTreeMap::new();
        for candidate in &candidates {
            self.give(candidate, &mut half, pace, &mut given);
        }
        rest.join(&half);
        let last_read = self.scheduler.last_read;
        candidates.sort_by_key(|it| (it.rank, turns_until(it.client(), last_read), it.id));
        for candidate in &candidates {
            if self.give(candidate, &mut rest, pace, &mut given) {
                self.plan.last_read = Some(candidate.client());
            }
        }
        for (id, (start, num_tokens, total)) in given {
            self.push_chunk(id, start, num_tokens, total);
        }
    }

    /// Running sequences have their blocks; waiting ones come into question while a place may be free.
    fn candidates(&self) -> Vec<Candidate<'a>> {
        let is_prefill =
            |id, it: &Sequence| !it.paused && it.num_missing() > 1 && !self.is_preempted(id);
        let may_admit = self.may_admit();
        let running = self.scheduler.running.iter().filter(|&(&id, it)| is_prefill(id, it));
        let running = running.map(|(&id, sequence)| (id, sequence, false, sequence.num_computed));
        let waiting = self.scheduler.waiting.iter().filter(|_| may_admit);
        let waiting = waiting.filter(|(_, it)| !it.paused && !self.sibling_is_prefilling(it));
        let waiting = waiting.map(|(&id, it)| (id, it, true, self.num_tokens_shared(it)));
        let mut all: Vec<_> = running.chain(waiting).collect();
        all.sort_by_key(|(id, ..)| *id);
        let mut ranks: HashMap<ClientId, usize> = HashMap::new();
        let candidate = |(id, sequence, is_waiting, start): (_, &'a Sequence, _, _)| {
            let next = ranks.entry(sequence.client).or_default();
            *next += 1;
            Candidate { id, sequence, is_waiting, start, rank: *next - 1 }
        };
        all.into_iter().map(candidate).collect()
    }

    /// What the prompts of this step may take. While others wait for tokens, a step is to be short: that
    /// is while any sequence decodes, and else while a short prompt could have its first token soon.
    fn allowance(&self, shortest: &Candidate<'_>, pace: &Pace) -> Allowance {
        let num_decodes = self.plan.chunks.len();
        // However many decode, a prefill gets on by one token.
        let budget = self.scheduler.config.max_num_batched_tokens;
        let num_tokens = budget.saturating_sub(num_decodes).max(1);
        let mut seconds = pace.spare_s(num_decodes > 0);
        if num_decodes == 0 {
            seconds = seconds.max(2.0 * pace.cost_s(shortest.start, shortest.num_missing()));
        }
        Allowance { num_tokens, seconds, num_certain: MIN_TOKENS.min(num_tokens) }
    }

    /// Gives a sequence of `allowance` what it lacks, as far as that goes, and a place if it waits;
    /// false when it got nothing.
    fn give(
        &mut self,
        candidate: &Candidate<'a>,
        allowance: &mut Allowance,
        pace: &Pace,
        given: &mut BTreeMap<SequenceId, (usize, usize, usize)>,
    ) -> bool {
        let Candidate { id, sequence, is_waiting, start, .. } = *candidate;
        let num_before = given.get(&id).map_or(0, |it| it.1);
        let from = start + num_before;
        let num_tokens = allowance.num_for(from, sequence.num_tokens - from, pace);
        let has_place = !is_waiting || num_before > 0 || self.is_admitted(id);
        if num_tokens == 0 || !(has_place || self.admit(id, sequence)) {
            return false;
        }
        allowance.spend(num_tokens, pace.cost_s(from, num_tokens));
        given.insert(id, (start, num_before + num_tokens, sequence.num_tokens));
        true
    }
}
