//! What can go wrong with a generation, by whose move it is.

use std::time::Duration;

use thiserror::Error;

use crate::queue::QueueRefusal;

/// A request was not taken.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum SubmitError {
    /// Caller's move: shorten the prompt.
    #[error("prompt has {num_prompt_tokens} tokens, the model holds {max_model_len}")]
    PromptTooLong {
        /// Tokens in the prompt.
        num_prompt_tokens: usize,
        /// The model's context.
        max_model_len: usize,
    },
    /// Caller's move: ask for fewer tokens.
    #[error(
        "prompt has {num_prompt_tokens} tokens and {max_tokens} more were asked for, the model holds {max_model_len}"
    )]
    CompletionTooLong {
        /// Tokens in the prompt.
        num_prompt_tokens: usize,
        /// Completion tokens asked for.
        max_tokens: usize,
        /// The model's context.
        max_model_len: usize,
    },
    /// Caller's move: the prompt holds no token.
    #[error("the prompt is empty")]
    EmptyPrompt,
    /// Caller's move: a token id is not in the vocabulary.
    #[error("token id {token} is outside the vocabulary of {vocab_size}")]
    UnknownToken {
        /// The id.
        token: u32,
        /// Size of the vocabulary.
        vocab_size: usize,
    },
    /// Caller's move: a sampling parameter is out of range.
    #[error("{param} is {value}, it must be {expected}")]
    InvalidParam {
        /// The parameter's name as in [`crate::SamplingParams`].
        param: &'static str,
        /// What was given.
        value: String,
        /// What is allowed.
        expected: &'static str,
    },
    /// Try later: there is no place in the queue, or none for this client.
    #[error("{refusal}")]
    QueueFull {
        /// What is full.
        refusal: QueueRefusal,
        /// When what waits now should have begun.
        wait: Duration,
    },
    /// Try elsewhere: the engine is shutting down, or has stopped.
    #[error("the engine is shutting down")]
    ShuttingDown,
}

/// A generation broke after it was taken.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum GenerationError {
    /// Our fault: the model gave a value that is not a number.
    #[error("the model's logits are not finite at position {position}")]
    NotFinite {
        /// Position in the sequence.
        position: usize,
    },
    /// Our fault: the engine's thread panicked.
    #[error("the engine stopped: {reason}")]
    EngineStopped {
        /// The panic's message.
        reason: String,
    },
    /// The server is going down and the grace period is over.
    #[error("the engine is shutting down")]
    ShuttingDown,
    /// Try later: the request waited or ran longer than its deadline.
    #[error("the deadline of {deadline_ms} ms passed")]
    DeadlineExceeded {
        /// The deadline.
        deadline_ms: u64,
    },
    /// Caller's move: logit biases and n-gram blocking left no token to choose.
    #[error("no token is left to choose at position {position}")]
    NoTokenLeft {
        /// Position in the sequence.
        position: usize,
    },
}
