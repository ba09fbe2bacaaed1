//! The server's figures: `/api/performance`, its stream, `/metrics` and the Grafana dashboard over it.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod common;

use std::{collections::BTreeSet, fs, path::Path, sync::Arc};

use brisk_engine::EngineConfig;
use brisk_gateway::{CacheConfig, Gateway, GatewayConfig, StoreConfig};
use brisk_server::ServerConfig;
use common::{
    Server,
    client::{Client, Reply, read_to_end, read_until},
    config, engine,
};
use serde_json::{Value, json};
use tokio::io::AsyncReadExt;

/// A server that keeps replies in memory.
async fn keeping_server(config: ServerConfig) -> Server {
    let gate = Arc::default();
    let engine = engine(Arc::clone(&gate), EngineConfig::default());
    let stores = StoreConfig { cache: Some(CacheConfig::default()), ..StoreConfig::default() };
    let gateway = Gateway::open(GatewayConfig::default(), stores).await.unwrap();
    gateway.attach(engine.clone(), b"alphabet");
    Server::of_gateway(config, Arc::new(gateway), engine, gate)
}

async fn complete(client: &Client, prompt: &str) {
    let body = json!({"prompt": prompt, "temperature": 0, "max_tokens": 4}).to_string();
    let reply = client.post("/v1/completions", &body).await;
    assert_eq!(reply.status, 200, "{}", reply.body);
}

