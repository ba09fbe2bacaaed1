//! Sequences, scheduler, block bookkeeping, sampling and the step loop.

mod error;
mod event;
mod params;

pub use error::{GenerationError, SubmitError};
pub use event::{Event, FinishedEvent, Summary, TokenEvent, TokenLogprobs};
pub use params::{FinishReason, GenerationRequest, SamplingParams};
