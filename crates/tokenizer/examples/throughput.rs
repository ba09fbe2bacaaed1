//! Times loading and encoding with a vocabulary from a GGUF file.
//!
//!     cargo run --release -p brisk-tokenizer --example throughput -- VOCABULARY.gguf [TEXT]

#![allow(
    clippy::print_stdout,
    clippy::print_stderr,
    clippy::unwrap_used,
    reason = "a program for people at a terminal"
)]

#[path = "../tests/support/mod.rs"]
mod support;

use brisk_tokenizer::{Specials, Tokenizer};
use std::path::Path;

fn main() {
    let mut args = std::env::args().skip(1);
    let path = args.next().unwrap();
    let vocabulary = support::vocabulary_of(Path::new(&path));
    let (num_tokens, num_merges) = (vocabulary.tokens.len(), vocabulary.merges.len());
    let begin = cpu_ms();
    let tokenizer = Tokenizer::new(vocabulary).unwrap();
    println!("load  {:8.1} ms  {num_tokens} tokens, {num_merges} merges", ms(begin));
    let time = |name: &str, text: &str| {
        let begin = cpu_ms();
        let ids = tokenizer.encode(text, Specials::AsText);
        let took = ms(begin);
        let rate = text.len() as f64 / 1e3 / took;
        println!(
            "{name:<16} {took:8.1} ms  {rate:6.1} MB/s  {} bytes, {} tokens",
            text.len(),
            ids.len()
        );
        let begin = cpu_ms();
        assert!(!tokenizer.decode(&ids).is_empty());
        println!("{:<16} {:8.1} ms", "  decode", ms(begin));
    };
    if let Some(path) = args.next() {
        let text = std::fs::read_to_string(path).unwrap();
        time("text, first", &text);
        time("text, again", &text);
        let message = &text[..text.floor_char_boundary(2000)];
        time("2,000 bytes", message);
    }
    time("a x 1 MiB", &"a".repeat(1 << 20));
    time("^ x 1,000,000", &"^".repeat(1_000_000));
    time("_ x 50,000", &"_".repeat(50_000));
    time("space x 1 MiB", &" ".repeat(1 << 20));
    time("10 MB of CJK", &"東京は夜の七時".repeat(10_000_000 / 21));
    time("JSON, 11,000", &"{\"k\":[1,2.5,\"v\"]},".repeat(600));
}

/// Milliseconds of processor time since `begin`, so that other programs do not count.
fn ms(begin: f64) -> f64 {
    cpu_ms() - begin
}

fn cpu_ms() -> f64 {
    let stat = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap();
    stat.split_whitespace().next().unwrap().parse::<f64>().unwrap() / 1e6
}
