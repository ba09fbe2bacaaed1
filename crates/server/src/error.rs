//! Turns every error of the layers below into a status, OpenAI's error body and a log line.
//!
//! The matches have no `_` arm: a new way to fail does not compile until it is decided here whose
//! move it is. 4xx is the caller's, 429 and 503 pass by themselves, 5xx is ours.

use std::time::Duration;

use axum::response::{IntoResponse, Response};
use brisk_api::{CACHE_CONTROL_FIELD, ErrorBody, ErrorObject, MAX_ECHO_BYTES, RequestError};
use brisk_gateway::{ConversationError, GatewayError, GenerationError, SubmitError};
use http::{HeaderValue, StatusCode, header};
use thiserror::Error;

use crate::{
    head::{HeadFault, MAX_HEADER_BYTES, MAX_HEADERS, MAX_REQUEST_LINE_BYTES},
    observe,
};

/// An error as a client sees it.
#[derive(Clone, Debug)]
pub(crate) struct ApiError {
    pub(crate) status: StatusCode,
    /// OpenAI's `type`.
    pub(crate) kind: &'static str,
    /// The situation, for programs.
    pub(crate) code: &'static str,
    pub(crate) param: Option<String>,
    pub(crate) message: String,
    /// Seconds for `Retry-After`, where the same request may succeed later.
    pub(crate) retry_after_s: Option<u32>,
    /// What the log says and the client does not.
    pub(crate) internal: Option<String>,
}

/// What goes wrong in this crate itself, before the gateway is asked.
#[derive(Clone, Debug, Error)]
pub(crate) enum HttpError {
    #[error("there is no such route; see /openapi.json")]
    UnknownRoute,
    #[error("this route does not take this method; the `Allow` header lists those it does")]
    WrongMethod,
    #[error("a valid API key is required, as `Authorization: Bearer KEY`")]
    Unauthorized,
    #[error("`Authorization` and `X-Api-Key` hold different keys")]
    KeysDisagree,
    #[error("`X-Brisk-Cache-Control` and `cache_control` say different things; send one of them")]
    CacheControlsDisagree,
    #[error("the query string is not made of NAME=VALUE pairs")]
    BadQuery,
    #[error("there is no such conversation")]
    UnknownConversation,
    #[error("there is no such kept reply")]
    UnknownCacheEntry,
    #[error("this server does not answer for this host name")]
    Misdirected,
    #[error("the body must be JSON with `Content-Type: application/json`")]
    NotJson,
    #[error("a `Content-Encoding` is not supported; send the body as it is")]
    EncodedBody,
    #[error("the body is larger than {max_body_bytes} bytes")]
    BodyTooLarge { max_body_bytes: usize },
    #[error("the body did not come within {timeout_s} seconds")]
    BodyTooSlow { timeout_s: f64 },
    #[error("the body broke off or is not framed correctly")]
    BodyBroken,
    #[error("`X-Request-Timeout` must be a number of seconds above 0 and at most {max_s}")]
    BadTimeout { max_s: f64 },
    #[error("the text has {num_bytes} bytes, at most {max_bytes} are rendered")]
    TextTooLarge { num_bytes: usize, max_bytes: usize },
    #[error("{max_listeners} others watch the figures already")]
    TooManyListeners { max_listeners: usize },
    #[error("{num_open} requests of this key are open, {num_free} places are for others")]
    TooManyOpen { num_open: usize, num_free: usize },
    #[error("the server is stopping")]
    Stopping,
    #[error("the server failed to answer; the request id leads to the log line that says why")]
    Panicked,
}

/// When a model may be loaded, a store may answer, somebody who watches may have gone, or a server that
/// stops may be back.
const TRY_AGAIN_S: u32 = 5;
/// When one of a key's own requests may have ended.
const OPEN_AGAIN_S: u32 = 1;
/// The longest delay that a `Retry-After` asks for.
const MAX_RETRY_AFTER_S: f64 = 60.0;
/// Share of a delay by which it varies, so that clients do not return together.
const RETRY_JITTER: f64 = 0.1;

const INVALID: &str = "invalid_request_error";
const OVERLOADED: &str = "overloaded_error";
const RATE_LIMIT: &str = "rate_limit_error";
const SERVER: &str = "server_error";

impl ApiError {
    fn new(status: StatusCode, kind: &'static str, code: &'static str, message: String) -> Self {
        let (param, retry_after_s, internal) = (None, None, None);
        Self { status, kind, code, param, message, retry_after_s, internal }
    }

    fn invalid(code: &'static str, message: String) -> Self {
        Self::new(StatusCode::BAD_REQUEST, INVALID, code, message)
    }

