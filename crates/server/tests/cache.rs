//! What clients see of the response cache: headers, directives, administration; and of compression.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod common;

use brisk_gateway::{CacheConfig, DiskConfig};
use common::{Server, client::Client, config};
use serde_json::{Value, json};

const QUERY: &str = "/api/query";
const CHAT: &str = "/v1/chat/completions";
const COMPLETIONS: &str = "/v1/completions";

/// Asks, and gives `X-Brisk-Cache` back; the other headers suit it.
async fn ask(client: &Client, path: &str, body: &Value) -> String {
    let reply = client.post(path, &body.to_string()).await;
    assert_eq!(reply.status, 200, "{}", reply.body);
    let status = reply.header("x-brisk-cache").expect("every reply says").to_owned();
    let key = reply.header("x-brisk-cache-key");
    assert_eq!(key.map(str::len), (status != "bypass").then_some(64), "{status}");
    let age = reply.header("age").map(|age| age.parse::<u64>().unwrap());
    assert_eq!(age.is_some(), status.starts_with("hit"), "{status}");
    status
}

#[tokio::test(flavor = "multi_thread")]
async fn the_same_question_is_answered_once() {
    let server = Server::start_keeping(config()).await;
    let check = async |body: Value, expected: &str| {
        assert_eq!(ask(&server.client, QUERY, &body).await, expected, "{body}");
    };
    check(json!({"query": "Who knows"}), "miss").await;
    check(json!({"query": "Who knows"}), "hit").await;
    check(json!({"query": "who  knows"}), "hit-normalized").await;
    check(json!({"query": "Who knows?"}), "miss").await;
    // What is named and what is left out are the same, if they mean the same.
    check(json!({"query": "Who knows", "temperature": 0.8, "top_k": 50}), "hit").await;
    check(json!({"query": "Who knows", "temperature": 0.7}), "miss").await;
    check(json!({"query": "Who knows", "seed": 1}), "miss").await;
    check(json!({"query": "Who knows", "speed_mode": true}), "miss").await;
    check(json!({"query": "Who knows", "system": "Guess."}), "miss").await;
    check(json!({"query": "Who knows", "max_tokens": 9}), "miss").await;
    assert_eq!(server.engine.stats().num_accepted, 7);
}

