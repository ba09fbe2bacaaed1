//! What a running generation tells its caller.

use brisk_tokenizer::TokenId;

use crate::{error::GenerationError, params::FinishReason};

/// One message of a generation's bounded stream.
#[derive(Clone, Debug, PartialEq)]
pub enum Event {
    /// A token was generated.
    Token(TokenEvent),
    /// A choice ended.
    Finished(FinishedEvent),
    /// Every choice ended; the last event of a good stream.
    Done(Summary),
    /// The generation broke; the last event of a bad stream.
    Failed(GenerationError),
}

/// A generated token and the text that it completed.
#[derive(Clone, Debug, PartialEq)]
pub struct TokenEvent {
    /// Which of the request's choices.
    pub choice: usize,
    /// The token.
    pub token: TokenId,
    /// Text ready to show: whole characters only, and nothing that may still become a stop text.
    /// Often empty, never half a character.
    pub text: String,
    /// Present when `top_logprobs` was asked for.
    pub logprobs: Option<TokenLogprobs>,
}

/// Log probabilities at one position, of the model's own distribution (before any filter).
#[derive(Clone, Debug, PartialEq)]
pub struct TokenLogprobs {
    /// Natural log probability of the chosen token.
    pub logprob: f32,
    /// The likeliest tokens, best first.
    pub top: Vec<(TokenId, f32)>,
}

/// The end of one choice.
#[derive(Clone, Debug, PartialEq)]
pub struct FinishedEvent {
    /// Which of the request's choices.
    pub choice: usize,
    /// Text that was held back and is now certain.
    pub text: String,
    /// Why it ended.
    pub reason: FinishReason,
}

/// Counts and times of a whole generation.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Summary {
    /// Tokens in the prompt.
    pub num_prompt_tokens: usize,
    /// Prompt tokens whose keys and values were already there.
    pub num_cached_tokens: usize,
    /// Tokens generated, over all choices (end-of-generation tokens count).
    pub num_completion_tokens: usize,
    /// From `submit` to the first step that worked on it.
    pub queue_ms: f64,
    /// From there to the first token.
    pub prefill_ms: f64,
    /// From the first token to the last.
    pub decode_ms: f64,
}
