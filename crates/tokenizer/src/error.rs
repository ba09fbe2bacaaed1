//! What can be wrong with a vocabulary, a tokenizer file or a chat template.

use crate::TokenId;
use thiserror::Error;

/// A tokenizer cannot be built. The move is with whoever made or chose the model's files.
#[derive(Debug, Error)]
pub enum Error {
    /// The vocabulary is empty.
    #[error("the vocabulary has no tokens")]
    NoTokens,
    /// More tokens, or more bytes of pieces, than ids of 32 bits can name.
    #[error(
        "the vocabulary has {num_tokens} tokens in {num_bytes} bytes, at most 2^31 of each fit"
    )]
    TooLarge {
        /// Tokens stated.
        num_tokens: usize,
        /// Bytes of all pieces together.
        num_bytes: usize,
    },
    /// `tokenizer.ggml.model` names a kind we do not have.
    #[error("tokenizer model {model:?} is not supported, known are gpt2, llama and t5")]
    UnknownModel {
        /// The name found.
        model: String,
    },
    /// `tokenizer.ggml.pre` names a rule we do not have; guessing one would change every prompt.
    #[error("pre-tokenizer {name:?} is not supported")]
    UnknownPreTokenizer {
        /// The name found.
        name: String,
    },
    /// Two arrays of one file disagree about the number of tokens.
    #[error("{field} has {found} entries for {num_tokens} tokens")]
    LengthMismatch {
        /// Which array.
        field: &'static str,
        /// Its length.
        found: usize,
        /// Tokens in the vocabulary.
        num_tokens: usize,
    },
    /// A special token's id is not in the vocabulary.
    #[error("{field} is {id}, the vocabulary has {num_tokens} tokens")]
    TokenOutOfRange {
        /// Which special token.
        field: &'static str,
        /// The id stated.
        id: TokenId,
        /// Tokens in the vocabulary.
        num_tokens: usize,
    },
    /// Two tokens have the same piece, so a text has two meanings.
    #[error("tokens {first} and {second} have the same piece {piece:?}")]
    DuplicatePiece {
        /// The piece, shortened.
        piece: String,
        /// The lower id.
        first: TokenId,
        /// The higher id.
        second: TokenId,
    },
    /// A token that stands for one byte does not say which.
    #[error("byte token {id} is {piece:?}, wanted <0x00> to <0xFF>")]
    BadByteToken {
        /// The token.
        id: TokenId,
        /// Its piece, shortened.
        piece: String,
    },
    /// A merge is not two pieces with a space between.
    #[error("merge {index} is {merge:?}, wanted two pieces with a space between")]
    MalformedMerge {
        /// Position in the list of merges.
        index: usize,
        /// The merge, shortened.
        merge: String,
    },
    /// A merge joins, or makes, a piece that the vocabulary lacks.
    #[error("merge {index} is {merge:?}, and the vocabulary has no piece {piece:?}")]
    MergeOfAbsentPiece {
        /// Position in the list of merges.
        index: usize,
        /// The merge, shortened.
        merge: String,
        /// The absent piece, shortened.
        piece: String,
    },
    /// A score is not a number.
    #[error("the score of token {id} is {score}")]
    BadScore {
        /// The token.
        id: TokenId,
        /// Its score.
        score: f32,
    },
    /// `tokenizer.json` leaves ids without a token; weights have a row for each.
    #[error("tokenizer.json has no token with id {id}, and its highest id is {max_id}")]
    MissingId {
        /// The first id without a token.
        id: TokenId,
        /// The highest id.
        max_id: TokenId,
    },
    /// A file named a token that the vocabulary lacks.
    #[error("{field} names {token:?}, which the vocabulary lacks")]
    UnknownToken {
        /// Where it was named.
        field: &'static str,
        /// The name.
        token: String,
    },
    /// `tokenizer.json` uses a part that we do not have.
    #[error("tokenizer.json: {what} is not supported")]
    Unsupported {
        /// The part, as the file calls it.
        what: String,
    },
    /// A pattern is not a regular expression, or not one that runs in linear time.
    #[error("tokenizer pattern {pattern:?}: {message}")]
    BadPattern {
        /// The pattern, shortened.
        pattern: String,
        /// What is wrong with it.
        message: String,
    },
    /// The Unigram normalizer's table contradicts itself.
    #[error("precompiled_charsmap of {num_bytes} bytes: {message}")]
    BadCharsmap {
        /// Its length.
        num_bytes: usize,
        /// What is wrong with it.
        message: &'static str,
    },
    /// A JSON file cannot be read.
    #[error("{file}: {source}")]
    Json {
        /// Which file.
        file: &'static str,
        /// Where and why.
        source: serde_json::Error,
    },
}

/// The first characters of a text from a file, enough to recognise it in a message.
pub(crate) fn shortened(text: &str) -> String {
    const MAX_CHARS: usize = 60;
    match text.char_indices().nth(MAX_CHARS) {
        Some((end, _)) => format!("{}...", &text[..end]),
        None => text.to_owned(),
    }
}

/// A prompt cannot be rendered.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum TemplateError {
    /// Caller's move: the template refused the conversation; the words are its own (`raise_exception`).
    #[error("{message}")]
    Refused {
        /// What the template said.
        message: String,
    },
    /// Caller's move: no template knows this role.
    #[error("role {role:?} is not one of system, developer, user, assistant, tool and function")]
    UnknownRole {
        /// The role, shortened.
        role: String,
    },
    /// Operator's move: the template is not valid, or uses something that does not exist.
    #[error("chat template, line {line}: {message}")]
    Invalid {
        /// Line of the template, from 1; 0 if unknown.
        line: usize,
        /// What the template engine said.
        message: String,
    },
    /// Operator's move: the template's source is longer than any real one.
    #[error("the chat template has {num_bytes} bytes, at most {max_bytes} are taken")]
    SourceTooLong {
        /// Bytes found.
        num_bytes: usize,
        /// Bytes allowed.
        max_bytes: usize,
    },
    /// Operator's move: an expression, a chain of `elif` or a value is deeper than any real one.
    #[error(
        "the chat template nests too deep: {num_steps} steps in one {what}, at most {max_steps}"
    )]
    TooDeep {
        /// `tag`, `chain of elif` or `value`.
        what: &'static str,
        /// Steps found.
        num_steps: usize,
        /// Steps allowed.
        max_steps: usize,
    },
    /// The template did more work than any real one.
    #[error("the chat template was stopped after {max_steps} steps")]
    OutOfSteps {
        /// Steps allowed.
        max_steps: u64,
    },
    /// The template made and read more texts and lists than any real one.
    #[error("the chat template was stopped after making and reading {max_bytes} bytes")]
    OutOfBytes {
        /// Bytes allowed.
        max_bytes: u64,
    },
    /// The prompt is longer than any model could take.
    #[error("the chat template wrote more than {max_bytes} bytes")]
    OutputTooLong {
        /// Bytes allowed.
        max_bytes: usize,
    },
    /// The messages use so many rare private-use characters that none is left to hide control tokens.
    #[error("the messages leave no private-use character free")]
    NoPlaceholderLeft,
}
