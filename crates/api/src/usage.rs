//! What a reply cost: tokens, and milliseconds by phase.

use serde::Serialize;
use utoipa::ToSchema;

/// Tokens of a request and its reply.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, ToSchema)]
pub struct Usage {
    /// Tokens of the prompt, template included.
    pub prompt_tokens: usize,
    /// Tokens generated, over all choices.
    pub completion_tokens: usize,
    /// Both together.
    pub total_tokens: usize,
    /// Where the prompt's tokens came from.
    pub prompt_tokens_details: PromptTokensDetails,
    /// What the generated tokens were for.
    pub completion_tokens_details: CompletionTokensDetails,
}

/// Where the prompt's tokens came from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, ToSchema)]
pub struct PromptTokensDetails {
    /// Tokens that did not have to be computed: 0, as every prompt is computed whole.
    pub cached_tokens: usize,
    /// Always 0: the models read text.
    pub audio_tokens: usize,
}

/// What the generated tokens were for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, ToSchema)]
pub struct CompletionTokensDetails {
    /// Always 0: no token is hidden from the reply.
    pub reasoning_tokens: usize,
    /// Always 0: `prediction` is not supported.
    pub accepted_prediction_tokens: usize,
    /// Always 0: `prediction` is not supported.
    pub rejected_prediction_tokens: usize,
    /// Always 0: the models write text.
    pub audio_tokens: usize,
}

/// Where the time went. The first nine fields are llama-server's.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, ToSchema)]
pub struct Timings {
    /// Prompt tokens that did not have to be computed: 0, as every prompt is computed whole.
    pub cache_n: usize,
    /// Prompt tokens computed.
    pub prompt_n: usize,
    /// Milliseconds spent on them.
    pub prompt_ms: f64,
    /// Milliseconds for each.
    pub prompt_per_token_ms: f64,
    /// Prompt tokens computed in a second.
    pub prompt_per_second: f64,
    /// Tokens generated.
    pub predicted_n: usize,
    /// Milliseconds from the first generated token to the last.
    pub predicted_ms: f64,
    /// Milliseconds for each token after the first.
    pub predicted_per_token_ms: f64,
    /// Tokens generated in a second.
    pub predicted_per_second: f64,
    /// Milliseconds for looking into the response cache.
    pub cache_lookup_ms: f64,
    /// Milliseconds from the queue's entrance to the first step.
    pub queue_ms: f64,
    /// Milliseconds for the chat template and the tokenizer.
    pub tokenize_ms: f64,
    /// Milliseconds from the first step to the first token.
    pub prefill_ms: f64,
    /// Milliseconds from the first token to the last.
    pub decode_ms: f64,
    /// Milliseconds from the parsed request to its first token, all phases together.
    pub time_to_first_token_ms: f64,
}