    fn temporary(code: &'static str, message: String) -> Self {
        let error = Self::new(StatusCode::SERVICE_UNAVAILABLE, OVERLOADED, code, message);
        Self { retry_after_s: Some(TRY_AGAIN_S), ..error }
    }

    /// Our fault: the client learns that, the log learns why.
    fn internal(code: &'static str, internal: String) -> Self {
        let message = HttpError::Panicked.to_string();
        let error = Self::new(StatusCode::INTERNAL_SERVER_ERROR, SERVER, code, message);
        Self { internal: Some(internal), ..error }
    }

    fn about(self, param: impl Into<String>) -> Self {
        Self { param: Some(param.into()), ..self }
    }

    /// The body, for a response or for an event of a stream.
    pub(crate) fn body(&self) -> ErrorBody {
        let Self { kind, code, param, message, .. } = self;
        let (message, param) = (message.clone(), param.clone());
        ErrorBody { error: ErrorObject { message, kind, param, code: Some(code) } }
    }

    /// The body as JSON.
    pub(crate) fn json(&self) -> Vec<u8> {
        serde_json::to_vec(&self.body()).expect("strings always serialize")
    }
}

impl From<&RequestError> for ApiError {
    fn from(error: &RequestError) -> Self {
        let code = match error {
            RequestError::InvalidJson { .. } => "invalid_json",
            RequestError::NotAnObject { .. } | RequestError::WrongType { .. } => "invalid_type",
            RequestError::Missing { .. } => "missing_required_parameter",
            RequestError::OutOfRange { .. } => "invalid_value",
            RequestError::Unsupported { .. } => "unsupported_parameter",
            RequestError::Unknown { .. } => "unknown_parameter",
        };
        let message = error.to_string();
        debug_assert!(message.len() < 4 * MAX_ECHO_BYTES, "errors echo little");
        Self { param: error.param().map(str::to_owned), ..Self::invalid(code, message) }
    }
}

impl From<&GatewayError> for ApiError {
    fn from(error: &GatewayError) -> Self {
        let message = error.to_string();
        match error {
            GatewayError::Loading => Self::temporary("model_loading", message),
            GatewayError::UnknownModel { .. } => {
                Self::new(StatusCode::NOT_FOUND, INVALID, "model_not_found", message).about("model")
            }
            GatewayError::TemplateRefused { .. } => {
                Self::invalid("invalid_messages", message).about("messages")
            }
            GatewayError::TemplateFailed { .. } => Self::internal("template_failed", message),
            GatewayError::PromptsTooLong { .. } => {
                Self::invalid("invalid_value", message).about("prompt")
            }
            GatewayError::Submit(error) => Self::from(error),
            GatewayError::Generation(error) => Self::from(error),
            GatewayError::Conversation(error) => Self::from(error),
            GatewayError::CacheTier(_) => Self::temporary("cache_tier_unreachable", message),
            GatewayError::NoConversations => {
                Self::new(StatusCode::NOT_FOUND, INVALID, "no_conversations", message)
            }
            GatewayError::Panicked { .. } => Self::internal("internal_error", message),
        }
    }
}

impl From<&ConversationError> for ApiError {
    fn from(error: &ConversationError) -> Self {
        let message = error.to_string();
        match error {
            ConversationError::UserIdLength { .. } | ConversationError::UserIdControl { .. } => {
                Self::invalid("invalid_value", message).about("user_id")
            }
            ConversationError::MessageTooLong { .. } => {
                Self::invalid("invalid_value", message).about("message")
            }
            ConversationError::QueueFull { .. } | ConversationError::Locked => {
                Self::temporary("conversations_busy", message)
            }
            ConversationError::Full => {
                let status = StatusCode::INSUFFICIENT_STORAGE;
                Self::new(status, SERVER, "conversations_full", message)
            }
            ConversationError::Damaged { .. }
            | ConversationError::Failed { .. }
            | ConversationError::Stopped
            | ConversationError::NoThread { .. }
            | ConversationError::CannotOpen { .. }
            | ConversationError::File(_)
            | ConversationError::Unreadable { .. }
            | ConversationError::NewerFormat { .. } => {
                Self::internal("conversations_failed", message)
            }
        }
    }
}

