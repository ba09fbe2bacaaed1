//! Why a request gets no reply, or not all of it.

use brisk_cache::{CacheError, NotEverywhere};
use brisk_engine::{GenerationError, SubmitError};
use brisk_storage::FileError;
use thiserror::Error;

use crate::conversations::ConversationError;

/// A request that failed, by situation.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum GatewayError {
    /// Try later: the model is still being loaded.
    #[error("the model is still being loaded")]
    Loading,
    /// Caller's move: no model goes by this name.
    #[error("the model `{model}` does not exist")]
    UnknownModel {
        /// The name that was asked for, clipped.
        model: String,
    },
    /// Caller's move: the model's chat template does not take this conversation.
    #[error("the model's chat template refuses these messages: {message}")]
    TemplateRefused {
        /// The template's own words, clipped.
        message: String,
    },
    /// Our fault: the model's chat template does not work.
    #[error("the model's chat template failed: {message}")]
    TemplateFailed {
        /// The template engine's words.
        message: String,
    },
    /// Caller's move: the prompts of one request are too long together.
    #[error(
        "the prompts have {num_prompt_tokens} tokens together, one request may have {max_prompt_tokens}"
    )]
    PromptsTooLong {
        /// Tokens in all prompts.
        num_prompt_tokens: usize,
        /// The bound.
        max_prompt_tokens: usize,
    },
    /// The engine did not take the request.
    #[error(transparent)]
    Submit(#[from] SubmitError),
    /// The generation broke on its way.
    #[error(transparent)]
    Generation(#[from] GenerationError),
    /// Caller's move or ours, by the store's own words.
    #[error(transparent)]
    Conversation(#[from] ConversationError),
    /// Try again: a tier of the response cache did not take a removal.
    #[error(transparent)]
    CacheTier(#[from] NotEverywhere),
    /// Operator's move: no conversations are kept here.
    #[error("this server keeps no conversations")]
    NoConversations,
    /// Our fault: a part of the program panicked while it prepared the prompt.
    #[error("preparing the prompt failed: {reason}")]
    Panicked {
        /// What is known of it.
        reason: String,
    },
}

/// A store that cannot be opened.
#[derive(Debug, Error)]
pub enum OpenError {
    /// The response cache.
    #[error(transparent)]
    Cache(#[from] CacheError),
    /// The settings name one file for two things.
    #[error(transparent)]
    Files(FileError),
    /// The conversations.
    #[error(transparent)]
    Conversations(#[from] ConversationError),
    /// Our fault: opening panicked.
    #[error("opening the conversations failed: {reason}")]
    Panicked {
        /// What is known of it.
        reason: String,
    },
}
