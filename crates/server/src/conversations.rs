//! `/api/conversations`: the kept conversations of the caller's key.

use std::sync::Arc;

use axum::{
    Extension, Json,
    extract::{
        Path, Query, State,
        rejection::{PathRejection, QueryRejection},
    },
};
use brisk_api::{
    ErrorBody, RequestError, clip,
    conversation::{
        Conversation, ConversationDeleted, ConversationList, ConversationSummary, KeptMessage,
    },
};
use brisk_gateway::{ConversationInfo, StoredMessage, Tenant};

use crate::{
    app::App,
    error::{ApiError, HttpError},
    paging::{self, Pairs},
    reply::unix_seconds,
};

/// List the conversations of the caller's key.
#[utoipa::path(
    get,
    operation_id = "listConversations",
    path = "/api/conversations",
    tag = "Assistant",
    params(
        ("limit" = Option<u32>, Query, description = "Conversations at most, from 1 to 1000. Default 100."),
        ("after" = Option<String>, Query, description = "Begin behind this user id: `next` of the page before."),
    ),
    responses(
        (status = 200, description = "Conversations in the order of their user ids.", body = ConversationList),
        (status = 400, description = "A parameter is wrong; `param` names it.", body = ErrorBody),
        (status = 401, description = "A key is required.", body = ErrorBody),
        (status = 404, description = "This server keeps no conversations.", body = ErrorBody),
    )
)]
pub(crate) async fn list(
    State(app): State<Arc<App>>,
    Extension(tenant): Extension<Tenant>,
    pairs: Result<Query<Pairs>, QueryRejection>,
) -> Result<Json<ConversationList>, ApiError> {
    let paging = paging::read(pairs, Some("after"))?;
    let found = app.gateway.list_conversations(tenant, paging.limit, paging.cursor).await;
    let found = found.map_err(|error| ApiError::from(&error))?;
    let is_full = found.len() >= paging.limit;
    let next = found.last().filter(|_| is_full).map(|last| last.user_id.clone());
    Ok(Json(ConversationList { conversations: found.into_iter().map(summary).collect(), next }))
}

fn summary(info: ConversationInfo) -> ConversationSummary {
    let ConversationInfo { user_id, num_messages, created, updated } = info;
    let (created, updated) = (unix_seconds(created), unix_seconds(updated));
    ConversationSummary { user_id, messages: num_messages, created, updated }
}

/// Show the newest messages of a conversation.
#[utoipa::path(
    get,
    operation_id = "showConversation",
    path = "/api/conversations/{user_id}",
    tag = "Assistant",
    params(
        ("user_id" = String, Path, description = "Whose conversation, percent-encoded."),
        ("limit" = Option<u32>, Query, description = "Messages at most, from 1 to 1000. Default 100."),
        ("before" = Option<u64>, Query, description = "Only messages before this number: `next` of the page before."),
    ),
    responses(
        (status = 200, description = "Its newest messages, oldest first.", body = Conversation),
        (status = 400, description = "A parameter is wrong; `param` names it.", body = ErrorBody),
        (status = 401, description = "A key is required.", body = ErrorBody),
        (status = 404, description = "The caller's key has no such conversation.", body = ErrorBody),
    )
)]
pub(crate) async fn show(
    State(app): State<Arc<App>>,
    Extension(tenant): Extension<Tenant>,
    user_id: Result<Path<String>, PathRejection>,
    pairs: Result<Query<Pairs>, QueryRejection>,
) -> Result<Json<Conversation>, ApiError> {
    let user_id = known(user_id)?;
    let paging = paging::read(pairs, Some("before"))?;
    let before = paging.cursor.map(|text| number(&text)).transpose()?;
    let found = app.gateway.read_conversation(tenant, &user_id, paging.limit, before).await;
    let found = found.map_err(|error| ApiError::from(&error))?;
    let found = found.ok_or(HttpError::UnknownConversation)?;
    // Numbers begin with 1, so nothing comes before it.
    let next = found.first().map(|first| first.number).filter(|number| *number > 1);
    let messages = found.into_iter().map(kept).collect();
    Ok(Json(Conversation { user_id, messages, next }))
}

fn kept(stored: StoredMessage) -> KeptMessage {
    let StoredMessage { number, message, at } = stored;
    let (role, created) = (message.role.name(), unix_seconds(at));
    KeptMessage { number, role, content: message.content, created }
}

/// Delete a conversation.
#[utoipa::path(
    delete,
    operation_id = "deleteConversation",
    path = "/api/conversations/{user_id}",
    tag = "Assistant",
    params(("user_id" = String, Path, description = "Whose conversation, percent-encoded.")),
    responses(
        (status = 200, description = "It is gone.", body = ConversationDeleted),
        (status = 400, description = "The user id is none.", body = ErrorBody),
        (status = 401, description = "A key is required.", body = ErrorBody),
        (status = 404, description = "The caller's key has no such conversation.", body = ErrorBody),
    )
)]
pub(crate) async fn delete(
    State(app): State<Arc<App>>,
    Extension(tenant): Extension<Tenant>,
    user_id: Result<Path<String>, PathRejection>,
) -> Result<Json<ConversationDeleted>, ApiError> {
    let user_id = known(user_id)?;
    let deleted = app.gateway.delete_conversation(tenant, &user_id).await;
    if !deleted.map_err(|error| ApiError::from(&error))? {
        return Err(HttpError::UnknownConversation.into());
    }
    Ok(Json(ConversationDeleted { user_id, deleted: true }))
}

/// A user id that is no text is nobody's.
fn known(user_id: Result<Path<String>, PathRejection>) -> Result<String, HttpError> {
    user_id.map(|Path(user_id)| user_id).map_err(|_| HttpError::UnknownConversation)
}

fn number(text: &str) -> Result<u64, RequestError> {
    text.parse().map_err(|_| RequestError::OutOfRange {
        param: "before".into(),
        value: format!("`{}`", clip(text)),
        expected: "a whole number".into(),
    })
}
