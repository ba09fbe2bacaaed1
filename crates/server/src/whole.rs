//! Sends a reply in one piece, unless the client leaves before it is whole.

use std::{
    convert::Infallible,
    future::Future,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use axum::{
    Json,
    body::Body,
    response::{IntoResponse, Response},
};
use bytes::Bytes;
use futures_core::Stream;
use http::{HeaderValue, header};
use serde::Serialize;
use tokio::time::{Interval, interval};

use crate::{connection_state::ConnectionState, error::ApiError};

/// Time between two bytes that find out whether a silent client is still there: about one step of
/// the engine.
pub(crate) const PROBE_INTERVAL: Duration = Duration::from_millis(20);

/// Waits for `reply`.
///
/// A client that has left and one that has only closed its sending side look the same until
/// something is written to them. So from then on the reply is a stream that begins with blanks,
/// which JSON allows before a value: who listens gets the reply, who has left resets the connection,
/// and that drops the reply, which cancels it. An error can then no longer have a status of its own.
pub(crate) async fn response<T>(
    client: Arc<ConnectionState>,
    reply: impl Future<Output = Result<T, ApiError>> + Send + 'static,
) -> Result<Response, ApiError>
where
    T: Serialize + Send + 'static,
{
    let mut reply = Box::pin(reply);
    tokio::select! {
        biased;
        reply = &mut reply => return Ok(Json(reply?).into_response()),
        () = client.input_ended() => {}
    }
    let probed = Probed { reply: Some(reply), probes: interval(PROBE_INTERVAL) };
    let mut response = Response::new(Body::from_stream(probed));
    let json = HeaderValue::from_static("application/json");
    response.headers_mut().insert(header::CONTENT_TYPE, json);
    Ok(response)
}

struct Probed<F> {
    /// None once it is sent.
    reply: Option<Pin<Box<F>>>,
    probes: Interval,
}

impl<T, F> Stream for Probed<F>
where
    T: Serialize,
    F: Future<Output = Result<T, ApiError>>,
{
    type Item = Result<Bytes, Infallible>;

    fn poll_next(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Bytes, Infallible>>> {
        let Some(reply) = &mut self.reply else { return Poll::Ready(None) };
        if let Poll::Ready(result) = reply.as_mut().poll(context) {
            self.reply = None;
            let json = match result {
                Ok(reply) => serde_json::to_vec(&reply).expect("wire types always serialize"),
                Err(error) => error.json(),
            };
            return Poll::Ready(Some(Ok(json.into())));
        }
        self.probes.poll_tick(context).map(|_| Some(Ok(Bytes::from_static(b" "))))
    }
}
