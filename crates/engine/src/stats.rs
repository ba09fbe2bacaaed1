//! The engine's live figures.

use std::time::Duration;

/// A snapshot of one engine, taken after its latest step.
///
/// Every accepted request ends in exactly one of `num_finished`, `num_failed` and `num_cancelled`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct EngineStats {
    /// Sequences that hold KV blocks and are being worked on.
    pub num_running: usize,
    /// Requests that wait for their first step, and sequences that wait to be computed again.
    pub num_waiting: usize,
    /// Requests that wait for their first step: what the queue's bound counts.
    pub num_queued_requests: usize,
    /// Prompt tokens of the requests that wait for their first step.
    pub num_queued_tokens: usize,
    /// Time between the first steps of two requests that wait, as far as the latest ones tell.
    pub queue_interval: Duration,
    /// KV blocks that belong to a sequence.
    pub num_blocks_used: usize,
    /// KV blocks there are.
    pub num_blocks: usize,
    /// Tokens of one block.
    pub block_size: usize,
    /// Steps taken.
    pub num_steps: u64,
    /// Prompt tokens of the requests that began (each prompt counted once).
    pub num_prompt_tokens: u64,
    /// Tokens generated.
    pub num_generation_tokens: u64,
    /// Sequences whose blocks were taken back, to be computed again.
    pub num_preemptions: u64,
    /// Requests taken.
    pub num_accepted: u64,
    /// Requests whose choices all ended well.
    pub num_finished: u64,
    /// Choices that ended by an end-of-generation token or a stop text.
    pub num_finished_stop: u64,
    /// Choices that ended by `max_tokens` or the context's end.
    pub num_finished_length: u64,
    /// Choices that ended because they repeated themselves.
    pub num_finished_repetition: u64,
    /// Requests that broke; expired ones count here too.
    pub num_failed: u64,
    /// Requests that passed their deadline.
    pub num_expired: u64,
    /// Requests whose stream was dropped before its end.
    pub num_cancelled: u64,
}
