//! Holds templates to what Python prints for them: `tests/data/expressions*.jsonl`.

use super::date::LocalTime;
use super::engine::Engine;
use serde::de::{Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use serde::ser::{Serialize, SerializeMap, Serializer};
use std::fmt;

const GIVEN: &str = include_str!("../../tests/data/expressions.jsonl");
/// Made by `make_expressions.py`.
const MADE: &str = include_str!("../../tests/data/expressions.python.jsonl");

/// JSON that keeps the order of its keys.
enum Json {
    Null,
    Bool(bool),
    Int(i64),
    Float(f64),
    Text(String),
    List(Vec<Json>),
    Map(Vec<(String, Json)>),
}

impl Json {
    fn get(&self, name: &str) -> Option<&Json> {
        let Json::Map(entries) = self else { return None };
        entries.iter().find(|(key, _)| key == name).map(|(_, value)| value)
    }

    fn text(&self, name: &str) -> Option<&str> {
        match self.get(name) {
            Some(Json::Text(text)) => Some(text),
            _ => None,
        }
    }
}

impl<'de> Deserialize<'de> for Json {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Json, D::Error> {
        deserializer.deserialize_any(Reader)
    }
}

struct Reader;

impl<'de> Visitor<'de> for Reader {
    type Value = Json;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_unit<E>(self) -> Result<Json, E> {
        Ok(Json::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Json, E> {
        Ok(Json::Bool(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Json, E> {
        Ok(Json::Int(value))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Json, E> {
        Ok(Json::Int(value as i64))
    }

    fn visit_f64<E>(self, value: f64) -> Result<Json, E> {
        Ok(Json::Float(value))
    }

    fn visit_str<E>(self, value: &str) -> Result<Json, E> {
        Ok(Json::Text(value.to_owned()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut entries: A) -> Result<Json, A::Error> {
        let mut list = Vec::new();
        while let Some(entry) = entries.next_element()? {
            list.push(entry);
        }
        Ok(Json::List(list))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Json, A::Error> {
        let mut map = Vec::new();
        while let Some(entry) = entries.next_entry()? {
            map.push(entry);
        }
        Ok(Json::Map(map))
    }
}

impl Serialize for Json {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Json::Null => serializer.serialize_unit(),
            Json::Bool(value) => serializer.serialize_bool(*value),
            Json::Int(value) => serializer.serialize_i64(*value),
            Json::Float(value) => serializer.serialize_f64(*value),
            Json::Text(value) => serializer.serialize_str(value),
            Json::List(list) => list.serialize(serializer),
            Json::Map(entries) => {
                let mut map = serializer.serialize_map(Some(entries.len()))?;
                for (key, value) in entries {
                    map.serialize_entry(key, value)?;
                }
                map.end()
            }
        }
    }
}

fn rows(source: &str) -> Vec<Json> {
    source.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn differences(rows: &[Json], context: &Json) -> Vec<String> {
    let mut found = Vec::new();
    for row in rows {
        let template = row.text("template").unwrap();
        let got =
            Engine::compile(template).and_then(|engine| engine.render(context, LocalTime::now()));
        match (row.text("expected"), got) {
            (Some(want), Ok(got)) if got == want => {}
            (None, Err(_)) => {}
            (want, got) => {
                let want = want.or_else(|| row.text("python")).unwrap_or_default();
                found.push(format!("{template}\n  want {want:?}\n  got  {got:?}"));
            }
        }
    }
    found
}

#[test]
fn templates_print_what_python_prints() {
    let given = rows(GIVEN);
    let context = given[0].get("context").unwrap();
    let mut found = differences(&given[1..], context);
    found.extend(differences(&rows(MADE), context));
    assert!(found.is_empty(), "{} differ:\n{}", found.len(), found.join("\n"));
}
