//! `POST /v1/chat/completions`.

use std::{sync::Arc, time::Instant};

use axum::{
    Extension,
    extract::{Request, State},
    response::Response,
};
use brisk_api::{
    ErrorBody, Timings, Usage,
    chat::{
        ChatChoice, ChatChunkChoice, ChatCompletion, ChatCompletionChunk, ChatCompletionRequest,
        ChatLogprobs, Delta, ReplyMessage,
    },
};
use brisk_gateway::{Delta as GatewayDelta, ReplyEvent, Tenant};

use crate::{
    app::App,
    body, cache_control,
    connection_state::ConnectionState,
    convert::{Caller, chat_request, finish_reason, timings, token_logprob, usage},
    error::ApiError,
    observe::{Record, RequestId},
    reply::{FINGERPRINT, Stamp, TrackedReply},
    sse::{self, Dialect, Events},
    whole,
};

const ASSISTANT: &str = "assistant";

/// Continue a conversation.
///
/// With `stream: true` the reply comes as server-sent events of `ChatCompletionChunk`, ending with
/// `data: [DONE]`; an error after the first byte comes as `data: {"error": ...}`.
#[utoipa::path(
    post,
    operation_id = "createChatCompletion",
    path = "/v1/chat/completions",
    tag = "OpenAI",
    request_body = ChatCompletionRequest,
    params(
        ("X-Brisk-Cache-Control" = Option<String>, Header, description = "What the response cache may do, if the reply is reproducible: `no-cache`, `no-store`, `bypass`, `exact`, `max-age=SECONDS`, `ttl=SECONDS`, separated by commas."),
        ("X-Request-Timeout" = Option<f64>, Header, description = "Seconds after which the request fails, wherever it is."),
    ),
    responses(
        (status = 200, description = "The reply, whole or streamed.", content(
            (ChatCompletion = "application/json"),
            (ChatCompletionChunk = "text/event-stream"),
        )),
        (status = 400, description = "A parameter is wrong; `param` names it.", body = ErrorBody),
        (status = 401, description = "A key is required.", body = ErrorBody),
        (status = 404, description = "No model goes by this name.", body = ErrorBody),
        (status = 408, description = "The body did not come in time.", body = ErrorBody),
        (status = 413, description = "The body is too large.", body = ErrorBody),
        (status = 415, description = "The body is not JSON.", body = ErrorBody),
        (status = 429, description = "This API key has its share of requests waiting or open; `Retry-After` says when to come back.", body = ErrorBody),
        (status = 503, description = "The queue is full, or the server is starting or stopping; `Retry-After` says when to come back.", body = ErrorBody),
        (status = 504, description = "The deadline passed.", body = ErrorBody),
    )
)]
pub(crate) async fn create(
    State(app): State<Arc<App>>,
    Extension(request_id): Extension<RequestId>,
    Extension(record): Extension<Arc<Record>>,
    Extension(client): Extension<Arc<ConnectionState>>,
    Extension(tenant): Extension<Tenant>,
    request: Request,
) -> Result<Response, ApiError> {
    let caller = Caller::of(&app.config, tenant, request.headers())?;
    let wire = body::read_json(&app, request, ChatCompletionRequest::read).await?;
    let started = Instant::now();
    let (stream, include_usage) = (wire.stream, wire.stream_options.include_usage);
    let with_logprobs = wire.logprobs;
    let reply = app.gateway.chat(chat_request(wire, caller)?).await;
    let mut reply = reply.map_err(|error| ApiError::from(&error))?;
    let report = *reply.cache();
    if !stream {
        reply.in_one_piece();
    }
    let stamp = Stamp::new("chatcmpl", &request_id, reply.model());
    let mut reply = TrackedReply::new(reply, app, record, started);
    let mut response = if stream {
        reply.wait_for_first(&client).await?;
        let has_begun = vec![false; reply.num_choices()];
        let chunks = Chunks { stamp, include_usage, has_begun, held_finish: None };
        sse::response(reply, client, chunks)
    } else {
        whole::response(client, collect(reply, stamp, with_logprobs)).await?
    };
    cache_control::add_headers(&mut response, &report);
    Ok(response)
}

