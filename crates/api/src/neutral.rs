//! What asks for nothing: parameters that nothing here acts on, with the values that change nothing.
//!
//! Clients send what other servers know, with the value that turns it off there, and send messages
//! back with the empty fields that they came with. Refusing that would help nobody: the sender gets
//! exactly what it asks for. The same field with any other value is refused by name. One table holds
//! for every object of a request, from the body down to a part of a message, and yields the guide's.

mod table;

use std::fmt;

use serde_json::{Map, Value};

pub use table::{NEUTRAL, OFF};

/// Bytes of a label (`user`, `safety_identifier`, a message's `name`, a value of `metadata`) at most.
const MAX_LABEL_BYTES: usize = 512;
/// Entries of `metadata` at most, as with OpenAI.
const MAX_METADATA: usize = 16;
/// The order in which filters apply here, by llama.cpp's names.
const OUR_ORDER: [&str; 6] = ["penalties", "temperature", "top_k", "typ_p", "top_p", "min_p"];
/// Filters of llama.cpp that Brisk does not have; the fields that turn them on are refused.
const NOT_OURS: [&str; 4] = ["dry", "top_n_sigma", "xtc", "adaptive_p"];

/// A field of one kind of object, with the values that ask for nothing. Null always does.
#[derive(Clone, Copy, Debug)]
pub struct Neutral {
    /// The field.
    pub name: &'static str,
    /// Who documents it, and these values as its neutral ones.
    pub of: &'static str,
    /// The objects that may have it.
    pub places: &'static [Place],
    /// The values.
    pub off: &'static [Off],
}

/// A kind of object in a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// The body of `/v1/chat/completions`.
    Chat,
    /// The body of `/v1/completions`.
    Completion,
    /// The body of `/api/query`.
    Query,
    /// The body of `/api/query/stream`.
    QueryStream,
    /// The body of `/api/chat`.
    Turn,
    /// A message.
    Message,
    /// A part of a message's content.
    Part,
    /// `stream_options`.
    StreamOptions,
    /// `response_format`.
    ResponseFormat,
    /// `reasoning`.
    Reasoning,
    /// `thinking`.
    Thinking,
    /// `usage`.
    UsageOptions,
    /// Any other; it has no such fields.
    Other,
}

/// A value, or a kind of value, that asks for nothing.
#[derive(Clone, Copy, Debug)]
pub enum Off {
    /// This number, as an integer or a fraction.
    Number(f64),
    /// This boolean.
    Bool(bool),
    /// This boolean; the text says where the other one is at home.
    BoolHere(bool, &'static str),
    /// True or false.
    EitherBool,
    /// This text.
    Text(&'static str),
    /// The empty text.
    NoText,
    /// The empty array.
    NoItems,
    /// The empty object.
    NoFields,
    /// An array of these texts.
    Texts(&'static [&'static str]),
    /// An object whose fields all ask for nothing.
    Object(Place),
    /// A text that labels a request and changes no reply.
    Label,
    /// An object of such texts.
    Labels,
    /// A number that means nothing unless another field, which is refused, turns it on.
    Free {
        /// The least number that means anything.
        from: f64,
        /// The other field.
        without: &'static str,
    },
    /// Texts that mean nothing unless another field, which is refused, turns them on.
    FreeTexts {
        /// The other field.
        without: &'static str,
    },
    /// The value that another field of the same object has.
    SameAs(&'static str),
    /// Anything plain while the request has no penalty to which it could apply.
    WithoutPenalties,
    /// An order of filters that gives what the server's own order gives.
    Order,
}

impl Place {
    /// How the guide calls it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Chat => "chat",
            Self::Completion => "completions",
            Self::Query => "`/api/query`",
            Self::QueryStream => "`/api/query/stream`",
            Self::Turn => "`/api/chat`",
            Self::Message => "a message",
            Self::Part => "a part of a message",
            Self::StreamOptions => "`stream_options`",
            Self::ResponseFormat => "`response_format`",
            Self::Reasoning => "`reasoning`",
            Self::Thinking => "`thinking`",
            Self::UsageOptions => "`usage`",
            Self::Other => "nowhere",
        }
    }
}

impl Neutral {
    /// The accepted values, in words.
    pub fn accepted(&self) -> String {
        let words: Vec<_> = self.off.iter().map(Off::to_string).collect();
        if words.is_empty() { "null".into() } else { words.join(" or ") }
    }

