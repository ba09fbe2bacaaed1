//! Sequences, scheduler, block bookkeeping, sampling and the step loop.
//!
//! One thread owns a model and every sequence on it. Everyone else holds an [`EngineHandle`], puts
//! requests into a bounded queue and reads events from a bounded [`TokenStream`]; dropping the stream
//! is how a request is cancelled. The thread works in steps: the scheduler plans which sequences
//! compute how many tokens, the runner computes them together, the sampler chooses a token for each
//! sequence that has come to its end, and the events go out.
//!
//! ```no_run
//! use brisk_engine::{EngineHandle, Event, GenerationRequest, SamplingParams, SubmitError};
//!
//! async fn print_reply(engine: &EngineHandle, prompt: Vec<u32>) -> Result<(), SubmitError> {
//!     let mut stream = engine.submit(GenerationRequest::new(prompt, SamplingParams::default()))?;
//!     while let Some(event) = stream.next().await {
//!         match event {
//!             Event::Token(token) => print!("{}", token.text),
//!             Event::Finished(finished) => println!("{} ({})", finished.text, finished.reason),
//!             Event::Done(summary) => println!("{} tokens", summary.num_completion_tokens),
//!             Event::Failed(error) => println!("{error}"),
//!         }
//!     }
//!     Ok(())
//! }
//! ```
//!
//! What holds here:
//! - A request's tokens and text depend on its prompt, its parameters and its seed, never on who else
//!   runs, on preemption or on how steps are cut.
//! - The scheduler and the block books are pure: no clock, no thread, no tensor. KV memory belongs to
//!   the runner; here are only block ids.
//! - Every queue has a bound, and a full one is an answer. A slow reader pauses alone.
//! - Of several clients none waits for more than a turn of the others, whatever these send.
//! - A stream ends with [`Event::Done`] or [`Event::Failed`], also when the thread panics.

#![forbid(unsafe_code)]

mod block_manager;
mod clock;
mod config;
mod core;
mod drain;
mod engine;
mod error;
mod event;
mod generation;
mod handle;
mod pace;
mod params;
mod queue;
mod repetition;
mod runner;
mod sampler;
mod scheduler;
mod sentence;
mod shared;
mod stats;
mod stop;
#[cfg(test)]
mod tests;

pub use clock::{Clock, SystemClock};
pub use config::{EngineConfig, ModelInfo};
pub use engine::Engine;
pub use error::{GenerationError, SubmitError};
pub use event::{Event, FinishedEvent, Summary, TokenEvent, TokenLogprobs};
pub use handle::{EngineHandle, TokenStream};
pub use params::{FinishReason, GenerationRequest, RepetitionDetection, SamplingParams};
pub use queue::{ClientId, QueueBounds, QueueRefusal, WaitingRoom};
pub use runner::{LogitsWanted, ModelRunner, SequenceChunk};
pub use sentence::{SentenceTracker, ends_sentence, last_sentence_end};
pub use stats::EngineStats;
