//! Markdown to safe HTML, for the web page.

use serde::Serialize;
use utoipa::ToSchema;

use crate::{error::RequestError, fields::Fields, json, neutral::Place};

/// Body of `POST /api/markdown`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub struct MarkdownRequest {
    /// The markdown text.
    pub text: String,
}

impl MarkdownRequest {
    /// Reads and checks a body.
    pub fn read(body: &[u8]) -> Result<Self, RequestError> {
        let mut fields = Fields::of_body(json::parse_object(body)?, Place::Other);
        let text = fields.string("text")?;
        let text = text.ok_or_else(|| RequestError::Missing { param: "text".into() })?;
        fields.finish()?;
        Ok(Self { text })
    }
}

/// Reply of `POST /api/markdown`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub struct MarkdownReply {
    /// The same text as HTML without scripts, images or foreign markup.
    pub html: String,
}
