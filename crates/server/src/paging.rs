//! Reads `limit` and a cursor from a query string, as strictly as a body.

use axum::extract::{Query, rejection::QueryRejection};
use brisk_api::{RequestError, clip};

use crate::error::{ApiError, HttpError};

/// Entries of a page where the client names no number.
const DEFAULT_LIMIT: usize = 100;
/// Entries of a page at most.
const MAX_LIMIT: usize = 1000;

/// The names and values of a query string.
pub(crate) type Pairs = Vec<(String, String)>;

/// Which part of a list is wanted.
#[derive(Debug)]
pub(crate) struct Paging {
    /// Entries at most.
    pub(crate) limit: usize,
    /// Where the page begins.
    pub(crate) cursor: Option<String>,
}

/// Takes `limit` and, where the list has one, the parameter `cursor`.
pub(crate) fn read(
    pairs: Result<Query<Pairs>, QueryRejection>,
    cursor: Option<&str>,
) -> Result<Paging, ApiError> {
    let Query(pairs) = pairs.map_err(|_| HttpError::BadQuery)?;
    let mut limit = None;
    let mut start = None;
    for (name, value) in pairs {
        let place = match name.as_str() {
            "limit" => &mut limit,
            other if Some(other) == cursor => &mut start,
            _ => return Err(RequestError::Unknown { param: clip(&name) }.into()),
        };
        if place.replace(value).is_some() {
            let (value, expected) = ("given twice".into(), "given once".into());
            return Err(RequestError::OutOfRange { param: name, value, expected }.into());
        }
    }
    let limit = match limit {
        None => DEFAULT_LIMIT,
        Some(text) => {
            let limit = text.parse().ok().filter(|limit| (1..=MAX_LIMIT).contains(limit));
            limit.ok_or_else(|| RequestError::OutOfRange {
                param: "limit".into(),
                value: format!("`{}`", clip(&text)),
                expected: format!("a whole number from 1 to {MAX_LIMIT}"),
            })?
        }
    };
    Ok(Paging { limit, cursor: start })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(query: &str, expected: &str) {
        let uri = format!("http://x/?{query}").parse().unwrap();
        let got = match read(Query::try_from_uri(&uri), Some("after")) {
            Ok(Paging { limit, cursor }) => format!("{limit} {cursor:?}"),
            Err(error) => format!("{} {}", error.code, error.param.unwrap_or_default()),
        };
        assert_eq!(got, expected, "{query}");
    }

    #[test]
    fn a_query_is_read_strictly() {
        check("", "100 None");
        check("limit=7&after=a%2Fb+c", "7 Some(\"a/b c\")");
        check("after=", "100 Some(\"\")");
        check("limit=1000", "1000 None");
        for limit in ["0", "1001", "-1", "1.0", "x", "", "99999999999999999999"] {
            check(&format!("limit={limit}"), "invalid_value limit");
        }
        check("limit=1&limit=1", "invalid_value limit");
        check("offset=1", "unknown_parameter offset");
        check("before=1", "unknown_parameter before");
    }
}
