//! One log line and one request id for every request.

use std::{
    fmt,
    hash::{BuildHasher, RandomState},
    pin::Pin,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll},
    time::Instant,
};

use axum::{
    body::Body,
    extract::{MatchedPath, Request, State},
    middleware::Next,
    response::Response,
};
use brisk_gateway::{CacheReport, ReplySummary};
use bytes::Bytes;
use http::{HeaderName, HeaderValue, Method, StatusCode};
use http_body::{Body as HttpBody, Frame, SizeHint};
use tokio::runtime::Handle;

use crate::{
    app::App,
    connection_state::{ConnectionState, End},
    error::{ApiError, LoggedError},
    metrics::{endpoint::Endpoint, tier_name},
    open_requests::OpenRequest,
};

/// The response header that carries the request's id.
pub(crate) const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
/// What stands for a path that no route matches; a client's own path would make endless labels.
const UNMATCHED: &str = "unmatched";

/// A name for one request, made here: a client's own could forge or flood the log.
#[derive(Clone, Debug)]
pub(crate) struct RequestId(Arc<str>);

impl RequestId {
    pub(crate) fn new() -> Self {
        Self(format!("{:016x}{:016x}", random_u64(), random_u64()).into())
    }
}

impl fmt::Display for RequestId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A number that nobody else has; good for names and jitter, not for secrets.
fn random_u64() -> u64 {
    RandomState::new().hash_one(0)
}

/// A number from 0 to 1.
pub(crate) fn random_fraction() -> f64 {
    random_u64() as f64 / u64::MAX as f64
}

/// What handlers note about a request for its log line.
#[derive(Debug)]
pub(crate) struct Record {
    endpoint: Endpoint,
    /// What the response cache did, once there is a reply.
    cache: OnceLock<CacheReport>,
    summary: OnceLock<ReplySummary>,
    /// The error that ended a stream after its first byte.
    stream_error: OnceLock<LoggedError>,
    is_large: AtomicBool,
    /// Counts the request among the open ones of its key, until it is over.
    open: OnceLock<OpenRequest>,
}

impl Record {
    fn new(endpoint: Endpoint) -> Self {
        Self {
            endpoint,
            cache: OnceLock::new(),
            summary: OnceLock::new(),
            stream_error: OnceLock::new(),
            is_large: AtomicBool::new(false),
            open: OnceLock::new(),
        }
    }

    /// The endpoint that was asked.
    pub(crate) fn endpoint(&self) -> Endpoint {
        self.endpoint
    }

    pub(crate) fn set_cache(&self, cache: CacheReport) {
        let _ = self.cache.set(cache);
    }

    /// What was generated, all or until the reply broke off.
    pub(crate) fn set_summary(&self, summary: ReplySummary) {
        // A reply has one end.
        let _ = self.summary.set(summary);
    }

    /// The body was large, and so is what was made of it.
    pub(crate) fn set_large(&self) {
        self.is_large.store(true, Ordering::Relaxed);
    }

    pub(crate) fn set_open(&self, open: OpenRequest) {
        let _ = self.open.set(open);
    }

    pub(crate) fn set_stream_error(&self, error: LoggedError) {
        let _ = self.stream_error.set(error);
    }
}

/// Gives the request its id, and logs it when its response ends or is dropped.
pub(crate) async fn observe(
    State(app): State<Arc<App>>,
    mut request: Request,
    next: Next,
) -> Response {
    let request_id = RequestId::new();
    let route = request.extensions().get::<MatchedPath>().cloned();
    let endpoint = Endpoint::of(route.as_ref().map_or(UNMATCHED, MatchedPath::as_str));
    let record = Arc::new(Record::new(endpoint));
    let mut line = LogLine {
        app,
        started: Instant::now(),
        method: request.method().clone(),
        route,
        request_id: request_id.clone(),
        record: Arc::clone(&record),
        connection: request.extensions().get::<Arc<ConnectionState>>().cloned(),
        status: None,
        error: None,
        is_complete: false,
    };
    request.extensions_mut().insert(request_id.clone());
    request.extensions_mut().insert(record);
    let mut response = next.run(request).await;
    line.status = Some(response.status());
    line.error = response.extensions_mut().remove::<LoggedError>();
    let id = HeaderValue::from_str(&request_id.0).expect("hexadecimal digits");
    response.headers_mut().insert(REQUEST_ID, id);
    response.map(|body| Body::new(ObservedBody { body, line }))
}

