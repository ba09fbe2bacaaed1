//! The engine's sizes, and what it tells about its model.

/// The bounds of one engine. Every number is a cap, none is a promise.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EngineConfig {
    /// Sequences that run at once.
    pub max_num_seqs: usize,
    /// Tokens of one step, decodes and prefill chunks together. A client that leaves in the middle
    /// of a prefill costs at most this many tokens of work.
    pub max_num_batched_tokens: usize,
    /// Prefill tokens of a step that also decodes: smaller keeps the gaps between the tokens of
    /// running sequences short, larger brings the first token of new ones sooner.
    pub max_prefill_tokens_beside_decodes: usize,
    /// Requests that may wait for their first step.
    pub max_queued_requests: usize,
    /// Prompt tokens that may wait for their first step (one prompt always may, however long).
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
            // 2 cores and a model of one billion weights prefill about 350 tokens a second: some
            // 180 ms between two tokens in the worst step.
            max_prefill_tokens_beside_decodes: 64,
            max_queued_requests: 256,
            max_queued_tokens: 256 * 1024,
            max_buffered_events: 256,
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
