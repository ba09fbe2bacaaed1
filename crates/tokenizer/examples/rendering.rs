//! Times the built-in chat templates on a conversation of a thousand messages, or one template file.
//!
//!     cargo run --release -p brisk-tokenizer --example rendering -- [TEMPLATE.jinja]

#![allow(
    clippy::print_stdout,
    clippy::print_stderr,
    clippy::unwrap_used,
    reason = "a program for people at a terminal"
)]

#[path = "../tests/support/mod.rs"]
mod support;

use brisk_tokenizer::{ChatMessage, ChatTemplate, TemplateTokens, Tokenizer};
use std::time::Instant;

const NUM_MESSAGES: usize = 1000;
const NUM_RUNS: usize = 20;

fn main() {
    let tokenizer = Tokenizer::new(support::tiny(&["<s>", "</s>"])).unwrap();
    let tokens = TemplateTokens { bos: "<s>".into(), eos: "</s>".into() };
    let messages: Vec<ChatMessage> = (0..NUM_MESSAGES)
        .map(|number| {
            let role = if number % 2 == 0 { "user" } else { "assistant" };
            ChatMessage::new(role, "What a thousand bytes say. ".repeat(38))
        })
        .collect();
    let time = |name: &str, template: &ChatTemplate| {
        let mut fastest_ms = f64::INFINITY;
        let mut outcome = String::new();
        for _ in 0..NUM_RUNS {
            let start = Instant::now();
            let rendered = template.render(&messages, &tokenizer, true);
            fastest_ms = fastest_ms.min(start.elapsed().as_secs_f64() * 1e3);
            outcome = match rendered {
                Ok(prompt) => format!("{} bytes", prompt.text().len()),
                Err(error) => error.to_string(),
            };
        }
        println!("{name:10} {fastest_ms:8.2} ms  {outcome}");
    };
    if let Some(path) = std::env::args().nth(1) {
        let source = std::fs::read_to_string(path).unwrap();
        return time("file", &ChatTemplate::new(&source, tokens).unwrap());
    }
    for name in ChatTemplate::builtin_names() {
        time(name, &ChatTemplate::builtin(name, tokens.clone()).unwrap());
    }
}
