//! `GET /v1/models`.

use std::sync::Arc;

use axum::{
    Json,
    extract::{Path, State, rejection::PathRejection},
};
use brisk_api::{
    ErrorBody, clip,
    models::{ModelCard, ModelList},
};
use brisk_gateway::{GatewayError, ModelEntry};

use crate::{app::App, error::ApiError, reply::unix_seconds};

/// List the models; a server that is still loading has none yet.
#[utoipa::path(
    get,
    operation_id = "listModels",
    path = "/v1/models",
    tag = "OpenAI",
    responses(
        (status = 200, description = "The models and their aliases.", body = ModelList),
        (status = 401, description = "A key is required.", body = ErrorBody),
    )
)]
pub(crate) async fn list(State(app): State<Arc<App>>) -> Json<ModelList> {
    let data = app.gateway.models().into_iter().map(card).collect();
    Json(ModelList { object: "list", data })
}

/// Show one model.
#[utoipa::path(
    get,
    operation_id = "retrieveModel",
    path = "/v1/models/{model}",
    tag = "OpenAI",
    params(("model" = String, Path, description = "A name from the list; it may hold slashes.")),
    responses(
        (status = 200, description = "The model.", body = ModelCard),
        (status = 401, description = "A key is required.", body = ErrorBody),
        (status = 404, description = "No model goes by this name.", body = ErrorBody),
    )
)]
pub(crate) async fn retrieve(
    State(app): State<Arc<App>>,
    model: Result<Path<String>, PathRejection>,
) -> Result<Json<ModelCard>, ApiError> {
    // A name that is no text is no model's.
    let model = model.map_or_else(|_| String::new(), |Path(model)| model);
    let entry = app.gateway.models().into_iter().find(|entry| entry.name == model);
    let unknown = || ApiError::from(&GatewayError::UnknownModel { model: clip(&model) });
    Ok(Json(card(entry.ok_or_else(unknown)?)))
}

fn card(entry: ModelEntry) -> ModelCard {
    ModelCard {
        id: entry.name,
        object: "model",
        created: unix_seconds(entry.loaded_at),
        owned_by: "brisk",
        root: entry.root,
        max_model_len: entry.max_model_len,
    }
}
