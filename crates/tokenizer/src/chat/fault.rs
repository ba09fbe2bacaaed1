//! What stops a template: an exception that Python raises in the same place, or one of our bounds.

use super::budget;
use crate::TemplateError;
use crate::error::shortened;

/// What a part of a rendering gives.
pub(crate) type Outcome<T> = Result<T, Box<Fault>>;

/// Why a rendering stops.
#[derive(Clone, Debug)]
pub(crate) enum Fault {
    /// An exception of Python.
    Raised(Exception, String),
    /// What the template says with `raise_exception`.
    Refused(String),
    OutOfBytes,
    OutOfSteps,
    TooDeep {
        what: &'static str,
        max_steps: usize,
    },
    OutputTooLong,
}

/// The kinds of exceptions that something in a template can answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Exception {
    Type,
    Value,
    Lookup,
    Undefined,
    Security,
    Arithmetic,
    /// Whatever nothing catches.
    Other,
}

// What a template says may hold a whole message.
const MAX_MESSAGE_CHARS: usize = 1000;

impl Fault {
    /// As the caller hears it; `line` is where the template stood.
    pub(crate) fn explain(&self, line: u32) -> TemplateError {
        match self {
            Fault::Raised(_, message) => TemplateError::Invalid {
                line: line as usize,
                message: message.chars().take(MAX_MESSAGE_CHARS).collect(),
            },
            Fault::Refused(message) => TemplateError::Refused {
                message: message.chars().take(MAX_MESSAGE_CHARS).collect(),
            },
            Fault::OutOfBytes => TemplateError::OutOfBytes { max_bytes: budget::MAX_BYTES },
            Fault::OutOfSteps => TemplateError::OutOfSteps { max_steps: budget::MAX_STEPS },
            Fault::TooDeep { what, max_steps } => {
                TemplateError::TooDeep { what, num_steps: max_steps + 1, max_steps: *max_steps }
            }
            Fault::OutputTooLong => {
                TemplateError::OutputTooLong { max_bytes: budget::MAX_OUTPUT_BYTES }
            }
        }
    }

    pub(crate) fn is(&self, kinds: &[Exception]) -> bool {
        matches!(self, Fault::Raised(kind, _) if kinds.contains(kind))
    }
}

fn raised<T>(kind: Exception, message: impl Into<String>) -> Outcome<T> {
    Err(Box::new(Fault::Raised(kind, message.into())))
}

pub(crate) fn type_error<T>(message: impl Into<String>) -> Outcome<T> {
    raised(Exception::Type, message)
}

pub(crate) fn value_error<T>(message: impl Into<String>) -> Outcome<T> {
    raised(Exception::Value, message)
}

pub(crate) fn lookup_error<T>(message: impl Into<String>) -> Outcome<T> {
    raised(Exception::Lookup, message)
}

pub(crate) fn undefined_error<T>(message: impl Into<String>) -> Outcome<T> {
    raised(Exception::Undefined, message)
}

pub(crate) fn security_error<T>(message: impl Into<String>) -> Outcome<T> {
    raised(Exception::Security, message)
}

pub(crate) fn arithmetic_error<T>(message: impl Into<String>) -> Outcome<T> {
    raised(Exception::Arithmetic, message)
}

pub(crate) fn other_error<T>(message: impl Into<String>) -> Outcome<T> {
    raised(Exception::Other, message)
}

/// A result that Python has and we have not.
pub(crate) fn too_large<T>(what: &str) -> Outcome<T> {
    other_error(format!("{what} needs more than 127 bits, which is more than a template is given"))
}

/// A name from a template, for a message.
pub(crate) fn quoted(name: &str) -> String {
    format!("'{}'", shortened(name))
}
