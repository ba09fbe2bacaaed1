//! What can be wrong with a vocabulary, a tokenizer file or a chat template.

use thiserror::Error;

/// A tokenizer cannot be built. The move is with whoever made or chose the model files.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum Error {
    /// The vocabulary is empty.
    #[error("the vocabulary has no tokens")]
    NoTokens,
}

/// A prompt cannot be rendered.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[non_exhaustive]
pub enum TemplateError {
    /// The template refused the conversation; the message is the template's own (`raise_exception`).
    #[error("{message}")]
    Refused {
        /// What the template said.
        message: String,
    },
    /// The template is not valid, or used something that does not exist.
    #[error("chat template, line {line}: {message}")]
    Invalid {
        /// Line of the template, from 1; 0 if unknown.
        line: usize,
        /// What the template engine said.
        message: String,
    },
}
