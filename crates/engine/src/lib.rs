//! Sequences, scheduler, block bookkeeping, sampling and the step loop.

mod block_manager;
mod clock;
mod config;
mod core;
mod engine;
mod error;
mod event;
mod generation;
mod handle;
mod params;
mod runner;
mod sampler;
mod scheduler;
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
pub use params::{FinishReason, GenerationRequest, SamplingParams};
pub use runner::{LogitsWanted, ModelRunner, SequenceChunk};
pub use stats::EngineStats;
