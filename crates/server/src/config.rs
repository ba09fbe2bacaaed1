//! The server's bounds and keys, checked before the first connection.

use std::{collections::HashSet, fmt, net::SocketAddr, time::Duration};

use thiserror::Error;

use crate::{
    convert::AssistantDefaults,
    cors::{self, is_origin},
    host::is_host_name,
};

/// What a server may do, and how much of it.
#[derive(Clone)]
pub struct ServerConfig {
    /// Keys of clients; without any, everyone may ask, so the server must listen on loopback.
    pub api_keys: Vec<String>,
    /// On a loopback address requests must name one of these hosts, or `localhost` or a loopback
    /// address: a web page on another name cannot reach the server through DNS rebinding.
    pub allowed_hosts: Vec<String>,
    /// Origins whose web pages may ask; `*` alone lets every page ask, which needs a key.
    pub cors_origins: Vec<String>,
    /// Bytes of a request body at most.
    pub max_body_bytes: usize,
    /// Bytes of a text for `/api/markdown` at most.
    pub max_markdown_bytes: usize,
    /// Connections at once. For more, those give way that keep the server waiting.
    pub max_connections: usize,
    /// Time for a whole request head.
    pub header_timeout: Duration,
    /// Time between two requests of one connection.
    pub idle_timeout: Duration,
    /// Time for a whole request body.
    pub body_timeout: Duration,
    /// Time in which a client must make room, by reading, for more of what waits for it.
    pub write_timeout: Duration,
    /// Silence after which a streamed reply gets a comment line, so that proxies keep it open.
    pub keep_alive_interval: Duration,
    /// Time that requests in flight have once a shutdown begins.
    pub shutdown_grace: Duration,
    /// Time after the grace period to tell everyone that it is over.
    pub close_timeout: Duration,
    /// How the assistant endpoints generate where a request does not say.
    pub assistant: AssistantDefaults,
    /// Runs on a thread of its own after a request with a large body has ended: the place to give
    /// memory back.
    pub after_large_request: Option<fn()>,
    /// Time between two tokens of a kept reply that is streamed; `None` is as fast as they are read.
    pub replay_pace: Option<Duration>,
}

impl Default for ServerConfig {
    fn default() -> Self {
        Self {
            api_keys: Vec::new(),
            allowed_hosts: Vec::new(),
            cors_origins: Vec::new(),
            max_body_bytes: 8 << 20,
            max_markdown_bytes: 256 << 10,
            max_connections: 1024,
            header_timeout: Duration::from_secs(10),
            // Longer than the pools of common clients keep a connection (nginx's default).
            idle_timeout: Duration::from_secs(75),
            body_timeout: Duration::from_secs(30),
            write_timeout: Duration::from_secs(30),
            keep_alive_interval: Duration::from_secs(15),
            shutdown_grace: Duration::from_secs(30),
            close_timeout: Duration::from_secs(2),
            assistant: AssistantDefaults::default(),
            after_large_request: None,
            replay_pace: None,
        }
    }
}

/// A configuration that cannot be served; always the operator's move.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum ConfigError {
    /// Anyone on the network could use the server.
    #[error(
        "listening on {address} needs at least one API key; without keys only a loopback address is allowed"
    )]
    NoKeys {
        /// The address that was to be listened on.
        address: SocketAddr,
    },
    /// A key that is no key.
    #[error("API key number {number} is empty or blank")]
    BlankKey {
        /// Which key, from 1.
        number: usize,
    },
    /// A key that no client could send in a header.
    #[error("API key number {number} holds a space or a character outside visible ASCII")]
    UnsendableKey {
        /// Which key, from 1.
        number: usize,
    },
    /// A host that no request could name.
    #[error("allowed host number {number} is no host name")]
    BadHost {
        /// Which one, from 1.
        number: usize,
    },
    /// An origin that no browser would send.
    #[error("origin number {number} is not one that browsers send, such as https://chat.example")]
    BadOrigin {
        /// Which one, from 1.
        number: usize,
    },
    /// Every web page that is open in some browser could use the server.
    #[error("every origin may ask, which needs at least one API key")]
    OpenToAllPages,
    /// A bound that would refuse everything.
    #[error("`{name}` is 0")]
    Zero {
        /// The field of [`ServerConfig`].
        name: &'static str,
    },
}

impl ServerConfig {
    /// Clients that the server tells apart: one for each key, or all as one.
    pub(crate) fn num_clients(&self) -> usize {
        self.api_keys.iter().collect::<HashSet<_>>().len().max(1)
    }

