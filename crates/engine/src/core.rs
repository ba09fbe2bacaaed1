//! The step loop: schedule, forward, sample, publish.

use std::{
    collections::{BTreeMap, HashMap},
    sync::{
        Arc,
        mpsc::{Receiver, TryRecvError},
    },
    thread,
    time::Duration,
};

use brisk_tokenizer::Tokenizer;

use crate::{
    clock::Clock,
    config::EngineConfig,
    drain::Drain,
    generation::{Generation, Reader},
    handle::Submission,
    pace::Pace,
    params::FinishReason,
    runner::{LogitsWanted, ModelRunner, SequenceChunk},
    sampler::Sampler,
    scheduler::{Chunk, Scheduler, SchedulerConfig, SequenceId, Sibling, StepPlan},
    shared::Shared,
    stats::EngineStats,
};

/// Everything the engine's thread owns.
#[derive(Debug)]
pub(crate) struct Core<R> {
    runner: R,
    tokenizer: Arc<Tokenizer>,
    clock: Arc<dyn Clock>,
    scheduler: Scheduler,
    sampler: Sampler,
    /// Live requests, oldest first.
    generations: BTreeMap<u64, Generation>,
    /// Whose sequence it is: the request and the index of its choice.
    owners: HashMap<SequenceId, (u64, usize)>,
    num_requests: u64,
    num_sequences: u64,
    /// Logits that can be chosen from; a model may have rows longer than its tokenizer's vocabulary.
    vocab_size: usize,
    /// The latest step's plan, for the log if it panics.
    plan: StepPlan,
    pace: Pace,
    drain: Drain,
    /// The latest step's logits, a row of the runner's `vocab_size` for each sampled sequence.
    logits: Vec<f32>,
    stats: EngineStats,
}

/// What a pass of the loop has found to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Pass {
    /// A step was computed.
    Stepped,
    /// Nothing can be computed; at the time given, a deadline passes.
    Idle {
        /// By the engine's clock.
        until: Option<Duration>,
    },
}

impl<R: ModelRunner> Core<R> {
    pub(crate) fn new(
        runner: R,
        tokenizer: Arc<Tokenizer>,
        config: &EngineConfig,
        clock: Arc<dyn Clock>,
    ) -> Self {
        let (num_blocks, block_size) = (runner.num_blocks(), runner.block_size());
        let scheduler = Scheduler::new(SchedulerConfig {
            max_num_seqs: config.max_num_seqs,
            max_num_batched_tokens: config.max_num_batched_tokens,
            num_blocks,
            block_size,
        });
        Self {
            vocab_size: runner.vocab_size().min(tokenizer.vocab_size()),
            runner,
            tokenizer,
            clock,
            scheduler,
            sampler: Sampler::default(),
            generations: BTreeMap::new(),
            owners: HashMap::new(),
            num_requests: 0,
            num_sequences: 0,
            plan: StepPlan::default(),
            pace: Pace::new(config.max_step_time),
            drain: Drain::default(),
            logits: Vec::new(),
            stats: EngineStats { num_blocks, block_size, ..EngineStats::default() },
        }
    }

    /// Works until nobody can ask for more: every handle is gone or a shutdown was asked for, and
    /// what was taken is finished or out of time.
    pub(crate) fn run(&mut self, submissions: &Receiver<Submission>, shared: &Shared) {
        let mut ends_at: Option<Duration> = None;
        loop {
            let is_open = self.take(submissions);
            let pass = self.pass();
            shared.set_stats(self.stats());
            let grace = shared.grace();
            if let Some(grace) = grace {
                let latest = self.clock.now().saturating_add(grace);
                ends_at = Some(ends_at.map_or(latest, |it| it.min(latest)));
            }
            let is_idle_for_good = self.generations.is_empty() && (!is_open || grace.is_some());
            if is_idle_for_good || ends_at.is_some_and(|it| it <= self.clock.now()) {
                return;
            }
            if let Pass::Idle { until } = pass {
                self.park(until.into_iter().chain(ends_at).min());
            }
        }
    }

