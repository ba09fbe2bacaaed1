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

use crate::{chat, completions, health, markdown, models};

#[derive(OpenApi)]
#[openapi(
    info(
        title = "Brisk",
        description = "Chat completions by a local model, in OpenAI's API. A parameter that this server does not act on is refused by name, never ignored."
    ),
    paths(
        chat::create,
        completions::create,
        models::list,
        models::retrieve,
        health::live,
        health::ready,
        health::metrics,
        markdown::render,
        show
    ),
    tags(
        (name = "OpenAI", description = "What OpenAI's clients call."),
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
    path = "/openapi.json",
    tag = "Operation",
    responses((status = 200, description = "OpenAPI 3.1.", content_type = "application/json"))
)]
pub(crate) async fn show() -> Response {
    static DOCUMENT: LazyLock<String> = LazyLock::new(document);
    ([(header::CONTENT_TYPE, "application/json")], DOCUMENT.as_str()).into_response()
}
