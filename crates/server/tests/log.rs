//! One line for each request, and nothing of what was said. Alone in its program: the log is global.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod common;

use common::{
    Server, config, eventually,
    log::{LOG, capture},
};
use serde_json::json;

#[tokio::test(flavor = "multi_thread")]
async fn each_request_is_one_line_without_its_words() {
    capture();
    let mut server = Server::start(config());
    let secret = "sesame\u{1b}[31m\r\nforged";
    let chat = json!({
        "messages": [{"role": "user", "content": secret}], "user": secret, "temperature": 0, "max_tokens": 2,
    });
    let sent = [
        server.client.post("/v1/chat/completions", &chat.to_string()).await,
        server.client.with("X-Request-Id: mine").get("/sesame?key=sesame").await,
        server.client.post("/v1/completions", r#"{"prompt": "sesame!"}"#).await,
        server.client.raw(b"SESAME HT\n").await,
    ];
    eventually("three lines", || LOG.requests().len() == 3).await;
    let lines = LOG.requests();
    let facts: Vec<_> = lines
        .iter()
        .map(|line| {
            let fields = &line["fields"];
            assert!(fields["duration_ms"].as_f64().unwrap() > 0.0);
            json!([
                fields["method"],
                fields["route"],
                fields["status"],
                fields["completion_tokens"],
                fields["code"]
            ])
        })
        .collect();
    let expected = [
        json!(["POST", "/v1/chat/completions", 200, 2, null]),
        json!(["GET", "unmatched", 404, 0, "unknown_route"]),
        json!(["POST", "/v1/completions", 500, 0, "model_failed"]),
    ];
    assert_eq!(facts, expected);
    let chat = &lines[0]["fields"];
    let words = ["cache", "gen_ai.operation.name", "gen_ai.response.model"].map(|name| &chat[name]);
    assert_eq!(words, ["bypass", "chat", "alphabet"]);
    assert_eq!(chat["gen_ai.usage.output_tokens"], 2);
    for phase in ["tokenize_ms", "prefill_ms", "decode_ms", "tokens_per_second"] {
        assert!(chat[phase].as_f64().unwrap() > 0.0, "{phase} in {chat}");
    }
    assert!(lines[1]["fields"].get("cache").is_none());
    for (line, reply) in lines.iter().zip(&sent) {
        assert_eq!(line["fields"]["request_id"].as_str(), reply.header("x-request-id"));
    }
    let all = LOG.lines();
    let failed = all.iter().find(|line| line["fields"]["message"] == "request failed").unwrap();
    assert!(failed["fields"]["internal"].as_str().unwrap().contains("not finite"));
    let refused = all.iter().find(|line| line["fields"]["message"] == "request refused").unwrap();
    assert_eq!(refused["fields"]["status"], 400);
    assert_eq!(refused["fields"]["code"], "bare_line_feed");
    assert_eq!(refused["fields"]["request_id"].as_str(), sent[3].header("x-request-id"));
    let text = LOG.text().to_lowercase();
    assert!(!text.contains("sesame") && !text.contains("forged"), "{text}");
    server.begin_shutdown();
    server.ended().await;
}
