//! Which web pages are let in, and what a refusal repeats.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod common;

use brisk_server::ServerConfig;
use common::{CANARY, Server, client::Reply, config};
use serde_json::{Value, json};

/// What a browser learns of a request that a page of `origin` wants to make.
async fn preflight(server: &Server, origin: &str, method: &str, headers: &str) -> Reply {
    let client = server.client.with(&format!("Origin: {origin}"));
    let client = client.with(&format!("Access-Control-Request-Method: {method}"));
    let client = client.with(&format!("Access-Control-Request-Headers: {headers}"));
    client.request("OPTIONS", "/v1/chat/completions", "").await
}

/// The headers that open a server to pages of other origins.
fn cors(reply: &Reply) -> Vec<&str> {
    reply.head.lines().filter(|line| line.starts_with("access-control-")).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn pages_of_other_origins_are_kept_out_unless_they_are_named() {
    const PAGE: &str = "https://chat.example";
    let closed = Server::start(config());
    assert_eq!(
        preflight(&closed, PAGE, "POST", "content-type").await.error(),
        "405 method_not_allowed"
    );
    let get = async |server: &Server, origin: &str| {
        server.client.with(&format!("Origin: {origin}")).get("/v1/models").await
    };
    assert_eq!(cors(&get(&closed, PAGE).await), Vec::<&str>::new());

    let cors_origins = vec![PAGE.to_owned(), "http://localhost:3000".to_owned()];
    let api_keys = vec!["sk-one".to_owned()];
    let open = Server::start(ServerConfig { cors_origins, api_keys, ..config() });
    let wanted =
        "authorization,content-type,x-brisk-cache-control,x-request-timeout,x-stainless-os";
    for origin in [PAGE, "http://localhost:3000"] {
        for method in ["POST", "GET", "DELETE"] {
            let reply = preflight(&open, origin, method, wanted).await;
            assert_eq!(reply.status, 200, "without a key");
            assert_eq!(reply.header("access-control-allow-origin"), Some(origin));
            assert!(
                reply
                    .header("access-control-allow-methods")
                    .unwrap()
                    .contains(&method.to_lowercase())
            );
            assert_eq!(reply.header("access-control-allow-headers"), Some(wanted));
            assert_eq!(reply.header("access-control-max-age"), Some("600"));
            assert_eq!(reply.header("access-control-allow-credentials"), None);
            assert!(reply.header("vary").unwrap().contains("origin"));
            assert!(reply.header("x-request-id").is_some());
        }
    }
    // A refusal can be read too, and the key is still asked for.
    let refused = get(&open, PAGE).await;
    assert_eq!(refused.error(), "401 invalid_api_key");
    assert_eq!(refused.header("access-control-allow-origin"), Some(PAGE));
    let keyed = open.client.with("authorization: bearer sk-one").with(&format!("Origin: {PAGE}"));
    let reply = keyed.post("/v1/completions", CANARY).await;
    assert_eq!((reply.status, reply.header("access-control-allow-origin")), (200, Some(PAGE)));
    let exposed = reply.header("access-control-expose-headers").unwrap();
    for name in ["x-request-id", "x-brisk-cache", "x-brisk-cache-key", "age", "retry-after"] {
        assert!(exposed.split(',').any(|it| it == name), "{name} in {exposed}");
    }
    let wrong_host = keyed.with("Host: evil.com").get("/v1/models").await;
    assert_eq!(wrong_host.error(), "421 wrong_host");
    for origin in [
        "https://evil.example",
        "https://chat.example.evil.example",
        "http://chat.example",
        "https://chat.example:8443",
        "https://CHAT.example",
        "http://localhost:3001",
        "http://localhost",
        "null",
        "*",
        "",
    ] {
        for reply in [preflight(&open, origin, "POST", wanted).await, get(&open, origin).await] {
            assert_eq!(reply.header("access-control-allow-origin"), None, "{origin}");
        }
    }
    assert_eq!(get(&open, PAGE).await.header("x-content-type-options"), Some("nosniff"));

    let api_keys = vec!["sk-one".to_owned()];
    let all = ServerConfig { cors_origins: vec!["*".to_owned()], api_keys, ..config() };
    let all = Server::start(all);
    let reply = preflight(&all, "https://anything.example", "POST", wanted).await;
    assert_eq!((reply.status, reply.header("access-control-allow-origin")), (200, Some("*")));
    assert_eq!(reply.header("access-control-allow-credentials"), None);
    assert_eq!(get(&all, "null").await.error(), "401 invalid_api_key");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_an_error_repeats_is_bounded() {
    let server = Server::start_keeping(config()).await;
    let long = "k".repeat(84_000);
    let chat = |field: &str, value: Value| {
        let mut body = json!({"messages": [{"role": "user", "content": "x"}]});
        body[field] = value;
        ("/v1/chat/completions", body.to_string())
    };
    for (path, body) in [
        chat(&long, json!(1)),
        chat("model", json!(long)),
        chat("temperature", json!(long)),
        chat("seed", json!(long)),
        chat("stop", json!(long)),
        chat("user", json!(long)),
        chat("metadata", json!({&long: "x"})),
        chat("metadata", json!({"x": long})),
        chat("logit_bias", json!({&long: 1})),
        chat("response_format", json!({"type": long})),
        chat("tool_choice", json!(long)),
        chat("stream_options", json!({&long: true})),
        chat("cache_control", json!(long)),
        chat("messages", json!([{"role": long, "content": "x"}])),
        chat("messages", json!([{"role": "user", "content": "x", &long: 1}])),
        chat("messages", json!([{"role": "user", "content": [{"type": long}]}])),
        ("/v1/completions", json!({"prompt": "x", &long: 1}).to_string()),
        ("/v1/completions", format!("{{\"{long}\": 1, \"{long}\": 2}}")),
        ("/v1/completions", long.clone()),
        ("/v1/completions", format!("{{\"temperature\": 1{}}}", "0".repeat(84_000))),
        ("/api/query", json!({"query": "x", &long: 1}).to_string()),
        ("/api/chat", json!({"user_id": long, "message": "x"}).to_string()),
        ("/api/markdown", json!({"text": "x", &long: 1}).to_string()),
    ] {
        let reply = server.client.post(path, &body).await;
        assert_eq!(reply.status / 100, 4, "{path} {body:.100}");
        assert!(reply.body.len() < 700, "{body:.100}: {} bytes", reply.body.len());
        reply.error();
    }
    // What stands in a head is bounded there.
    let short = &long[..4000];
    for (path, header) in [
        (format!("/v1/models/{short}"), "X: y".to_owned()),
        (format!("/api/conversations/{short}"), "X: y".to_owned()),
        (format!("/api/conversations?{short}=1"), "X: y".to_owned()),
        (format!("/api/conversations?limit={short}"), "X: y".to_owned()),
        (format!("/api/cache?cursor={short}"), "X: y".to_owned()),
        ("/v1/models".to_owned(), format!("Host: {short}")),
        (format!("/{short}"), "X: y".to_owned()),
    ] {
        let reply = server.client.with(&header).get(&path).await;
        assert_eq!(reply.status / 100, 4, "{path:.100}");
        assert!(reply.body.len() < 700, "{path:.100}: {} bytes", reply.body.len());
    }
    for header in ["X-Brisk-Cache-Control", "X-Request-Timeout", "Content-Encoding"] {
        let client = server.client.with(&format!("{header}: {short}"));
        let reply = client.post("/v1/completions", CANARY).await;
        assert_eq!(reply.status / 100, 4, "{header}");
        assert!(reply.body.len() < 700, "{header}: {} bytes", reply.body.len());
    }
}
