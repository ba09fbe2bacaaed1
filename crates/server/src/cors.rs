//! Lets web pages of named origins in, which browsers would keep out.
//!
//! Without any, no response says a word to them: a browser then sends nothing that changes something
//! and shows no reply to the page, since every such request needs its leave first.

use std::time::Duration;

use axum::Router;
use http::{HeaderName, HeaderValue, Method, header, uri::Authority};
use tower_http::cors::{AllowHeaders, AllowOrigin, CorsLayer};

use crate::{cache_control, observe};

/// Stands for every origin.
pub(crate) const ANY: &str = "*";
/// How long a browser may remember the answer.
const MAX_AGE: Duration = Duration::from_secs(600);
/// What a page may read of a response besides its body and type.
const EXPOSED: [HeaderName; 6] = [
    observe::REQUEST_ID,
    cache_control::STATUS,
    cache_control::KEY,
    header::AGE,
    header::RETRY_AFTER,
    header::WWW_AUTHENTICATE,
];

/// Puts the answers to `origins` around a router; each is [`is_origin`] or [`ANY`] alone.
pub(crate) fn with_cors(router: Router, origins: &[String]) -> Router {
    if origins.is_empty() {
        return router;
    }
    let values = || origins.iter().filter_map(|it| HeaderValue::from_str(it).ok());
    let origins = match origins {
        [origin] if origin == ANY => AllowOrigin::any(),
        _ => AllowOrigin::list(values()),
    };
    router.layer(
        CorsLayer::new()
            .allow_origin(origins)
            .allow_methods([Method::GET, Method::HEAD, Method::POST, Method::DELETE])
            // Client libraries add headers of their own; none of ours depends on who sends it.
            .allow_headers(AllowHeaders::mirror_request())
            // Pages of public origins may need this to reach a server on their own machine.
            .allow_private_network(true)
            .expose_headers(EXPOSED)
            .max_age(MAX_AGE),
    )
}

/// Whether `text` is an origin, as browsers write it: `scheme://host` with the port only where it
/// is not the scheme's own, in small letters, without a path. `null` is none, since pages of anybody
/// can have it.
pub fn is_origin(text: &str) -> bool {
    let Some((scheme, place)) = text.split_once("://") else { return false };
    let Ok(authority) = place.parse::<Authority>() else { return false };
    let host = authority.host();
    let port = authority.port_u16();
    let is_usual = matches!((scheme, port), ("http", Some(80)) | ("https", Some(443)));
    let is_whole = port.map_or(place == host, |port| place == format!("{host}:{port}"));
    let is_in_scheme =
        |it: u8| it.is_ascii_lowercase() || it.is_ascii_digit() || b"+-.".contains(&it);
    let is_in_host =
        |it: u8| it.is_ascii_lowercase() || it.is_ascii_digit() || b".-_[]:".contains(&it);
    scheme.starts_with(|it: char| it.is_ascii_lowercase())
        && scheme.bytes().all(is_in_scheme)
        && !host.is_empty()
        && host.bytes().all(is_in_host)
        && is_whole
        && !is_usual
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_origin_is_what_browsers_send() {
        for text in [
            "https://chat.example",
            "http://localhost:3000",
            "http://127.0.0.1:5173",
            "http://[::1]:3000",
            "https://a-b.xn--p1ai:8443",
            "http://a.example:443",
            "chrome-extension://abcdefghijklmnop",
            "tauri://localhost",
        ] {
            assert!(is_origin(text), "{text}");
        }
        for text in [
            "",
            "*",
            "null",
            "chat.example",
            "https://",
            "://a.example",
            "https://a.example/",
            "https://a.example/path",
            "https://a.example?x",
            "https://A.example",
            "HTTPS://a.example",
            "https://a.example:443",
            "http://a.example:80",
            "http://a.example:080",
            "http://a.example:",
            "http://a.example:99999",
            "https://*.a.example",
            "https://user@a.example",
            "https://grüße.example",
            "https://a.example https://b.example",
            "https://a.example,https://b.example",
        ] {
            assert!(!is_origin(text), "{text}");
        }
    }
}
