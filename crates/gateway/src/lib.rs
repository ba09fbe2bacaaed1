//! Decides what answers a request: a kept reply, an equal request's generation, or the engine behind
//! its chat template and tokenizer.
//!
//! A [`Gateway`] takes a [`ChatRequest`], a [`TurnRequest`] or a [`CompletionRequest`] and gives back
//! a [`Reply`], a stream of text that ends with counts and times. Dropping the reply cancels the
//! generation, unless others wait for the same one. The crate knows no HTTP status and no wire JSON:
//! `server` joins both worlds.

mod cleaning;
mod conversations;
mod error;
mod event;
mod flight;
mod gateway;
mod generation;
mod history;
mod job;
mod key;
mod prepare;
mod recording;
mod replay;
mod replies;
mod reply;
mod request;
mod turn;
mod workplaces;

pub use brisk_cache::{
    BreakerState, CacheConfig, CacheError, CacheStats, Digest, DiskConfig, EntryInfo,
    NotEverywhere, RedisConfig, Secret, Tenant, Tier, TierErrors,
};
pub use brisk_engine::{
    EngineHandle, EngineStats, FinishReason, GenerationError, QueueRefusal, RepetitionDetection,
    SamplingParams, SubmitError,
};
pub use conversations::{ConversationConfig, ConversationError, ConversationInfo, StoredMessage};
pub use error::{GatewayError, OpenError};
pub use event::{Delta, LikelyToken, ReplyEvent, ReplySummary, ReplyTimings, TokenLogprobs};
pub use gateway::{Gateway, GatewayConfig, ModelEntry, StoreConfig};
pub use reply::{CacheReport, CacheStatus, Reply};
pub use request::{
    CacheUse, ChatRequest, CompletionRequest, Message, Options, Prompt, Role, TurnRequest,
};
pub use turn::HistoryReport;
