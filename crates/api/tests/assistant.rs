//! Bodies of the assistant endpoints: taken as they are, or refused with the field's name.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

use brisk_api::{
    CacheControl, MAX_ECHO_BYTES, RequestError,
    assistant::{ChatTurnRequest, QueryRequest},
    cache::CacheReportRequest,
};
use serde::Serialize;
use serde_json::{Value, json};

fn outcome<T: Serialize>(read: fn(&[u8]) -> Result<T, RequestError>, body: &str) -> String {
    match read(body.as_bytes()) {
        Ok(request) => serde_json::to_string(&request).unwrap(),
        Err(error) => {
            let text = error.to_string();
            assert!(text.len() < 4 * MAX_ECHO_BYTES, "{} bytes: {text:.300}", text.len());
            text
        }
    }
}

fn query(fields: &str) -> String {
    outcome(QueryRequest::read, &format!(r#"{{"query": "q"{fields}}}"#))
}

fn turn(fields: &str) -> String {
    outcome(ChatTurnRequest::read, &format!(r#"{{"message": "m", "user_id": "u"{fields}}}"#))
}

/// Both endpoints take the fields, which come out again as `expected`.
fn check(fields: &str, expected: &str) {
    let extra: Value = serde_json::from_str(&format!("{{{expected}}}")).unwrap();
    for (got, mut wanted) in [
        (query(fields), json!({"query": "q"})),
        (turn(fields), json!({"message": "m", "user_id": "u", "stream": true})),
    ] {
        wanted.as_object_mut().unwrap().extend(extra.as_object().unwrap().clone());
        assert_eq!(serde_json::from_str::<Value>(&got).ok(), Some(wanted), "{fields}: {got}");
    }
}

/// Both endpoints refuse the field for this reason.
#[track_caller]
fn refused(fields: &str, expected: &str) {
    for got in [query(fields), turn(fields)] {
        assert!(got.starts_with(expected), "{fields}: got {got:.300}, expected {expected}");
    }
}

#[test]
fn what_is_acted_on_is_kept() {
    check("", "");
    check(
        r#", "model": "m", "system": "s", "speed_mode": true, "max_tokens": 9, "soft_max_tokens": 5,
        "temperature": 0.5, "top_p": 0.25, "top_k": 40, "min_p": 0.125, "repeat_penalty": 1.5,
        "no_repeat_ngram_size": 4, "seed": 18446744073709551615, "stop": ["a", "b"]"#,
        r#""model": "m", "system": "s", "speed_mode": true, "max_tokens": 9, "soft_max_tokens": 5,
        "temperature": 0.5, "top_p": 0.25, "top_k": 40, "min_p": 0.125, "repetition_penalty": 1.5,
        "no_repeat_ngram_size": 4, "seed": -1, "stop": ["a", "b"]"#,
    );
    // No temperature is none, and zero is zero.
    check(r#", "temperature": null, "system": "", "speed_mode": false"#, "");
    check(r#", "cache_control": "TTL=5,exact""#, r#""cache_control": "exact, ttl=5""#);
    check(r#", "temperature": -0.0"#, r#""temperature": 0.0"#);
    check(r#", "user": "x", "metadata": {"a": "b"}"#, "");
    for fields in [r#", "stream": false"#, r#", "stream": null"#] {
        assert_eq!(query(fields), r#"{"query":"q"}"#);
    }
    assert!(turn(r#", "stream": false"#).contains(r#""stream":false"#));
    let streamed = outcome(QueryRequest::read_streamed, r#"{"query": "q", "stream": true}"#);
    assert_eq!(streamed, r#"{"query":"q"}"#);
    check(
        r#", "repetition_detection": {"max_pattern_size": 0}"#,
        r#""repetition_detection": {"max_pattern_size": 0, "min_pattern_size": 0, "min_count": 0}"#,
    );
    let body = br#"{"query": "q", "cache_control": "no-cache"}"#;
    let control = QueryRequest::read(body).unwrap().options.cache_control;
    assert_eq!(control, Some(CacheControl { no_cache: true, ..CacheControl::default() }));
}

#[test]
fn every_field_is_refused_by_name() {
    let wrong_types = [
        ("model", "a string"),
        ("system", "a string"),
        ("speed_mode", "a boolean"),
        ("max_tokens", "an integer"),
        ("soft_max_tokens", "an integer"),
        ("temperature", "a number"),
        ("top_p", "a number"),
        ("top_k", "an integer"),
        ("min_p", "a number"),
        ("repetition_penalty", "a number"),
        ("repeat_penalty", "a number"),
        ("no_repeat_ngram_size", "an integer"),
        ("seed", "a 64-bit integer"),
        ("stop", "a string or an array of strings"),
        ("cache_control", "a string"),
    ];
    for (name, expected) in wrong_types {
        let expected = format!("`{name}` must be {expected}, it is an object");
        refused(&format!(r#", "{name}": {{}}"#), &expected);
    }
    for (field, reason) in [
        (r#""max_tokens": 0"#, "`max_tokens` is 0"),
        (r#""max_tokens": 4294967296"#, "`max_tokens` is 4294967296"),
        (r#""soft_max_tokens": 0"#, "`soft_max_tokens` is 0"),
        (r#""temperature": 2.01"#, "`temperature` is 2.01"),
        (r#""temperature": -1"#, "`temperature` is -1"),
        (r#""top_p": 0"#, "`top_p` is 0, it must be above 0"),
        (r#""top_k": -2"#, "`top_k` is -2"),
        (r#""min_p": 1.5"#, "`min_p` is 1.5"),
        (r#""repetition_penalty": 0"#, "`repetition_penalty` is 0"),
        (r#""repetition_penalty": 2, "repeat_penalty": 3"#, "`repeat_penalty` is 3"),
        (r#""no_repeat_ngram_size": 1025"#, "`no_repeat_ngram_size` is 1025"),
        (r#""stop": """#, "`stop` is 0 bytes long"),
        (r#""stop": ["1","2","3","4","5","6","7","8","9"]"#, "`stop` is an array of 9"),
        (r#""cache_control": "private""#, "`cache_control` is `private`, it must be directives"),
        (r#""n": 2"#, "`n` is not a parameter"),
        (r#""logit_bias": {"1": 1}"#, "`logit_bias` is not supported here"),
        (r#""typical_p": 0.5"#, "`typical_p` is not supported here"),
        (r#""tools": []"#, "`tools` is not a parameter"),
        (r#""user": 1"#, "`user` is not supported here"),
        (r#""messages": []"#, "`messages` is not supported here"),
    ] {
        refused(&format!(", {field}"), reason);
    }
}

#[test]
fn what_is_asked_for_must_be_there() {
    let check = |read: fn(&[u8]) -> Result<QueryRequest, RequestError>, body, expected: &str| {
        let got = outcome(read, body);
        assert!(got.starts_with(expected), "{body}: {got}");
    };
    for read in [QueryRequest::read, QueryRequest::read_streamed] {
        check(read, "{}", "`query` is required");
        check(read, r#"{"query": null}"#, "`query` is required");
        check(read, r#"{"query": ""}"#, "`query` is empty, it must be some text");
        check(read, r#"{"query": ["q"]}"#, "`query` must be a string, it is an array");
        check(read, r#"{"query": "q", "message": "m"}"#, "`message` is not a parameter");
        check(read, "[]", "the body must be a JSON object");
    }
    check(QueryRequest::read, r#"{"query": "q", "stream": true}"#, "`stream` is not supported");
    let streamed = QueryRequest::read_streamed;
    check(streamed, r#"{"query": "q", "stream": false}"#, "`stream` is not supported");
    for (body, expected) in [
        ("{}", "`message` is required"),
        (r#"{"message": "m"}"#, "`user_id` is required"),
        (r#"{"message": "", "user_id": "u"}"#, "`message` is empty"),
        (r#"{"message": "m", "user_id": ""}"#, "`user_id` is empty"),
        (r#"{"message": "m", "user_id": 7}"#, "`user_id` must be a string"),
        (r#"{"message": "m", "user_id": "u", "stream": "no"}"#, "`stream` must be a boolean"),
    ] {
        let got = outcome(ChatTurnRequest::read, body);
        assert!(got.starts_with(expected), "{body}: {got}");
    }
}

/// Ollama's clients ask the same path for something else, and learn what to send.
#[test]
fn a_list_of_messages_gets_directions() {
    let body = r#"{"model": "m", "messages": [{"role": "user", "content": "hi"}], "options": {}}"#;
    let got = outcome(ChatTurnRequest::read, body);
    for part in ["`messages`", "`message`", "`user_id`", "`/v1/chat/completions`"] {
        assert!(got.contains(part), "{got}");
    }
}

#[test]
fn a_report_may_give_a_reason() {
    let check = |body: &str, expected: &str| {
        let got = outcome(CacheReportRequest::read, body);
        assert!(got.starts_with(expected), "{body:.80}: {got}");
    };
    check("{}", "{}");
    check(r#"{"reason": "wrong year"}"#, r#"{"reason":"wrong year"}"#);
    check(r#"{"reason": 1}"#, "`reason` must be a string");
    check(r#"{"cause": "x"}"#, "`cause` is not a parameter");
    let long = format!(r#"{{"reason": "{}"}}"#, "r".repeat(513));
    check(&long, "`reason` is 513 bytes long, it must be at most 512 bytes long");
}
