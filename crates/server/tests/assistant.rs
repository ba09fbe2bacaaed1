//! What clients of the assistant endpoints see: replies, streams, conversations, refusals.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod common;

use brisk_gateway::ConversationConfig;
use brisk_server::{AssistantDefaults, ServerConfig};
use common::{MODEL, Server, client::Client, config};
use serde_json::{Value, json};

/// The reply's fields besides its times.
fn shown(mut reply: Value) -> Value {
    let object = reply.as_object_mut().unwrap();
    let timings = object.remove("timings").unwrap();
    assert!(timings["time_to_first_token_ms"].as_f64().unwrap() > 0.0, "{timings}");
    assert!(timings["cache_lookup_ms"].as_f64().unwrap() >= 0.0, "{timings}");
    let usage = object.remove("usage").unwrap();
    let tokens = |name: &str| usage[name].as_u64().unwrap();
    assert_eq!(tokens("total_tokens"), tokens("prompt_tokens") + tokens("completion_tokens"));
    object.insert("tokens".into(), json!([tokens("prompt_tokens"), tokens("completion_tokens")]));
    reply
}

async fn post(client: &Client, path: &str, body: Value) -> Value {
    let reply = client.post(path, &body.to_string()).await;
    assert_eq!(reply.status, 200, "{}", reply.body);
    reply.json()
}