#[tokio::test(flavor = "multi_thread")]
async fn performance_counts_replies_and_what_the_cache_did() {
    let server = keeping_server(config()).await;
    let before = server.client.get("/api/performance").await.json();
    assert_eq!(
        (&before["total_queries"], &before["cache_hit_rate"], &before["avg_response_time"]),
        (&json!(0), &json!("0.0%"), &json!("0.00s"))
    );
    assert_eq!(
        before["response_times"]["all"],
        json!({"count": 0, "mean_s": null, "p50_s": null, "p90_s": null, "p99_s": null})
    );
    for prompt in ["a", "b", "a", "a"] {
        complete(&server.client, prompt).await;
    }
    let bad = server.client.post("/v1/completions", r#"{"prompt": "!"}"#).await;
    assert_eq!(bad.error(), "500 model_failed");

    let after = server.client.get("/api/performance").await.json();
    for (pointer, expected) in [
        ("/total_queries", json!(4)),
        ("/cache_hits", json!(2)),
        ("/cache_hit_rate", json!("50.0%")),
        ("/cache_hit_ratio", json!(0.5)),
        ("/model_loaded", json!(true)),
        ("/model", json!("alphabet")),
        ("/cache_size", json!(2)),
        ("/endpoints/0/endpoint", json!("/v1/completions")),
        ("/endpoints/0/hit", json!(2)),
        ("/endpoints/0/miss", json!(2)),
        ("/endpoints/0/failed", json!(1)),
        ("/endpoints/1", Value::Null),
        ("/response_times/all/count", json!(4)),
        ("/response_times/recent/count", json!(4)),
        ("/response_times/hits/count", json!(2)),
        ("/response_times/generated/count", json!(2)),
        ("/phases/cache_lookup/count", json!(4)),
        ("/phases/prefill/count", json!(2)),
        ("/phases/decode/count", json!(2)),
        ("/tokens/completion", json!(8)),
        ("/tokens/prompt", json!(2)),
        ("/response_cache/enabled", json!(true)),
        ("/response_cache/entries", json!(2)),
        ("/response_cache/hits_by_tier/memory/hit", json!(2)),
        ("/response_cache/hits_by_tier/memory/ratio", json!(0.5)),
        ("/response_cache/redis_breaker", Value::Null),
        ("/engine/running", json!(0)),
    ] {
        let got = after.pointer(pointer).unwrap_or(&Value::Null);
        assert_eq!(*got, expected, "{pointer} in {after:#}");
    }
    let words = after["avg_response_time"].as_str().unwrap().strip_suffix('s').unwrap();
    let (words, number) =
        (words.parse::<f64>().unwrap(), after["avg_response_time_s"].as_f64().unwrap());
    assert!((words - number).abs() <= 0.005 + number / 10.0, "{after:#}");
    assert!(after["tokens"]["per_second"].as_f64().unwrap() > 0.0);
    let generated = &after["response_times"]["generated"];
    assert!(generated["p99_s"].as_f64() >= generated["p50_s"].as_f64());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_leaves_counts_as_cancelled() {
    let server = keeping_server(config()).await;
    server.gate.close();
    let body = json!({"prompt": "a", "stream": true}).to_string();
    let stream = server.client.begin_post("/v1/completions", &body).await;
    common::eventually("a step waits", || server.gate.is_held()).await;
    drop(stream);
    let counted = async {
        let report = async || server.client.get("/api/performance").await.json();
        while report().await["endpoints"][0]["cancelled"] != 1 {}
    };
    tokio::time::timeout(common::PATIENCE, counted).await.expect("it is counted");
    server.gate.open();
    server.is_unharmed().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_watches_gets_a_sample_a_second_and_comes_back_for_the_missed_ones() {
    let mut server = keeping_server(config()).await;
    complete(&server.client, "a").await;
    let mut stream = watch(&server.client).await;
    let text = read_until(&mut stream, "\"total_replies\":1,").await;
    let head = text.to_lowercase();
    assert!(head.starts_with("http/1.1 200") && head.contains("text/event-stream"), "{text}");
    let id = *ids(&text).last().unwrap();
    assert!(
        text.contains(&format!("id: {id}\ndata: {{\"time_ms\":{id},\"interval_s\":")),
        "{text}"
    );
    // Of the past, a second listener gets what came after the last it knows.
    let knows_first = server.client.with(&format!("Last-Event-ID: {id}"));
    let text = read_until(&mut watch(&knows_first).await, "}\n\n").await;
    let ids = ids(&text);
    assert!(!ids.is_empty() && ids.iter().all(|later| *later > id), "{id}: {ids:?}");
    // A stream without an end does not hold up a server that stops.
    server.begin_shutdown();
    let rest = read_to_end(&mut stream).await;
    assert!(String::from_utf8(rest).unwrap().ends_with("0\r\n\r\n"));
    server.ended().await;
}

fn ids(text: &str) -> Vec<u64> {
    let events = text.split("\nid: ").skip(1);
    events.map(|event| event.split('\n').next().unwrap().parse().unwrap()).collect()
}

async fn watch(client: &Client) -> tokio::net::TcpStream {
    let mut stream = client.connect().await;
    let Client { address, headers } = client;
    let head = format!("GET /api/performance/stream HTTP/1.1\r\nHost: {address}\r\n{headers}\r\n");
    tokio::io::AsyncWriteExt::write_all(&mut stream, head.as_bytes()).await.unwrap();
    stream
}

#[tokio::test(flavor = "multi_thread")]
async fn only_so_many_watch_and_only_with_a_key() {
    let keys = ServerConfig { api_keys: vec!["sesame".to_owned()], ..config() };
    let server = keeping_server(keys).await;
    for path in ["/api/performance", "/api/performance/stream"] {
        assert_eq!(server.client.get(path).await.error(), "401 invalid_api_key");
    }
    assert_eq!(server.client.get("/dashboard").await.status, 200);
    let client = server.client.with("Authorization: Bearer sesame");
    let mut watching = Vec::new();
    for _ in 0..32 {
        let mut stream = watch(&client).await;
        let mut first = [0; 12];
        stream.read_exact(&mut first).await.unwrap();
        assert_eq!(&first, b"HTTP/1.1 200");
        watching.push(stream);
    }
    let refused = client.get("/api/performance/stream").await;
    assert_eq!(refused.error(), "503 too_many_listeners");
    assert_eq!(refused.header("retry-after"), Some("5"));
    // Places of those who left are free again.
    drop(watching);
    loop {
        let mut stream = watch(&client).await;
        let mut first = [0; 12];
        stream.read_exact(&mut first).await.unwrap();
        if &first == b"HTTP/1.1 200" {
            break;
        }
    }
}

/// The names that are followed by `{`, which is how the dashboard writes every metric.
fn metric_names(expression: &str) -> Vec<String> {
    let is_part = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == ':';
    let before = expression.match_indices('{').map(|(end, _)| &expression[..end]);
    before.map(|text| text[text.trim_end_matches(is_part).len()..].to_owned()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn every_metric_of_the_grafana_dashboard_is_exported() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../deploy/grafana/brisk.json");
    let board: Value = serde_json::from_str(&fs::read_to_string(path).unwrap()).unwrap();
    let server = keeping_server(config()).await;
    server.client.get("/v1/models").await;
    let Reply { body: page, .. } = server.client.get("/metrics").await;
    let mut names = BTreeSet::new();
    for panel in board["panels"].as_array().unwrap() {
        for target in panel["targets"].as_array().into_iter().flatten() {
            let expression = target["expr"].as_str().unwrap();
            let found = metric_names(expression);
            assert!(!found.is_empty(), "{expression} names no metric");
            names.extend(found);
        }
    }
    for variable in board["templating"]["list"].as_array().unwrap() {
        names.extend(metric_names(variable["definition"].as_str().unwrap_or("")));
    }
    assert!(names.len() > 20, "{names:?}");
    for name in names {
        let start = format!("{name}{{");
        assert!(page.lines().any(|line| line.starts_with(&start)), "/metrics has no {name}");
    }
}
