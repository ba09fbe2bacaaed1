//! `POST /api/query`, `/api/query/stream` and `/api/chat`.

use std::{sync::Arc, time::Instant};

use axum::{
    Extension,
    extract::{Request, State},
    response::Response,
};
use brisk_api::{
    ErrorBody, RequestError,
    assistant::{
        AssistantReply, ChatTurnRequest, DoneEvent, History, QueryRequest, ReplyEnd, StreamEvent,
        TokenEvent,
    },
};
use brisk_gateway::{FinishReason, Reply, ReplyEvent, ReplySummary, Tenant};

use crate::{
    app::App,
    body, cache_control,
    connection_state::ConnectionState,
    convert::{Caller, finish_reason, query_request, timings, turn_request, usage},
    error::ApiError,
    observe::Record,
    reply::TrackedReply,
    sse::{self, Dialect, Events},
    whole,
};

/// Answer one question.
///
/// Nothing is remembered of it but its reply, which answers the same question again.
#[utoipa::path(
    post,
    operation_id = "query",
    path = "/api/query",
    tag = "Assistant",
    request_body = QueryRequest,
    params(
        ("X-Brisk-Cache-Control" = Option<String>, Header, description = "What the response cache may do: `no-cache`, `no-store`, `bypass`, `exact`, `max-age=SECONDS`, `ttl=SECONDS`, separated by commas."),
        ("X-Request-Timeout" = Option<f64>, Header, description = "Seconds after which the request fails, wherever it is."),
    ),
    responses(
        (status = 200, description = "The reply.", body = AssistantReply),
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
pub(crate) async fn query(
    State(app): State<Arc<App>>,
    Extension(record): Extension<Arc<Record>>,
    Extension(client): Extension<Arc<ConnectionState>>,
    Extension(tenant): Extension<Tenant>,
    request: Request,
) -> Result<Response, ApiError> {
    let door = Door { app, record, client, tenant };
    ask(door, request, QueryRequest::read, false).await
}

/// Answer one question, piece by piece.
///
/// Server-sent events: `{"token": ...}` for each piece, then one `{"done": true, ...}` with what
/// `/api/query` has beside its text. An error is a last `{"error": ...}`.
#[utoipa::path(
    post,
    operation_id = "queryStream",
    path = "/api/query/stream",
    tag = "Assistant",
    request_body = QueryRequest,
    params(
        ("X-Brisk-Cache-Control" = Option<String>, Header, description = "As for `/api/query`."),
        ("X-Request-Timeout" = Option<f64>, Header, description = "Seconds after which the request fails, wherever it is."),
    ),
    responses(
        (status = 200, description = "The pieces, then the end.", body = StreamEvent, content_type = "text/event-stream"),
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
pub(crate) async fn query_stream(
    State(app): State<Arc<App>>,
    Extension(record): Extension<Arc<Record>>,
    Extension(client): Extension<Arc<ConnectionState>>,
    Extension(tenant): Extension<Tenant>,
    request: Request,
) -> Result<Response, ApiError> {
    let door = Door { app, record, client, tenant };
    ask(door, request, QueryRequest::read_streamed, true).await
}

/// Continue a conversation that the server keeps.
///
/// The turn is kept once its reply is whole; `kept` says whether it was. With `stream: false` the reply is one JSON object;
/// otherwise its events are those of `/api/query/stream`.
#[utoipa::path(
    post,
    operation_id = "chat",
    path = "/api/chat",
    tag = "Assistant",
    request_body = ChatTurnRequest,
    params(
        ("X-Brisk-Cache-Control" = Option<String>, Header, description = "As for `/api/query`."),
        ("X-Request-Timeout" = Option<f64>, Header, description = "Seconds after which the request fails, wherever it is."),
    ),
    responses(
        (status = 200, description = "The reply, streamed or whole.", content(
            (StreamEvent = "text/event-stream"),
            (AssistantReply = "application/json"),
        )),
        (status = 400, description = "A parameter is wrong; `param` names it.", body = ErrorBody),
        (status = 401, description = "A key is required.", body = ErrorBody),
        (status = 404, description = "No model goes by this name, or the server keeps no conversations.", body = ErrorBody),
        (status = 408, description = "The body did not come in time.", body = ErrorBody),
        (status = 413, description = "The body is too large.", body = ErrorBody),
        (status = 415, description = "The body is not JSON.", body = ErrorBody),
        (status = 429, description = "This API key has its share of requests waiting or open; `Retry-After` says when to come back.", body = ErrorBody),
        (status = 503, description = "The queue is full, or the server is starting or stopping; `Retry-After` says when to come back.", body = ErrorBody),
        (status = 504, description = "The deadline passed.", body = ErrorBody),
    )
)]
pub(crate) async fn chat(
    State(app): State<Arc<App>>,
    Extension(record): Extension<Arc<Record>>,
    Extension(client): Extension<Arc<ConnectionState>>,
    Extension(tenant): Extension<Tenant>,
    request: Request,
) -> Result<Response, ApiError> {
    let door = Door { app, record, client, tenant };
    let (caller, wire) = door.read(request, ChatTurnRequest::read).await?;
    let started = Instant::now();
    let stream = wire.stream;
    let turn = turn_request(wire, caller, &door.app.config.assistant)?;
    let reply = door.app.gateway.converse(turn).await;
    let reply = reply.map_err(|error| ApiError::from(&error))?;
    door.answer(reply, stream, started).await
}

