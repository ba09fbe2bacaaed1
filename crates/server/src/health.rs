//! Health checks and metrics.

use std::sync::Arc;

use axum::{
    extract::State,
    response::{IntoResponse, Response},
};
use brisk_api::ErrorBody;
use http::{StatusCode, header};

use crate::{
    app::App,
    metrics::page::{self, Sources},
};

/// What load balancers may ask without a key.
pub(crate) const OPEN_PATHS: &[&str] = &["/health/live", "/health/ready"];

/// Is the process alive? 200 while it can answer at all; 503 once its engine has stopped.
#[utoipa::path(
    get,
    operation_id = "live",
    path = "/health/live",
    tag = "Operation",
    security(()),
    responses((status = 200, description = "Alive."), (status = 503, description = "Restart it."))
)]
pub(crate) async fn live(State(app): State<Arc<App>>) -> (StatusCode, &'static str) {
    if app.gateway.is_alive() {
        (StatusCode::OK, "alive\n")
    } else {
        (StatusCode::SERVICE_UNAVAILABLE, "the engine has stopped\n")
    }
}

/// Should requests be sent here? 503 while the model loads, while the server drains, and after the
/// engine has stopped. `ready, degraded: conversations` is 200 too: requests are answered, but what is
/// named there does not take what it should keep.
#[utoipa::path(
    get,
    operation_id = "ready",
    path = "/health/ready",
    tag = "Operation",
    security(()),
    responses((status = 200, description = "Ready."), (status = 503, description = "Not now."))
)]
pub(crate) async fn ready(State(app): State<Arc<App>>) -> (StatusCode, String) {
    let unavailable = StatusCode::SERVICE_UNAVAILABLE;
    if app.is_draining() {
        return (unavailable, "draining\n".to_owned());
    }
    if !app.gateway.is_ready() {
        let why = if app.gateway.is_alive() { "loading\n" } else { "the engine has stopped\n" };
        return (unavailable, why.to_owned());
    }
    let degraded = app.gateway.stores().filter(|(_, is_degraded)| *is_degraded);
    let degraded: Vec<&str> = degraded.map(|(name, _)| name).collect();
    let text = match degraded.is_empty() {
        true => "ready\n".to_owned(),
        false => format!("ready, degraded: {}\n", degraded.join(", ")),
    };
    (StatusCode::OK, text)
}

/// Counters and histograms for Prometheus, under vLLM's names, OpenTelemetry's and our own.
#[utoipa::path(
    get,
    operation_id = "metrics",
    path = "/metrics",
    tag = "Operation",
    responses(
        (status = 200, description = "Prometheus' text format.", body = String, content_type = "text/plain"),
        (status = 401, description = "A key is required.", body = ErrorBody),
    )
)]
pub(crate) async fn metrics(State(app): State<Arc<App>>) -> Response {
    let sources = Sources {
        model: app.gateway.model().map_or("", |model| &model.name),
        engine: app.gateway.stats(),
        cache: app.gateway.cache_stats(),
        stores: app.gateway.stores().collect(),
        uptime_s: app.metrics.uptime_s(),
    };
    let text = page::render(&app.metrics, &sources);
    let content_type = "text/plain; version=0.0.4; charset=utf-8";
    ([(header::CONTENT_TYPE, content_type)], text).into_response()
}
