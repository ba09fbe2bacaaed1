//! Clients that leave, clients that do not read, full queues, broken models, and the server's end.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod common;

use std::{sync::Arc, time::Duration};

use brisk_engine::EngineConfig;
use brisk_gateway::{Gateway, GatewayConfig};
use brisk_server::ServerConfig;
use common::{
    CANARY, Server,
    client::{Reply, read_to_end, read_until},
    config, engine, eventually,
    model::Gate,
};
use serde_json::json;
use tokio::io::AsyncWriteExt;

/// A request whose body never comes to its end.
const UNFINISHED: &[u8] = b"POST /v1/completions HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: 50\r\n\r\n{";

/// A request that would run for a very long time.
fn endless(stream: bool) -> String {
    json!({"prompt": "a", "max_tokens": 90_000, "ignore_eos": true, "stream": stream, "logprobs": 5}).to_string()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_leaves_takes_its_work_along() {
    let server = Server::start(config());
    let path = "/v1/completions";
    for round in 0..3_u64 {
        let mut reads = server.client.begin_post(path, &endless(true)).await;
        read_until(&mut reads, "data: ").await;
        let never_reads = server.client.begin_post(path, &endless(true)).await;
        let waits = server.client.begin_post(path, &endless(false)).await;
        let mut in_body = server.client.connect().await;
        in_body.write_all(UNFINISHED).await.unwrap();
        eventually("all three run", || server.engine.stats().num_accepted == round * 4 + 3).await;
        drop((reads, never_reads, waits, in_body));
        server.is_unharmed().await;
        assert_eq!(server.engine.stats().num_cancelled, (round + 1) * 3);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_leaves_the_queue_never_begins() {
    let path = "/v1/completions";
    for stream in [false, true] {
        let bounds = EngineConfig { max_num_seqs: 1, ..EngineConfig::default() };
        let server = Server::start_with(ServerConfig { max_connections: 11, ..config() }, bounds);
        server.gate.close();
        let mut running = server.client.begin_post(path, CANARY).await;
        eventually("the first runs", || server.gate.is_held()).await;
        let mut waiting = Vec::new();
        for _ in 0..10 {
            waiting.push(server.client.begin_post(path, &endless(stream)).await);
        }
        eventually("ten more wait", || server.engine.stats().num_waiting == 10).await;
        drop(waiting);
        // Ten others find a place only when all of them are noticed.
        let mut others = Vec::new();
        for _ in 0..10 {
            let mut other = server.client.connect().await;
            other.write_all(b"GET /health/live HTTP/1.1\r\nHost: localhost\r\n\r\n").await.unwrap();
            read_until(&mut other, "alive").await;
            others.push(other);
        }
        server.gate.open();
        read_until(&mut running, "\"timings\"").await;
        eventually("all ten are gone", || server.engine.stats().num_cancelled == 10).await;
        assert_eq!(server.engine.stats().num_prompt_tokens, 1, "stream: {stream}");
        drop((running, others));
        server.is_unharmed().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_only_stops_sending_gets_its_reply() {
    let server = Server::start(config());
    for stream in [false, true] {
        server.gate.close();
        let body = json!({"prompt": "a", "temperature": 0, "max_tokens": 100, "stream": stream})
            .to_string();
        let mut connection = server.client.begin_post("/v1/completions", &body).await;
        eventually("its first step is held", || server.gate.is_held()).await;
        connection.shutdown().await.unwrap();
        server.gate.open();
        let reply = Reply::parse(&read_to_end(&mut connection).await);
        assert_eq!(reply.status, 200);
        if stream {
            assert_eq!(reply.events().last().map(String::as_str), Some("[DONE]"));
        } else {
            assert_eq!(reply.json()["choices"][0]["text"], "bcdefghijklmnopqrstuvwxyz");
        }
    }
    server.is_unharmed().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_reads_nothing_is_cut_off() {
    let server =
        Server::start(ServerConfig { write_timeout: Duration::from_millis(300), ..config() });
    let stuck = server.client.begin_post("/v1/completions", &endless(true)).await;
    eventually("it runs", || server.engine.stats().num_accepted == 1).await;
    // Beside it, others are served as ever.
    let reply = server.client.post("/v1/completions", CANARY).await;
    assert_eq!(reply.json()["choices"][0]["text"], "bcdefghijklmnopqrstuvwxyz");
    server.is_unharmed().await;
    assert_eq!(server.engine.stats().num_cancelled, 1);
    drop(stuck);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_queue_says_when_to_come_back() {
    let bounds =
        EngineConfig { max_num_seqs: 1, max_queued_requests: 1, ..EngineConfig::default() };
    let server = Server::start_with(config(), bounds);
    server.gate.close();
    let mut running = server.client.begin_post("/v1/completions", CANARY).await;
    eventually("the first runs", || server.gate.is_held()).await;
    let mut waiting = server.client.begin_post("/v1/completions", CANARY).await;
    eventually("the second waits", || server.engine.stats().num_waiting == 1).await;
    for path in ["/v1/completions", "/v1/chat/completions"] {
        let body = if path.contains("chat") {
            r#"{"messages":[{"role":"user","content":"x"}]}"#
        } else {
            CANARY
        };
        let reply = server.client.post(path, body).await;
        assert_eq!(reply.error(), "503 queue_full");
        let seconds: u32 = reply.header("retry-after").unwrap().parse().unwrap();
        assert!((1..=60).contains(&seconds));
    }
    server.gate.open();
    for stream in [&mut running, &mut waiting] {
        let text = read_until(stream, "\"timings\"").await;
        assert!(text.starts_with("HTTP/1.1 200"), "{text}");
    }
    server.is_unharmed().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn choices_that_wait_for_their_turn_take_no_place_in_the_queue() {
    let bounds =
        EngineConfig { max_num_seqs: 1, max_queued_requests: 4, ..EngineConfig::default() };
    let server = Server::start_with(config(), bounds);
    let body = json!({"prompt": "a", "max_tokens": 90_000, "ignore_eos": true, "n": 8}).to_string();
    let running = server.client.begin_post("/v1/completions", &body).await;
    eventually("its other choices wait", || server.engine.stats().num_waiting >= 5).await;
    assert_eq!(server.engine.stats().num_queued_requests, 0);
    let other = server.client.begin_post("/v1/completions", CANARY).await;
    eventually("the other is taken", || server.engine.stats().num_accepted == 2).await;
    drop((running, other));
    server.is_unharmed().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deadline_that_passes_is_a_504() {
    let server = Server::start(config());
    let client = server.client.with("X-Request-Timeout: 0.000001");
    for body in [CANARY, &endless(true)] {
        assert_eq!(client.post("/v1/completions", body).await.error(), "504 deadline_exceeded");
    }
    assert_eq!(server.engine.stats().num_generation_tokens, 0);
    let client = server.client.with("X-Request-Timeout: 0.2");
    assert_eq!(
        client.post("/v1/completions", &endless(false)).await.error(),
        "504 deadline_exceeded"
    );
    // After the first byte the error is an event, and nothing follows it.
    let events = client.post("/v1/completions", &endless(true)).await.events();
    let last: serde_json::Value = serde_json::from_str(events.last().unwrap()).unwrap();
    assert_eq!(last["error"]["code"], "deadline_exceeded");
    server.is_unharmed().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_model_that_fails_one_request_serves_the_next() {
    let server = Server::start(config());
    for stream in [false, true] {
        let body = json!({"prompt": "say a!", "stream": stream}).to_string();
        let reply = server.client.post("/v1/completions", &body).await;
        assert_eq!(reply.error(), "500 model_failed");
        assert!(!reply.body.contains("finite"), "the inside stays inside: {}", reply.body);
    }
    server.is_unharmed().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dead_engine_is_reported_and_takes_nothing() {
    let server = Server::start(config());
    let reply = server.client.post("/v1/completions", r#"{"prompt": "^"}"#).await;
    assert_eq!(reply.error(), "500 engine_stopped");
    assert!(!reply.body.contains("bomb"), "{}", reply.body);
    for path in ["/health/live", "/health/ready"] {
        assert_eq!(server.client.get(path).await.status, 503, "{path}");
    }
    assert_eq!(server.client.post("/v1/completions", CANARY).await.error(), "503 shutting_down");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_loads_is_alive_and_not_ready() {
    let gate = Arc::new(Gate::default());
    let gateway = Arc::new(Gateway::loading(GatewayConfig::default()));
    let engine = engine(Arc::clone(&gate), EngineConfig::default());
    let server = Server::of_gateway(config(), Arc::clone(&gateway), engine.clone(), gate);
    assert_eq!(server.client.get("/health/live").await.status, 200);
    assert_eq!(server.client.get("/health/ready").await.body, "loading\n");
    assert_eq!(server.client.get("/v1/models").await.json()["data"], json!([]));
    assert_eq!(server.client.get("/metrics").await.status, 200);
    let reply = server.client.post("/v1/completions", CANARY).await;
    assert_eq!(reply.error(), "503 model_loading");
    assert!(reply.header("retry-after").is_some());
    gateway.attach(engine, b"");
    assert_eq!(server.client.get("/health/ready").await.status, 200);
    server.is_unharmed().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_shutdown_lets_requests_finish() {
    let mut server = Server::start(ServerConfig { shutdown_grace: common::PATIENCE, ..config() });
    let mut idle = server.client.connect().await;
    idle.write_all(b"GET /health/ready HTTP/1.1\r\nHost: localhost\r\n\r\n").await.unwrap();
    read_until(&mut idle, "ready\n").await;
    let mut fresh = server.client.connect().await;
    server.gate.close();
    let mut whole = server.client.begin_post("/v1/completions", CANARY).await;
    eventually("it runs", || server.gate.is_held()).await;
    let streamed =
        json!({"prompt": "a", "temperature": 0, "max_tokens": 100, "stream": true}).to_string();
    let mut streamed = server.client.begin_post("/v1/completions", &streamed).await;
    eventually("the second waits", || server.engine.stats().num_waiting == 1).await;
    server.begin_shutdown();
    // Who has nothing in flight is let go at once.
    assert_eq!(read_to_end(&mut idle).await, b"");
    assert_eq!(read_to_end(&mut fresh).await, b"");
    server.gate.open();
    let reply = Reply::parse(&read_to_end(&mut whole).await);
    assert_eq!(reply.json()["choices"][0]["text"], "bcdefghijklmnopqrstuvwxyz");
    let reply = Reply::parse(&read_to_end(&mut streamed).await);
    assert_eq!(reply.events().last().map(String::as_str), Some("[DONE]"));
    let address = server.client.address;
    server.ended().await;
    assert!(tokio::net::TcpStream::connect(address).await.is_err(), "nobody listens any more");
}

#[tokio::test(flavor = "multi_thread")]
async fn after_the_grace_period_streams_end_with_an_error() {
    let mut server = Server::start(config());
    let mut streamed = server.client.begin_post("/v1/completions", &endless(true)).await;
    let begun = read_until(&mut streamed, "data: ").await;
    let mut whole = server.client.begin_post("/v1/completions", &endless(false)).await;
    eventually("both were taken", || server.engine.stats().num_accepted == 2).await;
    server.begin_shutdown();
    let whole = tokio::spawn(async move { read_to_end(&mut whole).await });
    let rest = read_to_end(&mut streamed).await;
    let text = begun + &String::from_utf8_lossy(&rest);
    let last = text.split("data: ").last().unwrap();
    assert!(last.contains("\"code\":\"shutting_down\"") && !text.contains("[DONE]"), "{last}");
    let whole = Reply::parse(&whole.await.unwrap());
    assert_eq!(whole.error(), "503 shutting_down");
    server.ended().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_long_silence_is_filled_with_comments() {
    let server =
        Server::start(ServerConfig { keep_alive_interval: Duration::from_millis(20), ..config() });
    server.gate.close();
    let body = json!({"prompt": "y", "temperature": 0, "stream": true}).to_string();
    let mut stream = server.client.begin_post("/v1/completions", &body).await;
    let silence = read_until(&mut stream, ": keep-alive\n\n").await;
    assert!(silence.starts_with("HTTP/1.1 200"), "{silence}");
    server.gate.open();
    read_until(&mut stream, "[DONE]").await;
    server.is_unharmed().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn more_connections_than_places_wait_for_theirs() {
    let server = Server::start(ServerConfig { max_connections: 2, ..config() });
    let first = server.client.connect().await;
    let second = server.client.connect().await;
    let mut third = server.client.connect().await;
    third
        .write_all(b"GET /health/live HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
        .await
        .unwrap();
    drop(first);
    assert!(String::from_utf8_lossy(&read_to_end(&mut third).await).contains("alive"));
    drop(second);
    server.is_unharmed().await;
}