    /// Whether this may be served on `address`.
    ///
    /// # Errors
    ///
    /// The first rule that is broken.
    pub fn check(&self, address: SocketAddr) -> Result<(), ConfigError> {
        for (number, key) in (1..).zip(&self.api_keys) {
            if key.trim().is_empty() {
                return Err(ConfigError::BlankKey { number });
            }
            if !key.bytes().all(|byte| byte.is_ascii_graphic()) {
                return Err(ConfigError::UnsendableKey { number });
            }
        }
        if self.api_keys.is_empty() && !address.ip().to_canonical().is_loopback() {
            return Err(ConfigError::NoKeys { address });
        }
        if let Some(at) = self.allowed_hosts.iter().position(|it| !is_host_name(it)) {
            return Err(ConfigError::BadHost { number: at + 1 });
        }
        if self.cors_origins == [cors::ANY] {
            if self.api_keys.is_empty() {
                return Err(ConfigError::OpenToAllPages);
            }
        } else if let Some(at) = self.cors_origins.iter().position(|it| !is_origin(it)) {
            return Err(ConfigError::BadOrigin { number: at + 1 });
        }
        let bounds = [
            ("max_body_bytes", self.max_body_bytes == 0),
            ("max_markdown_bytes", self.max_markdown_bytes == 0),
            ("max_connections", self.max_connections == 0),
            ("header_timeout", self.header_timeout.is_zero()),
            ("idle_timeout", self.idle_timeout.is_zero()),
            ("body_timeout", self.body_timeout.is_zero()),
            ("write_timeout", self.write_timeout.is_zero()),
            ("keep_alive_interval", self.keep_alive_interval.is_zero()),
        ];
        match bounds.iter().find(|(_, is_zero)| *is_zero) {
            Some(&(name, _)) => Err(ConfigError::Zero { name }),
            None => Ok(()),
        }
    }
}

/// Keys never reach a log.
impl fmt::Debug for ServerConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ServerConfig")
            .field("num_api_keys", &self.api_keys.len())
            .field("allowed_hosts", &self.allowed_hosts)
            .field("cors_origins", &self.cors_origins)
            .field("max_body_bytes", &self.max_body_bytes)
            .field("max_markdown_bytes", &self.max_markdown_bytes)
            .field("max_connections", &self.max_connections)
            .field("header_timeout", &self.header_timeout)
            .field("idle_timeout", &self.idle_timeout)
            .field("body_timeout", &self.body_timeout)
            .field("write_timeout", &self.write_timeout)
            .field("keep_alive_interval", &self.keep_alive_interval)
            .field("shutdown_grace", &self.shutdown_grace)
            .field("close_timeout", &self.close_timeout)
            .field("assistant", &self.assistant)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(address: &str, keys: &[&str], expected: &str) {
        let api_keys = keys.iter().map(ToString::to_string).collect();
        let config = ServerConfig { api_keys, ..ServerConfig::default() };
        let result = config.check(address.parse().unwrap());
        assert_eq!(result.map_or_else(|error| error.to_string(), |()| "ok".into()), expected);
    }

    #[test]
    fn a_server_without_keys_stays_on_loopback() {
        check("127.0.0.1:80", &[], "ok");
        check("127.8.8.8:80", &[], "ok");
        check("[::1]:80", &[], "ok");
        check("[::ffff:127.0.0.1]:80", &[], "ok");
        let refused = "needs at least one API key; without keys only a loopback address is allowed";
        check("0.0.0.0:80", &[], &format!("listening on 0.0.0.0:80 {refused}"));
        check("[::]:80", &[], &format!("listening on [::]:80 {refused}"));
        check("192.168.0.9:80", &[], &format!("listening on 192.168.0.9:80 {refused}"));
        check("0.0.0.0:80", &["k"], "ok");
    }

    #[test]
    fn a_key_is_something_a_client_can_send() {
        check("127.0.0.1:80", &[""], "API key number 1 is empty or blank");
        check("0.0.0.0:80", &["good", " \t"], "API key number 2 is empty or blank");
        let unsendable = "API key number 1 holds a space or a character outside visible ASCII";
        check("0.0.0.0:80", &["two words"], unsendable);
        check("0.0.0.0:80", &["ключ"], unsendable);
        check("0.0.0.0:80", &["key\n"], unsendable);
    }

    #[test]
    fn pages_of_every_origin_need_a_key() {
        for (keys, origins, expected) in [
            (&[][..], &["https://a.example", "http://localhost:3000"][..], "ok"),
            (&[], &["*"], "every origin may ask, which needs at least one API key"),
            (&["k"], &["*"], "ok"),
            (
                &["k"],
                &["https://a.example", "*"],
                "origin number 2 is not one that browsers send, such as https://chat.example",
            ),
        ] {
            let texts = |it: &[&str]| it.iter().map(ToString::to_string).collect();
            let config = ServerConfig {
                api_keys: texts(keys),
                cors_origins: texts(origins),
                ..ServerConfig::default()
            };
            let result = config.check("127.0.0.1:80".parse().unwrap());
            assert_eq!(result.map_or_else(|it| it.to_string(), |()| "ok".into()), expected);
        }
    }

    #[test]
    fn keys_are_not_in_the_debug_text() {
        let config = ServerConfig { api_keys: vec!["sk-secret".into()], ..Default::default() };
        assert!(!format!("{config:?}").contains("secret"));
    }
}
