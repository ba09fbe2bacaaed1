//! What clients of the OpenAI endpoints see when all is well.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod common;

use common::{MODEL, Server, config};
use serde_json::{Value, json};

/// Replaces what differs from run to run: ids, times, milliseconds.
fn masked(text: &str) -> String {
    let mut value: Value = match serde_json::from_str(text) {
        Ok(value) => value,
        Err(_) => return text.to_owned(),
    };
    let object = value.as_object_mut().unwrap();
    let id = object["id"].as_str().unwrap();
    let (prefix, rest) = id.split_once('-').unwrap();
    assert!(rest.len() == 32 && rest.bytes().all(|byte| byte.is_ascii_hexdigit()), "{id}");
    object["id"] = json!(format!("{prefix}-ID"));
    assert!(object["created"].as_u64().unwrap() > 1_700_000_000);
    object["created"] = json!(0);
    assert!(object["system_fingerprint"].as_str().unwrap().starts_with("brisk-"));
    object.remove("system_fingerprint");
    if let Some(timings) = object.get_mut("timings") {
        let timings = timings.as_object().unwrap();
        let names = [
            "cache_n",
            "prompt_n",
            "prompt_ms",
            "prompt_per_token_ms",
            "prompt_per_second",
            "predicted_n",
            "predicted_ms",
            "predicted_per_token_ms",
            "predicted_per_second",
            "queue_ms",
            "tokenize_ms",
            "cache_lookup_ms",
            "prefill_ms",
            "decode_ms",
            "time_to_first_token_ms",
        ];
        assert_eq!(timings.len(), names.len());
        for name in names {
            assert!(timings[name].as_f64().unwrap() >= 0.0, "{name}");
        }
        object["timings"] = json!("TIMINGS");
    }
    value.to_string()
}

async fn transcript(server: &Server, path: &str, body: &Value) -> String {
    let reply = server.client.post(path, &body.to_string()).await;
    assert_eq!(reply.status, 200, "{}", reply.body);
    assert_eq!(reply.header("content-type"), Some("text/event-stream; charset=utf-8"));
    assert_eq!(reply.header("cache-control"), Some("no-cache"));
    assert_eq!(reply.header("x-accel-buffering"), Some("no"));
    let events: Vec<_> = reply.events().iter().map(|event| masked(event)).collect();
    events.join("\n")
}

fn lines(text: &str) -> String {
    let lines: Vec<_> = text.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
    lines.join("\n")
}

