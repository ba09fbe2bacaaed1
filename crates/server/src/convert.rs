//! From the wire's words to the gateway's and back; every default of a request is in this file.

use std::time::Duration;

use brisk_api::{
    CompletionTokensDetails, PromptTokensDetails, Sampling, Timings, Usage,
    chat::{ChatCompletionRequest, ChatMessage, Role as WireRole, TokenLogprob, TopLogprob},
    completion::{CompletionRequest as WireCompletion, Prompt as WirePrompt},
};
use brisk_gateway::{
    ChatRequest, CompletionRequest, FinishReason, LikelyToken, Message, Options, Prompt,
    ReplySummary, Role, SamplingParams, TokenLogprobs,
};

/// OpenAI's default for `/v1/completions`.
const DEFAULT_COMPLETION_TOKENS: usize = 16;

pub(crate) fn chat_request(wire: ChatCompletionRequest, deadline: Option<Duration>) -> ChatRequest {
    let max_tokens = wire.max_completion_tokens.or(wire.max_tokens);
    let top_logprobs = wire.logprobs.then(|| wire.top_logprobs.unwrap_or(0));
    ChatRequest {
        messages: wire.messages.into_iter().map(message).collect(),
        options: options(wire.model, wire.sampling, max_tokens, top_logprobs, deadline),
    }
}

fn message(wire: ChatMessage) -> Message {
    let role = match wire.role {
        // Templates know no `developer`; OpenAI treats the two alike.
        WireRole::System | WireRole::Developer => Role::System,
        WireRole::User => Role::User,
        WireRole::Assistant => Role::Assistant,
    };
    Message { role, content: wire.content }
}

pub(crate) fn completion_request(
    wire: WireCompletion,
    deadline: Option<Duration>,
) -> CompletionRequest {
    CompletionRequest {
        prompts: match wire.prompt {
            WirePrompt::Text(text) => vec![Prompt::Text(text)],
            WirePrompt::Texts(texts) => texts.into_iter().map(Prompt::Text).collect(),
            WirePrompt::Tokens(tokens) => vec![Prompt::Tokens(tokens)],
            WirePrompt::TokenLists(lists) => lists.into_iter().map(Prompt::Tokens).collect(),
        },
        echo: wire.echo,
        default_max_tokens: DEFAULT_COMPLETION_TOKENS,
        options: options(wire.model, wire.sampling, wire.max_tokens, wire.logprobs, deadline),
    }
}

fn options(
    model: Option<String>,
    sampling: Sampling,
    max_tokens: Option<u32>,
    top_logprobs: Option<u8>,
    deadline: Option<Duration>,
) -> Options {
    Options {
        model,
        num_choices: sampling.n.unwrap_or(1) as usize,
        params: SamplingParams {
            temperature: sampling.temperature.unwrap_or(1.0),
            top_k: sampling.top_k.unwrap_or(0),
            top_p: sampling.top_p.unwrap_or(1.0),
            min_p: sampling.min_p.unwrap_or(0.0),
            typical_p: sampling.typical_p.unwrap_or(1.0),
            repetition_penalty: sampling.repetition_penalty.unwrap_or(1.0),
            presence_penalty: sampling.presence_penalty.unwrap_or(0.0),
            frequency_penalty: sampling.frequency_penalty.unwrap_or(0.0),
            no_repeat_ngram_size: sampling.no_repeat_ngram_size.unwrap_or(0),
            logit_bias: sampling.logit_bias.unwrap_or_default().into_iter().collect(),
            seed: sampling.seed.map(i64::cast_unsigned),
            stop: sampling.stop.map(brisk_api::Stop::into_vec).unwrap_or_default(),
            max_tokens: max_tokens.map(|tokens| tokens as usize),
            soft_max_tokens: None,
            top_logprobs,
            ignore_eos: sampling.ignore_eos.unwrap_or(false),
        },
        deadline,
    }
}

pub(crate) fn finish_reason(reason: FinishReason) -> &'static str {
    match reason {
        FinishReason::Stop => "stop",
        FinishReason::Length => "length",
    }
}

pub(crate) fn usage(summary: &ReplySummary) -> Usage {
    let ReplySummary { num_prompt_tokens, num_cached_tokens, num_completion_tokens, .. } = *summary;
    Usage {
        prompt_tokens: num_prompt_tokens,
        completion_tokens: num_completion_tokens,
        total_tokens: num_prompt_tokens + num_completion_tokens,
        prompt_tokens_details: PromptTokensDetails {
            cached_tokens: num_cached_tokens,
            ..PromptTokensDetails::default()
        },
        completion_tokens_details: CompletionTokensDetails::default(),
    }
}

pub(crate) fn timings(summary: &ReplySummary) -> Timings {
    let times = &summary.timings;
    let prompt_n = summary.num_prompt_tokens - summary.num_cached_tokens;
    let predicted_n = summary.num_completion_tokens;
    // The first token comes with the prefill; the decode time is that of the others.
    let num_decoded = predicted_n.saturating_sub(1);
    Timings {
        cache_n: summary.num_cached_tokens,
        prompt_n,
        prompt_ms: times.prefill_ms,
        prompt_per_token_ms: ratio(times.prefill_ms, prompt_n as f64),
        prompt_per_second: ratio(prompt_n as f64 * 1e3, times.prefill_ms),
        predicted_n,
        predicted_ms: times.decode_ms,
        predicted_per_token_ms: ratio(times.decode_ms, num_decoded as f64),
        predicted_per_second: ratio(num_decoded as f64 * 1e3, times.decode_ms),
        queue_ms: times.queue_ms,
        tokenize_ms: times.tokenize_ms,
        prefill_ms: times.prefill_ms,
        decode_ms: times.decode_ms,
        time_to_first_token_ms: times.time_to_first_token_ms,
    }
}

/// A quotient that is 0 where there is nothing to divide by: JSON knows no infinity.
fn ratio(numerator: f64, denominator: f64) -> f64 {
    if denominator > 0.0 { numerator / denominator } else { 0.0 }
}

pub(crate) fn token_logprob(logprobs: TokenLogprobs) -> TokenLogprob {
    let LikelyToken { text, bytes, logprob } = logprobs.token;
    let top = logprobs.top.into_iter();
    TokenLogprob {
        token: text,
        logprob: wire_logprob(logprob),
        bytes,
        top_logprobs: top
            .map(|it| TopLogprob {
                token: it.text,
                logprob: wire_logprob(it.logprob),
                bytes: it.bytes,
            })
            .collect(),
    }
}

/// OpenAI's stand-in for "never": JSON has no minus infinity.
pub(crate) fn wire_logprob(logprob: f32) -> f32 {
    logprob.max(-9999.0)
}