    /// Whether `value` asks for nothing; the other fields stand in `object`.
    fn is_off(&self, value: &Value, object: &Map<String, Value>) -> bool {
        value.is_null() || self.off.iter().any(|off| off.is_met(value, object))
    }
}

/// The fields of `object` that ask for nothing.
pub(crate) fn asking_for_nothing(object: &Map<String, Value>, place: Place) -> Vec<String> {
    let all = object.iter().filter(|(name, value)| asks_for_nothing(name, value, object, place));
    all.map(|(name, _)| name.clone()).collect()
}

fn asks_for_nothing(name: &str, value: &Value, object: &Map<String, Value>, place: Place) -> bool {
    let off = OFF.iter().find(|row| row.name == name && row.places.contains(&place));
    off.into_iter().chain(find(name, place)).any(|row| row.is_off(value, object))
}

/// The row of a field that nothing acts on.
pub(crate) fn find(name: &str, place: Place) -> Option<&'static Neutral> {
    let first = NEUTRAL.partition_point(|row| row.name < name);
    let named = NEUTRAL[first..].iter().take_while(|row| row.name == name);
    named.into_iter().find(|row| row.places.contains(&place))
}

impl Off {
    fn is_met(&self, value: &Value, object: &Map<String, Value>) -> bool {
        match *self {
            Self::Number(number) => value.as_f64() == Some(number),
            Self::Bool(expected) | Self::BoolHere(expected, _) => *value == expected,
            Self::EitherBool => value.is_boolean(),
            Self::Text(text) => *value == text,
            Self::NoText => *value == "",
            Self::NoItems => value.as_array().is_some_and(Vec::is_empty),
            Self::NoFields => value.as_object().is_some_and(Map::is_empty),
            Self::Texts(texts) => value.as_array().is_some_and(|items| items == texts),
            Self::Object(place) => value.as_object().is_some_and(|inner| {
                inner.iter().all(|(name, value)| asks_for_nothing(name, value, inner, place))
            }),
            Self::Label => is_label(value),
            Self::Labels => value.as_object().is_some_and(|map| {
                map.len() <= MAX_METADATA
                    && map.iter().all(|(key, it)| key.len() <= MAX_LABEL_BYTES && is_label(it))
            }),
            Self::Free { from, .. } => value.as_f64().is_some_and(|number| number >= from),
            Self::FreeTexts { .. } => {
                value.as_array().is_some_and(|items| items.iter().all(Value::is_string))
            }
            Self::SameAs(other) => object.get(other).is_some_and(|other| {
                value == other || (value.is_number() && value.as_f64() == other.as_f64())
            }),
            Self::WithoutPenalties => {
                (value.is_number() || value.is_boolean()) && !has_penalties(object)
            }
            Self::Order => is_our_order(value, object),
        }
    }
}

impl fmt::Display for Off {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::Number(number) => write!(f, "{number}"),
            Self::Bool(value) => write!(f, "{value}"),
            Self::BoolHere(value, elsewhere) => write!(f, "{value} ({elsewhere})"),
            Self::EitherBool => f.write_str("true or false"),
            Self::Text(text) => write!(f, "\"{text}\""),
            Self::NoText => f.write_str("\"\""),
            Self::NoItems => f.write_str("[]"),
            Self::NoFields => f.write_str("{}"),
            Self::Texts(texts) => write!(f, "{texts:?}"),
            Self::Object(_) => f.write_str("an object whose fields ask for nothing"),
            Self::Label => write!(f, "a string of at most {MAX_LABEL_BYTES} bytes"),
            Self::Labels => write!(
                f,
                "an object of at most {MAX_METADATA} strings of at most {MAX_LABEL_BYTES} bytes"
            ),
            Self::Free { from, without } => {
                write!(f, "a number from {from} on, which means nothing without `{without}`")
            }
            Self::FreeTexts { without } => {
                write!(f, "an array of strings, which means nothing without `{without}`")
            }
            Self::SameAs(other) => write!(f, "the same as `{other}`"),
            Self::WithoutPenalties => f.write_str("any while the request has no penalty"),
            Self::Order => f.write_str("an order that gives what the server's gives"),
        }
    }
}

fn is_label(value: &Value) -> bool {
    value.as_str().is_some_and(|text| text.len() <= MAX_LABEL_BYTES)
}

