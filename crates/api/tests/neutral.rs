//! What asks for nothing is taken, and the same field with another value is refused by its name.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

use std::collections::{BTreeMap, BTreeSet};

use brisk_api::{
    NEUTRAL, Neutral, OFF, Place, RequestError,
    assistant::{ChatTurnRequest, QueryRequest},
    chat::ChatCompletionRequest,
    completion::CompletionRequest,
};
use serde::Serialize;
use serde_json::{Map, Value, json};

/// One line for each name: where it stands, other fields beside it, and values of both kinds.
const ROWS: &str = include_str!("data/neutral.jsonl");
/// Whole bodies as clients of other servers send them.
const CLIENTS: &str = include_str!("data/clients.jsonl");
const GUIDE: &str = include_str!("../../../docs/compatibility.md");

const PLACES: [Place; 12] = [
    Place::Chat,
    Place::Completion,
    Place::Query,
    Place::QueryStream,
    Place::Turn,
    Place::Message,
    Place::Part,
    Place::StreamOptions,
    Place::ResponseFormat,
    Place::Reasoning,
    Place::Thinking,
    Place::UsageOptions,
];

fn rows(text: &str) -> impl Iterator<Item = Value> {
    text.lines().map(|line| serde_json::from_str(line).unwrap_or_else(|e| panic!("{line}: {e}")))
}

fn written<T: Serialize>(read: Result<T, RequestError>) -> Result<Value, RequestError> {
    read.map(|request| serde_json::to_value(request).unwrap())
}

/// Reads a body at the endpoint of `place`, and writes it again.
fn read(place: Place, body: &Value) -> Result<Value, RequestError> {
    let bytes = body.to_string();
    let bytes = bytes.as_bytes();
    match place {
        Place::Completion => written(CompletionRequest::read(bytes)),
        Place::Query => written(QueryRequest::read(bytes)),
        Place::QueryStream => written(QueryRequest::read_streamed(bytes)),
        Place::Turn => written(ChatTurnRequest::read(bytes)),
        _ => written(ChatCompletionRequest::read(bytes)),
    }
}

/// The least body with an object at `place`, and where in it that object stands.
fn least(place: Place) -> (Value, &'static str, &'static str) {
    let message = json!({"role": "user", "content": [{"type": "text", "text": "hi"}]});
    let chat = json!({"messages": [message]});
    let with = |name: &str, inner: Value| {
        let mut body = chat.clone();
        body[name] = inner;
        body
    };
    match place {
        Place::Chat | Place::Other => (chat, "", ""),
        Place::Completion => (json!({"prompt": "hi"}), "", ""),
        Place::Query | Place::QueryStream => (json!({"query": "hi"}), "", ""),
        Place::Turn => (json!({"message": "hi", "user_id": "u"}), "", ""),
        Place::Message => (chat, "/messages/0", "messages[0]."),
        Place::Part => (chat, "/messages/0/content/0", "messages[0].content[0]."),
        Place::StreamOptions => {
            let mut body = with("stream_options", json!({"include_usage": true}));
            body["stream"] = json!(true);
            (body, "/stream_options", "stream_options.")
        }
        // The whole object is named: it has no field that anything acts on.
        Place::ResponseFormat => {
            (with("response_format", json!({})), "/response_format", "response_format")
        }
        Place::Reasoning => (with("reasoning", json!({})), "/reasoning", "reasoning"),
        Place::Thinking => (with("thinking", json!({})), "/thinking", "thinking"),
        Place::UsageOptions => (with("usage", json!({})), "/usage", "usage"),
    }
}

/// The body of `place` with these fields in its object, and the same without.
fn bodies(place: Place, beside: &Map<String, Value>, name: &str, value: &Value) -> (Value, Value) {
    let (mut without, at, _) = least(place);
    let object = without.pointer_mut(at).unwrap().as_object_mut().unwrap();
    object.extend(beside.clone());
    let mut with = without.clone();
    with.pointer_mut(at).unwrap()[name] = value.clone();
    (with, without)
}

