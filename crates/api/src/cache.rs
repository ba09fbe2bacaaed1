//! `/api/cache`: a client's own kept replies.

use serde::Serialize;
use utoipa::ToSchema;

use crate::{error::RequestError, fields::Fields, json, neutral::Place};

/// Bytes of a report's reason at most.
pub const MAX_REASON_BYTES: usize = 512;

/// Reply of `GET /api/cache`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub struct CacheList {
    /// Whether this server keeps replies at all.
    pub enabled: bool,
    /// The kept replies of the caller's key in memory and on disk, newest first.
    pub entries: Vec<CacheEntry>,
}

/// A kept reply.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub struct CacheEntry {
    /// Names it, as `X-Brisk-Cache-Key` does.
    pub key: String,
    /// The start of its question.
    pub label: String,
    /// When it was made, in seconds since 1970.
    pub created: u64,
    /// From when on it answers no more, in seconds since 1970.
    pub expires: u64,
    /// Bytes that it takes.
    pub bytes: u64,
    /// How often it has answered since it came into memory.
    pub hits: u64,
    /// The fastest place that holds it: `memory` or `disk`.
    pub tier: &'static str,
}

/// Body of `POST /api/cache/{key}/report`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, ToSchema)]
pub struct CacheReportRequest {
    /// What was wrong, for the log; at most 512 bytes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

impl CacheReportRequest {
    /// Reads and checks a body.
    pub fn read(body: &[u8]) -> Result<Self, RequestError> {
        let mut fields = Fields::of_body(json::parse_object(body)?, Place::Other);
        let reason = fields.string("reason")?;
        if let Some(long) = reason.as_ref().filter(|reason| reason.len() > MAX_REASON_BYTES) {
            return Err(RequestError::OutOfRange {
                param: "reason".into(),
                value: format!("{} bytes long", long.len()),
                expected: format!("at most {MAX_REASON_BYTES} bytes long"),
            });
        }
        fields.finish()?;
        Ok(Self { reason })
    }
}

/// What was done with a kept reply.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub struct CacheEntryDone {
    /// The reply's key.
    pub key: String,
    /// `deleted` or `reported`.
    pub done: &'static str,
}

/// Reply of `DELETE /api/cache`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub struct CacheFlushed {
    /// Always true: what was kept for the caller's key answers no more.
    pub flushed: bool,
}
