//! Renders conversations with chat templates: one JSON object a line in, one a line out.
//!
//!     cargo run -p brisk-tokenizer --example render < conversations.jsonl
//!
//! A line is `{"source": TEMPLATE, "messages": [{"role": ..., "content": ...}], "add_generation_prompt": BOOL}`;
//! the answer is `{"text": PROMPT}` or `{"error": WHY, "is_refusal": BOOL}`.

#![allow(
    clippy::print_stdout,
    clippy::print_stderr,
    clippy::unwrap_used,
    reason = "a program for people at a terminal"
)]

#[path = "../tests/support/mod.rs"]
mod support;

use brisk_tokenizer::{ChatMessage, ChatTemplate, TemplateError, TemplateTokens, Tokenizer};
use serde_json::{Value, json};

fn main() {
    let tokenizer = Tokenizer::new(support::tiny(&["<s>", "</s>"])).unwrap();
    for line in std::io::stdin().lines() {
        let row: Value = serde_json::from_str(&line.unwrap()).unwrap();
        let answer = match render(&row, &tokenizer) {
            Ok(text) => json!({ "text": text }),
            Err(error) => {
                let is_refusal = matches!(error, TemplateError::Refused { .. });
                json!({ "error": error.to_string(), "is_refusal": is_refusal })
            }
        };
        println!("{answer}");
    }
}

fn render(row: &Value, tokenizer: &Tokenizer) -> Result<String, TemplateError> {
    let tokens = TemplateTokens { bos: "<s>".into(), eos: "</s>".into() };
    let template = ChatTemplate::new(row["source"].as_str().unwrap(), tokens)?;
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let messages: Vec<ChatMessage> = row["messages"]
        .as_array()
        .unwrap()
        .iter()
        .map(|message| ChatMessage::new(text(&message["role"]), text(&message["content"])))
        .collect();
    let opens_turn = row["add_generation_prompt"] == true;
    Ok(template.render(&messages, tokenizer, opens_turn)?.text())
}
