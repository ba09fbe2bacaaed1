//! What is wrong with a request, and the body that says so.

use serde::Serialize;
use thiserror::Error;
use utoipa::ToSchema;

/// Bytes of a client's own text that an error repeats at most.
pub const MAX_ECHO_BYTES: usize = 256;

/// A request that cannot be read; every variant is the caller's move.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum RequestError {
    /// The bytes are not one JSON document.
    #[error("the body is not valid JSON: {reason}")]
    InvalidJson {
        /// The reader's reason, with line and column.
        reason: String,
    },
    /// The document is something else than an object.
    #[error("the body must be a JSON object, it is {found}")]
    NotAnObject {
        /// The type that was found.
        found: &'static str,
    },
    /// A required field is absent or null.
    #[error("`{param}` is required")]
    Missing {
        /// The field.
        param: String,
    },
    /// A field has another JSON type.
    #[error("`{param}` must be {expected}, it is {found}")]
    WrongType {
        /// The field.
        param: String,
        /// The type it should have.
        expected: &'static str,
        /// The type that was found.
        found: &'static str,
    },
    /// A field has the right type and a value outside its range.
    #[error("`{param}` is {value}, it must be {expected}")]
    OutOfRange {
        /// The field.
        param: String,
        /// What was given, clipped.
        value: String,
        /// What is allowed.
        expected: String,
    },
    /// A known field asks for something that this server does not do.
    #[error("`{param}` is not supported here: {reason}")]
    Unsupported {
        /// The field.
        param: String,
        /// What would be accepted.
        reason: String,
    },
    /// A field that is not part of this endpoint.
    #[error("`{param}` is not a parameter of this endpoint")]
    Unknown {
        /// The field, clipped.
        param: String,
    },
}

impl RequestError {
    /// The offending field, as a path such as `messages[2].role`.
    pub fn param(&self) -> Option<&str> {
        match self {
            Self::InvalidJson { .. } | Self::NotAnObject { .. } => None,
            Self::Missing { param }
            | Self::WrongType { param, .. }
            | Self::OutOfRange { param, .. }
            | Self::Unsupported { param, .. }
            | Self::Unknown { param } => Some(param),
        }
    }
}

/// OpenAI's error body: `{"error": {...}}`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub struct ErrorBody {
    /// The error itself.
    pub error: ErrorObject,
}

/// What went wrong and whose move it is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub struct ErrorObject {
    /// One sentence for a person.
    pub message: String,
    /// The class: `invalid_request_error`, `authentication_error`,
    /// `overloaded_error`, `timeout_error`, `server_error`.
    #[serde(rename = "type")]
    pub kind: &'static str,
    /// The request's field at fault, if one is.
    pub param: Option<String>,
    /// The situation, for programs.
    pub code: Option<&'static str>,
}

/// At most [`MAX_ECHO_BYTES`] of a client's text, cut between characters, for use in an error.
pub fn clip(text: &str) -> String {
    if text.len() <= MAX_ECHO_BYTES {
        return text.to_owned();
    }
    let mut end = MAX_ECHO_BYTES - "…".len();
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    format!("{}…", &text[..end])
}
