//! The words that go over the wire: request, reply and error shapes of OpenAI and of the assistant
//! endpoints, and a strict reader for them.
//!
//! Requests are read in two steps. [`json::parse`] turns bytes into a value and refuses what other
//! readers might understand differently (duplicate keys, deep nesting, numbers that are none).
//! The `read` functions then take every field by name: a field of the wrong type or range is refused
//! with its name, and so is a field that nothing here acts on. Nothing is ever dropped silently.
//!
//! ```
//! let body = br#"{"model": "demo", "messages": [{"role": "user", "content": "Hello"}], "top_k": "many"}"#;
//! let error = brisk_api::chat::ChatCompletionRequest::read(body).unwrap_err();
//! assert_eq!(error.param(), Some("top_k"));
//! ```

pub mod assistant;
pub mod cache;
mod cache_control;
pub mod chat;
pub mod completion;
pub mod conversation;
mod error;
mod fields;
pub mod json;
pub mod markdown;
pub mod models;
mod neutral;
mod sampling;
mod usage;

pub use cache_control::{CACHE_CONTROL_FIELD, CACHE_CONTROL_HEADER, CacheControl};
pub use error::{ErrorBody, ErrorObject, MAX_ECHO_BYTES, RequestError, clip};
pub use neutral::{NEUTRAL, Neutral, OFF, Off, Place};
pub use sampling::{LogitBias, RepetitionDetection, Sampling, Stop, StreamOptions};
pub use usage::{CompletionTokensDetails, PromptTokensDetails, Timings, Usage};

/// Choices of one prompt at most (`n`).
pub const MAX_CHOICES: u64 = 8;
/// Alternatives reported per token at most (`top_logprobs`, and `logprobs` of completions).
pub const MAX_TOP_LOGPROBS: u64 = 20;
/// Stop texts of a request at most.
pub const MAX_STOPS: usize = 8;
/// Bytes of one stop text at most.
pub const MAX_STOP_BYTES: usize = 256;
/// Entries of `logit_bias` at most.
pub const MAX_LOGIT_BIASES: usize = 1024;
/// Tokens of a pattern, and times that it comes, of `repetition_detection` at most.
pub const MAX_REPETITION: u64 = 1024;
/// Messages of a chat at most.
pub const MAX_MESSAGES: usize = 4096;
/// Prompts of one completion request at most.
pub const MAX_PROMPTS: usize = 64;