impl From<&SubmitError> for ApiError {
    fn from(error: &SubmitError) -> Self {
        let message = error.to_string();
        match error {
            SubmitError::PromptTooLong { .. } | SubmitError::CompletionTooLong { .. } => {
                Self::invalid("context_length_exceeded", message)
            }
            SubmitError::EmptyPrompt | SubmitError::UnknownToken { .. } => {
                Self::invalid("invalid_value", message).about("prompt")
            }
            SubmitError::InvalidParam { param, .. } => {
                Self::invalid("invalid_value", message).about(*param)
            }
            SubmitError::QueueFull { refusal, wait } => {
                let error = Self::temporary("queue_full", message);
                let jitter = RETRY_JITTER * (2.0 * observe::random_fraction() - 1.0);
                let error = Self { retry_after_s: Some(retry_after_s(*wait, jitter)), ..error };
                if !refusal.is_clients_own() {
                    return error;
                }
                let status = StatusCode::TOO_MANY_REQUESTS;
                Self { status, kind: RATE_LIMIT, code: "rate_limit_exceeded", ..error }
            }
            SubmitError::ShuttingDown => Self::temporary("shutting_down", message),
        }
    }
}

impl From<&GenerationError> for ApiError {
    fn from(error: &GenerationError) -> Self {
        let message = error.to_string();
        match error {
            GenerationError::NotFinite { .. } => Self::internal("model_failed", message),
            GenerationError::EngineStopped { .. } => Self::internal("engine_stopped", message),
            GenerationError::ShuttingDown => Self::temporary("shutting_down", message),
            GenerationError::DeadlineExceeded { .. } => Self::new(
                StatusCode::GATEWAY_TIMEOUT,
                "timeout_error",
                "deadline_exceeded",
                message,
            ),
            GenerationError::NoTokenLeft { .. } => Self::invalid("no_token_left", message),
        }
    }
}

impl From<&HttpError> for ApiError {
    fn from(error: &HttpError) -> Self {
        let with = |status, code| Self::new(status, INVALID, code, error.to_string());
        match error {
            HttpError::UnknownRoute => with(StatusCode::NOT_FOUND, "unknown_route"),
            HttpError::WrongMethod => with(StatusCode::METHOD_NOT_ALLOWED, "method_not_allowed"),
            HttpError::Unauthorized => {
                let error = with(StatusCode::UNAUTHORIZED, "invalid_api_key");
                Self { kind: "authentication_error", ..error }
            }
            HttpError::KeysDisagree => with(StatusCode::BAD_REQUEST, "keys_disagree"),
            HttpError::CacheControlsDisagree => {
                with(StatusCode::BAD_REQUEST, "cache_controls_disagree").about(CACHE_CONTROL_FIELD)
            }
            HttpError::BadQuery => with(StatusCode::BAD_REQUEST, "invalid_query"),
            HttpError::UnknownConversation => {
                with(StatusCode::NOT_FOUND, "conversation_not_found").about("user_id")
            }
            HttpError::UnknownCacheEntry => {
                with(StatusCode::NOT_FOUND, "cache_entry_not_found").about("key")
            }
            HttpError::Misdirected => with(StatusCode::MISDIRECTED_REQUEST, "wrong_host"),
            HttpError::NotJson => with(StatusCode::UNSUPPORTED_MEDIA_TYPE, "not_json"),
            HttpError::EncodedBody => with(StatusCode::UNSUPPORTED_MEDIA_TYPE, "encoded_body"),
            HttpError::BodyTooLarge { .. } | HttpError::TextTooLarge { .. } => {
                with(StatusCode::PAYLOAD_TOO_LARGE, "body_too_large")
            }
            HttpError::BodyTooSlow { .. } => with(StatusCode::REQUEST_TIMEOUT, "body_timeout"),
            HttpError::BodyBroken => with(StatusCode::BAD_REQUEST, "body_broken"),
            HttpError::BadTimeout { .. } => with(StatusCode::BAD_REQUEST, "invalid_value"),
            HttpError::TooManyListeners { .. } => {
                Self::temporary("too_many_listeners", error.to_string())
            }
            HttpError::TooManyOpen { .. } => {
                let error = with(StatusCode::TOO_MANY_REQUESTS, "rate_limit_exceeded");
                Self { kind: RATE_LIMIT, retry_after_s: Some(OPEN_AGAIN_S), ..error }
            }
            HttpError::Stopping => Self::temporary("shutting_down", error.to_string()),
            HttpError::Panicked => {
                let error = with(StatusCode::INTERNAL_SERVER_ERROR, "internal_error");
                Self { kind: SERVER, ..error }
            }
        }
    }
}

