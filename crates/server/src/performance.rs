//! `GET /api/performance` and its stream: the server's figures for people and for the dashboard.

use std::{
    sync::Arc,
    time::{Duration, Instant, SystemTime},
};

use axum::{Json, body::Body, extract::State, response::Response};
use brisk_api::ErrorBody;
use bytes::Bytes;
use futures_core::Stream;
use http::{HeaderMap, HeaderValue, header};
use tokio::{
    sync::mpsc,
    time::{MissedTickBehavior, interval},
};

use crate::{
    app::App,
    error::{ApiError, HttpError},
    metrics::samples::{ListenError, MAX_LISTENERS, Reading, Sample},
    performance::report::Performance,
};

pub(crate) mod report;

/// Time between two samples.
const SAMPLE_INTERVAL: Duration = Duration::from_secs(1);
/// A comment, which readers skip: it sends the head of a stream that has no sample yet.
const GREETING: &[u8] = b": one sample a second\n\n";

/// Show how the server does, since it began and over the last five minutes.
///
/// Text such as `"63.3%"` is for people; the number beside it is for programs.
#[utoipa::path(
    get,
    operation_id = "performance",
    path = "/api/performance",
    tag = "Operation",
    responses(
        (status = 200, description = "The figures.", body = Performance),
        (status = 401, description = "A key is required.", body = ErrorBody),
    )
)]
pub(crate) async fn show(State(app): State<Arc<App>>) -> Json<Performance> {
    Json(Performance::of(&app))
}

/// Watch the figures: server-sent events, one `Sample` a second, the last ten minutes first.
///
/// Whoever comes back sends the last event's id and gets what came since.
#[utoipa::path(
    get,
    operation_id = "watchPerformance",
    path = "/api/performance/stream",
    tag = "Operation",
    params(("Last-Event-ID" = Option<u64>, Header, description = "Id of the last event that came, which is its `time_ms`; anything else counts as none.")),
    responses(
        (status = 200, description = "Samples, without an end.", body = Sample, content_type = "text/event-stream"),
        (status = 401, description = "A key is required.", body = ErrorBody),
        (status = 503, description = "Too many watch already, or the server stops.", body = ErrorBody),
    )
)]
pub(crate) async fn watch(
    State(app): State<Arc<App>>,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    let last = headers.get("last-event-id").and_then(|id| id.to_str().ok()?.parse().ok());
    let (missed, coming) =
        app.metrics.samples.listen(last.unwrap_or(0)).map_err(|error| match error {
            ListenError::Full => HttpError::TooManyListeners { max_listeners: MAX_LISTENERS },
            ListenError::Closed => HttpError::Stopping,
        })?;
    let first = [GREETING, &missed].concat().into();
    let mut response = Response::new(Body::from_stream(Events { first: Some(first), coming }));
    let headers = response.headers_mut();
    headers
        .insert(header::CONTENT_TYPE, HeaderValue::from_static("text/event-stream; charset=utf-8"));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    headers.insert("x-accel-buffering", HeaderValue::from_static("no"));
    Ok(response)
}

/// Past events in one piece, then each as it comes.
struct Events {
    first: Option<Bytes>,
    coming: mpsc::Receiver<Bytes>,
}

impl Stream for Events {
    type Item = Result<Bytes, std::convert::Infallible>;

    fn poll_next(
        mut self: std::pin::Pin<&mut Self>,
        context: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Option<Self::Item>> {
        if let Some(first) = self.first.take() {
            return std::task::Poll::Ready(Some(Ok(first)));
        }
        self.coming.poll_recv(context).map(|event| event.map(Ok))
    }
}

/// Takes samples for as long as it is polled.
pub(crate) async fn take_samples(app: Arc<App>) {
    let start = Instant::now();
    let mut ticks = interval(SAMPLE_INTERVAL);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        app.metrics.samples.take(reading(&app, SystemTime::now(), start.elapsed()));
    }
}

fn reading(app: &App, now: SystemTime, monotonic: Duration) -> Reading {
    let since_1970 = now.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    let cache = app.gateway.cache_stats().unwrap_or_default();
    Reading {
        unix_ms: u64::try_from(since_1970.as_millis()).unwrap_or(u64::MAX),
        monotonic,
        totals: app.metrics.totals(),
        times: app.metrics.times.all.counts(),
        engine: app.gateway.stats(),
        num_cache_entries: cache.num_entries,
        cache_bytes: cache.num_bytes,
    }
}
