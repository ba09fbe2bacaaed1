//! Several keys at one server: what one sends does not keep another from its replies.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod common;

use std::sync::{
    Arc,
    atomic::{AtomicBool, AtomicUsize, Ordering},
};

use brisk_engine::EngineConfig;
use brisk_server::ServerConfig;
use common::{CANARY, Server, client::read_until, config, eventually};
use serde_json::json;

const PATH: &str = "/v1/completions";

fn with_keys<const N: usize>(keys: [&str; N]) -> ServerConfig {
    ServerConfig { api_keys: keys.map(str::to_owned).to_vec(), ..config() }
}

fn shared(max_num_seqs: usize, max_queued_requests: usize) -> EngineConfig {
    EngineConfig { max_num_seqs, max_queued_requests, num_clients: 2, ..EngineConfig::default() }
}

/// A request that would run for a very long time.
fn endless() -> String {
    json!({"prompt": "a", "max_tokens": 90_000, "ignore_eos": true, "stream": true}).to_string()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_that_floods_does_not_lock_out_another() {
    // Short requests, ones that never end, and a queue with fewer places than there are keys.
    for (bounds, flood) in
        [(shared(2, 8), CANARY), (shared(2, 8), &endless()), (shared(2, 1), CANARY)]
    {
        let server = Server::start_with(with_keys(["sk-a", "sk-b"]), bounds);
        let [a, b] =
            ["sk-a", "sk-b"].map(|key| server.client.with(&format!("Authorization: Bearer {key}")));
        let is_over = Arc::new(AtomicBool::new(false));
        let num_refused = Arc::new(AtomicUsize::new(0));
        let mut tasks = Vec::new();
        for _ in 0..24 {
            let (a, is_over, num_refused) = (a.clone(), is_over.clone(), num_refused.clone());
            let flood = flood.to_owned();
            tasks.push(tokio::spawn(async move {
                while !is_over.load(Ordering::SeqCst) {
                    let mut stream = a.begin_post(PATH, &flood).await;
                    // A refusal, a whole reply, or the first event of a stream.
                    let text = read_until(&mut stream, "}").await.to_lowercase();
                    if text.starts_with("http/1.1 429") {
                        assert!(text.contains("retry-after: "), "{text}");
                        num_refused.fetch_add(1, Ordering::SeqCst);
                    } else {
                        assert!(text.starts_with("http/1.1 200"), "{text}");
                    }
                }
            }));
        }
        eventually("it is too much", || num_refused.load(Ordering::SeqCst) > 50).await;
        for _ in 0..13 {
            let reply = b.post(PATH, CANARY).await;
            assert_eq!(reply.status, 200, "{}", reply.body);
            assert_eq!(reply.json()["choices"][0]["text"], "bcdefghijklmnopqrstuvwxyz");
        }
        is_over.store(true, Ordering::SeqCst);
        for task in tasks {
            task.await.unwrap();
        }
        server.is_idle().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_share_that_is_full_is_429_and_a_server_that_is_full_503() {
    let server = Server::start_with(with_keys(["sk-a", "sk-b", "sk-c", "sk-d"]), shared(1, 4));
    let [a, b, c, d] = ["sk-a", "sk-b", "sk-c", "sk-d"]
        .map(|key| server.client.with(&format!("Authorization: Bearer {key}")));
    server.gate.close();
    let mut open = vec![a.begin_post(PATH, CANARY).await];
    eventually("the first runs", || server.gate.is_held()).await;
    for (client, num_waiting) in [(&a, 1), (&a, 2), (&b, 3)] {
        open.push(client.begin_post(PATH, CANARY).await);
        eventually("it waits", || server.engine.stats().num_queued_requests == num_waiting).await;
    }
    // Two of four places are a's, one is b's, and one is for somebody who has none.
    for client in [&a, &b] {
        let reply = client.post(PATH, CANARY).await;
        assert_eq!(reply.error(), "429 rate_limit_exceeded");
        assert_eq!(reply.json()["error"]["type"], "rate_limit_error");
        assert!(reply.header("retry-after").is_some());
    }
    open.push(c.begin_post(PATH, CANARY).await);
    eventually("it waits", || server.engine.stats().num_queued_requests == 4).await;
    let reply = d.post(PATH, CANARY).await;
    assert_eq!(reply.error(), "503 queue_full");
    assert!(reply.header("retry-after").is_some());
    server.gate.open();
    for stream in &mut open {
        let text = read_until(stream, "\"timings\"").await;
        assert!(text.starts_with("HTTP/1.1 200"), "{text}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_does_not_hold_all_connections() {
    let server = Server::start_with(
        ServerConfig { max_connections: 8, ..with_keys(["sk-a", "sk-b"]) },
        EngineConfig { num_clients: 2, ..EngineConfig::default() },
    );
    let [a, b] =
        ["sk-a", "sk-b"].map(|key| server.client.with(&format!("Authorization: Bearer {key}")));
    let mut open = Vec::new();
    for _ in 0..4 {
        let mut stream = a.begin_post(PATH, &endless()).await;
        read_until(&mut stream, "data: ").await;
        open.push(stream);
    }
    assert_eq!(a.post(PATH, CANARY).await.error(), "429 rate_limit_exceeded");
    assert_eq!(b.post(PATH, CANARY).await.status, 200);
    // Who goes makes room.
    drop(open);
    server.is_idle().await;
    assert_eq!(a.post(PATH, CANARY).await.status, 200);
}