    /// Takes every request that has come; false when no more can come.
    pub(crate) fn take(&mut self, submissions: &Receiver<Submission>) -> bool {
        loop {
            match submissions.try_recv() {
                Ok(submission) => self.add(submission),
                Err(TryRecvError::Empty) => return true,
                Err(TryRecvError::Disconnected) => return false,
            }
        }
    }

    /// Takes a request: each choice is a sequence that waits.
    pub(crate) fn add(&mut self, submission: Submission) {
        let request = self.num_requests;
        let first = SequenceId(self.num_sequences);
        let client = submission.request.client;
        let generation = Generation::new(submission, first, &self.tokenizer);
        let num_prompt_tokens = generation.num_prompt_tokens;
        for (index, choice) in generation.choices.iter().enumerate() {
            let sibling = (index > 0).then_some(Sibling { id: first, num_prompt_tokens });
            self.scheduler.add(choice.sequence, client, num_prompt_tokens, sibling);
            self.owners.insert(choice.sequence, (request, index));
        }
        self.num_requests += 1;
        self.num_sequences += generation.choices.len() as u64;
        self.stats.num_accepted += 1;
        self.generations.insert(request, generation);
    }

    /// One pass of the loop: looks after the readers and the clock, then computes one step.
    pub(crate) fn pass(&mut self) -> Pass {
        self.review();
        self.plan = self.scheduler.plan(&self.pace);
        self.stats.num_preemptions += self.plan.preempted.len() as u64;
        self.scheduler.apply(&self.plan);
        if self.plan.is_idle() {
            let until = self.generations.values().filter_map(Generation::expires_at).min();
            return Pass::Idle { until };
        }
        tracing::trace!(plan = %self.plan, "step");
        self.begin();
        let started = self.clock.now();
        let is_waiting = self.generations.values().any(|it| !it.has_begun() && !it.is_over);
        self.drain.set_waiting(is_waiting, started);
        self.forward();
        self.sample();
        self.pace.observe(&self.plan, self.clock.now().saturating_sub(started));
        self.stats.num_steps += 1;
        Pass::Stepped
    }

    /// Lets go of requests that are over, that nobody reads or that are out of time, and pauses
    /// those whose reader is slow.
    fn review(&mut self) {
        let now = self.clock.now();
        let Self { generations, scheduler, owners, stats, drain, .. } = self;
        generations.retain(|_, generation| {
            if generation.expires_at().is_some_and(|it| it <= now) {
                release(generation, scheduler, owners);
                drain.record(generation.time_at_work(now), now);
                generation.fail(generation.expiry());
                stats.num_failed += 1;
                stats.num_expired += 1;
            }
            let reader = generation.flush();
            if reader == Reader::Gone {
                if !generation.is_over {
                    release(generation, scheduler, owners);
                    drain.record(generation.time_at_work(now), now);
                    stats.num_cancelled += 1;
                }
                return false;
            }
            let is_slow = reader == Reader::Slow;
            if is_slow != generation.is_paused {
                generation.is_paused = is_slow;
                generation.live_sequences().for_each(|it| scheduler.set_paused(it, is_slow));
            }
            is_slow || !generation.is_over
        });
    }

    /// Marks the requests that are worked on for the first time.
    fn begin(&mut self) {
        let now = self.clock.now();
        for admitted in &self.plan.admitted {
            let (request, _) = self.owners[&admitted.id];
            let generation = self.generations.get_mut(&request).expect("an owner is live");
            if generation.begin(now) {
                self.stats.num_prompt_tokens += generation.num_prompt_tokens as u64;
            }
        }
    }

    fn forward(&mut self) {
        let chunk = |chunk: &Chunk| {
            let (request, index) = self.owners[&chunk.id];
            let choice = &self.generations[&request].choices[index];
            SequenceChunk {
                tokens: &choice.tokens[chunk.start..chunk.start + chunk.num_tokens],
                start: chunk.start,
                block_table: self.scheduler.block_table(chunk.id),
                logits: if chunk.is_last { LogitsWanted::Last } else { LogitsWanted::None },
            }
        };
        let batch: Vec<SequenceChunk<'_>> = self.plan.chunks.iter().map(chunk).collect();
        self.logits.clear();
        self.runner.forward(&batch, &mut self.logits);
        let num_rows = self.plan.chunks.iter().filter(|it| it.is_last).count();
        let row_len = self.runner.vocab_size();
        assert_eq!(self.logits.len(), num_rows * row_len, "a row of logits for each last chunk");
    }

