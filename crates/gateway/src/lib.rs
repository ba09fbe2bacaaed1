//! Decides what answers a request: today the engine, behind its chat template and tokenizer.
//!
//! A [`Gateway`] takes a [`ChatRequest`] or a [`CompletionRequest`] and gives back a [`Reply`], a
//! stream of text that ends with counts and times. Dropping the reply cancels the generation. The
//! crate knows no HTTP status and no wire JSON: `server` joins both worlds.

mod error;
mod gateway;
mod prepare;
mod reply;
mod request;

pub use brisk_engine::{
    EngineHandle, EngineStats, FinishReason, GenerationError, SamplingParams, SubmitError,
};
pub use error::GatewayError;
pub use gateway::{Gateway, GatewayConfig, ModelEntry};
pub use reply::{Delta, LikelyToken, Reply, ReplyEvent, ReplySummary, ReplyTimings, TokenLogprobs};
pub use request::{ChatRequest, CompletionRequest, Message, Options, Prompt, Role};
