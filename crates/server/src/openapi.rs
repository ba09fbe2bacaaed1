//! Describes the API to programs.

use std::sync::LazyLock;

use axum::response::{IntoResponse, Response};
use http::header;
use utoipa::{
    Modify, OpenApi,
    openapi::{
        OpenApi as Document,
        security::{ApiKey, ApiKeyValue, HttpAuthScheme, HttpBuilder, SecurityScheme},
    },
};

use crate::{
    assistant, cache_admin, chat, completions, conversations, health, markdown, models, performance,
};

#[derive(OpenApi)]
#[openapi(
    info(
        title = "Brisk",
        description = "Chat by a local model: OpenAI's API, and assistant endpoints that keep conversations and replies. A parameter that this server does not act on is refused by name, never ignored."
    ),
    paths(
        chat::create,
        completions::create,
        models::list,
        models::retrieve,
        assistant::query,
        assistant::query_stream,
        assistant::chat,
        conversations::list,
        conversations::show,
        conversations::delete,
        cache_admin::list,
        cache_admin::flush,
        cache_admin::remove,
        cache_admin::report,
        health::live,
        health::ready,
        health::metrics,
        performance::show,
        performance::watch,
        markdown::render,
        show
    ),
    tags(
        (name = "OpenAI", description = "What OpenAI's clients call."),
        (name = "Assistant", description = "Questions in one field, and conversations that the server keeps."),
        (name = "Response cache", description = "What is kept for the caller's key."),
        (name = "Operation", description = "What whoever runs the server calls."),
        (name = "Web page", description = "What the server's own page calls."),
    ),
    security(("bearer" = []), ("x_api_key" = [])),
    modifiers(&Keys)
)]
struct Api;

/// The two ways to send a key.
struct Keys;

impl Modify for Keys {
    fn modify(&self, document: &mut Document) {
        let components = document.components.get_or_insert_default();
        let bearer = HttpBuilder::new().scheme(HttpAuthScheme::Bearer).build();
        components.add_security_scheme("bearer", SecurityScheme::Http(bearer));
        let header = ApiKey::Header(ApiKeyValue::new("X-Api-Key"));
        components.add_security_scheme("x_api_key", SecurityScheme::ApiKey(header));
    }
}

/// The OpenAPI 3.1 document as JSON.
pub fn document() -> String {
    Api::openapi().to_pretty_json().expect("the document is plain data")
}

/// This document.
#[utoipa::path(
    get,
    operation_id = "openapi",
    path = "/openapi.json",
    tag = "Operation",
    responses((status = 200, description = "OpenAPI 3.1.", content_type = "application/json"))
)]
pub(crate) async fn show() -> Response {
    static DOCUMENT: LazyLock<String> = LazyLock::new(document);
    ([(header::CONTENT_TYPE, "application/json")], DOCUMENT.as_str()).into_response()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use serde_json::Value;

    use super::*;

    fn walk<'a>(value: &'a Value, path: &str, visit: &mut impl FnMut(&str, &'a Value)) {
        visit(path, value);
        match value {
            Value::Object(map) => {
                for (key, value) in map {
                    walk(value, &format!("{path}/{key}"), visit);
                }
            }
            Value::Array(values) => {
                for (i, value) in values.iter().enumerate() {
                    walk(value, &format!("{path}/{i}"), visit);
                }
            }
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
        }
    }

    #[test]
    fn the_document_is_whole() {
        let document: Value = serde_json::from_str(&document()).unwrap();
        assert_eq!(document["openapi"], "3.1.0");
        let paths: Vec<_> = document["paths"].as_object().unwrap().keys().collect();
        assert_eq!(
            paths,
            [
                "/api/cache",
                "/api/cache/{key}",
                "/api/cache/{key}/report",
                "/api/chat",
                "/api/conversations",
                "/api/conversations/{user_id}",
                "/api/markdown",
                "/api/performance",
                "/api/performance/stream",
                "/api/query",
                "/api/query/stream",
                "/health/live",
                "/health/ready",
                "/metrics",
                "/openapi.json",
                "/v1/chat/completions",
                "/v1/completions",
                "/v1/models",
                "/v1/models/{model}"
            ]
        );
        let mut operations = BTreeSet::new();
        walk(&document, "#", &mut |path, value| {
            if let Some(reference) = value.get("$ref").and_then(Value::as_str) {
                let target = reference.strip_prefix('#').unwrap();
                assert!(document.pointer(target).is_some(), "{path}: {reference} leads nowhere");
            }
            if let Some(id) = value.get("operationId").and_then(Value::as_str) {
                assert!(operations.insert(id), "{id} twice");
                assert!(value["responses"].as_object().is_some_and(|all| !all.is_empty()), "{id}");
            }
            if let Some(properties) = value.get("properties").and_then(Value::as_object) {
                for (name, property) in properties {
                    // What may be null is a choice, and its description stands in there.
                    let choices = property.get("oneOf").and_then(Value::as_array);
                    let described = std::iter::once(property)
                        .chain(choices.into_iter().flatten())
                        .any(|schema| schema.get("description").is_some());
                    assert!(described, "{path}: {name} has no description");
                }
            }
        });
        assert_eq!(operations.len(), 21);
    }

    /// Every field that the readers take is in the document.
    #[test]
    fn every_request_field_is_described() {
        let document: Value = serde_json::from_str(&document()).unwrap();
        let mut described = BTreeSet::new();
        for schema in
            ["ChatCompletionRequest", "CompletionRequest", "QueryRequest", "ChatTurnRequest"]
        {
            walk(&document["components"]["schemas"][schema], "", &mut |_, value| {
                let properties = value.get("properties").and_then(Value::as_object);
                described.extend(properties.into_iter().flatten().map(|(name, _)| name.as_str()));
            });
        }
        for shared in ["Sampling", "AssistantOptions"] {
            let shared = &document["components"]["schemas"][shared]["properties"];
            described
                .extend(shared.as_object().into_iter().flatten().map(|(name, _)| name.as_str()));
        }
        for field in [
            "model",
            "messages",
            "prompt",
            "stream",
            "stream_options",
            "temperature",
            "top_p",
            "top_k",
            "min_p",
            "typical_p",
            "repetition_penalty",
            "presence_penalty",
            "frequency_penalty",
            "no_repeat_ngram_size",
            "logit_bias",
            "seed",
            "stop",
            "n",
            "logprobs",
            "top_logprobs",
            "max_tokens",
            "max_completion_tokens",
            "ignore_eos",
            "repetition_detection",
            "echo",
            "cache_control",
            "query",
            "message",
            "user_id",
            "system",
            "speed_mode",
            "soft_max_tokens",
        ] {
            assert!(described.contains(field), "{field} is not in {described:?}");
        }
    }
}
