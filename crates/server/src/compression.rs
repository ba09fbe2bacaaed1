//! Compresses whole responses for clients that ask for it; a stream goes out as it comes.

use axum::{body::HttpBody, response::Response};
use http::{HeaderValue, header};
use tower_http::compression::{CompressionLayer, predicate::Predicate};

/// A response that is shorter fits into one packet, and stays as it is.
const MIN_BYTES: u64 = 1024;

/// The layer: gzip, Brotli or Zstandard, whichever the client likes best.
pub(crate) fn layer() -> CompressionLayer<IsWhole> {
    CompressionLayer::new().compress_when(IsWhole)
}

/// Whether a response has a known length, and enough of it. What is streamed has none: a compressor
/// would hold its events back, and the blanks that look for a client that has left.
#[derive(Clone, Copy, Debug)]
pub(crate) struct IsWhole;

impl Predicate for IsWhole {
    fn should_compress<B: HttpBody>(&self, response: &http::Response<B>) -> bool {
        response.body().size_hint().exact().is_some_and(|num_bytes| num_bytes >= MIN_BYTES)
    }
}

/// The tag of a file is that of its own bytes; of the compressed ones it is a weak one.
pub(crate) async fn weaken_tag(mut response: Response) -> Response {
    if response.headers().contains_key(header::CONTENT_ENCODING)
        && let Some(tag) = response.headers().get(header::ETAG)
        && let Ok(strong) = tag.to_str()
        && strong.starts_with('"')
        && let Ok(weak) = HeaderValue::from_str(&format!("W/{strong}"))
    {
        response.headers_mut().insert(header::ETAG, weak);
    }
    response
}
