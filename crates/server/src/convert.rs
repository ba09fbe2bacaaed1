//! From the wire's words to the gateway's and back; every default of a request is in this file.
//!
//! OpenAI's endpoints have OpenAI's defaults. The assistant endpoints have those of
//! [`AssistantDefaults`], which whoever runs the server may set.

use std::time::Duration;

use brisk_api::{
    CacheControl, CompletionTokensDetails, PromptTokensDetails,
    RepetitionDetection as WireRepetition, Sampling, Timings, Usage,
    assistant::{AssistantOptions, ChatTurnRequest, QueryRequest},
    chat::{ChatCompletionRequest, ChatMessage, Role as WireRole, TokenLogprob, TopLogprob},
    completion::{CompletionRequest as WireCompletion, Prompt as WirePrompt},
};
use brisk_gateway::{
    CacheUse, ChatRequest, CompletionRequest, FinishReason, LikelyToken, Message, Options, Prompt,
    RepetitionDetection, ReplySummary, Role, SamplingParams, Tenant, TokenLogprobs, TurnRequest,
};
use http::HeaderMap;

use crate::{body, cache_control, config::ServerConfig, error::ApiError};

/// OpenAI's default for `/v1/completions`.
const DEFAULT_COMPLETION_TOKENS: usize = 16;

/// When a reply of the assistant endpoints counts as repeating itself: 64 tokens in a loop at least,
/// which only a model that has lost its way writes.
const ASSISTANT_REPETITION: RepetitionDetection =
    RepetitionDetection { max_pattern_size: 64, min_pattern_size: 8, min_count: 8 };

/// How the assistant endpoints generate where a request does not say.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct AssistantDefaults {
    /// Tokens of a reply at most.
    pub max_new_tokens: usize,
    /// Softmax temperature.
    pub temperature: f32,
    /// Probability of the tokens to choose among.
    pub top_p: f32,
    /// Number of the likeliest tokens to choose among; 0 is all.
    pub top_k: u32,
    /// Penalty on tokens that were there before; 1 is none.
    pub repetition_penalty: f32,
    /// Runs of this many tokens do not come twice; 0 lets them.
    pub no_repeat_ngram_size: u32,
    /// A temperature below this takes the likeliest token, whoever named it.
    pub greedy_below: f32,
    /// Prompt tokens of a conversation at most in speed mode.
    pub speed_mode_context: usize,
}

impl Default for AssistantDefaults {
    fn default() -> Self {
        Self {
            max_new_tokens: 256,
            temperature: 0.8,
            top_p: 0.9,
            top_k: 50,
            repetition_penalty: 1.1,
            no_repeat_ngram_size: 3,
            greedy_below: 0.3,
            speed_mode_context: 1024,
        }
    }
}

/// What a request says outside its body.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Caller {
    tenant: Tenant,
    deadline: Option<Duration>,
    cache_control: Option<CacheControl>,
    /// Time between two tokens of a kept reply, by the server's configuration.
    replay_pace: Option<Duration>,
}

impl Caller {
    /// Reads the headers that every generation takes.
    pub(crate) fn of(
        config: &ServerConfig,
        tenant: Tenant,
        headers: &HeaderMap,
    ) -> Result<Self, ApiError> {
        Ok(Self {
            tenant,
            deadline: body::deadline(headers)?,
            cache_control: cache_control::of_header(headers)?,
            replay_pace: config.replay_pace,
        })
    }
}

pub(crate) fn query_request(
    wire: QueryRequest,
    caller: Caller,
    defaults: &AssistantDefaults,
) -> Result<ChatRequest, ApiError> {
    let QueryRequest { query, options: mut wire } = wire;
    let system = wire.system.take().map(|content| Message { role: Role::System, content });
    let question = Message { role: Role::User, content: query };
    Ok(ChatRequest {
        messages: system.into_iter().chain([question]).collect(),
        is_cleaned: true,
        default_max_tokens: Some(defaults.max_new_tokens),
        options: assistant_options(wire, caller, defaults)?,
    })
}

pub(crate) fn turn_request(
    wire: ChatTurnRequest,
    caller: Caller,
    defaults: &AssistantDefaults,
) -> Result<TurnRequest, ApiError> {
    let ChatTurnRequest { message, user_id, stream: _, options: mut wire } = wire;
    Ok(TurnRequest {
        user_id,
        message,
        system: wire.system.take(),
        max_context_tokens: wire.speed_mode.then_some(defaults.speed_mode_context),
        default_max_tokens: defaults.max_new_tokens,
        options: assistant_options(wire, caller, defaults)?,
    })
}

fn assistant_options(
    wire: AssistantOptions,
    caller: Caller,
    defaults: &AssistantDefaults,
) -> Result<Options, ApiError> {
    let params = assistant_params(&wire, defaults);
    let cache_control = wire.cache_control;
    options(wire.model, params, 1, caller, CacheUse::ASSISTANT, cache_control)
}

