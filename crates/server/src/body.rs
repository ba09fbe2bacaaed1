//! Reads a request's JSON body within a size and a time.

use std::{sync::Arc, time::Duration};

use axum::{body::Body, extract::Request};
use brisk_api::RequestError;
use http::{HeaderMap, header};
use http_body_util::BodyExt;
use tokio::{task::spawn_blocking, time::timeout};

use crate::{
    app::App,
    error::{ApiError, HttpError},
    observe::Record,
};

/// Bodies above this are parsed on a blocking thread: parsing takes some milliseconds per megabyte.
const MAX_INLINE_PARSE_BYTES: usize = 64 << 10;
/// A client's `Content-Length` is believed this far.
const MAX_INITIAL_CAPACITY: usize = 64 << 10;
/// The longest deadline that a client may set.
const MAX_DEADLINE_S: f64 = 86_400.0;

/// Reads the body of `request` and hands it to `read`.
pub(crate) async fn read_json<T: Send + 'static>(
    app: &App,
    request: Request,
    read: fn(&[u8]) -> Result<T, RequestError>,
) -> Result<T, ApiError> {
    let (parts, body) = request.into_parts();
    check_headers(&parts.headers)?;
    let max_body_bytes = app.config.max_body_bytes;
    let stated = parts.headers.get(header::CONTENT_LENGTH);
    let stated = stated.and_then(|value| value.to_str().ok()?.parse::<usize>().ok()).unwrap_or(0);
    if stated > max_body_bytes {
        return Err(HttpError::BodyTooLarge { max_body_bytes }.into());
    }
    let time = app.config.body_timeout;
    let bytes = timeout(time, collect(body, stated, max_body_bytes)).await;
    let bytes = bytes.map_err(|_| HttpError::BodyTooSlow { timeout_s: time.as_secs_f64() })??;
    if bytes.len() <= MAX_INLINE_PARSE_BYTES {
        return Ok(read(&bytes)?);
    }
    if let Some(record) = parts.extensions.get::<Arc<Record>>() {
        record.set_large();
    }
    match spawn_blocking(move || read(&bytes)).await {
        Ok(result) => Ok(result?),
        Err(_) => Err(HttpError::Panicked.into()),
    }
}

/// JSON only: the types that a web form can send would let any page on the web call this server.
fn check_headers(headers: &HeaderMap) -> Result<(), HttpError> {
    if headers.contains_key(header::CONTENT_ENCODING) {
        return Err(HttpError::EncodedBody);
    }
    let content_type = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
    let essence = content_type.and_then(|value| value.split(';').next()).unwrap_or_default().trim();
    if essence.eq_ignore_ascii_case("application/json") { Ok(()) } else { Err(HttpError::NotJson) }
}

async fn collect(
    mut body: Body,
    stated: usize,
    max_body_bytes: usize,
) -> Result<Vec<u8>, HttpError> {
    let mut bytes = Vec::with_capacity(stated.min(MAX_INITIAL_CAPACITY));
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|_| HttpError::BodyBroken)?;
        let Ok(data) = frame.into_data() else { continue };
        if bytes.len() + data.len() > max_body_bytes {
            return Err(HttpError::BodyTooLarge { max_body_bytes });
        }
        bytes.extend_from_slice(&data);
    }
    Ok(bytes)
}

/// The deadline that `X-Request-Timeout` sets, in seconds.
pub(crate) fn deadline(headers: &HeaderMap) -> Result<Option<Duration>, HttpError> {
    let Some(value) = headers.get("x-request-timeout") else { return Ok(None) };
    let seconds = value.to_str().ok().and_then(|text| text.trim().parse::<f64>().ok());
    match seconds {
        Some(seconds) if seconds > 0.0 && seconds <= MAX_DEADLINE_S => {
            Ok(Some(Duration::from_secs_f64(seconds)))
        }
        _ => Err(HttpError::BadTimeout { max_s: MAX_DEADLINE_S }),
    }
}