/// The events of a streamed reply: the text of its tokens, and its last one.
async fn stream(client: &Client, path: &str, body: Value) -> (String, Value) {
    let reply = client.post(path, &body.to_string()).await;
    assert_eq!(reply.status, 200, "{}", reply.body);
    assert_eq!(reply.header("content-type"), Some("text/event-stream; charset=utf-8"));
    let events: Vec<Value> =
        reply.events().iter().map(|event| serde_json::from_str(event).unwrap()).collect();
    let (last, tokens) = events.split_last().unwrap();
    let text = tokens.iter().map(|event| {
        assert_eq!(event.as_object().unwrap().len(), 1, "{event}");
        let token = event["token"].as_str().unwrap();
        assert!(!token.is_empty());
        token
    });
    (text.collect(), last.clone())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reply_cut_within_a_character_ends_before_it() {
    let server = Server::start_keeping(config()).await;
    for (max_tokens, text) in [(1, ""), (2, ""), (3, "€"), (4, "€"), (5, "€")] {
        let body = json!({"query": "%", "max_tokens": max_tokens, "soft_max_tokens": max_tokens});
        let whole = post(&server.client, "/api/query", body.clone()).await;
        assert_eq!((&whole["response"], &whole["finish_reason"]), (&json!(text), &json!("length")));
        assert_eq!(whole["usage"]["completion_tokens"], max_tokens);
        let (streamed, end) = stream(&server.client, "/api/query/stream", body).await;
        // An empty reply is not kept.
        assert_eq!((&*streamed, &end["cached"]), (text, &json!(!text.is_empty())));
        let body = json!({"prompt": "%", "max_tokens": max_tokens});
        let completion = post(&server.client, "/v1/completions", body).await;
        assert_eq!(completion["choices"][0]["text"], text);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_question_is_answered_in_one_piece() {
    let server = Server::start_keeping(config()).await;
    let reply = post(&server.client, "/api/query", json!({"query": "w"})).await;
    assert_eq!(
        shown(reply),
        json!({
            "response": "xyz", "cached": false, "cache": "miss", "model": MODEL,
            "finish_reason": "stop", "tokens": [1, 4],
        })
    );
    let body = json!({"query": "e", "system": "ab", "max_tokens": 3, "model": "org/letters"});
    let reply = post(&server.client, "/api/query", body).await;
    assert_eq!(
        shown(reply),
        json!({
            "response": "fgh", "cached": false, "cache": "miss", "model": MODEL,
            "finish_reason": "length", "tokens": [3, 3],
        })
    );
    server.is_unharmed().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_question_is_answered_piece_by_piece() {
    let server = Server::start_keeping(config()).await;
    for cache in ["miss", "hit"] {
        let (text, last) = stream(&server.client, "/api/query/stream", json!({"query": "w"})).await;
        assert_eq!(text, "xyz");
        assert_eq!(
            shown(last),
            json!({
                "done": true, "cached": cache == "hit", "cache": cache, "model": MODEL,
                "finish_reason": "stop", "tokens": [1, 4],
            })
        );
    }
    // One entry serves both endpoints.
    let reply = post(&server.client, "/api/query", json!({"query": "w"})).await;
    assert_eq!((&reply["cache"], &reply["response"]), (&json!("hit"), &json!("xyz")));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_error_in_mid_stream_is_the_last_event() {
    let server = Server::start_keeping(config()).await;
    // An error overtakes the events of a shared generation that nobody has read yet; of one's own it does not.
    let query = json!({"query": "~", "cache_control": "bypass"});
    let (text, last) = stream(&server.client, "/api/query/stream", query).await;
    assert_eq!((text.as_str(), &last["error"]["code"]), ("!", &json!("model_failed")));
    assert_eq!(last.as_object().unwrap().len(), 1);
    let turn = json!({"message": "~", "user_id": "u", "cache_control": "bypass"});
    let (_, last) = stream(&server.client, "/api/chat", turn).await;
    assert_eq!(last["error"]["type"], "server_error");
    // A turn without a whole reply is none.
    let gone = server.client.get("/api/conversations/u").await;
    assert_eq!(gone.error(), "404 conversation_not_found user_id");
    // Before the first byte it has a status of its own.
    let reply = server.client.post("/api/query/stream", r#"{"query": "!"}"#).await;
    assert_eq!(reply.error(), "500 model_failed");
    let reply = server.client.post("/api/query", r#"{"query": "~"}"#).await;
    assert_eq!(reply.error(), "500 model_failed");
    server.is_unharmed().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_server_keeps_the_conversation() {
    let server = Server::start_keeping(config()).await;
    let client = &server.client;
    let (text, last) =
        stream(client, "/api/chat", json!({"message": "w", "user_id": "Zoë/1"})).await;
    assert_eq!(text, "xyz");
    let none = json!({"messages_left_out": 0, "tokens_left_out": 0});
    assert_eq!((&last["done"], &last["history"]), (&json!(true), &none));
    assert_eq!(last["kept"], true);
    // The first turn is in the prompt, and its runs of tokens may come again.
    let body = json!({
        "message": "v", "user_id": "Zoë/1", "stream": false, "system": "ab", "no_repeat_ngram_size": 0,
    });
    let reply = post(client, "/api/chat", body).await;
    assert_eq!((&reply["response"], &reply["history"]), (&json!("wxyz"), &none));
    // The prompt was the instructions, the first turn and the message: ab, w, xyz, v.
    assert_eq!(reply["usage"]["prompt_tokens"], 7);
    post(client, "/api/chat", json!({"message": "w", "user_id": "other", "stream": false})).await;

    let list = client.get("/api/conversations").await.json();
    let users: Vec<_> = list["conversations"].as_array().unwrap().iter().collect();
    assert_eq!(users.len(), 2);
    assert_eq!((&users[0]["user_id"], &users[0]["messages"]), (&json!("Zoë/1"), &json!(4)));
    assert!(users[0]["created"].as_u64().unwrap() > 1_700_000_000);
    assert_eq!(list["next"], json!(null));
    let first = client.get("/api/conversations?limit=1").await.json();
    assert_eq!(first["next"], "Zoë/1");
    let second = client.get("/api/conversations?limit=1&after=Zo%C3%AB%2F1").await.json();
    assert_eq!(second["conversations"][0]["user_id"], "other");

    let path = "/api/conversations/Zo%C3%AB%2F1";
    let whole = client.get(path).await.json();
    let said: Vec<_> = whole["messages"]
        .as_array()
        .unwrap()
        .iter()
        .map(|it| (it["number"].as_u64().unwrap(), it["role"].as_str().unwrap(), &it["content"]))
        .collect();
    assert_eq!(
        said,
        [
            (1, "user", &json!("w")),
            (2, "assistant", &json!("xyz")),
            (3, "user", &json!("v")),
            (4, "assistant", &json!("wxyz")),
        ]
    );
    assert_eq!((&whole["user_id"], &whole["next"]), (&json!("Zoë/1"), &json!(null)));
    let newest = client.get(&format!("{path}?limit=1")).await.json();
    assert_eq!((&newest["messages"][0]["number"], &newest["next"]), (&json!(4), &json!(4)));
    let before = client.get(&format!("{path}?limit=5&before=2")).await.json();
    assert_eq!(before["messages"].as_array().unwrap().len(), 1);

    let deleted = client.request("DELETE", path, "").await;
    assert_eq!(deleted.json(), json!({"user_id": "Zoë/1", "deleted": true}));
    for method in ["DELETE", "GET"] {
        let gone = client.request(method, path, "").await;
        assert_eq!(gone.error(), "404 conversation_not_found user_id");
    }
    server.is_unharmed().await;
}

/// `POST path` with this body is refused.
async fn refused(server: &Server, path: &str, body: Value, expected: &str) {
    let reply = server.client.post(path, &body.to_string()).await;
    assert_eq!(reply.error(), expected, "{path} {body}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_wrong_is_refused_by_name() {
    let server = Server::start_keeping(config()).await;
    for path in ["/api/query", "/api/query/stream"] {
        refused(&server, path, json!({}), "400 missing_required_parameter query").await;
        refused(&server, path, json!({"query": 1}), "400 invalid_type query").await;
        refused(&server, path, json!({"query": ""}), "400 invalid_value query").await;
        let other = json!({"query": "a", "model": "none"});
        refused(&server, path, other, "404 model_not_found model").await;
        let soft = json!({"query": "a", "max_tokens": 5, "soft_max_tokens": 6});
        refused(&server, path, soft, "400 invalid_value soft_max_tokens").await;
        let long = json!({"query": "a".repeat(100_001)});
        refused(&server, path, long, "400 context_length_exceeded").await;
        let many = json!({"query": "a", "n": 2});
        refused(&server, path, many, "400 unknown_parameter n").await;
        let control = json!({"query": "a", "cache_control": "public"});
        refused(&server, path, control, "400 invalid_value cache_control").await;
    }
    let chat = "/api/chat";
    let ollama = json!({"model": MODEL, "messages": [{"role": "user", "content": "a"}]});
    refused(&server, chat, ollama, "400 unsupported_parameter messages").await;
    refused(&server, chat, json!({"message": "a"}), "400 missing_required_parameter user_id").await;
    let turn = |user_id: &str| json!({"message": "a", "user_id": user_id});
    refused(&server, chat, turn(""), "400 invalid_value user_id").await;
    refused(&server, chat, turn(&"u".repeat(257)), "400 invalid_value user_id").await;
    refused(&server, chat, turn("a\nb"), "400 invalid_value user_id").await;
    for path in [
        "/api/conversations?limit=0",
        "/api/conversations?limit=1001",
        "/api/conversations/u?limit=x",
        "/api/cache?limit=-1",
    ] {
        assert_eq!(server.client.get(path).await.error(), "400 invalid_value limit", "{path}");
    }
    let error = server.client.get("/api/conversations?before=1").await.error();
    assert_eq!(error, "400 unknown_parameter before");
    let error = server.client.get("/api/conversations/u?before=-1").await.error();
    assert_eq!(error, "400 invalid_value before");
    let error = server.client.get(&format!("/api/conversations/{}", "u".repeat(257))).await.error();
    assert_eq!(error, "400 invalid_value user_id");
    for path in ["/api/conversations/%FF", "/api/conversations/nobody"] {
        let error = server.client.get(path).await.error();
        assert_eq!(error, "404 conversation_not_found user_id", "{path}");
    }
    for (method, path) in [("GET", "/api/query"), ("PUT", "/api/chat"), ("POST", "/api/cache")] {
        let reply = server.client.request(method, path, "").await;
        assert_eq!(reply.error(), "405 method_not_allowed", "{method} {path}");
    }
    let plain = server.client.with("Content-Type: text/plain").with("Content-Length: 13");
    let reply = plain.request("POST", "/api/query", r#"{"query":"a"}"#).await;
    assert_eq!(reply.error(), "415 not_json");
    server.is_unharmed().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_turn_that_finds_no_room_is_answered_and_says_so() {
    let conversations = ConversationConfig { max_file_bytes: 64 << 10, ..Default::default() };
    let server = Server::start_storing(config(), conversations).await;
    let client = &server.client;
    let ready = async || client.get("/health/ready").await.body;
    let turn = |user: &str, stream| {
        let message = format!("{}w", "a".repeat(3000));
        json!({
            "message": message, "user_id": user, "stream": stream, "temperature": 0,
            "no_repeat_ngram_size": 0, "repetition_penalty": 1,
        })
    };
    let gauge = async |expected: u8| {
        let line = format!(
            "brisk_storage_degraded{{model_name=\"alphabet\",file=\"conversations\"}} {expected}\n"
        );
        let metrics = client.get("/metrics").await.body;
        assert!(metrics.contains(&line), "{line} is not in {metrics}");
    };
    let mut num_kept = 0;
    while post(client, "/api/chat", turn("u", false)).await["kept"] == true {
        assert_eq!(ready().await, "ready\n");
        num_kept += 1;
        assert!(num_kept < 30, "the store has no end");
    }
    assert!(num_kept > 0);
    gauge(1).await;
    let reply = client.get("/health/ready").await;
    assert_eq!((reply.status, &*reply.body), (200, "ready, degraded: conversations\n"));
    // Each is answered, streamed or whole.
    let (text, last) = stream(client, "/api/chat", turn("u", true)).await;
    assert_eq!((&*text, &last["done"], &last["kept"]), ("xyz", &json!(true), &json!(false)));
    let reply = post(client, "/api/chat", turn("v", false)).await;
    assert_eq!((&reply["response"], &reply["kept"]), (&json!("xyz"), &json!(false)));
    let deleted = client.request("DELETE", "/api/conversations/u", "").await;
    assert_eq!(deleted.json(), json!({"user_id": "u", "deleted": true}));
    assert_eq!(post(client, "/api/chat", turn("v", false)).await["kept"], true);
    assert_eq!(ready().await, "ready\n");
    gauge(0).await;
    server.is_unharmed().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_sees_what_belongs_to_another_key() {
    let api_keys = vec!["sk-one".to_owned(), "sk-two".to_owned()];
    let server = Server::start_keeping(ServerConfig { api_keys, ..config() }).await;
    let one = server.client.with("Authorization: Bearer sk-one");
    let two = server.client.with("X-Api-Key: sk-two");
    let turn = json!({"message": "w", "user_id": "u", "stream": false});
    post(&one, "/api/chat", turn.clone()).await;
    let asked = one.post("/api/query", r#"{"query": "w"}"#).await;
    let path = format!("/api/cache/{}", asked.header("x-brisk-cache-key").unwrap());

    assert_eq!(post(&two, "/api/query", json!({"query": "w"})).await["cache"], "miss");
    assert_eq!(post(&two, "/api/chat", turn).await["usage"]["prompt_tokens"], 1);
    assert_eq!(two.request("DELETE", "/api/conversations/u", "").await.status, 200);
    assert_eq!(two.request("DELETE", &path, "").await.error(), "404 cache_entry_not_found key");
    let report = two.post(&format!("{path}/report"), "{}").await;
    assert_eq!(report.error(), "404 cache_entry_not_found key");
    assert_eq!(two.request("DELETE", "/api/cache", "").await.json(), json!({"flushed": true}));
    assert_eq!(two.get("/api/cache").await.json()["entries"], json!([]));

    let mine = one.get("/api/conversations/u").await.json();
    assert_eq!(mine["messages"].as_array().unwrap().len(), 2);
    assert_eq!(post(&one, "/api/query", json!({"query": "w"})).await["cache"], "hit");
    for path in ["/api/conversations", "/api/conversations/u", "/api/cache"] {
        assert_eq!(server.client.get(path).await.error(), "401 invalid_api_key", "{path}");
    }
    assert_eq!(server.client.request("DELETE", &path, "").await.error(), "401 invalid_api_key");
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_runs_the_server_sets_the_defaults() {
    let assistant = AssistantDefaults { max_new_tokens: 2, ..AssistantDefaults::default() };
    let server = Server::start_keeping(ServerConfig { assistant, ..config() }).await;
    let reply = post(&server.client, "/api/query", json!({"query": "a"})).await;
    assert_eq!((&reply["response"], &reply["finish_reason"]), (&json!("bc"), &json!("length")));
    let reply = post(&server.client, "/api/query", json!({"query": "w", "max_tokens": 9})).await;
    assert_eq!(reply["response"], "xyz");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_keeps_nothing_says_so() {
    let server = Server::start(config());
    let reply = post(&server.client, "/api/query", json!({"query": "w"})).await;
    assert_eq!((&reply["cache"], &reply["response"]), (&json!("bypass"), &json!("xyz")));
    let turn = json!({"message": "a", "user_id": "u"});
    refused(&server, "/api/chat", turn, "404 no_conversations").await;
    assert_eq!(server.client.get("/api/conversations").await.error(), "404 no_conversations");
    let list = server.client.get("/api/cache").await.json();
    assert_eq!(list, json!({"enabled": false, "entries": []}));
}