/// Compares events as values, so that the order of fields does not matter.
fn assert_events(got: &str, expected: &str) {
    let values = |text: &str| -> Vec<Value> {
        lines(text)
            .lines()
            .map(|line| serde_json::from_str(line).unwrap_or_else(|_| json!(line)))
            .collect()
    };
    assert_eq!(values(got), values(expected), "got:\n{got}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_streamed_chat_is_openais_chunks() {
    let server = Server::start(config());
    let body = json!({
        "model": MODEL, "messages": [{"role": "user", "content": "w"}], "temperature": 0, "stream": true,
    });
    let got = transcript(&server, "/v1/chat/completions", &body).await;
    assert_events(
        &got,
        r#"
        {"id":"chatcmpl-ID","object":"chat.completion.chunk","created":0,"model":"alphabet","choices":[{"index":0,"delta":{"role":"assistant","content":"x"},"logprobs":null,"finish_reason":null}]}
        {"id":"chatcmpl-ID","object":"chat.completion.chunk","created":0,"model":"alphabet","choices":[{"index":0,"delta":{"content":"y"},"logprobs":null,"finish_reason":null}]}
        {"id":"chatcmpl-ID","object":"chat.completion.chunk","created":0,"model":"alphabet","choices":[{"index":0,"delta":{"content":"z"},"logprobs":null,"finish_reason":null}]}
        {"id":"chatcmpl-ID","object":"chat.completion.chunk","created":0,"model":"alphabet","choices":[{"index":0,"delta":{},"logprobs":null,"finish_reason":"stop"}],"timings":"TIMINGS"}
        [DONE]
    "#,
    );
    server.is_unharmed().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_with_usage_ends_with_a_chunk_of_its_own() {
    let server = Server::start(config());
    let body = json!({
        "model": "org/letters", "messages": [{"role": "user", "content": [{"type": "text", "text": "w"}]}],
        "stream": true, "stream_options": {"include_usage": true}, "max_completion_tokens": 1, "seed": -1,
    });
    let got = transcript(&server, "/v1/chat/completions", &body).await;
    assert_events(
        &got,
        r#"
        {"id":"chatcmpl-ID","object":"chat.completion.chunk","created":0,"model":"alphabet","usage":null,"choices":[{"index":0,"delta":{"role":"assistant","content":"x"},"logprobs":null,"finish_reason":null}]}
        {"id":"chatcmpl-ID","object":"chat.completion.chunk","created":0,"model":"alphabet","usage":null,"choices":[{"index":0,"delta":{},"logprobs":null,"finish_reason":"length"}]}
        {"id":"chatcmpl-ID","object":"chat.completion.chunk","created":0,"model":"alphabet","choices":[],"usage":{"prompt_tokens":1,"completion_tokens":1,"total_tokens":2,"prompt_tokens_details":{"cached_tokens":0,"audio_tokens":0},"completion_tokens_details":{"reasoning_tokens":0,"accepted_prediction_tokens":0,"rejected_prediction_tokens":0,"audio_tokens":0}},"timings":"TIMINGS"}
        [DONE]
    "#,
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_plain_chat_is_one_object() {
    let server = Server::start(config());
    let body = json!({
        "messages": [{"role": "developer", "content": "a"}, {"role": "assistant", "content": ""}, {"role": "user", "content": "b"}],
        "n": 2, "stop": ["fg", "zz"], "temperature": 0.0, "logprobs": true, "top_logprobs": 1, "max_tokens": 50, "user": "\u{1b}[31m",
    });
    let reply = server.client.post("/v1/chat/completions", &body.to_string()).await;
    assert_eq!(reply.status, 200, "{}", reply.body);
    assert_eq!(reply.header("x-request-id").map(str::len), Some(32));
    let mut json: Value = serde_json::from_str(&masked(&reply.body)).unwrap();
    for choice in json["choices"].as_array_mut().unwrap() {
        let logprobs = choice["logprobs"]["content"].take();
        let tokens: Vec<_> =
            logprobs.as_array().unwrap().iter().map(|one| one["token"].as_str().unwrap()).collect();
        assert_eq!(tokens, ["c", "d", "e", "f", "g"]);
        assert_eq!(logprobs[0]["bytes"], json!([b'c']));
        assert_eq!(logprobs[0]["top_logprobs"].as_array().unwrap().len(), 1);
        assert_eq!(logprobs[0]["top_logprobs"][0]["token"], "c");
        let logprob = logprobs[0]["logprob"].as_f64().unwrap();
        assert!((-1e-3..=0.0).contains(&logprob), "{logprob}");
    }
    let choice = |index| {
        json!({
            "index": index, "message": {"role": "assistant", "content": "cde", "refusal": null},
            "logprobs": {"content": null, "refusal": null}, "finish_reason": "stop",
        })
    };
    assert_eq!(
        json,
        json!({
            "id": "chatcmpl-ID", "object": "chat.completion", "created": 0, "model": "alphabet",
            "choices": [choice(0), choice(1)],
            "usage": {
                "prompt_tokens": 2, "completion_tokens": 10, "total_tokens": 12,
                "prompt_tokens_details": {"cached_tokens": 0, "audio_tokens": 0},
                "completion_tokens_details": {"reasoning_tokens": 0, "accepted_prediction_tokens": 0, "rejected_prediction_tokens": 0, "audio_tokens": 0},
            },
            "timings": "TIMINGS",
        })
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn completions_take_every_kind_of_prompt() {
    let server = Server::start(config());
    let cases = [
        (json!("x"), vec!["yz"]),
        (json!(["x", "w"]), vec!["yz", "xyz"]),
        (json!([b'x']), vec!["yz"]),
        (json!([[b'x'], [b'a', b'w']]), vec!["yz", "xyz"]),
        // A control token that is written in a raw prompt is one.
        (json!("x<|turn|>"), vec!["abcdefghijklmnop"]),
    ];
    for (prompt, expected) in cases {
        let body = json!({"prompt": prompt, "temperature": 0});
        let reply = server.client.post("/v1/completions", &body.to_string()).await;
        let json = reply.json();
        assert_eq!(json["object"], "text_completion", "{json}");
        let choices = json["choices"].as_array().unwrap();
        let texts: Vec<_> = choices.iter().map(|choice| choice["text"].as_str().unwrap()).collect();
        assert_eq!(texts, expected, "{prompt}");
        let indices: Vec<_> =
            choices.iter().map(|choice| choice["index"].as_u64().unwrap()).collect();
        assert_eq!(indices, (0..expected.len() as u64).collect::<Vec<_>>());
    }
    server.is_unharmed().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_streamed_completion_echoes_and_counts() {
    let server = Server::start(config());
    let body = json!({
        "prompt": ["x", "ay"], "temperature": 0, "echo": true, "stream": true, "max_tokens": 1, "stream_options": {"include_usage": true},
    });
    let got = transcript(&server, "/v1/completions", &body).await;
    let mut texts = [String::new(), String::new()];
    let events: Vec<&str> = got.lines().collect();
    let (last, rest) = events.split_last().unwrap();
    assert_eq!(*last, "[DONE]");
    let (usage, rest) = rest.split_last().unwrap();
    for event in rest {
        let event: Value = serde_json::from_str(event).unwrap();
        assert_eq!((&event["usage"], &event["object"]), (&json!(null), &json!("text_completion")));
        assert!(event.as_object().unwrap().contains_key("usage"));
        for choice in event["choices"].as_array().unwrap() {
            texts[choice["index"].as_u64().unwrap() as usize]
                .push_str(choice["text"].as_str().unwrap());
            if let Some(reason) = choice["finish_reason"].as_str() {
                texts[choice["index"].as_u64().unwrap() as usize].push_str(&format!(" {reason}"));
            }
        }
    }
    assert_eq!(texts, ["xy length", "ayz length"]);
    let usage: Value = serde_json::from_str(usage).unwrap();
    assert_eq!(usage["choices"], json!([]));
    assert_eq!(
        (&usage["usage"]["prompt_tokens"], &usage["usage"]["completion_tokens"]),
        (&json!(3), &json!(2))
    );
    assert_eq!(usage["timings"], "TIMINGS");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_default_length_fits_into_the_context() {
    let server = Server::start(config());
    for (num_prompt_tokens, expected) in [(99_900, 16), (99_990, 10), (100_000, 1)] {
        let body = json!({"prompt": vec![97; num_prompt_tokens], "ignore_eos": true}).to_string();
        let reply = server.client.post("/v1/completions", &body).await;
        assert_eq!(reply.status, 200, "{}", reply.body);
        assert_eq!(reply.json()["usage"]["completion_tokens"], expected);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn completion_logprobs_run_in_parallel() {
    let server = Server::start(config());
    let body = json!({"prompt": "w", "temperature": 0, "logprobs": 2});
    let reply = server.client.post("/v1/completions", &body.to_string()).await;
    let json = reply.json();
    let logprobs = &json["choices"][0]["logprobs"];
    assert_eq!(logprobs["tokens"], json!(["x", "y", "z"]), "{json}");
    assert_eq!(logprobs["text_offset"], json!([0, 1, 2]));
    assert_eq!(logprobs["token_logprobs"].as_array().unwrap().len(), 3);
    let top: Vec<_> = logprobs["top_logprobs"][0].as_object().unwrap().keys().collect();
    assert_eq!(top, ["x", "y"]);
    // Without any others, the chosen token is there.
    let body = json!({"prompt": "w", "temperature": 0, "logprobs": 0}).to_string();
    let json = server.client.post("/v1/completions", &body).await.json();
    let top = json["choices"][0]["logprobs"]["top_logprobs"][0].as_object().unwrap();
    assert_eq!(top.keys().collect::<Vec<_>>(), ["x"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reply_that_repeats_itself_ends_and_is_kept_so() {
    let server = Server::start_keeping(config()).await;
    // After everything comes `b`.
    let mut body = json!({
        "messages": [{"role": "user", "content": "a"}], "temperature": 0, "max_tokens": 9,
        "logit_bias": {"98": 100}, "repetition_detection": {"max_pattern_size": 2, "min_count": 3},
    });
    for cache in ["miss", "hit"] {
        let reply = server.client.post("/v1/chat/completions", &body.to_string()).await;
        assert_eq!(reply.header("x-brisk-cache"), Some(cache));
        let choice = reply.json()["choices"][0].clone();
        assert_eq!(choice["message"]["content"], "bbb");
        assert_eq!(choice["finish_reason"], "repetition");
    }
    body["stream"] = json!(true);
    let reply = server.client.post("/v1/chat/completions", &body.to_string()).await;
    assert!(reply.body.contains(r#""finish_reason":"repetition""#), "{}", reply.body);
    let metrics = server.client.get("/metrics").await.body;
    let count =
        "vllm:request_success_total{model_name=\"alphabet\",finished_reason=\"repetition\"} 1\n";
    assert!(metrics.contains(count), "{metrics}");
    // Another way to look for repetitions is another request, and none is the plain reply.
    body["stream"] = json!(false);
    for (detection, text) in
        [(json!({"max_pattern_size": 2, "min_count": 4}), "bbbb"), (json!({}), "bbbbbbbbb")]
    {
        body["repetition_detection"] = detection;
        let reply = server.client.post("/v1/chat/completions", &body.to_string()).await;
        assert_eq!(reply.header("x-brisk-cache"), Some("miss"));
        assert_eq!(reply.json()["choices"][0]["message"]["content"], text);
    }
}

/// There is no prefix cache: no figure may speak of one.
#[tokio::test(flavor = "multi_thread")]
async fn every_prompt_is_computed_whole() {
    let server = Server::start(config());
    let body = json!({"prompt": "m".repeat(100), "temperature": 0, "max_tokens": 1}).to_string();
    for _ in 0..2 {
        let reply = server.client.post("/v1/completions", &body).await.json();
        assert_eq!(reply["usage"]["prompt_tokens_details"]["cached_tokens"], 0);
        let timings = &reply["timings"];
        assert_eq!((&timings["cache_n"], &timings["prompt_n"]), (&json!(0), &json!(100)));
    }
    let metrics = server.client.get("/metrics").await.body;
    assert!(
        metrics.contains("vllm:prompt_tokens_total{model_name=\"alphabet\"} 200\n"),
        "{metrics}"
    );
    assert!(!metrics.contains("prefix"), "{metrics}");
}

#[tokio::test(flavor = "multi_thread")]
async fn models_are_listed_under_every_name() {
    let server = Server::start(config());
    let list = server.client.get("/v1/models").await.json();
    assert_eq!(list["object"], "list");
    let ids: Vec<_> = list["data"]
        .as_array()
        .unwrap()
        .iter()
        .map(|model| model["id"].as_str().unwrap())
        .collect();
    assert_eq!(ids, ["alphabet", "org/letters"]);
    for path in ["/v1/models/org/letters", "/v1/models/org%2Fletters"] {
        let alias = server.client.get(path).await.json();
        assert_eq!(
            (&alias["id"], &alias["root"], &alias["max_model_len"]),
            (&json!("org/letters"), &json!("alphabet"), &json!(100_000))
        );
    }
    assert_eq!(server.client.get("/v1/models/none").await.error(), "404 model_not_found model");
}

#[tokio::test(flavor = "multi_thread")]
async fn metrics_count_what_happened() {
    let server = Server::start(config());
    server.is_unharmed().await;
    let body = json!({"prompt": "a", "temperature": 0, "max_tokens": 2, "n": 2}).to_string();
    assert_eq!(server.client.post("/v1/completions", &body).await.status, 200);
    server.client.get("/nowhere/\u{7f}").await;
    let reply = server.client.get("/metrics").await;
    assert_eq!(reply.header("content-type"), Some("text/plain; version=0.0.4; charset=utf-8"));
    for line in [
        "# TYPE vllm:num_requests_running gauge",
        "vllm:num_requests_running{model_name=\"alphabet\"} 0",
        "vllm:num_requests_waiting{model_name=\"alphabet\"} 0",
        "vllm:kv_cache_usage_perc{model_name=\"alphabet\"} 0",
        "vllm:prompt_tokens_total{model_name=\"alphabet\"} 2",
        "vllm:generation_tokens_total{model_name=\"alphabet\"} 30",
        "vllm:request_success_total{model_name=\"alphabet\",finished_reason=\"stop\"} 1",
        "vllm:request_success_total{model_name=\"alphabet\",finished_reason=\"length\"} 2",
        "# TYPE vllm:time_to_first_token_seconds histogram",
        "vllm:time_to_first_token_seconds_count{model_name=\"alphabet\"} 2",
        "vllm:e2e_request_latency_seconds_count{model_name=\"alphabet\"} 2",
        "vllm:request_queue_time_seconds_count{model_name=\"alphabet\"} 2",
        "vllm:request_prefill_time_seconds_count{model_name=\"alphabet\"} 2",
        "vllm:request_decode_time_seconds_count{model_name=\"alphabet\"} 2",
        "inference_duration_seconds_count{model_name=\"alphabet\"} 2",
        "tokens_per_second_count{model_name=\"alphabet\"} 2",
        "http_responses_total{model_name=\"alphabet\",route=\"/v1/completions\",status=\"200\"} 2",
        "http_responses_total{model_name=\"alphabet\",route=\"/health/live\",status=\"200\"} 1",
    ] {
        assert!(reply.body.lines().any(|other| other == line), "{line}\n{}", reply.body);
    }
    assert!(!reply.body.contains("nowhere"));
}