/// What a request names counts; `speed_mode` changes what it does not name.
fn assistant_params(wire: &AssistantOptions, defaults: &AssistantDefaults) -> SamplingParams {
    let unless_fast = |default, fast| if wire.speed_mode { fast } else { default };
    let temperature = wire.temperature.unwrap_or(unless_fast(defaults.temperature, 0.0));
    let ngram_size = if wire.speed_mode { 0 } else { defaults.no_repeat_ngram_size };
    let max_tokens = wire.max_tokens.map(|tokens| tokens as usize);
    let longest = max_tokens.unwrap_or(defaults.max_new_tokens);
    SamplingParams {
        temperature: if temperature < defaults.greedy_below { 0.0 } else { temperature },
        top_k: wire.top_k.unwrap_or(defaults.top_k),
        top_p: wire.top_p.unwrap_or(defaults.top_p),
        min_p: wire.min_p.unwrap_or(0.0),
        repetition_penalty: wire
            .repetition_penalty
            .unwrap_or(unless_fast(defaults.repetition_penalty, 1.0)),
        no_repeat_ngram_size: wire.no_repeat_ngram_size.unwrap_or(ngram_size),
        seed: wire.seed.map(i64::cast_unsigned),
        stop: wire.stop.clone().map(brisk_api::Stop::into_vec).unwrap_or_default(),
        max_tokens,
        // A whole sentence is better than one that the limit cuts.
        soft_max_tokens: Some(
            wire.soft_max_tokens.map_or(longest - longest / 4, |tokens| tokens as usize),
        ),
        repetition_detection: wire
            .repetition_detection
            .map_or(Some(ASSISTANT_REPETITION), repetition_detection),
        ..SamplingParams::default()
    }
}

/// What is off on the wire is absent further in, and a smallest pattern of 0 tokens has 1.
fn repetition_detection(wire: WireRepetition) -> Option<RepetitionDetection> {
    let WireRepetition { max_pattern_size, min_pattern_size, min_count } = wire;
    let min_pattern_size = min_pattern_size.max(1);
    (max_pattern_size > 0).then_some(RepetitionDetection {
        max_pattern_size,
        min_pattern_size,
        min_count,
    })
}

pub(crate) fn chat_request(
    wire: ChatCompletionRequest,
    caller: Caller,
) -> Result<ChatRequest, ApiError> {
    let max_tokens = wire.max_completion_tokens.or(wire.max_tokens);
    let top_logprobs = wire.logprobs.then(|| wire.top_logprobs.unwrap_or(0));
    let num_choices = wire.sampling.n.unwrap_or(1) as usize;
    let params = openai_params(wire.sampling, max_tokens, top_logprobs);
    let (cache_use, cache_control) = (CacheUse::REPRODUCIBLE, wire.cache_control);
    Ok(ChatRequest {
        messages: wire.messages.into_iter().map(message).collect(),
        is_cleaned: false,
        default_max_tokens: None,
        options: options(wire.model, params, num_choices, caller, cache_use, cache_control)?,
    })
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
    caller: Caller,
) -> Result<CompletionRequest, ApiError> {
    let num_choices = wire.sampling.n.unwrap_or(1) as usize;
    let params = openai_params(wire.sampling, wire.max_tokens, wire.logprobs);
    let (cache_use, cache_control) = (CacheUse::REPRODUCIBLE, wire.cache_control);
    Ok(CompletionRequest {
        prompts: match wire.prompt {
            WirePrompt::Text(text) => vec![Prompt::Text(text)],
            WirePrompt::Texts(texts) => texts.into_iter().map(Prompt::Text).collect(),
            WirePrompt::Tokens(tokens) => vec![Prompt::Tokens(tokens)],
            WirePrompt::TokenLists(lists) => lists.into_iter().map(Prompt::Tokens).collect(),
        },
        echo: wire.echo,
        default_max_tokens: DEFAULT_COMPLETION_TOKENS,
        options: options(wire.model, params, num_choices, caller, cache_use, cache_control)?,
    })
}

fn options(
    model: Option<String>,
    params: SamplingParams,
    num_choices: usize,
    caller: Caller,
    allowed: CacheUse,
    cache_control: Option<CacheControl>,
) -> Result<Options, ApiError> {
    let Caller { tenant, deadline, cache_control: in_header, replay_pace } = caller;
    let cache = cache_control::cache_use(allowed, in_header, cache_control)?;
    let cache = CacheUse { replay_pace, ..cache };
    Ok(Options { model, params, num_choices, deadline, tenant, cache })
}

fn openai_params(
    sampling: Sampling,
    max_tokens: Option<u32>,
    top_logprobs: Option<u8>,
) -> SamplingParams {
    SamplingParams {
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
        repetition_detection: sampling.repetition_detection.and_then(repetition_detection),
        top_logprobs,
        ignore_eos: sampling.ignore_eos.unwrap_or(false),
    }
}

