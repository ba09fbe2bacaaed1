//! What the connection refuses, and how: limits, times, keys, hosts, media types, methods.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod common;

use std::time::Duration;

use brisk_server::ServerConfig;
use common::{
    CANARY, Server,
    client::{Reply, read_to_end, read_until},
    config,
};
use serde_json::json;
use tokio::io::AsyncWriteExt;

/// A request head for `POST /v1/completions` with these further lines.
fn head(lines: &str) -> String {
    format!(
        "POST /v1/completions HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n{lines}\r\n"
    )
}

/// Sends bytes and expects an error; the server lives on.
async fn check(server: &Server, bytes: impl AsRef<[u8]>, expected: &str) {
    let bytes = bytes.as_ref();
    let reply = server.client.raw(bytes).await;
    let start = String::from_utf8_lossy(&bytes[..bytes.len().min(120)]);
    assert_eq!(reply.error(), expected, "{start}");
    assert_eq!(reply.header("connection"), Some("close"), "{start}: {}", reply.head);
    assert_eq!(reply.header("x-request-id").map(str::len), Some(32), "{start}");
}

#[tokio::test(flavor = "multi_thread")]
async fn heads_are_bounded() {
    let server = Server::start(config());
    let long = "x".repeat(64 << 10);
    let get = "GET /health/live HTTP/1.1\r\nHost: localhost\r\n";
    check(&server, format!("{get}X-Forwarded-For: {long}\r\n\r\n"), "431 headers_too_large").await;
    check(&server, format!("{get}{}\r\n", "a: b\r\n".repeat(200)), "431 too_many_headers").await;
    check(&server, format!("GET /{long} HTTP/1.1\r\nHost: localhost\r\n\r\n"), "414 uri_too_long")
        .await;
    check(&server, "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", "505 http2").await;
    check(&server, "GET /health/live HTTP/1.1\nHost: localhost\n\n", "400 bare_line_feed").await;
    check(
        &server,
        head("Content-Length: 5\r\nTransfer-Encoding: chunked\r\n"),
        "400 ambiguous_length",
    )
    .await;
    check(
        &server,
        head("Transfer-Encoding: chunked\r\nContent-Length: 5\r\n"),
        "400 ambiguous_length",
    )
    .await;
    check(&server, head("Content-Length: 5\r\nContent-Length: 5\r\n"), "400 ambiguous_length")
        .await;
    // These the HTTP library refuses by itself.
    for bytes in [
        head("Content-Length: +5\r\n"),
        head("Content-Length: 5, 5\r\n"),
        head("Content-Length: 18446744073709551616\r\n"),
        head("Transfer-Encoding: xchunked\r\n"),
        head("Transfer-Encoding: chunked, identity\r\n"),
        head("X-A: b\r\n folded\r\n"),
        head("X-A: b\0c\r\n"),
        head("X-A : b\r\n"),
        "GE T / HTTP/1.1\r\nHost: localhost\r\n\r\n".into(),
    ] {
        assert_eq!(server.client.raw(bytes.as_bytes()).await.status, 400, "{bytes}");
    }
    server.is_unharmed().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn bodies_are_bounded() {
    let server = Server::start(ServerConfig { max_body_bytes: 1000, ..config() });
    check(&server, head("Content-Length: 1001\r\n"), "413 body_too_large").await;
    check(&server, head("Content-Length: 1000000000000\r\n"), "413 body_too_large").await;
    let chunk = format!("190\r\n{}\r\n", " ".repeat(0x190));
    let grows = format!("{}{}", head("Transfer-Encoding: chunked\r\n"), chunk.repeat(3));
    check(&server, &grows, "413 body_too_large").await;
    check(&server, format!("{}zz\r\n", head("Transfer-Encoding: chunked\r\n")), "400 body_broken")
        .await;
    let fits = format!(
        "{}{chunk}{:x}\r\n{CANARY}\r\n0\r\n\r\n",
        head("Transfer-Encoding: chunked\r\n"),
        CANARY.len()
    );
    let reply = server.client.raw(fits.as_bytes()).await;
    // Another reader may see another end of a chunked body, so nothing follows it.
    assert_eq!((reply.status, reply.header("connection")), (200, Some("close")));
    server.is_unharmed().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn slow_clients_are_told_so() {
    let short = Duration::from_millis(50);
    let server =
        Server::start(ServerConfig { header_timeout: short, body_timeout: short, ..config() });
    // They send the beginning and then nothing, which is slow enough.
    check(&server, "GET /health/live HT", "408 header_timeout").await;
    check(&server, format!("{}{{\"pro", head("Content-Length: 100\r\n")), "408 body_timeout").await;
    assert_eq!(server.engine.stats().num_accepted, 0);
    let mut silent = server.client.connect().await;
    assert_eq!(read_to_end(&mut silent).await, b"");
    server.is_unharmed().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_idle_connection_ends_after_a_while() {
    // Only the idle time can end it within the test's patience.
    let header_timeout = Duration::from_secs(3600);
    let idle_timeout = Duration::from_millis(50);
    let server = Server::start(ServerConfig { header_timeout, idle_timeout, ..config() });
    let mut idle = server.client.connect().await;
    idle.write_all(b"GET /health/live HTTP/1.1\r\nHost: localhost\r\n\r\n").await.unwrap();
    let reply = Reply::parse(&read_to_end(&mut idle).await);
    assert_eq!((reply.status, reply.body.as_str()), (200, "alive\n"));
}

#[tokio::test(flavor = "multi_thread")]
async fn only_plain_json_is_read() {
    let server = Server::start(config());
    let post = async |header: &str| {
        let client = server.client.with(&format!("Content-Length: {}", CANARY.len()));
        client.with(header).request("POST", "/v1/completions", CANARY).await
    };
    for header in [
        "X: y",
        "Content-Type: text/plain",
        "Content-Type: application/x-www-form-urlencoded",
        "Content-Type: multipart/form-data; boundary=x",
        "Content-Type: application/jsonx",
    ] {
        assert_eq!(post(header).await.error(), "415 not_json", "{header}");
    }
    assert_eq!(
        post("Content-Type: application/json\r\nContent-Encoding: gzip").await.error(),
        "415 encoded_body"
    );
    assert_eq!(post("Content-Type: Application/JSON; charset=utf-8").await.status, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn unknown_routes_and_methods_are_openais_errors() {
    let server = Server::start(config());
    for path in [
        "/nowhere",
        "/v1",
        "/v1/",
        "//v1/models",
        "/v1/%2e%2e/admin",
        "/v1/..;/admin",
        "/V1/models",
        "/metrics/",
        "/index.html",
    ] {
        assert_eq!(server.client.get(path).await.error(), "404 unknown_route", "{path}");
    }
    for (method, path, allow) in [
        ("GET", "/v1/chat/completions", "POST"),
        ("PUT", "/v1/completions", "POST"),
        ("TRACE", "/v1/completions", "POST"),
        ("OPTIONS", "/v1/completions", "POST"),
        ("DELETE", "/v1/models", "GET,HEAD"),
        ("POST", "/health/live", "GET,HEAD"),
    ] {
        let reply = server.client.request(method, path, "").await;
        assert_eq!(reply.error(), "405 method_not_allowed", "{method} {path}");
        assert_eq!(reply.header("allow"), Some(allow.to_lowercase().as_str()), "{method} {path}");
        assert_eq!(reply.header("access-control-allow-origin"), None);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn without_the_key_only_health_and_the_page_are_open() {
    let keyed = ServerConfig { api_keys: vec!["sk-One".into(), "sk-two".into()], ..config() };
    let server = Server::start(keyed);
    let mut bodies = Vec::new();
    for path in [
        "/v1/models",
        "/v1/models/alphabet",
        "/metrics",
        "/openapi.json",
        "/nowhere",
        "/admin",
        "//health/live",
        "/health/live/",
    ] {
        let reply = server.client.get(path).await;
        assert_eq!(reply.error(), "401 invalid_api_key", "{path}");
        assert_eq!(reply.header("www-authenticate"), Some("bearer"));
        bodies.push(reply.body);
    }
    for header in [
        "Authorization: Bearer sk-one",
        "Authorization: Bearer",
        "Authorization: Bearer sk-On",
        "X-Api-Key: x",
    ] {
        bodies.push(server.client.with(header).get("/v1/models").await.body);
    }
    assert!(bodies.iter().all(|body| *body == bodies[0]), "one answer for all");
    for path in ["/health/live", "/health/ready", "/", "/style.css", "/app.js"] {
        assert_eq!(server.client.get(path).await.status, 200, "{path}");
    }
    for header in [
        "Authorization: Bearer sk-One",
        "authorization: bearer sk-One",
        "Authorization: BEARER   sk-two",
        "X-Api-Key: sk-two",
        "Authorization: bearer sk-two\r\nX-Api-Key: sk-two",
    ] {
        for path in ["/v1/models", "/metrics", "/openapi.json"] {
            assert_eq!(server.client.with(header).get(path).await.status, 200, "{header} {path}");
        }
    }
    let disagree = server.client.with("Authorization: Bearer sk-One").with("X-Api-Key: sk-two");
    assert_eq!(disagree.get("/v1/models").await.error(), "400 keys_disagree");
    // Refused before the body was asked for, let alone read.
    let expecting = head("Content-Length: 1000\r\nExpect: 100-continue\r\n");
    let mut stream = server.client.connect().await;
    stream.write_all(expecting.as_bytes()).await.unwrap();
    let bytes = read_to_end(&mut stream).await;
    assert!(bytes.starts_with(b"HTTP/1.1 401"), "{}", String::from_utf8_lossy(&bytes));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_is_asked_for_when_it_will_be_read() {
    let server = Server::start(config());
    let mut stream = server.client.connect().await;
    let expecting = head(&format!(
        "Connection: close\r\nContent-Length: {}\r\nExpect: 100-continue\r\n",
        CANARY.len()
    ));
    stream.write_all(expecting.as_bytes()).await.unwrap();
    read_until(&mut stream, "HTTP/1.1 100 Continue\r\n\r\n").await;
    stream.write_all(CANARY.as_bytes()).await.unwrap();
    assert_eq!(Reply::parse(&read_to_end(&mut stream).await).status, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_loopback_server_answers_for_its_own_names() {
    let server =
        Server::start(ServerConfig { allowed_hosts: vec!["brisk.home.arpa".into()], ..config() });
    for host in [
        "localhost",
        "localhost.",
        "LOCALHOST.:80",
        "127.0.0.1:80",
        "127.0.0.1.",
        "[::1]:9",
        "brisk.home.arpa",
        "Brisk.Home.Arpa.:443",
    ] {
        assert_eq!(
            server.client.with(&format!("Host: {host}")).get("/").await.status,
            200,
            "{host}"
        );
    }
    for host in [
        "evil.com",
        "evil.com.",
        "",
        "localhost..",
        "127.0.0.1.evil.com",
        "localhost.evil.com",
        "localhost\r\nHost: localhost",
    ] {
        let reply = server.client.with(&format!("Host: {host}")).get("/").await;
        assert_eq!(reply.error(), "421 wrong_host", "{host}");
    }
    let absolute = server.client.with("Host: localhost").get("http://evil.com/v1/models").await;
    assert_eq!(absolute.error(), "421 wrong_host");
    assert_eq!(server.client.raw(b"GET / HTTP/1.1\r\nConnection: close\r\n\r\n").await.status, 421);
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_on_one_connection_are_answered_in_order() {
    let server = Server::start(config());
    let get = |path: &str| format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n");
    let post = format!("{}{CANARY}", head(&format!("Content-Length: {}\r\n", CANARY.len())));
    let all = [
        get("/health/live"),
        post.clone(),
        post,
        get("/health/ready"),
        head("Content-Length: 2000000000\r\n"),
    ]
    .concat();
    let text = String::from_utf8(server.client.raw(all.as_bytes()).await.body.into()).unwrap();
    let places: Vec<_> = ["alive", "text_completion", "ready\n", "body_too_large"]
        .iter()
        .map(|part| text.find(part).unwrap_or_else(|| panic!("{part} in {text}")))
        .collect();
    assert!(places.is_sorted(), "{places:?}");
    // One after the other, with a head that comes in two pieces.
    let mut stream = server.client.connect().await;
    for _ in 0..3 {
        stream.write_all(b"GET /health/live HTTP/1.1\r\nHo").await.unwrap();
        stream.write_all(b"st: localhost\r\n\r\n").await.unwrap();
        read_until(&mut stream, "alive\n").await;
    }
    // The unread body of a refused request is not the next request.
    let smuggled = get("/v1/models");
    let refused = format!(
        "POST /nowhere HTTP/1.1\r\nHost: localhost\r\nContent-Length: {}\r\n\r\n{smuggled}",
        smuggled.len()
    );
    let reply = server.client.raw(refused.as_bytes()).await;
    assert_eq!((reply.status, reply.header("connection")), (404, Some("close")));
    assert!(!reply.body.contains("alphabet"), "{}", reply.body);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_page_is_served_with_care() {
    let server = Server::start(config());
    let page = server.client.get("/").await;
    assert_eq!(page.header("content-type"), Some("text/html; charset=utf-8"));
    assert_eq!(page.header("x-content-type-options"), Some("nosniff"));
    assert!(page.header("content-security-policy").unwrap().starts_with("default-src 'self'"));
    assert!(page.body.contains("<html"));
    let etag = page.header("etag").unwrap();
    let again = server.client.with(&format!("If-None-Match: {etag}")).get("/").await;
    assert_eq!((again.status, again.body.as_str()), (304, ""));
    assert_eq!(server.client.with("If-None-Match: \"other\"").get("/").await.status, 200);
    for (path, content_type) in [
        ("/style.css", "text/css; charset=utf-8"),
        ("/app.js", "text/javascript; charset=utf-8"),
        ("/icon.svg", "image/svg+xml"),
    ] {
        assert_eq!(server.client.get(path).await.header("content-type"), Some(content_type));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn markdown_is_rendered_within_bounds() {
    let server = Server::start(ServerConfig { max_markdown_bytes: 100, ..config() });
    let render = async |text: &str| {
        server.client.post("/api/markdown", &json!({"text": text}).to_string()).await
    };
    assert_eq!(
        render("**b** <script>").await.json(),
        json!({"html": "<p><strong>b</strong> &lt;script&gt;</p>\n"})
    );
    assert_eq!(render(&"x".repeat(101)).await.error(), "413 body_too_large");
    assert_eq!(
        server.client.post("/api/markdown", "{}").await.error(),
        "400 missing_required_parameter text"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn bad_parameters_never_reach_the_engine() {
    let server = Server::start(config());
    for (path, body, expected) in [
        ("chat/completions", "", "400 invalid_json"),
        ("chat/completions", "[]", "400 invalid_type"),
        ("chat/completions", "{}", "400 missing_required_parameter messages"),
        ("chat/completions", r#"{"model":"a","model":"b"}"#, "400 invalid_json"),
        (
            "chat/completions",
            r#"{"messages":[{"role":"user","content":"x"}],"temperature":"1"}"#,
            "400 invalid_type temperature",
        ),
        (
            "chat/completions",
            r#"{"messages":[{"role":"user","content":"x"}],"temperature":3}"#,
            "400 invalid_value temperature",
        ),
        (
            "chat/completions",
            r#"{"messages":[{"role":"user","content":"x"}],"tools":[{}]}"#,
            "400 unsupported_parameter tools",
        ),
        (
            "chat/completions",
            r#"{"messages":[{"role":"user","content":"x"}],"tool":[]}"#,
            "400 unknown_parameter tool",
        ),
        (
            "chat/completions",
            r#"{"messages":[{"role":"user","content":"x"}],"logit_bias":{"259":1}}"#,
            "400 invalid_value logit_bias",
        ),
        (
            "chat/completions",
            r#"{"messages":[{"role":"user","content":"x"}],"model":"../../etc/passwd"}"#,
            "404 model_not_found model",
        ),
        ("completions", r#"{"prompt":[259]}"#, "400 invalid_value prompt"),
        ("completions", r#"{"prompt":"x","model":""}"#, "404 model_not_found model"),
        ("completions", r#"{"prompt":"x","max_tokens":100000}"#, "400 context_length_exceeded"),
    ] {
        assert_eq!(
            server.client.post(&format!("/v1/{path}"), body).await.error(),
            expected,
            "{body}"
        );
    }
    let long = json!({"prompt": "a".repeat(100_001)}).to_string();
    let reply = server.client.post("/v1/completions", &long).await;
    assert_eq!(reply.error(), "400 context_length_exceeded");
    assert_eq!(
        reply.json()["error"]["message"],
        "prompt has 100001 tokens, the model holds 100000"
    );
    let many = json!({"prompt": vec!["a".repeat(60_000); 64]}).to_string();
    assert_eq!(
        server.client.post("/v1/completions", &many).await.error(),
        "400 invalid_value prompt"
    );
    for value in ["-1", "0", "1e12", "abc", "nan", "inf", ""] {
        let client = server.client.with(&format!("X-Request-Timeout: {value}"));
        assert_eq!(
            client.post("/v1/completions", CANARY).await.error(),
            "400 invalid_value",
            "{value}"
        );
    }
    assert_eq!(server.engine.stats().num_accepted, 0);
    server.is_unharmed().await;
}