/// The log line, written when it is dropped.
#[derive(Debug)]
struct LogLine {
    app: Arc<App>,
    started: Instant,
    method: Method,
    route: Option<MatchedPath>,
    request_id: RequestId,
    record: Arc<Record>,
    connection: Option<Arc<ConnectionState>>,
    /// None while the handler runs.
    status: Option<StatusCode>,
    error: Option<LoggedError>,
    /// Whether the response went out to its end.
    is_complete: bool,
}

impl LogLine {
    /// How the response ended, in a word.
    fn outcome(&self) -> &'static str {
        if self.record.stream_error.get().is_some() {
            return "failed";
        }
        if self.is_complete {
            return "complete";
        }
        match self.connection.as_ref().and_then(|connection| connection.end()) {
            None => "client_left",
            Some(End::ClientTooSlow) => "client_too_slow",
            Some(End::GaveWay) => "gave_way",
            Some(End::CutOff) => "cut_off",
        }
    }
}

impl Drop for LogLine {
    fn drop(&mut self) {
        let route = self.route.as_ref().map_or(UNMATCHED, MatchedPath::as_str);
        // A client that leaves before its response gets nginx's code for it, in log and metrics.
        let status = self.status.map_or(499, |status| status.as_u16());
        let duration_ms = self.started.elapsed().as_secs_f64() * 1e3;
        let error = self.record.stream_error.get().or(self.error.as_ref());
        let internal = error.and_then(|error| error.internal.as_deref());
        self.app.metrics.count_response(route, status);
        let summary = self.record.summary.get().copied();
        let cache = self.record.cache.get();
        let facts = summary.unwrap_or_default();
        // What was not done has no time; a kept reply has only that of the lookup.
        let timings = facts.timings;
        let of = |ms: f64| (ms > 0.0).then_some(ms);
        let inference_s = (timings.prefill_ms + timings.decode_ms) / 1e3;
        let speed = of(inference_s).map(|seconds| facts.num_completion_tokens as f64 / seconds);
        let model = summary.and_then(|_| self.app.gateway.model());
        tracing::info!(
            request_id = %self.request_id,
            method = self.method.as_str(),
            route,
            status,
            duration_ms,
            complete = self.is_complete,
            outcome = self.outcome(),
            cache = cache.map(|cache| cache.status.name()),
            cache_tier = cache.and_then(|cache| cache.tier).map(tier_name),
            prompt_tokens = facts.num_prompt_tokens,
            completion_tokens = facts.num_completion_tokens,
            ttft_ms = timings.time_to_first_token_ms,
            cache_lookup_ms = of(timings.cache_lookup_ms),
            tokenize_ms = of(timings.tokenize_ms),
            queue_ms = of(timings.queue_ms),
            prefill_ms = of(timings.prefill_ms),
            decode_ms = of(timings.decode_ms),
            tokens_per_second = speed,
            gen_ai.operation.name = cache.map(|_| self.record.endpoint.operation().name()),
            gen_ai.response.model = model.map(|model| model.name.as_str()),
            gen_ai.usage.input_tokens = summary.map(|summary| summary.num_prompt_tokens),
            gen_ai.usage.output_tokens = summary.map(|summary| summary.num_completion_tokens),
            code = error.map(|error| error.code),
            "request"
        );
        if let Some(internal) = internal {
            let internal = internal.escape_debug().to_string();
            tracing::error!(request_id = %self.request_id, internal, "request failed");
        }
        if self.record.is_large.load(Ordering::Relaxed)
            && let (Some(after), Ok(runtime)) =
                (self.app.config.after_large_request, Handle::try_current())
        {
            runtime.spawn_blocking(after);
        }
    }
}

/// Logs and counts a request that no handler saw.
pub(crate) fn count_refusal(app: &App, error: &ApiError, request_id: &RequestId) {
    let status = error.status.as_u16();
    app.metrics.count_response(UNMATCHED, status);
    tracing::info!(request_id = %request_id, status, code = error.code, error = error.message, "request refused");
}

/// A response body with the log line that its end writes.
#[derive(Debug)]
struct ObservedBody {
    body: Body,
    line: LogLine,
}

impl HttpBody for ObservedBody {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let frame = Pin::new(&mut self.body).poll_frame(context);
        if matches!(frame, Poll::Ready(None)) || self.body.is_end_stream() {
            self.line.is_complete = true;
        }
        frame
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
