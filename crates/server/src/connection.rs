//! Drives one connection: requests in, responses out, and a polite end.

use std::{
    convert::Infallible,
    future::Future,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll},
    time::Duration,
};

use axum::{Router, body::Body};
use bytes::Bytes;
use http::{HeaderValue, Request, Response, header};
use http_body::{Body as HttpBody, Frame, SizeHint};
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::TokioIo;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    sync::watch,
    time::timeout,
};
use tower::ServiceExt;

use crate::{
    app::App,
    connection_state::{ConnectionState, End, Phase},
    error::ApiError,
    guarded_io::{GuardedIo, Timeouts},
    head::{HeadFault, MAX_HEAD_BYTES, MAX_HEADERS},
    observe::{self, RequestId},
};

/// Silence after which a client that was told the last words is taken to have read them.
const LINGER: Duration = Duration::from_secs(1);
/// The same for one in the middle of a request that is not read: it reads when it has sent all.
const LINGER_SENDING: Duration = Duration::from_secs(5);
/// Bytes that are read and thrown away for that.
const MAX_LINGER_BYTES: u64 = 256 << 20;

/// Serves one connection until either side ends it, its place is needed, or `draining` says that the
/// server goes down.
pub(crate) async fn drive(
    stream: TcpStream,
    state: Arc<ConnectionState>,
    router: Router,
    app: Arc<App>,
    draining: watch::Receiver<bool>,
) {
    tokio::select! {
        biased;
        () = state.evicted() => {}
        () = drive_to_end(stream, &state, router, &app, draining) => {}
    }
}

async fn drive_to_end(
    stream: TcpStream,
    state: &Arc<ConnectionState>,
    router: Router,
    app: &App,
    mut draining: watch::Receiver<bool>,
) {
    let timeouts = Timeouts {
        header: app.config.header_timeout,
        idle: app.config.idle_timeout,
        write: app.config.write_timeout,
    };
    let io = GuardedIo::new(stream, timeouts, Arc::clone(state));
    let service = service_fn(|request: Request<Incoming>| {
        state.set_answering(true);
        Box::pin(respond(router.clone(), request, Arc::clone(state)))
    });
    let mut connection = http1::Builder::new()
        .keep_alive(true)
        .max_headers(MAX_HEADERS)
        .max_buf_size(2 * MAX_HEAD_BYTES)
        .serve_connection(TokioIo::new(io), service);
    let mut is_draining = false;
    let result = loop {
        tokio::select! {
            // Not `poll_without_shutdown`: it may be ready before the last bytes are flushed.
            result = &mut connection => break result,
            _ = draining.wait_for(|draining| *draining), if !is_draining => {
                is_draining = true;
                state.set_draining();
                Pin::new(&mut connection).graceful_shutdown();
            }
        }
    };
    let (mut stream, is_sending) = connection.into_parts().io.into_inner().into_parts();
    match (result, state.fault()) {
        (result, Some(fault)) => {
            let refusal = refuse(app, fault, result.err());
            if timeout(app.config.write_timeout, stream.write_all(&refusal)).await.is_err() {
                return;
            }
        }
        (Ok(()), None) => {}
        (Err(error), None) => {
            tracing::debug!(error = %error, "connection ended");
            if state.end() == Some(End::ClientTooSlow) {
                // What it does not read must not lie in the system either.
                let _ = stream.set_zero_linger();
            }
            return;
        }
    }
    state.set_phase(Phase::Closing);
    let silence = if is_sending { LINGER_SENDING } else { LINGER };
    // Nobody is refused more time than for a body that would have been read.
    let _ = timeout(app.config.body_timeout, linger(stream, silence)).await;
}

/// Logs and counts a request of which there is no more than a head that must not be served; gives
/// the whole response.
fn refuse(app: &App, fault: HeadFault, cause: Option<hyper::Error>) -> Vec<u8> {
    let request_id = RequestId::new();
    let mut error = ApiError::from(fault);
    if let (HeadFault::Malformed, Some(cause)) = (fault, cause) {
        // The library's words hold nothing of what was sent.
        error.message = format!("{}: {cause}", error.message);
    }
    observe::count_refusal(app, &error, &request_id);
    let body = error.json();
    let head = format!(
        "HTTP/1.1 {} {}\r\ncontent-type: application/json\r\ncontent-length: {}\r\nx-request-id: {request_id}\r\nconnection: close\r\n\r\n",
        error.status.as_u16(),
        error.status.canonical_reason().unwrap_or_default(),
        body.len(),
    );
    [head.into_bytes(), body].concat()
}

/// Answers one request and marks its end, and says whether the connection can serve another.
fn respond(
    router: Router,
    request: Request<Incoming>,
    state: Arc<ConnectionState>,
) -> impl Future<Output = Result<Response<ServedBody>, Infallible>> {
    // Where the body's end was announced by chunks, a proxy may have seen another end.
    let is_chunked = request.headers().contains_key(header::TRANSFER_ENCODING);
    let body_is_read = Arc::new(AtomicBool::new(true));
    let mut request = request.map(|incoming| {
        let is_read = Arc::clone(&body_is_read);
        Body::new(RequestBody { incoming, ended: false, is_read })
    });
    request.extensions_mut().insert(Arc::clone(&state));
    async move {
        let mut response = match router.oneshot(request).await {
            Ok(response) => response,
            Err(never) => match never {},
        };
        let mut ends_serving = true;
        if is_chunked || !body_is_read.load(Ordering::Acquire) {
            response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
            // What still comes in belongs to this request and is no head of another.
            ends_serving = false;
        }
        Ok(response.map(|body| ServedBody { body, state, ends_serving }))
    }
}

/// A request body that notes whether it was read to its end.
struct RequestBody {
    incoming: Incoming,
    ended: bool,
    is_read: Arc<AtomicBool>,
}

impl HttpBody for RequestBody {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        let frame = Pin::new(&mut self.incoming).poll_frame(context);
        self.ended |= matches!(frame, Poll::Ready(None));
        frame
    }

    fn is_end_stream(&self) -> bool {
        self.incoming.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.incoming.size_hint()
    }
}

impl Drop for RequestBody {
    fn drop(&mut self) {
        if !self.ended && !self.incoming.is_end_stream() {
            self.is_read.store(false, Ordering::Release);
        }
    }
}

/// A response body with whose end the connection waits for the next request.
struct ServedBody {
    body: Body,
    state: Arc<ConnectionState>,
    ends_serving: bool,
}

impl Drop for ServedBody {
    fn drop(&mut self) {
        if self.ends_serving {
            self.state.set_phase(Phase::Idle);
        }
    }
}

impl HttpBody for ServedBody {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        Pin::new(&mut self.body).poll_frame(context)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// Closes our side and lets the client finish reading: closing with bytes that were not read would
/// make the system discard a response that is still on its way.
async fn linger(mut stream: TcpStream, silence: Duration) {
    if stream.shutdown().await.is_err() {
        return;
    }
    let mut buffer = vec![0; 64 << 10];
    let mut num_read = 0;
    // Whatever happens here happens to a connection that is over.
    while num_read < MAX_LINGER_BYTES
        && let Ok(Ok(num_bytes @ 1..)) = timeout(silence, stream.read(&mut buffer)).await
    {
        num_read += num_bytes as u64;
    }
}
