//! `POST /v1/completions`.

use std::{sync::Arc, time::Instant};

use axum::{
    Extension,
    extract::{Request, State},
    response::Response,
};
use brisk_api::{
    ErrorBody, Timings,
    completion::{
        Completion, CompletionChoice, CompletionLogprobs, CompletionRequest, TopLogprobs,
    },
};
use brisk_gateway::{Delta, ReplyEvent, Tenant, TokenLogprobs};

use crate::{
    app::App,
    body, cache_control,
    connection_state::ConnectionState,
    convert::{Caller, completion_request, finish_reason, timings, usage, wire_logprob},
    error::ApiError,
    observe::{Record, RequestId},
    reply::{FINGERPRINT, Stamp, TrackedReply},
    sse::{self, Dialect, Events},
    whole,
};

/// Continue one or more texts as they stand.
///
/// Control tokens written in the prompt count as such. With `stream: true` the reply comes as
/// server-sent events of `Completion`, ending with `data: [DONE]`; an error after the first byte
/// comes as `data: {"error": ...}`.
#[utoipa::path(
    post,
    operation_id = "createCompletion",
    path = "/v1/completions",
    tag = "OpenAI",
    request_body = CompletionRequest,
    params(
        ("X-Brisk-Cache-Control" = Option<String>, Header, description = "What the response cache may do, if the reply is reproducible: `no-cache`, `no-store`, `bypass`, `exact`, `max-age=SECONDS`, `ttl=SECONDS`, separated by commas."),
        ("X-Request-Timeout" = Option<f64>, Header, description = "Seconds after which the request fails, wherever it is."),
    ),
    responses(
        (status = 200, description = "The reply, whole or streamed.", content(
            (Completion = "application/json"),
            (Completion = "text/event-stream"),
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
    let wire = body::read_json(&app, request, CompletionRequest::read).await?;
    let started = Instant::now();
    let (stream, include_usage) = (wire.stream, wire.stream_options.include_usage);
    let with_logprobs = wire.logprobs.is_some();
    let reply = app.gateway.complete(completion_request(wire, caller)?).await;
    let mut reply = reply.map_err(|error| ApiError::from(&error))?;
    let report = *reply.cache();
    if !stream {
        reply.in_one_piece();
    }
    let stamp = Stamp::new("cmpl", &request_id, reply.model());
    let mut reply = TrackedReply::new(reply, app, record, started);
    let mut response = if stream {
        reply.wait_for_first(&client).await?;
        let offsets = vec![Offset::default(); reply.num_choices()];
        let chunks = Chunks { stamp, include_usage, offsets, held_finish: None };
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
) -> Result<Completion, ApiError> {
    let new_choice = |index| CompletionChoice {
        text: String::new(),
        index,
        logprobs: with_logprobs.then(CompletionLogprobs::default),
        finish_reason: None,
    };
    let mut choices: Vec<_> = (0..reply.num_choices()).map(new_choice).collect();
    let mut offsets = vec![Offset::default(); choices.len()];
    let mut summary = None;
    while let Some(event) = reply.next().await {
        match event? {
            ReplyEvent::Delta(Delta { choice: index, text, logprobs, .. }) => {
                let choice = &mut choices[index];
                choice.text.push_str(&text);
                if let (Some(all), Some(new)) = (&mut choice.logprobs, logprobs) {
                    append(all, new, &mut offsets[index]);
                }
            }
            ReplyEvent::Finished { choice, text, reason } => {
                choices[choice].text.push_str(&text);
                choices[choice].finish_reason = Some(finish_reason(reason));
            }
            ReplyEvent::Done(done) => summary = Some(done),
        }
    }
    let summary = summary.unwrap_or_default();
    Ok(Completion {
        usage: Some(Some(usage(&summary))),
        timings: Some(timings(&summary)),
        ..completion(&stamp, choices)
    })
}

fn completion(stamp: &Stamp, choices: Vec<CompletionChoice>) -> Completion {
    let Stamp { id, created, model } = stamp.clone();
    Completion {
        id,
        object: "text_completion",
        created,
        model,
        system_fingerprint: FINGERPRINT,
        choices,
        usage: None,
        timings: None,
    }
}

/// Where a choice's next token begins. A token that begins inside a character begins where that
/// character does.
#[derive(Clone, Debug, Default)]
struct Offset {
    num_chars: usize,
    /// The bytes of a character that is not complete yet.
    begun: Vec<u8>,
}

impl Offset {
    fn advance(&mut self, bytes: &[u8]) {
        self.begun.extend_from_slice(bytes);
        while !self.begun.is_empty() {
            let (num_valid, num_broken) = match str::from_utf8(&self.begun) {
                Ok(text) => (text.len(), Some(0)),
                Err(error) => (error.valid_up_to(), error.error_len()),
            };
            self.num_chars += String::from_utf8_lossy(&self.begun[..num_valid]).chars().count();
            self.begun.drain(..num_valid);
            // No error length: the rest may still become a character. A broken one shows as one.
            let Some(num_broken) = num_broken else { return };
            self.begun.drain(..num_broken);
            self.num_chars += usize::from(num_broken > 0);
        }
    }
}

/// Appends one token; `offset` is where it begins, and then where the next one does.
fn append(all: &mut CompletionLogprobs, new: TokenLogprobs, offset: &mut Offset) {
    let mut top = TopLogprobs::default();
    // The chosen token is among the likeliest or less likely than all of them.
    for it in new.top.into_iter().chain([new.token.clone()]) {
        top.push(it.text, wire_logprob(it.logprob));
    }
    all.top_logprobs.push(top);
    all.token_logprobs.push(wire_logprob(new.token.logprob));
    all.text_offset.push(offset.num_chars);
    offset.advance(&new.token.bytes);
    all.tokens.push(new.token.text);
}

/// Writes OpenAI's events.
struct Chunks {
    stamp: Stamp,
    include_usage: bool,
    /// Where each choice's next token begins.
    offsets: Vec<Offset>,
    /// The latest choice's end waits for what comes next: if it is the reply's end, the timings
    /// belong into the same event.
    held_finish: Option<CompletionChoice>,
}

impl Chunks {
    fn push(&self, choice: CompletionChoice, timings: Option<Timings>, out: &mut Events) {
        let usage = self.include_usage.then_some(None);
        out.push(&Completion { usage, timings, ..completion(&self.stamp, vec![choice]) });
    }
}

impl Dialect for Chunks {
    fn event(&mut self, event: ReplyEvent, out: &mut Events) {
        match event {
            ReplyEvent::Delta(Delta { choice: index, text, logprobs, .. }) => {
                self.flush(out);
                let offset = &mut self.offsets[index];
                let logprobs = logprobs.map(|new| {
                    let mut all = CompletionLogprobs::default();
                    append(&mut all, new, offset);
                    all
                });
                if !text.is_empty() || logprobs.is_some() {
                    let choice = CompletionChoice { text, index, logprobs, finish_reason: None };
                    self.push(choice, None, out);
                }
            }
            ReplyEvent::Finished { choice: index, text, reason } => {
                self.flush(out);
                let finish_reason = Some(finish_reason(reason));
                let choice = CompletionChoice { text, index, logprobs: None, finish_reason };
                self.held_finish = Some(choice);
            }
            ReplyEvent::Done(summary) => {
                let timings = Some(timings(&summary));
                if !self.include_usage {
                    if let Some(held) = self.held_finish.take() {
                        self.push(held, timings, out);
                    }
                    return;
                }
                self.flush(out);
                let usage = Some(Some(usage(&summary)));
                out.push(&Completion { usage, timings, ..completion(&self.stamp, Vec::new()) });
            }
        }
    }

    fn flush(&mut self, out: &mut Events) {
        if let Some(held) = self.held_finish.take() {
            self.push(held, None, out);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_split_character_counts_once() {
        for (tokens, expected) in [
            (&[&b"a"[..], b"bc", b"d"][..], &[0, 1, 3, 4][..]),
            (&[b"\xe2\x82", b"\xac", b"x"], &[0, 0, 1, 2]),
            (&[b"\xf0\x9f", b"\x98", b"\x80x"], &[0, 0, 0, 2]),
            (&[b"\xff", b"\xe2", b"x", b""], &[0, 1, 1, 3, 3]),
        ] {
            let mut offset = Offset::default();
            let mut found = vec![0];
            for token in tokens {
                offset.advance(token);
                found.push(offset.num_chars);
            }
            assert_eq!(found, expected, "{tokens:?}");
        }
    }
}