#[tokio::test(flavor = "multi_thread")]
async fn openai_requests_are_kept_only_where_they_are_reproducible() {
    let server = Server::start_keeping(config()).await;
    let messages = json!([{"role": "user", "content": "Who"}]);
    for (fields, first, second) in [
        (json!({}), "bypass", "bypass"),
        (json!({"temperature": 0.7}), "bypass", "bypass"),
        (json!({"temperature": 0}), "miss", "hit"),
        (json!({"temperature": 0, "stream": true}), "hit", "hit"),
        (json!({"seed": 7}), "miss", "hit"),
        (json!({"seed": 8, "n": 2}), "miss", "hit"),
        (json!({"seed": 8, "cache_control": "bypass"}), "bypass", "bypass"),
    ] {
        for (path, name, value) in
            [(CHAT, "messages", messages.clone()), (COMPLETIONS, "prompt", json!("Who"))]
        {
            let mut body = fields.clone();
            body[name] = value;
            for expected in [first, second] {
                assert_eq!(ask(&server.client, path, &body).await, expected, "{path} {body}");
            }
        }
    }
    // Another spelling is another request here.
    let body = json!({"prompt": "who", "temperature": 0});
    assert_eq!(ask(&server.client, COMPLETIONS, &body).await, "miss");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_kept_reply_is_the_reply() {
    let server = Server::start_keeping(config()).await;
    let whole =
        json!({"prompt": ["w", "x"], "temperature": 0, "n": 2, "logprobs": 2, "echo": false});
    let mut streamed = whole.clone();
    streamed["stream"] = json!(true);
    let mut replies = Vec::new();
    for body in [&whole, &whole, &streamed, &streamed] {
        let reply = server.client.post(COMPLETIONS, &body.to_string()).await;
        let mut pieces: Vec<Value> = match body["stream"].as_bool() {
            Some(true) => {
                let events = reply.events();
                let (last, events) = events.split_last().unwrap();
                assert_eq!(last, "[DONE]");
                events.iter().map(|event| serde_json::from_str(event).unwrap()).collect()
            }
            _ => vec![reply.json()],
        };
        for piece in &mut pieces {
            let object = piece.as_object_mut().unwrap();
            for own in ["id", "created", "timings"] {
                object.remove(own);
            }
        }
        replies.push(pieces);
    }
    assert_eq!(replies[0], replies[1]);
    assert_eq!(replies[2], replies[3]);
    assert_eq!(server.engine.stats().num_accepted, 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_client_says_what_the_cache_may_do() {
    let server = Server::start_keeping(config()).await;
    let body = |query: &str| json!({"query": query});
    let with =
        |directives: &str| server.client.with(&format!("X-Brisk-Cache-Control: {directives}"));
    // (directives, whether the reply is there already) gives the status, and whether it is there then.
    for (directives, expected, then) in [
        ("no-store", "miss", "miss"),
        ("bypass", "bypass", "miss"),
        ("no-cache, no-store", "bypass", "miss"),
        ("no-cache", "miss", "hit"),
        ("ttl=60", "miss", "hit"),
    ] {
        let question = body(&format!("What of {}", directives.replace(['=', '-', ','], " ")));
        let question = json!({"query": question["query"].as_str().unwrap().replace("60", "sixty")});
        assert_eq!(ask(&with(directives), QUERY, &question).await, expected, "{directives}");
        assert_eq!(ask(&server.client, QUERY, &question).await, then, "{directives}");
    }
    let kept = body("What is kept");
    assert_eq!(ask(&server.client, QUERY, &kept).await, "miss");
    for (directives, expected) in
        [("no-store", "hit"), ("max-age=3600", "hit"), ("no-cache", "miss"), ("bypass", "bypass")]
    {
        assert_eq!(ask(&with(directives), QUERY, &kept).await, expected, "{directives}");
    }
    let other = body("what is KEPT?");
    assert_eq!(ask(&with("exact"), QUERY, &other).await, "miss");
    for path in [QUERY, CHAT, COMPLETIONS, "/api/chat", "/api/query/stream"] {
        for directives in ["", "public", "max-age=x", "ttl=0", "exact, exact"] {
            let reply = with(directives).post(path, "{}").await;
            assert_eq!(reply.error(), "400 invalid_value X-Brisk-Cache-Control", "{path}");
        }
    }
    for (path, mut body) in [
        (QUERY, body("q")),
        (COMPLETIONS, json!({"prompt": "a"})),
        (CHAT, json!({"messages": [{"role": "user", "content": "a"}]})),
        ("/api/chat", json!({"message": "a", "user_id": "u"})),
    ] {
        body["cache_control"] = json!("no-cache");
        let reply = with("no-store").post(path, &body.to_string()).await;
        assert_eq!(reply.error(), "400 cache_controls_disagree cache_control", "{path}");
        assert!(reply.body.contains("X-Brisk-Cache-Control"));
        assert_eq!(with("no-cache").post(path, &body.to_string()).await.status, 200, "{path}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn kept_replies_are_listed_removed_reported_and_flushed() {
    let server = Server::start_keeping(config()).await;
    let client = &server.client;
    let questions = ["Who is", "What is", "Where is"].map(|query| json!({"query": query}));
    for question in &questions {
        assert_eq!(ask(client, QUERY, question).await, "miss");
    }
    assert_eq!(ask(client, QUERY, &questions[2]).await, "hit");
    let list = client.get("/api/cache").await.json();
    assert_eq!(list["enabled"], true);
    let entries = list["entries"].as_array().unwrap();
    assert_eq!(entries.len(), 3);
    let newest = entries.iter().find(|entry| entry["label"] == "Where is").unwrap();
    assert_eq!((&newest["hits"], &newest["tier"]), (&json!(1), &json!("memory")));
    let (created, expires) = (newest["created"].as_u64(), newest["expires"].as_u64());
    assert!(created.unwrap() > 1_700_000_000 && expires > created, "{newest}");
    assert!(newest["bytes"].as_u64().unwrap() > 0);
    let limited = client.get("/api/cache?limit=2").await.json();
    assert_eq!(limited["entries"].as_array().unwrap().len(), 2);

    let key = newest["key"].as_str().unwrap();
    let path = format!("/api/cache/{key}");
    let deleted = client.request("DELETE", &path, "").await.json();
    assert_eq!(deleted, json!({"key": key, "done": "deleted"}));
    assert_eq!(client.request("DELETE", &path, "").await.error(), "404 cache_entry_not_found key");
    assert_eq!(ask(client, QUERY, &questions[2]).await, "miss");

    // After a report, another spelling is not answered from there.
    let who = client.post(QUERY, &questions[0].to_string()).await;
    let path = format!("/api/cache/{}/report", who.header("x-brisk-cache-key").unwrap());
    let reported = client.post(&path, r#"{"reason": "that was she"}"#).await.json();
    assert_eq!(reported["done"], "reported");
    assert_eq!(ask(client, QUERY, &questions[0]).await, "miss");
    assert_eq!(ask(client, QUERY, &json!({"query": "who  is"})).await, "miss");
    assert_eq!(client.post(&path, r#"{"reason": 1}"#).await.error(), "400 invalid_type reason");
    assert_eq!(client.request("POST", &path, "").await.error(), "415 not_json");

    assert_eq!(client.request("DELETE", "/api/cache", "").await.json(), json!({"flushed": true}));
    assert_eq!(client.get("/api/cache").await.json()["entries"], json!([]));
    assert_eq!(ask(client, QUERY, &questions[1]).await, "miss");
    for key in ["x", "%FF", "..%2F", &"0".repeat(64), &"g".repeat(64)] {
        let reply = client.request("DELETE", &format!("/api/cache/{key}"), "").await;
        assert_eq!(reply.error(), "404 cache_entry_not_found key", "{key}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_cache_file_did_not_forget_is_said() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("cache.sqlite");
    let disk = Some(DiskConfig { path: path.clone(), max_bytes: 1 << 20 });
    let cache = CacheConfig { disk, ..CacheConfig::default() };
    let server = Server::start_caching(config(), cache).await;
    let client = &server.client;
    let body = json!({"query": "Who is"});
    assert_eq!(ask(client, QUERY, &body).await, "miss");
    let kept = client.post(QUERY, &body.to_string()).await;
    let key = kept.header("x-brisk-cache-key").unwrap();
    let other = rusqlite::Connection::open(&path).unwrap();
    let lock = |sql| other.execute_batch(sql).unwrap();
    for path in
        [format!("/api/cache/{key}/report"), format!("/api/cache/{key}"), "/api/cache".to_owned()]
    {
        lock("BEGIN IMMEDIATE");
        let reply = match path.ends_with("/report") {
            true => client.post(&path, "{}").await,
            false => client.request("DELETE", &path, "").await,
        };
        lock("ROLLBACK");
        assert_eq!(reply.error(), "503 cache_tier_unreachable", "{path}");
        assert!(reply.header("retry-after").unwrap().parse::<u32>().unwrap() > 0);
    }
    let reply = client.request("DELETE", "/api/cache", "").await;
    assert_eq!(reply.json(), json!({"flushed": true}));
    assert_eq!(ask(client, QUERY, &body).await, "miss");
}

#[tokio::test(flavor = "multi_thread")]
async fn equal_questions_at_the_same_time_share_one_generation() {
    let server = Server::start_keeping(config()).await;
    server.gate.close();
    let asked: Vec<_> = (0..8)
        .map(|_| {
            let client = server.client.clone();
            tokio::spawn(async move { ask(&client, QUERY, &json!({"query": "w"})).await })
        })
        .collect();
    common::eventually("the generation runs", || server.gate.is_held()).await;
    server.gate.open();
    let mut statuses = Vec::new();
    for one in asked {
        statuses.push(one.await.unwrap());
    }
    // Who comes late finds the kept reply.
    let count = |name| statuses.iter().filter(|status| *status == name).count();
    assert_eq!((count("miss"), count("coalesced") + count("hit")), (1, 7), "{statuses:?}");
    assert_eq!(server.engine.stats().num_accepted, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn whole_replies_are_compressed_and_streams_are_not() {
    let server = Server::start_keeping(config()).await;
    for encoding in ["gzip", "br", "zstd"] {
        let client = server.client.with(&format!("Accept-Encoding: {encoding}"));
        for path in ["/openapi.json", "/", "/style.css", "/metrics"] {
            let reply = client.get(path).await;
            assert_eq!(reply.header("content-encoding"), Some(encoding), "{path}");
            assert_eq!(reply.header("vary"), Some("accept-encoding"), "{path}");
            assert_eq!(reply.header("content-length"), None, "{path}");
        }
        let page = client.get("/").await;
        let tag = page.header("etag").unwrap();
        assert!(tag.starts_with("w/\""), "{tag}");
        let known = client.with(&format!("If-None-Match: {}", tag.replace("w/", "W/")));
        assert_eq!(known.get("/").await.status, 304);
        // A short reply and a stream stay as they are.
        assert_eq!(client.get("/health/live").await.header("content-encoding"), None);
        let body = json!({"query": "a", "temperature": 0}).to_string();
        let stream = client.post("/api/query/stream", &body).await;
        assert_eq!(stream.header("content-encoding"), None);
        assert!(stream.events().len() > 20 && stream.body.len() > 1024, "{}", stream.body);
        let body = json!({"prompt": "a", "temperature": 0, "stream": true, "logprobs": 5});
        let stream = client.post(COMPLETIONS, &body.to_string()).await;
        assert_eq!(stream.header("content-encoding"), None);
        assert_eq!(stream.events().last().map(String::as_str), Some("[DONE]"));
    }
    let plain = server.client.get("/openapi.json").await;
    assert_eq!(plain.header("content-encoding"), None);
    assert_eq!(plain.header("vary"), Some("accept-encoding"));
    assert!(plain.json()["paths"].is_object());
    for refuses in ["identity", "gzip;q=0", "bogus", ""] {
        let client = server.client.with(&format!("Accept-Encoding: {refuses}"));
        assert_eq!(client.get("/").await.header("content-encoding"), None, "{refuses}");
    }
}
