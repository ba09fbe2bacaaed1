//! A gateway's reply with its metrics and its log line.

use std::{
    sync::Arc,
    task::{Context, Poll},
    time::{Duration, Instant, SystemTime},
};

use brisk_gateway::{
    CacheReport, CacheStatus, GatewayError, HistoryReport, Reply, ReplyEvent, ReplySummary,
};
use tokio::time::timeout;

use crate::{
    app::App,
    connection_state::ConnectionState,
    error::{ApiError, LoggedError},
    observe::{Record, RequestId},
};

/// The version, as `system_fingerprint`: replies to one seed are equal while it stays.
pub(crate) const FINGERPRINT: &str = concat!("brisk-", env!("CARGO_PKG_VERSION"));

/// What every object of one reply repeats.
#[derive(Clone, Debug)]
pub(crate) struct Stamp {
    /// `chatcmpl-` or `cmpl-` and the request's id.
    pub(crate) id: String,
    /// Seconds since 1970.
    pub(crate) created: u64,
    pub(crate) model: String,
}

impl Stamp {
    pub(crate) fn new(prefix: &str, request_id: &RequestId, model: &str) -> Self {
        let created = unix_seconds(SystemTime::now());
        Self { id: format!("{prefix}-{request_id}"), created, model: model.to_owned() }
    }
}

/// Seconds since 1970, 0 before.
pub(crate) fn unix_seconds(time: SystemTime) -> u64 {
    time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or(Duration::ZERO).as_secs()
}

/// A reply whose events are counted as they pass.
#[derive(Debug)]
pub(crate) struct TrackedReply {
    reply: Reply,
    app: Arc<App>,
    record: Arc<Record>,
    started: Instant,
    /// When each choice had its latest token.
    latest_token: Vec<Option<Instant>>,
    /// An event that was awaited before the response began.
    first: Option<ReplyEvent>,
    /// What has passed, for the log line of a reply that does not come to its end.
    so_far: ReplySummary,
    /// Whether its end is counted, as it came or as an error.
    is_counted: bool,
}

impl TrackedReply {
    pub(crate) fn new(reply: Reply, app: Arc<App>, record: Arc<Record>, started: Instant) -> Self {
        let latest_token = vec![None; reply.num_choices()];
        record.set_cache(*reply.cache());
        let num_prompt_tokens = reply.num_prompt_tokens();
        let so_far = ReplySummary { num_prompt_tokens, ..ReplySummary::default() };
        Self { reply, app, record, started, latest_token, first: None, so_far, is_counted: false }
    }

    /// What the response cache did.
    pub(crate) fn cache(&self) -> &CacheReport {
        self.reply.cache()
    }

    /// What was left out of the conversation, where the server keeps it.
    pub(crate) fn history(&self) -> Option<HistoryReport> {
        self.reply.history()
    }

    pub(crate) fn app(&self) -> &App {
        &self.app
    }

    pub(crate) fn num_choices(&self) -> usize {
        self.latest_token.len()
    }

    /// Waits for the first event, but not longer than a stream may be silent: a request that fails
    /// before its first token gets a proper status, and one that is only slow gets its headers. So
    /// does a client that sends nothing more: whether it is still there shows only in writing.
    pub(crate) async fn wait_for_first(
        &mut self,
        client: &ConnectionState,
    ) -> Result<(), ApiError> {
        let patience = self.app.config.keep_alive_interval;
        let first = tokio::select! {
            biased;
            first = timeout(patience, self.next()) => first.ok().flatten(),
            () = client.input_ended() => None,
        };
        self.first = first.transpose()?;
        Ok(())
    }

    pub(crate) async fn next(&mut self) -> Option<Result<ReplyEvent, ApiError>> {
        std::future::poll_fn(|context| self.poll_next(context)).await
    }

    pub(crate) fn poll_next(
        &mut self,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<ReplyEvent, ApiError>>> {
        if let Some(first) = self.first.take() {
            return Poll::Ready(Some(Ok(first)));
        }
        self.reply.poll_next(context).map(|event| event.map(|event| self.track(event)))
    }

    fn track(&mut self, event: Result<ReplyEvent, GatewayError>) -> Result<ReplyEvent, ApiError> {
        match &event {
            Ok(ReplyEvent::Delta(delta)) if delta.is_generated => self.track_token(delta.choice),
            Ok(ReplyEvent::Delta(_) | ReplyEvent::Finished { .. }) => {}
            Ok(ReplyEvent::Done(summary)) => {
                let (endpoint, seconds) = (self.record.endpoint(), self.started.elapsed());
                let cache = self.reply.cache();
                self.app.metrics.observe_reply(endpoint, cache, summary, seconds.as_secs_f64());
                self.record.set_summary(*summary);
                self.is_counted = true;
            }
            Err(error) => {
                self.count_unfinished(true);
                let error = ApiError::from(error);
                let (code, internal) = (error.code, error.internal.clone());
                self.record.set_stream_error(LoggedError { code, internal });
                return Err(error);
            }
        }
        event.map_err(|error| ApiError::from(&error))
    }

    fn track_token(&mut self, choice: usize) {
        if self.so_far.num_completion_tokens == 0 {
            let first_token = self.started.elapsed();
            self.so_far.timings.time_to_first_token_ms = first_token.as_secs_f64() * 1e3;
        }
        self.so_far.num_completion_tokens += 1;
        // The pace of a kept or shared reply says nothing about the engine.
        if matches!(self.cache().status, CacheStatus::Miss | CacheStatus::Bypass) {
            let now = Instant::now();
            if let Some(latest) = self.latest_token[choice].replace(now) {
                self.app.metrics.observe_inter_token((now - latest).as_secs_f64());
            }
        }
    }

    fn count_unfinished(&mut self, has_failed: bool) {
        let seconds = self.started.elapsed().as_secs_f64();
        self.app.metrics.observe_unfinished(self.record.endpoint(), has_failed, seconds);
        self.record.set_summary(self.so_far);
        self.is_counted = true;
    }
}

impl Drop for TrackedReply {
    fn drop(&mut self) {
        if !self.is_counted {
            self.count_unfinished(false);
        }
    }
}
