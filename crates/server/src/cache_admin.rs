//! `/api/cache`: what is kept for the caller's key, and letting go of it.

use std::sync::Arc;

use axum::{
    Extension, Json,
    extract::{
        Path, Query, Request, State,
        rejection::{PathRejection, QueryRejection},
    },
};
use brisk_api::{
    ErrorBody,
    cache::{CacheEntry, CacheEntryDone, CacheFlushed, CacheList, CacheReportRequest},
};
use brisk_gateway::{Digest, EntryInfo, Tenant, Tier};

use crate::{
    app::App,
    body,
    cache_control::{digest, hex},
    error::{ApiError, HttpError},
    paging::{self, Pairs},
    reply::unix_seconds,
};

/// List the kept replies of the caller's key.
///
/// Replies that lie in Redis alone are not in the list.
#[utoipa::path(
    get,
    operation_id = "listCache",
    path = "/api/cache",
    tag = "Response cache",
    params(("limit" = Option<u32>, Query, description = "Entries at most, from 1 to 1000. Default 100.")),
    responses(
        (status = 200, description = "The entries, newest first.", body = CacheList),
        (status = 400, description = "A parameter is wrong; `param` names it.", body = ErrorBody),
        (status = 401, description = "A key is required.", body = ErrorBody),
    )
)]
pub(crate) async fn list(
    State(app): State<Arc<App>>,
    Extension(tenant): Extension<Tenant>,
    pairs: Result<Query<Pairs>, QueryRejection>,
) -> Result<Json<CacheList>, ApiError> {
    let paging = paging::read(pairs, None)?;
    let entries = app.gateway.cache_entries(tenant, paging.limit).await;
    let enabled = app.gateway.cache_stats().is_some();
    Ok(Json(CacheList { enabled, entries: entries.iter().map(entry).collect() }))
}

fn entry(info: &EntryInfo) -> CacheEntry {
    let EntryInfo { slot, label, created, expires, num_bytes, num_hits, tier } = info;
    CacheEntry {
        key: hex(slot),
        label: label.clone(),
        created: unix_seconds(*created),
        expires: unix_seconds(*expires),
        bytes: *num_bytes,
        hits: *num_hits,
        tier: match tier {
            Tier::Memory => "memory",
            Tier::Disk => "disk",
            Tier::Redis => "redis",
        },
    }
}

/// Forget a kept reply.
#[utoipa::path(
    delete,
    operation_id = "deleteCacheEntry",
    path = "/api/cache/{key}",
    tag = "Response cache",
    params(("key" = String, Path, description = "The entry's key, as in `X-Brisk-Cache-Key`.")),
    responses(
        (status = 200, description = "It is gone.", body = CacheEntryDone),
        (status = 401, description = "A key is required.", body = ErrorBody),
        (status = 404, description = "The caller's key has no such entry.", body = ErrorBody),
        (status = 503, description = "A tier did not take it, and it may come back from there; `Retry-After` says when to try again.", body = ErrorBody),
    )
)]
pub(crate) async fn remove(
    State(app): State<Arc<App>>,
    Extension(tenant): Extension<Tenant>,
    key: Result<Path<String>, PathRejection>,
) -> Result<Json<CacheEntryDone>, ApiError> {
    let slot = slot(key)?;
    let was_kept = app.gateway.cache_remove(tenant, &slot).await;
    if !was_kept.map_err(|error| ApiError::from(&error))? {
        return Err(HttpError::UnknownCacheEntry.into());
    }
    Ok(Json(CacheEntryDone { key: hex(&slot), done: "deleted" }))
}

/// Report a kept reply that was wrong for its question.
///
/// It is forgotten, and from then on questions of another spelling are not answered from its place.
#[utoipa::path(
    post,
    operation_id = "reportCacheEntry",
    path = "/api/cache/{key}/report",
    tag = "Response cache",
    params(("key" = String, Path, description = "The entry's key, as in `X-Brisk-Cache-Key`.")),
    request_body = CacheReportRequest,
    responses(
        (status = 200, description = "It is gone.", body = CacheEntryDone),
        (status = 400, description = "A parameter is wrong; `param` names it.", body = ErrorBody),
        (status = 401, description = "A key is required.", body = ErrorBody),
        (status = 404, description = "The caller's key has no such entry.", body = ErrorBody),
        (status = 415, description = "The body is not JSON.", body = ErrorBody),
        (status = 503, description = "A tier did not take it, and it may come back from there; `Retry-After` says when to try again.", body = ErrorBody),
    )
)]
pub(crate) async fn report(
    State(app): State<Arc<App>>,
    Extension(tenant): Extension<Tenant>,
    key: Result<Path<String>, PathRejection>,
    request: Request,
) -> Result<Json<CacheEntryDone>, ApiError> {
    let slot = slot(key)?;
    let CacheReportRequest { reason } =
        body::read_json(&app, request, CacheReportRequest::read).await?;
    let was_kept = app.gateway.cache_report_bad(tenant, &slot).await;
    if !was_kept.map_err(|error| ApiError::from(&error))? {
        return Err(HttpError::UnknownCacheEntry.into());
    }
    let key = hex(&slot);
    let reason = reason.unwrap_or_default().escape_debug().to_string();
    tracing::info!(key, reason, "a kept reply was reported as wrong");
    Ok(Json(CacheEntryDone { key, done: "reported" }))
}

/// Forget all kept replies of the caller's key, also those that other instances hold.
#[utoipa::path(
    delete,
    operation_id = "flushCache",
    path = "/api/cache",
    tag = "Response cache",
    responses(
        (status = 200, description = "None of them answers any more.", body = CacheFlushed),
        (status = 401, description = "A key is required.", body = ErrorBody),
        (status = 503, description = "A tier did not take it, and replies may come back from there; `Retry-After` says when to try again.", body = ErrorBody),
    )
)]
pub(crate) async fn flush(
    State(app): State<Arc<App>>,
    Extension(tenant): Extension<Tenant>,
) -> Result<Json<CacheFlushed>, ApiError> {
    app.gateway.cache_flush(tenant).await.map_err(|error| ApiError::from(&error))?;
    Ok(Json(CacheFlushed { flushed: true }))
}

/// A text that is no key names nothing.
fn slot(key: Result<Path<String>, PathRejection>) -> Result<Digest, HttpError> {
    key.ok().and_then(|Path(key)| digest(&key)).ok_or(HttpError::UnknownCacheEntry)
}