/// Waits for the whole reply.
async fn collect(
    mut reply: TrackedReply,
    stamp: Stamp,
    with_logprobs: bool,
) -> Result<ChatCompletion, ApiError> {
    let new_choice = |index| ChatChoice {
        index,
        message: ReplyMessage { role: ASSISTANT, content: String::new(), refusal: None },
        logprobs: with_logprobs.then(ChatLogprobs::default),
        finish_reason: "length",
    };
    let mut choices: Vec<_> = (0..reply.num_choices()).map(new_choice).collect();
    let mut summary = None;
    while let Some(event) = reply.next().await {
        match event? {
            ReplyEvent::Delta(GatewayDelta { choice, text, logprobs, .. }) => {
                let choice = &mut choices[choice];
                choice.message.content.push_str(&text);
                if let (Some(all), Some(new)) = (&mut choice.logprobs, logprobs) {
                    all.content.push(token_logprob(new));
                }
            }
            ReplyEvent::Finished { choice, text, reason } => {
                choices[choice].message.content.push_str(&text);
                choices[choice].finish_reason = finish_reason(reason);
            }
            ReplyEvent::Done(done) => summary = Some(done),
        }
    }
    let summary = summary.unwrap_or_default();
    let Stamp { id, created, model } = stamp;
    Ok(ChatCompletion {
        id,
        object: "chat.completion",
        created,
        model,
        system_fingerprint: FINGERPRINT,
        choices,
        usage: usage(&summary),
        timings: timings(&summary),
    })
}

/// Writes OpenAI's chunks.
struct Chunks {
    stamp: Stamp,
    include_usage: bool,
    /// Which choices have had their first chunk, the one with the role.
    has_begun: Vec<bool>,
    /// The latest choice's end waits for what comes next: if it is the reply's end, the timings
    /// belong into the same chunk.
    held_finish: Option<(usize, &'static str)>,
}

impl Chunks {
    fn chunk(&self, choices: Vec<ChatChunkChoice>) -> ChatCompletionChunk {
        let Stamp { id, created, model } = self.stamp.clone();
        ChatCompletionChunk {
            id,
            object: "chat.completion.chunk",
            created,
            model,
            system_fingerprint: FINGERPRINT,
            choices,
            usage: self.include_usage.then_some(None::<Usage>),
            timings: None,
        }
    }

    fn push_piece(
        &mut self,
        index: usize,
        content: Option<String>,
        logprobs: Option<ChatLogprobs>,
        out: &mut Events,
    ) {
        let is_first = !std::mem::replace(&mut self.has_begun[index], true);
        let role = is_first.then_some(ASSISTANT);
        // OpenAI's first chunk has an empty content, not none.
        let content = if is_first { Some(content.unwrap_or_default()) } else { content };
        let delta = Delta { role, content };
        out.push(&self.chunk(vec![ChatChunkChoice {
            index,
            delta,
            logprobs,
            finish_reason: None,
        }]));
    }

    fn push_finish(&self, held: (usize, &'static str), timings: Option<Timings>, out: &mut Events) {
        let (index, reason) = held;
        let finish_reason = Some(reason);
        let choice =
            ChatChunkChoice { index, delta: Delta::default(), logprobs: None, finish_reason };
        out.push(&ChatCompletionChunk { timings, ..self.chunk(vec![choice]) });
    }
}

impl Dialect for Chunks {
    fn event(&mut self, event: ReplyEvent, out: &mut Events) {
        match event {
            ReplyEvent::Delta(GatewayDelta { choice, text, logprobs, .. }) => {
                self.flush(out);
                let logprobs = logprobs
                    .map(|new| ChatLogprobs { content: vec![token_logprob(new)], refusal: None });
                if !text.is_empty() || logprobs.is_some() {
                    self.push_piece(choice, Some(text), logprobs, out);
                }
            }
            ReplyEvent::Finished { choice, text, reason } => {
                self.flush(out);
                if !text.is_empty() || !self.has_begun[choice] {
                    self.push_piece(choice, Some(text), None, out);
                }
                self.held_finish = Some((choice, finish_reason(reason)));
            }
            ReplyEvent::Done(summary) => {
                let timings = Some(timings(&summary));
                if !self.include_usage {
                    if let Some(held) = self.held_finish.take() {
                        self.push_finish(held, timings, out);
                    }
                    return;
                }
                self.flush(out);
                let usage = Some(Some(usage(&summary)));
                out.push(&ChatCompletionChunk { usage, timings, ..self.chunk(Vec::new()) });
            }
        }
    }

    fn flush(&mut self, out: &mut Events) {
        if let Some(held) = self.held_finish.take() {
            self.push_finish(held, None, out);
        }
    }
}
