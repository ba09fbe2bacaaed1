//! The engine's sizes, and what it tells about its model.

use std::time::Duration;

use crate::queue::QueueBounds;

/// The bounds of one engine. Every number is a cap, none is a promise.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EngineConfig {
    /// Sequences that run at once.
    pub max_num_seqs: usize,
    /// Tokens of one step, decodes and prefill chunks together. A client that leaves in the middle
    /// of a prefill costs at most this many tokens of work.
    pub max_num_batched_tokens: usize,
    /// Time that a step is to take at most while tokens are waited for: prompts are read in pieces that
    /// fit. Shorter keeps the gaps between the tokens of running sequences even, longer brings the
    /// first token of new ones sooner.
    pub max_step_time: Duration,
    /// Clients that may come. Each keeps a chance of a place in the queue, whatever the others send.
    pub num_clients: usize,
    /// Requests that may wait for their first step.
    pub max_queued_requests: usize,
    /// Prompt tokens that may wait for their first step (one prompt of each client always may,
    /// however long).
    pub max_queued_tokens: usize,
    /// Events held for a client that does not read; beyond, its sequences pause.
    pub max_buffered_events: usize,
}

impl Default for EngineConfig {
    fn default() -> Self {
        Self {
            max_num_seqs: 16,
            // Enough columns to read each weight tile from cache, short enough to stop in time.
            max_num_batched_tokens: 512,
            // Ten tokens a second in the worst step, twice as fast as people read. On 2 cores a model
            // of one billion weights reads about 30 tokens of a prompt in that time.
            max_step_time: Duration::from_millis(100),
            num_clients: 1,
            max_queued_requests: 256,
            max_queued_tokens: 256 * 1024,
            max_buffered_events: 256,
        }
    }
}

impl EngineConfig {
    /// What may wait for its first step. There is a place for each client at least.
    pub fn queue_bounds(&self) -> QueueBounds {
        QueueBounds {
            max_requests: self.max_queued_requests.max(self.num_clients).max(1),
            max_tokens: self.max_queued_tokens,
            is_shared: self.num_clients > 1,
        }
    }
}

/// What a caller may know about the model behind an engine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ModelInfo {
    /// The name that clients ask for.
    pub name: String,
    /// One line for people: architecture, size, weight type.
    pub description: String,
    /// Prompt and completion tokens of one sequence at most. The engine lowers it to what the
    /// runner's positions and its KV blocks hold.
    pub max_model_len: usize,
    /// Token ids go from 0 to here. The engine lowers it to what runner and tokenizer both know.
    pub vocab_size: usize,
}
