//! Streams a reply as server-sent events.

use std::{
    convert::Infallible,
    future::Future,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use axum::{body::Body, response::Response};
use brisk_gateway::ReplyEvent;
use bytes::Bytes;
use futures_core::Stream;
use http::{HeaderValue, header};
use tokio::time::{Instant, Sleep, sleep};

use crate::{connection_state::ConnectionState, reply::TrackedReply, whole::PROBE_INTERVAL};

/// Ready events are put into one piece up to this size: one write instead of many.
const MAX_PIECE_BYTES: usize = 16 << 10;
/// A comment, which readers skip.
const KEEP_ALIVE: &[u8] = b": keep-alive\n\n";

/// Writes the events of one endpoint's streams.
pub(crate) trait Dialect: Send + Unpin + 'static {
    /// What follows the last event of a reply that went well; OpenAI's marker, where nothing else is.
    const LAST_LINE: &'static [u8] = b"data: [DONE]\n\n";
    /// Appends what an event says, as complete `data:` lines; may hold things back.
    fn event(&mut self, event: ReplyEvent, out: &mut Events);
    /// Appends what was held back, because the stream breaks here.
    fn flush(&mut self, out: &mut Events);
}

/// Events that are ready to go out.
#[derive(Debug, Default)]
pub(crate) struct Events {
    bytes: Vec<u8>,
}

impl Events {
    /// Appends one event.
    pub(crate) fn push(&mut self, data: &impl serde::Serialize) {
        self.bytes.extend_from_slice(b"data: ");
        serde_json::to_writer(&mut self.bytes, data).expect("wire types always serialize");
        self.bytes.extend_from_slice(b"\n\n");
    }
}

/// A streamed response; dropping it drops the reply, which cancels it.
///
/// A client that has left and one that has only closed its sending side look the same until
/// something is written to them. So once `client` sends nothing more, comments follow each other
/// quickly: who listens skips them, who has left resets the connection.
pub(crate) fn response(
    reply: TrackedReply,
    client: Arc<ConnectionState>,
    dialect: impl Dialect,
) -> Response {
    let interval = reply.app().config.keep_alive_interval;
    let stream = ReplyStream {
        reply,
        dialect,
        events: Events::default(),
        keep_alive: Box::pin(sleep(interval)),
        interval,
        input_end: Some(Box::pin(async move { client.input_ended().await })),
        has_ended: false,
    };
    let mut response = Response::new(Body::from_stream(stream));
    let headers = response.headers_mut();
    headers
        .insert(header::CONTENT_TYPE, HeaderValue::from_static("text/event-stream; charset=utf-8"));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    headers.insert("x-accel-buffering", HeaderValue::from_static("no"));
    response
}

struct ReplyStream<D> {
    reply: TrackedReply,
    dialect: D,
    events: Events,
    keep_alive: Pin<Box<Sleep>>,
    interval: Duration,
    /// None once the client sends nothing more.
    input_end: Option<Pin<Box<dyn Future<Output = ()> + Send>>>,
    has_ended: bool,
}

impl<D: Dialect> ReplyStream<D> {
    /// Begins to look for the client, at once and often, when its input has ended.
    fn watch_input(&mut self, context: &mut Context<'_>) {
        if let Some(end) = &mut self.input_end
            && end.as_mut().poll(context).is_ready()
        {
            self.input_end = None;
            self.interval = self.interval.min(PROBE_INTERVAL);
            self.keep_alive.as_mut().reset(Instant::now());
        }
    }

    /// Takes every event that is ready, up to a piece's size.
    fn fill(&mut self, context: &mut Context<'_>) {
        while !self.has_ended && self.events.bytes.len() < MAX_PIECE_BYTES {
            match self.reply.poll_next(context) {
                Poll::Pending => return,
                Poll::Ready(Some(Ok(event))) => self.dialect.event(event, &mut self.events),
                Poll::Ready(None) => {
                    self.events.bytes.extend_from_slice(D::LAST_LINE);
                    self.has_ended = true;
                }
                Poll::Ready(Some(Err(error))) => {
                    self.dialect.flush(&mut self.events);
                    self.events.push(&error.body());
                    self.has_ended = true;
                }
            }
        }
    }
}

impl<D: Dialect> Stream for ReplyStream<D> {
    type Item = Result<Bytes, Infallible>;

    fn poll_next(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Bytes, Infallible>>> {
        let this = &mut *self;
        this.fill(context);
        this.watch_input(context);
        if this.events.bytes.is_empty() {
            if this.has_ended {
                return Poll::Ready(None);
            }
            if this.keep_alive.as_mut().poll(context).is_pending() {
                return Poll::Pending;
            }
            this.events.bytes.extend_from_slice(KEEP_ALIVE);
        }
        this.keep_alive.as_mut().reset(Instant::now() + this.interval);
        Poll::Ready(Some(Ok(std::mem::take(&mut this.events.bytes).into())))
    }
}