    fn sample(&mut self) {
        let now = self.clock.now();
        let row_len = self.runner.vocab_size();
        let sampled = self.plan.chunks.iter().filter(|it| it.is_last);
        for (chunk, row) in sampled.zip(self.logits.chunks_exact_mut(row_len)) {
            // A request may have broken earlier in this loop, by another of its choices.
            let Some(&(request, index)) = self.owners.get(&chunk.id) else { continue };
            let generation = self.generations.get_mut(&request).expect("an owner is live");
            let choice = &generation.choices[index];
            let logits = &mut row[..self.vocab_size];
            let (prompt_len, tokens) = (generation.num_prompt_tokens, &choice.tokens);
            match self.sampler.sample(&choice.sampler, tokens, prompt_len, logits) {
                Ok(sampled) => {
                    self.stats.num_generation_tokens += 1;
                    self.scheduler.append_token(chunk.id);
                    let reason = generation.accept(index, sampled, &self.tokenizer, now);
                    if let Some(reason) = reason {
                        self.scheduler.finish(chunk.id);
                        self.owners.remove(&chunk.id);
                        match reason {
                            FinishReason::Stop => self.stats.num_finished_stop += 1,
                            FinishReason::Length => self.stats.num_finished_length += 1,
                            FinishReason::Repetition => self.stats.num_finished_repetition += 1,
                        }
                        if generation.is_over {
                            self.drain.record(generation.time_at_work(now), now);
                            self.stats.num_finished += 1;
                        }
                    }
                }
                Err(error) => {
                    tracing::warn!(%error, "a request broke");
                    release(generation, &mut self.scheduler, &mut self.owners);
                    self.drain.record(generation.time_at_work(now), now);
                    generation.fail(error);
                    self.stats.num_failed += 1;
                }
            }
        }
    }

    /// Sleeps until a handle or a stream wakes the thread, or the time has come.
    fn park(&self, until: Option<Duration>) {
        match until {
            Some(until) => thread::park_timeout(until.saturating_sub(self.clock.now())),
            None => thread::park(),
        }
    }

    #[cfg(test)]
    pub(crate) fn runner(&self) -> &R {
        &self.runner
    }

    /// Entries of the books: none when nothing is live.
    #[cfg(test)]
    pub(crate) fn num_entries(&self) -> usize {
        self.generations.len() + self.owners.len()
    }

    /// The latest step's plan.
    pub(crate) fn plan(&self) -> &StepPlan {
        &self.plan
    }

    /// The figures now; `num_waiting` without the requests that have not begun.
    pub(crate) fn stats(&self) -> EngineStats {
        let begun = || self.generations.values().filter(|it| it.has_begun() && !it.is_over);
        let waiting = begun().flat_map(Generation::live_sequences);
        EngineStats {
            queue_interval: self.drain.interval(begun().count(), self.clock.now()),
            num_running: self.scheduler.num_running(),
            num_waiting: waiting.filter(|&it| self.scheduler.is_waiting(it)).count(),
            num_blocks_used: self.scheduler.num_blocks_used(),
            ..self.stats
        }
    }

    /// The figures after the end: what was live has failed and holds nothing.
    pub(crate) fn final_stats(&self) -> EngineStats {
        let num_live = self.generations.values().filter(|it| !it.is_over).count() as u64;
        EngineStats { num_failed: self.stats.num_failed + num_live, ..self.stats }
    }
}

/// Makes the scheduler forget a request's sequences.
fn release(
    generation: &Generation,
    scheduler: &mut Scheduler,
    owners: &mut HashMap<SequenceId, (u64, usize)>,
) {
    for sequence in generation.live_sequences() {
        scheduler.finish(sequence);
        owners.remove(&sequence);
    }
}
