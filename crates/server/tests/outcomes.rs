//! How a reply ended, in the words of its log line. Alone in its program: the log is global.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod common;

use std::time::Duration;

use brisk_server::ServerConfig;
use common::{
    CANARY, Server,
    client::{read_to_end, read_until},
    config, eventually,
    log::{LOG, capture},
};
use serde_json::{Value, json};

const PATH: &str = "/v1/completions";

fn endless(stream: bool) -> String {
    json!({"prompt": "abc", "max_tokens": 90_000, "ignore_eos": true, "stream": stream}).to_string()
}

/// The fields of the line that comes after `num_before` others.
async fn next_line(num_before: usize) -> Value {
    eventually("the request is logged", || LOG.requests().len() > num_before).await;
    LOG.requests()[num_before]["fields"].clone()
}

/// A case's line: status, outcome, code, and whether some tokens were generated, but not all.
fn facts(line: &Value) -> Value {
    let num_tokens = line["completion_tokens"].as_u64().unwrap();
    assert_eq!(line["gen_ai.usage.output_tokens"].as_u64(), Some(num_tokens), "{line}");
    assert_eq!(line["gen_ai.usage.input_tokens"], line["prompt_tokens"], "{line}");
    assert_eq!(num_tokens > 0, line["ttft_ms"].as_f64().unwrap() > 0.0, "{line}");
    let is_part = (1..90_000).contains(&num_tokens);
    json!([line["status"], line["outcome"], line["code"], line["prompt_tokens"], is_part])
}

#[tokio::test(flavor = "multi_thread")]
async fn a_line_says_how_the_reply_ended_and_what_it_came_to() {
    capture();
    let short = Duration::from_millis(300);
    let limits = ServerConfig { write_timeout: short, ..config() };
    let mut server = Server::start_keeping(limits).await;
    let engine = server.engine.clone();
    let generated = || engine.stats().num_generation_tokens;
    let mut num_lines = 0;
    let mut check = async |what: &str, expected: Value| {
        assert_eq!(facts(&next_line(num_lines).await), expected, "{what}");
        num_lines += 1;
    };

    let reply = server.client.post(PATH, CANARY).await;
    assert_eq!(reply.status, 200);
    check("all went well", json!([200, "complete", null, 1, true])).await;
    assert_eq!(server.client.post(PATH, CANARY).await.header("x-brisk-cache"), Some("hit"));
    check("a kept reply", json!([200, "complete", null, 1, true])).await;

    let mut stream = server.client.begin_post(PATH, &endless(true)).await;
    read_until(&mut stream, "data: ").await;
    drop(stream);
    check("the client leaves a stream", json!([200, "client_left", null, 3, true])).await;

    let before = generated();
    let whole = server.client.begin_post(PATH, &endless(false)).await;
    eventually("it runs", || generated() > before + 9).await;
    drop(whole);
    check("the client leaves a whole reply", json!([200, "client_left", null, 3, true])).await;

    let before = generated();
    let whole = server.client.begin_post(PATH, &endless(false)).await;
    eventually("it runs", || generated() > before + 9).await;
    whole.set_zero_linger().unwrap();
    drop(whole);
    check("the client resets the connection", json!([499, "client_left", null, 3, true])).await;

    let stuck = server.client.begin_post(PATH, &endless(true)).await;
    check("the client reads nothing", json!([200, "client_too_slow", null, 3, true])).await;
    drop(stuck);

    let hurried = server.client.with("X-Request-Timeout: 0.1");
    hurried.post(PATH, &endless(true)).await;
    check("a stream's deadline", json!([200, "failed", "deadline_exceeded", 3, true])).await;
    assert_eq!(hurried.post(PATH, &endless(false)).await.status, 504);
    check("a whole reply's deadline", json!([504, "failed", "deadline_exceeded", 3, true])).await;

    for (stream, status) in [(true, 200), (false, 500)] {
        server.client.post(PATH, &json!({"prompt": "~", "stream": stream}).to_string()).await;
        check("the model breaks", json!([status, "failed", "model_failed", 1, true])).await;
    }

    let mut stream = server.client.begin_post(PATH, &endless(true)).await;
    read_until(&mut stream, "data: ").await;
    server.begin_shutdown();
    read_to_end(&mut stream).await;
    check("the server stops", json!([200, "failed", "shutting_down", 3, true])).await;
    server.ended().await;

    let server = Server::start(ServerConfig { max_connections: 1, ..config() });
    let stuck = server.client.begin_post(PATH, &endless(true)).await;
    eventually("it runs", || server.engine.stats().num_generation_tokens > 0).await;
    assert_eq!(server.client.get("/health/live").await.status, 200);
    check("another needs the place", json!([200, "gave_way", null, 3, true])).await;
    drop(stuck);
}
