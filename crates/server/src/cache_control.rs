//! Joins what a request says about the response cache with what its endpoint allows, and tells the
//! client what the cache did.

use std::fmt::Write;

use axum::response::Response;
use brisk_api::{CACHE_CONTROL_HEADER, CacheControl, RequestError};
use brisk_gateway::{CacheReport, CacheUse, Digest};
use http::{HeaderMap, HeaderName, HeaderValue, header};

use crate::error::{ApiError, HttpError};

/// How the header is spelled where people read it.
const SHOWN_HEADER: &str = "X-Brisk-Cache-Control";
/// Where the reply comes from.
pub(crate) const STATUS: HeaderName = HeaderName::from_static("x-brisk-cache");
/// Names the kept reply.
pub(crate) const KEY: HeaderName = HeaderName::from_static("x-brisk-cache-key");

/// The directives of `X-Brisk-Cache-Control`; several headers count as one list.
pub(crate) fn of_header(headers: &HeaderMap) -> Result<Option<CacheControl>, RequestError> {
    let mut texts = Vec::new();
    for value in headers.get_all(CACHE_CONTROL_HEADER) {
        // What is no text is no directive either, and the reader says so.
        texts.push(value.to_str().unwrap_or("\u{fffd}"));
    }
    if texts.is_empty() {
        return Ok(None);
    }
    CacheControl::read(SHOWN_HEADER, &texts.join(",")).map(Some)
}

/// What the cache may do for a request whose endpoint allows `allowed`. Header and body may both
/// speak, if they say the same.
pub(crate) fn cache_use(
    allowed: CacheUse,
    header: Option<CacheControl>,
    body: Option<CacheControl>,
) -> Result<CacheUse, ApiError> {
    if let (Some(header), Some(body)) = (header, body)
        && header != body
    {
        return Err(HttpError::CacheControlsDisagree.into());
    }
    let control = header.or(body).unwrap_or_default();
    Ok(CacheUse {
        read: allowed.read && !control.no_cache && !control.bypass,
        write: allowed.write && !control.no_store && !control.bypass,
        exact: control.exact,
        max_age: control.max_age,
        ttl: control.ttl,
        ..allowed
    })
}

/// Adds the headers that say what the cache did.
pub(crate) fn add_headers(response: &mut Response, report: &CacheReport) {
    let headers = response.headers_mut();
    headers.insert(STATUS, HeaderValue::from_static(report.status.name()));
    if let Some(key) = &report.key {
        let key = HeaderValue::from_str(&hex(key)).expect("hexadecimal digits");
        headers.insert(KEY, key);
    }
    if let Some(age) = report.age.filter(|_| report.status.is_hit()) {
        headers.insert(header::AGE, age.as_secs().into());
    }
}

/// Lower-case hexadecimal digits.
pub(crate) fn hex(digest: &Digest) -> String {
    digest.iter().fold(String::with_capacity(2 * digest.len()), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

/// The digest that [`hex`] wrote so; `None` for any other text.
pub(crate) fn digest(text: &str) -> Option<Digest> {
    let mut digest = Digest::default();
    for (i, byte) in digest.iter_mut().enumerate() {
        *byte = u8::from_str_radix(text.get(2 * i..2 * i + 2)?, 16).ok()?;
    }
    (hex(&digest) == text).then_some(digest)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `read write exact`, or the error.
    fn check(header: &[&str], body: Option<&str>, expected: &str) {
        let mut headers = HeaderMap::new();
        for value in header {
            headers.append(CACHE_CONTROL_HEADER, HeaderValue::from_str(value).unwrap());
        }
        let body = body.map(|text| CacheControl::read("cache_control", text).unwrap());
        let got = of_header(&headers)
            .map_err(ApiError::from)
            .and_then(|header| cache_use(CacheUse::ASSISTANT, header, body));
        let got = match got {
            Ok(CacheUse { read, write, exact, max_age, ttl, sampled, normalized, .. }) => {
                assert!(sampled && normalized);
                let number = |name, it: Option<std::time::Duration>| {
                    it.map(|it| format!(" {name} {}", it.as_secs())).unwrap_or_default()
                };
                let (max_age, ttl) = (number("age", max_age), number("ttl", ttl));
                format!("{read} {write} {exact}{max_age}{ttl}")
            }
            Err(error) => format!("{} {}", error.code, error.param.unwrap_or_default()),
        };
        assert_eq!(got, expected, "{header:?} {body:?}");
    }

    #[test]
    fn header_and_body_say_what_the_cache_may_do() {
        check(&[], None, "true true false");
        check(&["no-cache"], None, "false true false");
        check(&["no-store"], None, "true false false");
        check(&["bypass"], None, "false false false");
        check(&["no-cache, no-store"], None, "false false false");
        check(&["exact"], None, "true true true");
        check(&["max-age=60", "ttl=5"], None, "true true false age 60 ttl 5");
        check(&[], Some("exact,ttl=1"), "true true true ttl 1");
        check(&["exact,  TTL=1"], Some("ttl=1,exact"), "true true true ttl 1");
        check(&["exact"], Some("exact,no-cache"), "cache_controls_disagree cache_control");
        check(&["no-cache"], Some("no-store"), "cache_controls_disagree cache_control");
        check(&[""], None, "invalid_value X-Brisk-Cache-Control");
        check(&["no-cache", "no-cache"], None, "invalid_value X-Brisk-Cache-Control");
        check(&["similarity=0.5"], None, "invalid_value X-Brisk-Cache-Control");
    }

    #[test]
    fn a_digest_has_one_spelling() {
        let key: Digest = std::array::from_fn(|i| i as u8 * 7);
        let text = hex(&key);
        assert_eq!((text.len(), digest(&text)), (64, Some(key)));
        let upper = text.to_uppercase();
        let plus = format!("+{}", &text[1..]);
        let wide = format!("\u{fffd}{}", &text[3..]);
        for wrong in ["", "00", &text[1..], &format!("{text}0"), &upper, &plus, &wide] {
            assert_eq!(digest(wrong), None, "{wrong}");
        }
    }
}
