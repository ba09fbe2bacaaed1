//! Bodies and what becomes of them: the same request again, or an error that names the field.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

use brisk_api::{
    MAX_ECHO_BYTES, RequestError, chat::ChatCompletionRequest, completion::CompletionRequest,
    markdown::MarkdownRequest,
};
use serde::Serialize;
use serde_json::{Map, Value, json};

/// Reads a body and writes it again, or says what is wrong with which field.
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

/// A chat with one message and these further fields.
fn chat(fields: &str) -> String {
    let comma = if fields.is_empty() { "" } else { ", " };
    let body = format!(r#"{{"messages": [{{"role": "user", "content": "hi"}}]{comma}{fields}}}"#);
    outcome(ChatCompletionRequest::read, &body)
}

/// A completion with these fields.
fn completion(fields: &str) -> String {
    outcome(CompletionRequest::read, &format!("{{{fields}}}"))
}

/// The fields are taken, and come out again as `expected`.
fn check_chat(fields: &str, expected: &str) {
    let mut wanted = json!({"messages": [{"role": "user", "content": "hi"}]});
    let extra: Map<String, Value> = serde_json::from_str(&format!("{{{expected}}}")).unwrap();
    wanted.as_object_mut().unwrap().extend(extra);
    let got = chat(fields);
    assert_eq!(serde_json::from_str::<Value>(&got).ok(), Some(wanted), "{fields}: {got}");
}

fn check_completion(fields: &str, expected: &str) {
    let wanted: Value = serde_json::from_str(&format!("{{{expected}}}")).unwrap();
    let got = completion(fields);
    assert_eq!(serde_json::from_str::<Value>(&got).ok(), Some(wanted), "{fields}: {got}");
}

#[track_caller]
fn refused(got: &str, expected: &str) {
    assert!(got.starts_with(expected), "got {got:.400}, expected {expected}");
}

#[test]
fn what_is_acted_on_is_kept() {
    let all = r#""model": "m", "stream": true, "stream_options": {"include_usage": true}, "temperature": 0.5,
        "top_p": 0.25, "top_k": 40, "min_p": 0.125, "typical_p": 0.5, "repetition_penalty": 1.5, "presence_penalty": -2,
        "frequency_penalty": 2, "no_repeat_ngram_size": 3, "logit_bias": {"7": -100, "8": 0.5}, "seed": 7,
        "stop": ["a", "b"], "n": 8, "logprobs": true, "top_logprobs": 20, "max_tokens": 5, "max_completion_tokens": 5,
        "ignore_eos": true,
        "repetition_detection": {"max_pattern_size": 9, "min_pattern_size": 2, "min_count": 3}"#;
    check_chat(
        all,
        &all.replace("-2,", "-2.0,").replace("y\": 2,", "y\": 2.0,").replace("-100", "-100.0"),
    );
    check_chat("", "");
    check_chat(r#""stop": "x""#, r#""stop": "x""#);
    check_chat(r#""repeat_penalty": 2"#, r#""repetition_penalty": 2.0"#);
    check_chat(r#""temperature": -0.0"#, r#""temperature": 0.0"#);
    check_chat(r#""seed": -9223372036854775808"#, r#""seed": -9223372036854775808"#);
    check_chat(r#""seed": 18446744073709551615"#, r#""seed": -1"#);
    check_chat(
        r#""top_k": 4294967295, "temperature": 1e-30"#,
        r#""top_k": 4294967295, "temperature": 1e-30"#,
    );
    check_completion(
        r#""prompt": "p", "logprobs": 0, "max_tokens": 1, "stream": false, "best_of": 1, "n": 2"#,
        r#""prompt": "p", "logprobs": 0, "max_tokens": 1, "n": 2"#,
    );
    for prompt in [r#""p""#, r#"["p", "q"]"#, "[1, 2]", "[[1], [2, 4294967295]]"] {
        check_completion(&format!(r#""prompt": {prompt}"#), &format!(r#""prompt": {prompt}"#));
    }
}

#[test]
fn what_asks_for_nothing_is_taken() {
    for fields in [
        r#""n": null, "model": null, "stop": null, "logit_bias": null, "stream": null, "stream_options": null"#,
        r#""response_format": {"type": "text"}, "tools": [], "tool_choice": "auto", "parallel_tool_calls": false"#,
        r#""store": false, "service_tier": "auto", "user": "u", "metadata": {"a": "b"}, "safety_identifier": "s""#,
        r#""functions": [], "function_call": "none", "modalities": ["text"], "prompt_cache_key": "k", "reasoning_effort": "none""#,
        r#""cache_prompt": false, "num_beams": 1, "length_penalty": 1.0, "best_of": 1, "audio": null, "prediction": null"#,
    ] {
        check_chat(fields, "");
    }
    let message = r#"{"role": "assistant", "content": "", "refusal": null, "tool_calls": [], "annotations": [], "function_call": null}"#;
    let body = format!(r#"{{"messages": [{message}]}}"#);
    assert_eq!(
        outcome(ChatCompletionRequest::read, &body),
        r#"{"messages":[{"role":"assistant","content":""}]}"#
    );
}

#[test]
fn what_nothing_acts_on_is_refused_by_name() {
    for (field, value) in [
        ("tools", r#"[{"type": "function"}]"#),
        ("tool_choice", r#""required""#),
        ("response_format", r#"{"type": "json_object"}"#),
        ("best_of", "2"),
        ("use_beam_search", "true"),
        ("num_beams", "2"),
        ("store", "true"),
        ("service_tier", r#""flex""#),
        ("reasoning_effort", r#""high""#),
        ("verbosity", r#""low""#),
        ("modalities", r#"["text", "audio"]"#),
        ("chat_template", r#""{{ x }}""#),
        ("chat_template_kwargs", r#"{"tokenize": true}"#),
        ("cache_salt", r#""x""#),
        ("prediction", "{}"),
        ("min_tokens", "1"),
        ("user", "7"),
        ("metadata", r#"{"a": 1}"#),
    ] {
        refused(
            &chat(&format!(r#""{field}": {value}"#)),
            &format!("`{field}` is not supported here: only "),
        );
    }
    for field in ["temprature", "top_q", "echo ", "prompt", ""] {
        refused(
            &chat(&format!(r#""{field}": -1"#)),
            &format!("`{field}` is not a parameter of this endpoint"),
        );
    }
    refused(&completion(r#""prompt": "p", "suffix": "s""#), "`suffix` is not supported here");
    refused(&completion(r#""prompt": "p", "messages": []"#), "`messages` is not a parameter");
    refused(
        &completion(r#""prompt": "p", "prompt_embeds": "gASV""#),
        "`prompt_embeds` is not supported here",
    );
    refused(
        &completion(r#""prompt": "p", "echo": true, "logprobs": 1"#),
        "`logprobs` is not supported here",
    );
    refused(
        &chat(r#""stream_options": {"include_usage": true}"#),
        "`stream_options` is not supported here: it needs `stream: true`",
    );
    refused(
        &chat(r#""stream": true, "stream_options": {"include_obfuscation": true}"#),
        "`stream_options.include_obfuscation` is not supported",
    );
    refused(
        &chat(r#""stream": true, "stream_options": {"x": 1}"#),
        "`stream_options.x` is not a parameter",
    );
    refused(
        &chat(r#""top_logprobs": 1"#),
        "`top_logprobs` is not supported here: it needs `logprobs: true`",
    );
}

#[test]
fn values_out_of_range_are_refused_by_name() {
    for (field, values) in [
        ("temperature", &["-1", "2.01", "1e308"][..]),
        ("top_p", &["0", "-0.1", "1.1"]),
        ("top_k", &["-5", "-2", "4294967296"]),
        ("min_p", &["2", "-0.5"]),
        ("typical_p", &["0", "1.01"]),
        ("repetition_penalty", &["0", "-1", "1e9"]),
        ("repeat_penalty", &["0", "11"]),
        ("presence_penalty", &["1e9", "-1e9", "2.5"]),
        ("frequency_penalty", &["-2.01"]),
        ("no_repeat_ngram_size", &["-1", "1025"]),
        ("n", &["0", "-1", "9", "129", "2147483648"]),
        ("max_tokens", &["0", "-1", "4294967296", "18446744073709551615"]),
        ("max_completion_tokens", &["0"]),
        ("stop", &[r#"["", "", "", "", "", "", "", "", ""]"#]),
    ] {
        for value in values {
            let got = chat(&format!(r#""{field}": {value}"#));
            refused(&got, &format!("`{field}` is "));
            assert!(got.contains("it must be"), "{got}");
        }
    }
    refused(&chat(r#""stop": """#), "`stop` is 0 bytes long");
    refused(
        &chat(&format!(r#""stop": ["a", "{}"]"#, "x".repeat(1 << 20))),
        "`stop[1]` is 1048576 bytes long",
    );
    refused(
        &chat(r#""logprobs": true, "top_logprobs": 21"#),
        "`top_logprobs` is 21, it must be between 0 and 20",
    );
    refused(
        &chat(r#""max_tokens": 5, "max_completion_tokens": 6"#),
        "`max_tokens` is 5, it must be the same as `max_completion_tokens`",
    );
    for (given, expected) in [
        (r#""max_pattern_size": -1"#, "max_pattern_size` is -1, it must be between 0 and 1024"),
        (r#""max_pattern_size": 1025, "min_count": 2"#, "max_pattern_size` is 1025"),
        (
            r#""max_pattern_size": 4, "min_pattern_size": 5, "min_count": 2"#,
            "min_pattern_size` is 5",
        ),
        (r#""max_pattern_size": 4"#, "min_count` is required"),
        (
            r#""max_pattern_size": 4, "min_count": 1"#,
            "min_count` is 1, it must be between 2 and 1024",
        ),
        (r#""max_pattern_size": 4, "min_count": 1025"#, "min_count` is 1025"),
        (r#""max_pattern_size": 4.0, "min_count": 2"#, "max_pattern_size` must be an integer"),
        (r#""min_count": 2, "mode": "fast""#, "mode` is not a parameter"),
    ] {
        refused(
            &chat(&format!(r#""repetition_detection": {{{given}}}"#)),
            &format!("`repetition_detection.{expected}"),
        );
    }
    refused(
        &chat(r#""repetition_penalty": 1, "repeat_penalty": 2"#),
        "`repeat_penalty` is 2, it must be the same",
    );
    for bias in [
        r#""abc": 1"#,
        r#""-1": 1"#,
        r#""4294967296": 1"#,
        r#""07": 1"#,
        r#""": 1"#,
        r#""1": 1e9"#,
        r#""1": -100.5"#,
        r#""+1": 1"#,
    ] {
        refused(&chat(&format!(r#""logit_bias": {{{bias}}}"#)), "`logit_bias.");
    }
    let many: Vec<_> = (0..1025).map(|id| format!("\"{id}\": 0")).collect();
    refused(
        &chat(&format!(r#""logit_bias": {{{}}}"#, many.join(","))),
        "`logit_bias` is an object of 1025",
    );
    let value = completion(&format!(r#""prompt": [{}]"#, vec!["\"p\""; 65].join(",")));
    refused(&value, "`prompt` is an array of 65, it must be at most 64 prompts");
    for (prompt, expected) in [
        (r#""""#, "`prompt` is empty"),
        ("[]", "`prompt` is empty"),
        (r#"["a", ""]"#, "`prompt[1]` is empty"),
        ("[[1], []]", "`prompt[1]` is empty"),
        ("[-1]", "`prompt[0]` is -1, it must be a token id"),
        ("[1, 4294967296]", "`prompt[1]` is 4294967296"),
        ("[[[1]]]", "`prompt[0][0]` must be a token id"),
        ("null", "`prompt` is required"),
    ] {
        refused(&completion(&format!(r#""prompt": {prompt}"#)), expected);
    }
    refused(&completion(r#""prompt": "p", "logprobs": 21"#), "`logprobs` is 21");
}

/// Every field with every JSON type that it does not take.
#[test]
fn wrong_types_are_refused_by_name() {
    let values = [
        ("null", "null"),
        ("bool", "true"),
        ("int", "1"),
        ("fraction", "1.5"),
        ("string", r#""10""#),
        ("array", "[[true]]"),
        ("object", r#"{"a": true}"#),
    ];
    let fields = [
        ("model", "string"),
        ("temperature", "int fraction"),
        ("top_p", "int"),
        ("top_k", "int"),
        ("min_p", "int"),
        ("typical_p", "int"),
        ("repetition_penalty", "int fraction"),
        ("repeat_penalty", "int fraction"),
        ("presence_penalty", "int fraction"),
        ("frequency_penalty", "int fraction"),
        ("no_repeat_ngram_size", "int"),
        ("seed", "int"),
        ("stop", "string"),
        ("n", "int"),
        ("max_tokens", "int"),
        ("stream", "bool"),
        ("ignore_eos", "bool"),
        ("logit_bias", ""),
        ("stream_options", ""),
        ("repetition_detection", ""),
    ];
    for (field, takes) in fields {
        for (kind, value) in values {
            let is_taken = kind == "null" || takes.split(' ').any(|taken| taken == kind);
            let given = format!(r#""{field}": {value}"#);
            for got in [chat(&given), completion(&format!(r#""prompt": "p", {given}"#))] {
                let names_it = got.starts_with(&format!("`{field}"));
                assert_eq!(names_it, !is_taken, "{given}: {got}");
            }
        }
    }
    for (kind, value) in values {
        let is_taken = kind == "null" || kind == "bool";
        assert_eq!(chat(&format!(r#""logprobs": {value}"#)).starts_with("`logprobs`"), !is_taken);
        let got = chat(&format!(r#""logprobs": true, "top_logprobs": {value}"#));
        assert_eq!(got.starts_with("`top_logprobs`"), kind != "null" && kind != "int", "{got}");
    }
    for number in ["1e20", "9223372036854775808.0", "1.0", "\"10\"", "true"] {
        for field in
            ["top_k", "n", "max_tokens", "max_completion_tokens", "seed", "no_repeat_ngram_size"]
        {
            refused(&chat(&format!(r#""{field}": {number}"#)), &format!("`{field}` must be "));
        }
    }
}

#[test]
fn messages_are_read_one_by_one() {
    let messages = |messages: &str| {
        outcome(ChatCompletionRequest::read, &format!(r#"{{"messages": {messages}}}"#))
    };
    for (given, expected) in [
        ("null", "`messages` is required"),
        ("{}", "`messages` must be an array, it is an object"),
        ("[]", "`messages` is an array of 0"),
        ("[7]", "`messages[0]` must be an object, it is an integer"),
        (r#"[{"content": "x"}]"#, "`messages[0].role` is required"),
        (r#"[{"role": "user"}]"#, "`messages[0].content` is required"),
        (r#"[{"role": "user", "content": null}]"#, "`messages[0].content` is required"),
        (r#"[{"role": "user", "content": ""}]"#, "`messages[0].content` is empty"),
        (r#"[{"role": "user", "content": []}]"#, "`messages[0].content` is empty"),
        (
            r#"[{"role": "user", "content": 7}]"#,
            "`messages[0].content` must be a string or an array",
        ),
        (
            r#"[{"role": "user", "content": "x"}, {"role": "__proto__", "content": "x"}]"#,
            "`messages[1].role` is `__proto__`, it must be `system`",
        ),
        (
            r#"[{"role": "tool", "content": "x", "tool_call_id": "1"}]"#,
            "`messages[0].role` is not supported here",
        ),
        (r#"[{"role": 1, "content": "x"}]"#, "`messages[0].role` must be a string"),
        (r#"[{"role": "user", "content": "x", "y": 1}]"#, "`messages[0].y` is not a parameter"),
        (
            r#"[{"role": "assistant", "content": "x", "tool_calls": [{}]}]"#,
            "`messages[0].tool_calls` is not supported here",
        ),
        (
            r#"[{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "http://169.254.169.254"}}]}]"#,
            "`messages[0].content[0].type` is not supported here: `image_url` parts",
        ),
        (
            r#"[{"role": "user", "content": [{"type": "text"}]}]"#,
            "`messages[0].content[0].text` is required",
        ),
        (r#"[{"role": "user", "content": ["x"]}]"#, "`messages[0].content[0]` must be an object"),
        (
            r#"[{"role": "user", "content": [{"type": "text", "text": "x", "url": "y"}]}]"#,
            "`messages[0].content[0].url` is not a parameter",
        ),
    ] {
        refused(&messages(given), expected);
    }
    let parts = r#"[{"role": "user", "content": [{"type": "text", "text": "a"}, {"type": "text", "text": "b\u0000\u001b"}]}]"#;
    assert_eq!(messages(parts), r#"{"messages":[{"role":"user","content":"a\nb\u0000\u001b"}]}"#);
    let many = format!("[{}]", vec![r#"{"role": "user", "content": "x"}"#; 4097].join(","));
    refused(&messages(&many), "`messages` is an array of 4097");
}

#[test]
fn errors_stay_short() {
    let long = "k".repeat(1 << 20);
    refused(&chat(&format!(r#""{long}": 1"#)), "`kkkk");
    refused(&chat(&format!(r#""service_tier": "{long}""#)), "`service_tier` is not supported");
    let many: Vec<_> = (0..100_000).map(|i| format!("\"x{i}\": 1")).collect();
    refused(&chat(&many.join(",")), "`x");
    let role = format!(r#"{{"messages": [{{"role": "{long}", "content": "x"}}]}}"#);
    refused(&outcome(ChatCompletionRequest::read, &role), "`messages[0].role` is `kkk");
    for (body, expected) in
        [("[]", "an array"), ("\"x\"", "a string"), ("null", "null"), ("1", "an integer")]
    {
        let expected = format!("the body must be a JSON object, it is {expected}");
        refused(&outcome(ChatCompletionRequest::read, body), &expected);
        refused(&outcome(MarkdownRequest::read, body), &expected);
    }
    refused(&outcome(MarkdownRequest::read, "{}"), "`text` is required");
    refused(
        &outcome(MarkdownRequest::read, r#"{"text": "a", "raw": true}"#),
        "`raw` is not a parameter",
    );
}
