//! `/api/conversations`: the conversations that the server keeps for `POST /api/chat`.

use serde::Serialize;
use utoipa::ToSchema;

/// Reply of `GET /api/conversations`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub struct ConversationList {
    /// The conversations of the caller's key in the order of their user ids.
    pub conversations: Vec<ConversationSummary>,
    /// What to send as `after` for the next page; null on the last one.
    pub next: Option<String>,
}

/// A conversation without its messages.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub struct ConversationSummary {
    /// Whose conversation it is.
    pub user_id: String,
    /// Messages that are kept, questions and replies.
    pub messages: usize,
    /// When it began, in seconds since 1970.
    pub created: u64,
    /// When its latest turn ended, in seconds since 1970.
    pub updated: u64,
}

/// Reply of `GET /api/conversations/{user_id}`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub struct Conversation {
    /// Whose conversation it is.
    pub user_id: String,
    /// The newest messages, oldest first.
    pub messages: Vec<KeptMessage>,
    /// What to send as `before` for the messages before these; null if these are the first.
    pub next: Option<u64>,
}

/// A message of a kept conversation.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub struct KeptMessage {
    /// Its number in the conversation, from 1 and growing.
    pub number: u64,
    /// `user` or `assistant`.
    pub role: &'static str,
    /// What was said.
    pub content: String,
    /// When its turn ended, in seconds since 1970.
    pub created: u64,
}

/// Reply of `DELETE /api/conversations/{user_id}`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub struct ConversationDeleted {
    /// Whose conversation it was.
    pub user_id: String,
    /// Always true.
    pub deleted: bool,
}