async fn ask(
    door: Door,
    request: Request,
    read: fn(&[u8]) -> Result<QueryRequest, RequestError>,
    stream: bool,
) -> Result<Response, ApiError> {
    let (caller, wire) = door.read(request, read).await?;
    let started = Instant::now();
    let question = query_request(wire, caller, &door.app.config.assistant)?;
    let reply = door.app.gateway.chat(question).await;
    let reply = reply.map_err(|error| ApiError::from(&error))?;
    door.answer(reply, stream, started).await
}

/// What every handler here has beside the request.
struct Door {
    app: Arc<App>,
    record: Arc<Record>,
    client: Arc<ConnectionState>,
    tenant: Tenant,
}

impl Door {
    async fn read<T: Send + 'static>(
        &self,
        request: Request,
        read: fn(&[u8]) -> Result<T, RequestError>,
    ) -> Result<(Caller, T), ApiError> {
        let caller = Caller::of(&self.app.config, self.tenant, request.headers())?;
        Ok((caller, body::read_json(&self.app, request, read).await?))
    }

    async fn answer(
        self,
        mut reply: Reply,
        stream: bool,
        started: Instant,
    ) -> Result<Response, ApiError> {
        let report = *reply.cache();
        let model = reply.model().to_owned();
        if !stream {
            reply.in_one_piece();
        }
        let mut reply = TrackedReply::new(reply, self.app, self.record, started);
        let end = End {
            model,
            cached: report.status.is_hit(),
            cache: report.status.name(),
            history: reply.history().map(|left_out| History {
                messages_left_out: left_out.num_messages_left_out,
                tokens_left_out: left_out.num_tokens_left_out,
            }),
            reason: FinishReason::Length,
        };
        let mut response = if stream {
            reply.wait_for_first(&self.client).await?;
            sse::response(reply, self.client, Tokens { end })
        } else {
            whole::response(self.client, collect(reply, end)).await?
        };
        cache_control::add_headers(&mut response, &report);
        Ok(response)
    }
}

/// What a reply's end will say.
struct End {
    model: String,
    cached: bool,
    cache: &'static str,
    history: Option<History>,
    /// Known once the choice has ended.
    reason: FinishReason,
}

impl End {
    fn of(&self, summary: &ReplySummary) -> ReplyEnd {
        ReplyEnd {
            cached: self.cached,
            cache: self.cache,
            model: self.model.clone(),
            finish_reason: finish_reason(self.reason),
            timings: timings(summary),
            usage: usage(summary),
            history: self.history,
            kept: summary.is_turn_kept,
        }
    }
}

/// Waits for the whole reply.
async fn collect(mut reply: TrackedReply, mut end: End) -> Result<AssistantReply, ApiError> {
    let mut response = String::new();
    let mut summary = ReplySummary::default();
    while let Some(event) = reply.next().await {
        match event? {
            ReplyEvent::Delta(delta) => response.push_str(&delta.text),
            ReplyEvent::Finished { text, reason, .. } => {
                response.push_str(&text);
                end.reason = reason;
            }
            ReplyEvent::Done(done) => summary = done,
        }
    }
    Ok(AssistantReply { response, end: end.of(&summary) })
}

/// Writes the events of a streamed reply.
struct Tokens {
    end: End,
}

impl Dialect for Tokens {
    const LAST_LINE: &'static [u8] = b"";

    fn event(&mut self, event: ReplyEvent, out: &mut Events) {
        let token = match event {
            ReplyEvent::Delta(delta) => delta.text,
            ReplyEvent::Finished { text, reason, .. } => {
                self.end.reason = reason;
                text
            }
            ReplyEvent::Done(summary) => {
                let done = DoneEvent { done: true, end: self.end.of(&summary) };
                return out.push(&StreamEvent::Done(Box::new(done)));
            }
        };
        if !token.is_empty() {
            out.push(&StreamEvent::Token(TokenEvent { token }));
        }
    }

    fn flush(&mut self, _: &mut Events) {}
}
