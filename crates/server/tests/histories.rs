//! Conversations as clients send them back: what the model sees of each, or which field is refused.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod common;

use std::sync::{Arc, Mutex};

use brisk_engine::{Engine, EngineConfig, LogitsWanted, ModelInfo, ModelRunner, SequenceChunk};
use brisk_gateway::{Gateway, GatewayConfig};
use brisk_tokenizer::{ChatTemplate, TemplateTokens};
use common::{
    Server, config,
    model::{EOS, Gate, tokenizer},
};
use serde_json::{Value, json};

/// One line for each conversation, with what the model `sees` or the field that is `refused`.
const ROWS: &str = include_str!("data/histories.jsonl");
const TEMPLATE: &str = "{% for m in messages %}<{{ m.role }}>{{ m.content }}{% endfor %}";

/// A model that has nothing to say and remembers the latest prompt. Its tokens are bytes.
struct Witness {
    prompt: Arc<Mutex<Vec<u8>>>,
}

impl ModelRunner for Witness {
    fn forward(&mut self, batch: &[SequenceChunk<'_>], logits: &mut Vec<f32>) {
        for chunk in batch {
            let mut prompt = self.prompt.lock().unwrap();
            prompt.truncate(chunk.start);
            prompt.extend(chunk.tokens.iter().map(|&token| token as u8));
            if chunk.logits == LogitsWanted::Last {
                logits.extend((0..self.vocab_size() as u32).map(|it| f32::from(it == EOS)));
            }
        }
    }

    fn max_model_len(&self) -> usize {
        1024
    }

    fn vocab_size(&self) -> usize {
        259
    }

    fn num_blocks(&self) -> usize {
        64
    }

    fn block_size(&self) -> usize {
        32
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_history_is_taken_as_it_comes_back() {
    let prompt = Arc::default();
    let runner = Witness { prompt: Arc::clone(&prompt) };
    let template = ChatTemplate::new(TEMPLATE, TemplateTokens::default()).unwrap();
    let info = ModelInfo {
        name: "witness".to_owned(),
        description: "remembers what it was asked".to_owned(),
        max_model_len: 1024,
        vocab_size: 259,
    };
    let engine = Engine::start(runner, tokenizer(), template, info, EngineConfig::default());
    let gateway = Arc::new(Gateway::new(engine.clone(), GatewayConfig::default()));
    let server = Server::of_gateway(config(), gateway, engine, Arc::new(Gate::default()));
    let (mut num_taken, mut num_refused) = (0, 0);
    for line in ROWS.lines() {
        let row: Value = serde_json::from_str(line).unwrap();
        let body = json!({"messages": row["messages"], "max_tokens": 1, "temperature": 0});
        let reply = server.client.post("/v1/chat/completions", &body.to_string()).await;
        if let Some(param) = row["refused"].as_str() {
            num_refused += 1;
            assert_eq!(reply.status, 400, "{row}");
            let error = reply.json()["error"].clone();
            assert_eq!(error["param"], param, "{row}: {error}");
            assert!(error["message"].as_str().unwrap().contains(param), "{row}: {error}");
        } else {
            num_taken += 1;
            assert_eq!(reply.status, 200, "{row}: {}", reply.body);
            let seen = String::from_utf8(prompt.lock().unwrap().clone()).unwrap();
            assert_eq!(Some(&*seen), row["sees"].as_str(), "{row}");
        }
    }
    assert!(num_taken >= 60 && num_refused >= 20, "{num_taken} taken, {num_refused} refused");
}