/// Whether a field is there and has another value than `off`.
fn is_on(object: &Map<String, Value>, name: &str, off: f64) -> bool {
    object.get(name).is_some_and(|value| !value.is_null() && value.as_f64() != Some(off))
}

fn has_penalties(object: &Map<String, Value>) -> bool {
    ["repetition_penalty", "repeat_penalty"].iter().any(|name| is_on(object, name, 1.0))
        || ["presence_penalty", "frequency_penalty"].iter().any(|name| is_on(object, name, 0.0))
}

/// Whether the filters that this request turns on stand in our order, each once. Where the likeliest
/// token is taken, only the penalties have to be among them.
fn is_our_order(value: &Value, object: &Map<String, Value>) -> bool {
    let Some(items) = value.as_array() else { return false };
    let Some(names) = items.iter().map(Value::as_str).collect::<Option<Vec<_>>>() else {
        return false;
    };
    let names = names.into_iter().map(|name| if name == "typical_p" { "typ_p" } else { name });
    let names: Vec<_> = names.filter(|name| !NOT_OURS.contains(name)).collect();
    let is_greedy = object.get("temperature").and_then(Value::as_f64) == Some(0.0);
    let matters = |name: &&str| match *name {
        unknown if !OUR_ORDER.contains(&unknown) => true,
        "penalties" => has_penalties(object),
        _ if is_greedy => false,
        "temperature" => is_on(object, "temperature", 1.0),
        "top_k" => is_on(object, "top_k", 0.0) && is_on(object, "top_k", -1.0),
        "typ_p" => is_on(object, "typical_p", 1.0),
        "top_p" => is_on(object, "top_p", 1.0),
        _ => is_on(object, "min_p", 0.0),
    };
    names.into_iter().filter(matters).eq(OUR_ORDER.into_iter().filter(matters))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_is_in_order_and_names_a_field_once_for_each_object() {
        for pair in NEUTRAL.windows(2) {
            assert!(pair[0].name <= pair[1].name, "{} before {}", pair[0].name, pair[1].name);
        }
        for (i, row) in NEUTRAL.iter().enumerate() {
            let same = NEUTRAL[i + 1..].iter().take_while(|other| other.name == row.name);
            for other in same {
                assert!(row.places.iter().all(|it| !other.places.contains(it)), "{}", row.name);
            }
        }
    }

    /// An order of filters in a request with these fields.
    fn check(order: &str, fields: &str, expected: bool) {
        let object: Map<String, Value> = serde_json::from_str(&format!("{{{fields}}}")).unwrap();
        let names: Vec<_> = order.split_whitespace().collect();
        let value = serde_json::json!(names);
        assert_eq!(Off::Order.is_met(&value, &object), expected, "{order} with {fields}");
    }

    #[test]
    fn an_order_of_filters_is_taken_where_it_makes_no_difference() {
        let llama = "penalties dry top_n_sigma top_k typ_p top_p min_p xtc temperature";
        let ours = "penalties temperature top_k typ_p top_p min_p";
        let all = r#""repeat_penalty": 1.1, "temperature": 0.7, "top_k": 40, "typical_p": 0.9, "top_p": 0.9, "min_p": 0.1"#;
        for (order, fields, expected) in [
            (ours, all, true),
            (llama, all, false),
            (llama, "", true),
            (llama, r#""temperature": 0.7"#, true),
            (llama, r#""temperature": 1, "top_p": 0.9, "top_k": 40"#, true),
            (llama, r#""temperature": 0, "top_p": 0.9"#, true),
            (llama, r#""temperature": 0.7, "top_p": 0.9"#, false),
            ("temperature", r#""temperature": 0.7"#, true),
            ("temperature", r#""temperature": 0.7, "top_k": 5"#, false),
            ("top_k", r#""temperature": 0, "top_k": 5"#, true),
            ("top_k", r#""temperature": 0, "frequency_penalty": 1"#, false),
            ("temperature top_p temperature", r#""temperature": 0.7, "top_p": 0.9"#, false),
            ("temperature typical_p", r#""temperature": 0.7, "typical_p": 0.9"#, true),
            ("temperature", r#""temperature": 0.7, "typical_p": 0.9"#, false),
            ("temperature", r#""temperature": 0.7, "top_k": 0"#, true),
            ("temperature", r#""temperature": 0.7, "top_k": -1"#, true),
            ("mirostat", "", false),
            ("mirostat", r#""temperature": 0"#, false),
        ] {
            check(order, fields, expected);
        }
    }
}