/// A head that the connection refused before any route saw it.
impl From<HeadFault> for ApiError {
    fn from(fault: HeadFault) -> Self {
        let with = |status, code, message: &str| Self::new(status, INVALID, code, message.into());
        let too_large = StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE;
        match fault {
            HeadFault::UriTooLong => {
                let message =
                    format!("the request line is longer than {MAX_REQUEST_LINE_BYTES} bytes");
                with(StatusCode::URI_TOO_LONG, "uri_too_long", &message)
            }
            HeadFault::HeadersTooLarge => {
                let message = format!(
                    "a header is longer than {MAX_HEADER_BYTES} bytes, or all are too long together"
                );
                with(too_large, "headers_too_large", &message)
            }
            HeadFault::TooManyHeaders => {
                let message = format!("more than {MAX_HEADERS} headers");
                with(too_large, "too_many_headers", &message)
            }
            HeadFault::AmbiguousLength => {
                let message = "the length of the body is stated more than once";
                with(StatusCode::BAD_REQUEST, "ambiguous_length", message)
            }
            HeadFault::BareLineFeed => {
                let message = "a line of the request's head does not end with CR LF";
                with(StatusCode::BAD_REQUEST, "bare_line_feed", message)
            }
            HeadFault::BadLength => {
                let message = "the `Content-Length` is not a number of bytes";
                with(StatusCode::BAD_REQUEST, "bad_content_length", message)
            }
            HeadFault::UnknownCoding => {
                let message = "the only `Transfer-Encoding` that is read is `chunked`";
                with(StatusCode::BAD_REQUEST, "unsupported_transfer_encoding", message)
            }
            HeadFault::Version => {
                let message = "this server speaks HTTP/1.1";
                with(StatusCode::HTTP_VERSION_NOT_SUPPORTED, "http2", message)
            }
            HeadFault::Malformed => {
                let message = "the request's head is not one of HTTP/1.1";
                with(StatusCode::BAD_REQUEST, "malformed_head", message)
            }
            HeadFault::BrokenOff => {
                let message = "the request broke off in its head";
                with(StatusCode::BAD_REQUEST, "head_broken", message)
            }
            HeadFault::TooSlow => {
                let message = "the request's head did not come in time";
                with(StatusCode::REQUEST_TIMEOUT, "header_timeout", message)
            }
        }
    }
}

impl From<RequestError> for ApiError {
    fn from(error: RequestError) -> Self {
        Self::from(&error)
    }
}

impl From<HttpError> for ApiError {
    fn from(error: HttpError) -> Self {
        Self::from(&error)
    }
}

impl IntoResponse for HttpError {
    fn into_response(self) -> Response {
        ApiError::from(self).into_response()
    }
}

/// Whole seconds for `Retry-After`, rounded up.
fn retry_after_s(wait: Duration, jitter: f64) -> u32 {
    (wait.as_secs_f64() * (1.0 + jitter)).ceil().clamp(1.0, MAX_RETRY_AFTER_S) as u32
}

/// What the log line of a failed request says; the observer takes it from the response.
#[derive(Clone, Debug)]
pub(crate) struct LoggedError {
    pub(crate) code: &'static str,
    pub(crate) internal: Option<String>,
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let json = [(header::CONTENT_TYPE, "application/json")];
        let mut response = (self.status, json, self.json()).into_response();
        let headers = response.headers_mut();
        if let Some(seconds) = self.retry_after_s {
            headers.insert(header::RETRY_AFTER, seconds.into());
        }
        if self.status == StatusCode::UNAUTHORIZED {
            headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        let logged = LoggedError { code: self.code, internal: self.internal };
        response.extensions_mut().insert(logged);
        response
    }
}

#[cfg(test)]
mod tests {
    use brisk_gateway::QueueRefusal;

    use super::*;

    #[test]
    fn a_wait_is_whole_seconds_rounded_up_and_bounded() {
        for (ms, jitter, expected) in [
            (0, 0.0, 1),
            (1000, 0.0, 1),
            (1001, 0.0, 2),
            (8500, 0.0, 9),
            (20_000, 0.1, 22),
            (20_000, -0.1, 18),
            (3_600_000, 0.1, 60),
        ] {
            assert_eq!(retry_after_s(Duration::from_millis(ms), jitter), expected, "{ms} ms");
        }
    }

    #[test]
    fn a_full_server_is_503_and_a_full_share_429() {
        let wait = Duration::from_secs(7);
        for (refusal, expected) in [
            (QueueRefusal::Full { num_waiting: 8, max_waiting: 8 }, 503),
            (QueueRefusal::TokensFull { num_tokens: 8, max_tokens: 8 }, 503),
            (QueueRefusal::ClientFull { num_waiting: 4, num_free: 4 }, 429),
            (QueueRefusal::ClientTokensFull { num_tokens: 4, num_free_tokens: 4 }, 429),
        ] {
            let error = ApiError::from(&SubmitError::QueueFull { refusal, wait });
            assert_eq!(error.status.as_u16(), expected);
            assert!(matches!(error.retry_after_s, Some(7 | 8)), "{:?}", error.retry_after_s);
        }
    }
}