pub(crate) fn finish_reason(reason: FinishReason) -> &'static str {
    match reason {
        FinishReason::Stop => "stop",
        FinishReason::Length => "length",
        FinishReason::Repetition => "repetition",
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
        cache_lookup_ms: times.cache_lookup_ms,
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

#[cfg(test)]
mod tests {
    use super::*;

    /// What becomes of these fields: the parameters that differ from plain sampling.
    fn check(fields: &str, expected: &str) {
        let body = format!(r#"{{"query": "q"{fields}}}"#);
        let wire = QueryRequest::read(body.as_bytes()).unwrap().options;
        let got = assistant_params(&wire, &AssistantDefaults::default());
        let SamplingParams {
            temperature,
            top_k,
            top_p,
            min_p,
            repetition_penalty,
            no_repeat_ngram_size,
            max_tokens,
            soft_max_tokens,
            ref stop,
            seed,
            repetition_detection,
            ..
        } = got;
        let rest = SamplingParams {
            temperature,
            top_k,
            top_p,
            min_p,
            repetition_penalty,
            no_repeat_ngram_size,
            max_tokens,
            soft_max_tokens,
            stop: stop.clone(),
            seed,
            repetition_detection,
            ..SamplingParams::default()
        };
        assert_eq!(got, rest, "{fields}");
        let got = format!(
            "t {temperature} k {top_k} p {top_p} m {min_p} r {repetition_penalty} n {no_repeat_ngram_size} max {} soft {}",
            max_tokens.map_or_else(|| "-".to_owned(), |it| it.to_string()),
            soft_max_tokens.unwrap(),
        );
        assert_eq!(got, expected, "{fields}");
    }

    #[test]
    fn an_assistant_generates_by_its_own_defaults() {
        let plain = "k 50 p 0.9 m 0 r 1.1 n 3";
        check("", &format!("t 0.8 {plain} max - soft 192"));
        check(r#", "temperature": null"#, &format!("t 0.8 {plain} max - soft 192"));
        check(r#", "temperature": 0"#, &format!("t 0 {plain} max - soft 192"));
        check(r#", "temperature": 0.29"#, &format!("t 0 {plain} max - soft 192"));
        check(r#", "temperature": 0.3"#, &format!("t 0.3 {plain} max - soft 192"));
        check(r#", "max_tokens": 1"#, &format!("t 0.8 {plain} max 1 soft 1"));
        check(r#", "max_tokens": 100"#, &format!("t 0.8 {plain} max 100 soft 75"));
        check(r#", "soft_max_tokens": 7"#, &format!("t 0.8 {plain} max - soft 7"));
        check(
            r#", "temperature": 2, "top_k": 0, "top_p": 1, "min_p": 0.5, "repetition_penalty": 1, "no_repeat_ngram_size": 0"#,
            "t 2 k 0 p 1 m 0.5 r 1 n 0 max - soft 192",
        );
    }

    /// The largest pattern, the smallest and the times that these fields make.
    fn check_repetition(fields: &str, expected: Option<(u32, u32, u32)>) {
        let body = format!(r#"{{"query": "q"{fields}}}"#);
        let wire = QueryRequest::read(body.as_bytes()).unwrap().options;
        let got = assistant_params(&wire, &AssistantDefaults::default()).repetition_detection;
        let got = got.map(|it| (it.max_pattern_size, it.min_pattern_size, it.min_count));
        assert_eq!(got, expected, "{fields}");
    }

    #[test]
    fn an_assistants_reply_may_not_go_round_in_circles() {
        let given = |fields: &str| format!(r#", "repetition_detection": {{{fields}}}"#);
        check_repetition("", Some((64, 8, 8)));
        check_repetition(r#", "repetition_detection": null"#, Some((64, 8, 8)));
        check_repetition(r#", "speed_mode": true"#, Some((64, 8, 8)));
        check_repetition(&given(""), None);
        check_repetition(&given(r#""max_pattern_size": 0"#), None);
        check_repetition(&given(r#""max_pattern_size": 5, "min_count": 3"#), Some((5, 1, 3)));
        check_repetition(
            &given(r#""max_pattern_size": 5, "min_pattern_size": 2, "min_count": 3"#),
            Some((5, 2, 3)),
        );
    }

    #[test]
    fn speed_mode_changes_what_is_not_named() {
        check(r#", "speed_mode": true"#, "t 0 k 50 p 0.9 m 0 r 1 n 0 max - soft 192");
        check(
            r#", "speed_mode": true, "temperature": 0.7, "repetition_penalty": 1.2, "no_repeat_ngram_size": 4"#,
            "t 0.7 k 50 p 0.9 m 0 r 1.2 n 4 max - soft 192",
        );
        for (fields, expected) in [("", None), (r#", "speed_mode": true"#, Some(1024))] {
            let body = format!(r#"{{"message": "m", "user_id": "u"{fields}}}"#);
            let wire = ChatTurnRequest::read(body.as_bytes()).unwrap();
            let caller =
                Caller::of(&ServerConfig::default(), Tenant::LOCAL, &HeaderMap::new()).unwrap();
            let turn = turn_request(wire, caller, &AssistantDefaults::default()).unwrap();
            assert_eq!(turn.max_context_tokens, expected);
            assert_eq!((turn.default_max_tokens, turn.options.cache), (256, CacheUse::ASSISTANT));
        }
    }
}
