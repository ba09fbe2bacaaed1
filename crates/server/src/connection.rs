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
    error::ApiError,
    guarded_io::{ConnectionState, GuardedIo, Timeouts},
    head::{MAX_HEAD_BYTES, MAX_HEADERS},
    observe::RequestId,
};

/// Time and bytes that a client gets to read our last words before the connection is cut: closing
/// with unread bytes would make the system discard a response that is still on its way.
const LINGER: Duration = Duration::from_secs(1);
const LINGER_BYTES: usize = 16 << 20;

/// Serves one connection until either side ends it or `draining` says that the server goes down.
pub(crate) async fn drive(
    stream: TcpStream,
    router: Router,
    app: Arc<App>,
    mut draining: watch::Receiver<bool>,
) {
    let state = Arc::new(ConnectionState::default());
    let timeouts = Timeouts {
        header: app.config.header_timeout,
        idle: app.config.idle_timeout,
        write: app.config.write_timeout,
    };
    let io = GuardedIo::new(stream, timeouts, Arc::clone(&state));
    let service = service_fn(|request: Request<Incoming>| {
        state.set_serving(true);
        Box::pin(respond(router.clone(), request, Arc::clone(&state)))
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
    let mut stream = connection.into_parts().io.into_inner().into_inner();
    match (result, state.fault()) {
        (_, Some(fault)) => {
            let request_id = RequestId::new();
            let error = ApiError::from(fault);
            tracing::info!(request_id = %request_id, status = error.status.as_u16(), error = error.message, "request refused");
            let refusal = raw_response(&error, &request_id);
            if timeout(app.config.write_timeout, stream.write_all(&refusal)).await.is_ok() {
                linger(stream).await;
            }
        }
        (Ok(()), None) => linger(stream).await,
        (Err(error), None) => tracing::debug!(error = %error, "connection ended"),
    }
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
        state.set_body_is_open(!incoming.is_end_stream());
        let (state, is_read) = (Arc::clone(&state), Arc::clone(&body_is_read));
        Body::new(RequestBody { incoming, ended: false, is_read, state })
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
    state: Arc<ConnectionState>,
}

impl HttpBody for RequestBody {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        let frame = Pin::new(&mut self.incoming).poll_frame(context);
        if matches!(frame, Poll::Ready(None)) {
            self.ended = true;
            self.state.set_body_is_open(false);
        }
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
        if self.incoming.is_end_stream() {
            self.state.set_body_is_open(false);
        } else if !self.ended {
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
            self.state.set_serving(false);
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

/// A whole response for a connection on which no request could be read.
fn raw_response(error: &ApiError, request_id: &RequestId) -> Vec<u8> {
    let body = error.json();
    let head = format!(
        "HTTP/1.1 {} {}\r\ncontent-type: application/json\r\ncontent-length: {}\r\nx-request-id: {request_id}\r\nconnection: close\r\n\r\n",
        error.status.as_u16(),
        error.status.canonical_reason().unwrap_or_default(),
        body.len(),
    );
    [head.into_bytes(), body].concat()
}

/// Closes our side and lets the client finish reading.
async fn linger(mut stream: TcpStream) {
    let drain = async {
        stream.shutdown().await?;
        let mut buffer = vec![0; 16 << 10];
        let mut num_read = 0;
        while num_read < LINGER_BYTES {
            match stream.read(&mut buffer).await? {
                0 => break,
                n => num_read += n,
            }
        }
        std::io::Result::Ok(())
    };
    // Whatever happens here happens to a connection that is over.
    let _ = timeout(LINGER, drain).await;
}