#[test]
fn every_neutral_value_changes_nothing_and_every_other_is_refused_by_name() {
    let mut covered = BTreeSet::new();
    for row in rows(ROWS) {
        let name = row["name"].as_str().unwrap();
        let beside = row["beside"].as_object().cloned().unwrap_or_default();
        let mut is_anywhere = false;
        for place in PLACES.into_iter().filter(|place| is_in(&row, *place)) {
            is_anywhere = true;
            covered.insert((name.to_owned(), place.name()));
            let null = Value::Null;
            for value in row["off"].as_array().unwrap().iter().chain([&null]) {
                let (with, without) = bodies(place, &beside, name, value);
                assert_eq!(read(place, &with), read(place, &without), "{with}");
                assert!(read(place, &with).is_ok(), "{with}: {:?}", read(place, &with));
            }
            let (_, _, prefix) = least(place);
            let param = if prefix.is_empty() || prefix.ends_with('.') {
                format!("{prefix}{name}")
            } else {
                prefix.to_owned()
            };
            for value in row["on"].as_array().unwrap() {
                let (with, _) = bodies(place, &beside, name, value);
                let error = read(place, &with).expect_err(&with.to_string());
                assert_eq!(error.param(), Some(&*param), "{with}: {error}");
            }
        }
        assert!(is_anywhere, "{row} stands nowhere");
    }
    for neutral in NEUTRAL {
        for place in neutral.places {
            let place = place.name();
            assert!(
                covered.contains(&(neutral.name.to_owned(), place)),
                "no row for {} in {place}",
                neutral.name
            );
        }
    }
}

/// `in` names places, or `v1`, `assistant`, `all`.
fn is_in(row: &Value, place: Place) -> bool {
    let v1 = matches!(place, Place::Chat | Place::Completion);
    let assistant = matches!(place, Place::Query | Place::QueryStream | Place::Turn);
    row["in"].as_str().unwrap().split(", ").any(|name| match name {
        "v1" => v1,
        "assistant" => assistant,
        "all" => v1 || assistant,
        name => place.name().trim_matches('`') == name,
    })
}

#[test]
fn a_value_that_is_off_elsewhere_is_off_here() {
    for (place, field, value) in [
        (Place::Chat, "top_k", json!(-1)),
        (Place::Completion, "top_k", json!(-1)),
        (Place::Turn, "top_k", json!(-1)),
        (Place::Chat, "seed", json!(-1)),
        (Place::Completion, "seed", json!(-1)),
        (Place::Query, "seed", json!(-1)),
        (Place::Chat, "logit_bias", json!([])),
        (Place::Completion, "logit_bias", json!([])),
        (Place::Completion, "logprobs", json!(false)),
        (Place::Chat, "top_logprobs", json!(0)),
        (Place::Chat, "stream_options", json!({})),
        (
            Place::Chat,
            "stream_options",
            json!({"include_usage": false, "include_obfuscation": false}),
        ),
        (Place::Completion, "stream_options", json!({"include_usage": null})),
    ] {
        let (with, without) = bodies(place, &Map::new(), field, &value);
        assert_eq!(read(place, &with).unwrap(), read(place, &without).unwrap(), "{with}");
    }
    // The largest seed is one of its own.
    let (with, _) = bodies(Place::Chat, &Map::new(), "seed", &json!(u64::MAX));
    assert_eq!(read(Place::Chat, &with).unwrap()["seed"], -1);
    for row in OFF {
        assert!(
            NEUTRAL.iter().all(|it| it.name != row.name || it.places != row.places),
            "{}",
            row.name
        );
    }
}

#[test]
fn bodies_of_other_servers_clients_are_taken_or_refused_for_what_they_ask() {
    let mut num_rows = 0;
    for row in rows(CLIENTS) {
        num_rows += 1;
        let place = match row["endpoint"].as_str().unwrap() {
            "chat" => Place::Chat,
            "completions" => Place::Completion,
            other => panic!("{other} is no endpoint"),
        };
        let got = read(place, &row["body"]);
        let refused = got.as_ref().err().and_then(RequestError::param).map(str::to_owned);
        assert_eq!(refused.as_deref(), row["refused"].as_str(), "{}: {got:?}", row["client"]);
    }
    assert!(num_rows >= 12, "{num_rows} rows");
}

/// The guide's table is the code's.
#[test]
fn the_guide_lists_everything_that_asks_for_nothing() {
    let mut lines = BTreeMap::<_, Vec<_>>::new();
    for row in NEUTRAL {
        let line = format!("| {} | {} | {} |", places(row), row.of, row.accepted());
        lines.entry(row.name).or_default().push(line);
    }
    let mut table = String::from("| field | of | from | accepted |\n| --- | --- | --- | --- |\n");
    for (name, lines) in lines {
        for line in lines {
            table += &format!("| `{name}` {line}\n");
        }
    }
    assert!(GUIDE.contains(&table), "docs/compatibility.md should have:\n{table}");
}

fn places(row: &Neutral) -> String {
    let has = |place: Place| row.places.contains(&place);
    let mut names: Vec<_> = row.places.iter().map(|place| place.name()).collect();
    if has(Place::Chat) && has(Place::Completion) {
        names.drain(..2);
        names.insert(0, if has(Place::Turn) { "all" } else { "`/v1`" });
        names.truncate(if has(Place::Turn) { 1 } else { names.len() });
    } else if has(Place::Query) && has(Place::Turn) {
        names = vec!["`/api`"];
    }
    names.join(", ")
}
