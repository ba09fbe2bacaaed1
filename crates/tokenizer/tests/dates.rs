//! Holds `strftime_now` to Python's, and what a template says of its dates to what it writes.

#![allow(clippy::unwrap_used, clippy::print_stderr, reason = "tests stop at the first surprise")]

mod support;

use brisk_tokenizer::{ChatMessage, ChatTemplate, LocalTime, TemplateTokens, Tokenizer};
use serde_json::Value;
use std::fs;
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use support::tiny;

fn unix(seconds: i64) -> SystemTime {
    let length = Duration::from_secs(seconds.unsigned_abs());
    if seconds < 0 { UNIX_EPOCH - length } else { UNIX_EPOCH + length }
}

/// What a template writes at a moment.
fn written(source: &str, now: LocalTime) -> String {
    let template = ChatTemplate::new(source, TemplateTokens::default()).unwrap();
    let tokenizer = Tokenizer::new(tiny(&[])).unwrap();
    let messages = [ChatMessage::new("user", "Hi")];
    template.render_at(&messages, &tokenizer, true, now).unwrap().text()
}

/// A text of the template language.
fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\\', "\\\\").replace('\'', "\\'").replace('\n', "\\n"))
}

#[test]
fn dates_are_written_as_python_writes_them() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/dates.jsonl");
    let mut num_texts = 0;
    for line in fs::read_to_string(path).unwrap().lines() {
        let row: Value = serde_json::from_str(line).unwrap();
        let zone = row["zone"].as_str().unwrap();
        let moment = unix(row["unix"].as_i64().unwrap())
            + Duration::from_micros(row["microsecond"].as_u64().unwrap());
        let now = LocalTime::at(moment, zone).unwrap();
        let texts: Vec<(&String, &str)> = row["texts"]
            .as_object()
            .unwrap()
            .iter()
            .map(|(format, text)| (format, text.as_str().unwrap()))
            .collect();
        let calls: Vec<String> = texts
            .iter()
            .map(|(format, _)| format!("{{{{ strftime_now({}) }}}}", quoted(format)))
            .collect();
        let got = written(&calls.join("\u{1}"), now);
        let got: Vec<&str> = got.split('\u{1}').collect();
        assert_eq!(got.len(), texts.len());
        for ((format, want), got) in texts.iter().zip(got) {
            assert_eq!(got, *want, "{format:?} in {zone} at {}", row["unix"]);
            num_texts += 1;
        }
    }
    assert!(num_texts > 1500, "{num_texts} rows");
}

#[test]
fn the_local_day_counts() {
    for (zone, seconds, want) in [
        ("UTC", 1_735_689_599, "31.12.2024"),
        ("Europe/Berlin", 1_735_689_599, "1.1.2025"),
        ("Pacific/Auckland", 1_735_642_800, "1.1.2025"),
        ("America/Los_Angeles", 1_735_718_399, "31.12.2024"),
        ("CET-1CEST,M3.5.0,M10.5.0/3", 1_719_784_800, "1.7.2024"),
    ] {
        let now = LocalTime::at(unix(seconds), zone).unwrap();
        assert_eq!(written("{{ strftime_now('%-d.%-m.%Y') }}", now), want, "{zone}");
    }
    for (seconds, zone) in
        [(0, "Nowhere/Land"), (0, ""), (i64::MAX, "UTC"), (-99_999_999_999, "UTC")]
    {
        assert_eq!(LocalTime::at(unix(seconds), zone), None, "{zone} {seconds}");
    }
}

#[test]
fn a_template_that_asks_gets_the_real_date() {
    let source = "{%- if not date_string is defined %}{%- if strftime_now is defined %}\
        {%- set date_string = strftime_now('%d %b %Y') %}{%- else %}\
        {%- set date_string = '26 Jul 2024' %}{%- endif %}{%- endif %}{{ date_string }}";
    let now = LocalTime::at(unix(1_709_210_096), "Europe/Berlin").unwrap();
    assert_eq!(written(source, now), "29 Feb 2024");
}

#[test]
fn a_format_has_a_bound() {
    let template =
        ChatTemplate::new("{{ strftime_now(messages[0].content) }}", TemplateTokens::default());
    let template = template.unwrap();
    let tokenizer = Tokenizer::new(tiny(&[])).unwrap();
    let render = |content: String| {
        let messages = [ChatMessage::new("user", content)];
        template.render(&messages, &tokenizer, true)
    };
    assert!(render("%Y".repeat(128)).is_ok());
    let error = render("%Y".repeat(129)).unwrap_err().to_string();
    assert!(error.contains("a format of 258 bytes, at most 256"), "{error}");
}

/// What `source` says of its dates on the evening of a day.
fn dates(source: &str) -> Option<String> {
    let now = LocalTime::at(unix(1_709_249_696), "UTC").unwrap();
    ChatTemplate::new(source, TemplateTokens::default()).unwrap().dates_at(&now)
}

#[test]
fn a_template_says_which_dates_it_writes() {
    for (source, want) in [
        ("{{ messages[0].content }}", Some("")),
        ("{# strftime_now('%H') #}{{ 'strftime_now' }}{{ '%H' }}", Some("")),
        ("{{ strftime_now is defined }}{{ strftime_now is not defined }}", Some("")),
        ("{% if strftime_now is undefined %}x{% endif %}", Some("")),
        ("{{ strftime_now('%Y-%m-%d') }}", Some("2024-02-29")),
        (
            "{% set d = strftime_now('%d %b') %}{{ d }}{{ strftime_now('%Y') }}",
            Some("2024\x0029 Feb"),
        ),
        (
            "{% if x %}{{ strftime_now('%Y') }}{% else %}{{ strftime_now('%m') }}{% endif %}",
            Some("2024\x0002"),
        ),
        ("{% macro m() %}{{ strftime_now('%A') }}{% endmacro %}{{ m() }}", Some("Thursday")),
        ("{% block b %}{{ strftime_now('%j') }}{% endblock %}", Some("060")),
        ("{{ strftime_now('%Z%z') }}", Some("")),
        // The time of day.
        ("{{ strftime_now('%H:%M') }}", None),
        ("{{ strftime_now('%I %p') }}", None),
        ("{{ strftime_now('%p') }}", None),
        ("{{ strftime_now('%c') }}", None),
        ("{{ strftime_now('%T') }}", None),
        ("{{ strftime_now('%s') }}", None),
        ("{{ strftime_now('%f') }}", None),
        ("{{ strftime_now('%-S') }}", None),
        ("{{ strftime_now('%Y') }}{% if false %}{{ strftime_now('%X') }}{% endif %}", None),
        ("{% block b %}{{ strftime_now('%R') }}{% endblock %}", None),
        // A format that only rendering finds.
        ("{{ strftime_now('%Y' if messages else '%H') }}", None),
        ("{{ strftime_now(messages and '%Y') }}", None),
        ("{{ strftime_now(messages[0].content) }}", None),
        ("{% set f = '%H' %}{{ strftime_now(f) }}", None),
        ("{% set f = strftime_now %}{{ f('%H') }}", None),
        ("{% macro m(f='%Y') %}{{ strftime_now(f) }}{% endmacro %}{{ m('%H') }}", None),
        ("{{ strftime_now(*['%H']) }}", None),
        ("{% call strftime_now('%H') %}{% endcall %}", None),
        ("{{ [strftime_now][0]('%H') }}", None),
        ("{{ dict(f=strftime_now).f('%H') }}", None),
        ("{{ {'f': strftime_now}.f('%H') if strftime_now is defined }}", None),
    ] {
        assert_eq!(dates(source).as_deref(), want, "{source}");
    }
}
