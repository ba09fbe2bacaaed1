//! Refuses host names that are not ours, so that no web page reaches a loopback server by DNS tricks.

use std::{
    net::{IpAddr, SocketAddr},
    sync::Arc,
};

use axum::{
    extract::{Request, State},
    middleware::Next,
    response::Response,
};
use http::{header, uri::Authority};

use crate::{
    app::App,
    error::{ApiError, HttpError},
};

/// Which host names a server answers for.
#[derive(Debug)]
pub(crate) struct HostRule {
    /// On other addresses keys protect the server, and its names are not known here.
    is_loopback: bool,
    allowed: Vec<String>,
}

impl HostRule {
    /// `allowed` holds names for which [`is_host_name`] is true.
    pub(crate) fn new(address: SocketAddr, allowed: &[String]) -> Self {
        let is_loopback = address.ip().to_canonical().is_loopback();
        Self { is_loopback, allowed: allowed.iter().filter_map(|it| name(it)).collect() }
    }

    fn allows(&self, host: &str) -> bool {
        let Some(name) = name(host) else { return false };
        let literal = name.strip_prefix('[').and_then(|it| it.strip_suffix(']')).unwrap_or(&name);
        name == "localhost"
            || literal.parse::<IpAddr>().is_ok_and(|it| it.to_canonical().is_loopback())
            || self.allowed.contains(&name)
    }
}

/// Whether `text` names a host, with or without a port.
pub fn is_host_name(text: &str) -> bool {
    name(text).is_some()
}

/// The name in `HOST` or `HOST:PORT`, as all ways of writing it are compared: in small letters and
/// without the dot that ends a name which no search domain may be put behind.
fn name(host: &str) -> Option<String> {
    let authority: Authority = host.parse().ok()?;
    let name = authority.host();
    let name = name.strip_suffix('.').unwrap_or(name);
    let is_literal = name.starts_with('[');
    let is_good = |it: u8| it.is_ascii_alphanumeric() || b".-_".contains(&it);
    if host.contains('@') || name.is_empty() || !(is_literal || name.bytes().all(is_good)) {
        return None;
    }
    Some(name.to_ascii_lowercase())
}

/// Stops requests for foreign hosts.
pub(crate) async fn check(
    State(app): State<Arc<App>>,
    request: Request,
    next: Next,
) -> Result<Response, ApiError> {
    if app.hosts.is_loopback {
        let mut named = request.headers().get_all(header::HOST).iter();
        let host = named.next().and_then(|host| host.to_str().ok());
        let in_uri = request.uri().authority().map(Authority::as_str);
        let is_ours = host.is_some_and(|host| app.hosts.allows(host))
            && in_uri.is_none_or(|host| app.hosts.allows(host))
            && named.next().is_none();
        if !is_ours {
            return Err(HttpError::Misdirected.into());
        }
    }
    Ok(next.run(request).await)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_loopback_names_are_ours() {
        let allowed = ["chat.home.arpa", "Brisk.Example.:443", "10.1.2.3"];
        assert!(allowed.iter().all(|it| is_host_name(it)));
        let allowed = allowed.map(str::to_owned);
        let rule = HostRule::new("127.0.0.1:1".parse().unwrap(), &allowed);
        for host in [
            "localhost",
            "localhost.",
            "LOCALHOST:8080",
            "LocalHost.:8080",
            "localhost:",
            "127.0.0.1",
            "127.0.0.1.",
            "127.0.0.1:65535",
            "127.1.2.3",
            "[::1]:80",
            "[::1]",
            "[0:0:0:0:0:0:0:1]",
            "[::ffff:127.0.0.1]:80",
            "chat.home.arpa:1",
            "CHAT.home.arpa.",
            "brisk.example",
            "10.1.2.3:80",
        ] {
            assert!(rule.allows(host), "{host}");
        }
        for host in [
            "",
            ".",
            ":80",
            "localhost..",
            ".localhost",
            "evil.com",
            "evil.com.",
            "127.0.0.1.evil.com",
            "localhost.evil.com",
            "evil.com:80",
            "10.0.0.1",
            "localhost@evil.com",
            "x@localhost",
            "[::2]",
            "[::ffff:10.0.0.1]",
            "[localhost]",
            "local host",
            "localhost/",
            "http://localhost",
            "locаlhost",
            "0.0.0.0",
            "2130706433",
            "brisk.example.com",
        ] {
            assert!(!rule.allows(host), "{host}");
        }
        for text in ["", "*", "*.a.example", "http://a.example", "a.example/x", "a b", "a,b", "x@a"]
        {
            assert!(!is_host_name(text), "{text}");
        }
    }
}
