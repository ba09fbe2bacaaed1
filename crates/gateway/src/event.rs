//! What a reply consists of: text token by token, then counts and times.

use brisk_engine::FinishReason;
use serde::{Deserialize, Serialize};

/// One step of a reply.
#[derive(Clone, Debug, PartialEq)]
pub enum ReplyEvent {
    /// A token came; its text may be empty while a character or a stop text is incomplete.
    Delta(Delta),
    /// A choice ended.
    Finished {
        /// Which choice.
        choice: usize,
        /// Text that was held back until now.
        text: String,
        /// Why it ended.
        reason: FinishReason,
    },
    /// Everything ended well; the last event.
    Done(ReplySummary),
}

/// A token's text.
#[derive(Clone, Debug, PartialEq)]
pub struct Delta {
    /// Which choice: prompt number times choices per prompt, plus the choice.
    pub choice: usize,
    /// Text to append.
    pub text: String,
    /// False only for a prompt that is repeated at the beginning (`echo`).
    pub is_generated: bool,
    /// Log probabilities, if asked for; never for an end-of-text token, which shows no text.
    pub logprobs: Option<TokenLogprobs>,
}

/// A token with its log probability and the likeliest others.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TokenLogprobs {
    /// The chosen token.
    pub token: LikelyToken,
    /// The likeliest tokens, best first.
    pub top: Vec<LikelyToken>,
}

/// A token as text and bytes, and how likely it was.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct LikelyToken {
    /// Text for people.
    pub text: String,
    /// The bytes that it adds to the reply.
    pub bytes: Vec<u8>,
    /// Natural log probability under the model.
    pub logprob: f32,
}

/// Counts and times of a whole reply.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct ReplySummary {
    /// Tokens in all prompts.
    pub num_prompt_tokens: usize,
    /// Prompt tokens that did not have to be computed.
    pub num_cached_tokens: usize,
    /// Tokens generated.
    pub num_completion_tokens: usize,
    /// Whether this reply stands for its generation where work is counted: not when it was kept from
    /// an earlier request, and of those who share a generation only the first to reach its end.
    pub is_counted: bool,
    /// Whether the turn is part of its conversation now, where the gateway keeps that.
    pub is_turn_kept: Option<bool>,
    /// Times.
    pub timings: ReplyTimings,
}

/// Milliseconds by phase. Prompts of one request run side by side: the longest counts.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct ReplyTimings {
    /// Looking into the response cache.
    pub cache_lookup_ms: f64,
    /// Template and tokenizer.
    pub tokenize_ms: f64,
    /// From the queue's entrance to the first step.
    pub queue_ms: f64,
    /// From the first step to the first token.
    pub prefill_ms: f64,
    /// From the first token to the last.
    pub decode_ms: f64,
    /// From the request's arrival in the gateway to its first token.
    pub time_to_first_token_ms: f64,
}
