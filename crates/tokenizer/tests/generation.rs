//! Holds `{% generation %}` and line ends to what transformers makes of them.

#![allow(clippy::unwrap_used, clippy::print_stderr, reason = "tests stop at the first surprise")]

mod support;

use brisk_tokenizer::{ChatMessage, ChatTemplate, TemplateError, TemplateTokens, Tokenizer};
use serde_json::Value;
use std::fs;
use support::tiny;

fn render(source: &str) -> Result<String, TemplateError> {
    let template = ChatTemplate::new(source, TemplateTokens::default())?;
    let tokenizer = Tokenizer::new(tiny(&[])).unwrap();
    let messages = [("user", "Hi <b>"), ("assistant", "Hello.")];
    let messages = messages.map(|(role, content)| ChatMessage::new(role, content));
    Ok(template.render(&messages, &tokenizer, false)?.text())
}

#[test]
fn what_the_assistant_said_is_printed_as_python_prints_it() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/generation.jsonl");
    let mut num_rows = 0;
    for line in fs::read_to_string(path).unwrap().lines() {
        let row: Value = serde_json::from_str(line).unwrap();
        let source = row["template"].as_str().unwrap();
        match (row["expected"].as_str(), render(source)) {
            (Some(want), got) => assert_eq!(got.as_deref(), Ok(want), "{source}"),
            (None, got) => assert!(got.is_err(), "{source}: {got:?}"),
        }
        num_rows += 1;
    }
    assert!(num_rows > 50, "{num_rows} rows");
}

#[test]
fn a_block_that_is_not_closed_is_named_with_its_line() {
    for (source, line, message) in [
        ("a\n{% generation %}x", 2, "unexpected end of input, expected endgeneration"),
        ("{% generation %}\n{% if x %}{% generation %}{% endif %}", 2, "unexpected 'endif'"),
        ("a\n\nb{% endgeneration %}", 3, "unexpected 'endgeneration'"),
        ("{% generation %}\n{% endwith %}", 2, "unexpected 'endwith'"),
        ("{% with %}\n{% endgeneration %}", 2, "unexpected 'endgeneration'"),
    ] {
        match render(source) {
            Err(TemplateError::Invalid { line: at, message: got }) => {
                assert!(at == line && got.contains(message), "{source}: {at}, {got}");
            }
            other => panic!("{source}: {other:?}"),
        }
    }
}

#[test]
fn the_template_that_is_shown_is_the_one_that_was_given() {
    let source = "{% generation %}x{% endgeneration %}\r\n";
    let template = ChatTemplate::new(source, TemplateTokens::default()).unwrap();
    assert_eq!(template.source(), source);
}
