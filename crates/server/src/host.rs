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
    pub(crate) fn new(address: SocketAddr, allowed: &[String]) -> Self {
        let is_loopback = address.ip().to_canonical().is_loopback();
        Self { is_loopback, allowed: allowed.to_vec() }
    }

    fn allows(&self, host: &str) -> bool {
        let Ok(authority) = host.parse::<Authority>() else { return false };
        if host.contains('@') {
            return false;
        }
        let name = authority.host();
        let literal =
            name.strip_prefix('[').and_then(|name| name.strip_suffix(']')).unwrap_or(name);
        name.eq_ignore_ascii_case("localhost")
            || literal.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
            || self.allowed.iter().any(|allowed| allowed.eq_ignore_ascii_case(name))
    }
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
        let rule = HostRule::new("127.0.0.1:1".parse().unwrap(), &["chat.home.arpa".into()]);
        for host in [
            "localhost",
            "LOCALHOST:8080",
            "127.0.0.1",
            "127.0.0.1:65535",
            "[::1]:80",
            "[::1]",
            "chat.home.arpa:1",
        ] {
            assert!(rule.allows(host), "{host}");
        }
        for host in [
            "",
            "evil.com",
            "127.0.0.1.evil.com",
            "localhost.evil.com",
            "evil.com:80",
            "10.0.0.1",
            "localhost@evil.com",
            "x@localhost",
            "[::2]",
            "local host",
            "0.0.0.0",
            "2130706433",
        ] {
            assert!(!rule.allows(host), "{host}");
        }
    }
}
