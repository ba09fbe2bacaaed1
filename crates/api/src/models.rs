//! The list of models.

use serde::Serialize;
use utoipa::ToSchema;

/// Reply of `GET /v1/models`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub struct ModelList {
    /// Always `list`.
    pub object: &'static str,
    /// The models, and their aliases as entries of their own.
    pub data: Vec<ModelCard>,
}

/// One model, as `GET /v1/models/{model}` shows it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub struct ModelCard {
    /// The name to send as `model`.
    pub id: String,
    /// Always `model`.
    pub object: &'static str,
    /// When the server loaded it, in seconds since 1970.
    pub created: u64,
    /// Always `brisk`.
    pub owned_by: &'static str,
    /// For an alias, the model's own name.
    pub root: String,
    /// Tokens that a prompt and its reply may hold together.
    pub max_model_len: usize,
}
