//! Reads bytes as one JSON value, refusing everything that two readers could understand differently.

use std::{cell::Cell, fmt};

use serde::de::{DeserializeSeed, Deserializer, Error as _, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Number, Value};

use crate::error::{RequestError, clip};

/// Arrays and objects inside each other at most.
pub const MAX_DEPTH: usize = 64;
/// Values of one document at most: a `Value` takes 32 bytes, so 8 MiB of `[0,0,…` would otherwise take 128 MiB.
pub const MAX_VALUES: usize = 1_000_000;

/// Reads one document. Refused: syntax errors, text after the document, a byte order mark, invalid
/// UTF-8, lone surrogates, `NaN` and `Infinity`, numbers beyond a double, a key twice in one object,
/// more than [`MAX_DEPTH`] levels, more than [`MAX_VALUES`] values.
pub fn parse(bytes: &[u8]) -> Result<Value, RequestError> {
    let num_values = Cell::new(0);
    let mut reader = serde_json::Deserializer::from_slice(bytes);
    let seed = Strict { depth: 0, num_values: &num_values };
    let invalid =
        |error: serde_json::Error| RequestError::InvalidJson { reason: clip(&error.to_string()) };
    let value = seed.deserialize(&mut reader).map_err(invalid)?;
    reader.end().map_err(invalid)?;
    Ok(value)
}

/// Reads one document that must be an object.
pub fn parse_object(bytes: &[u8]) -> Result<Map<String, Value>, RequestError> {
    match parse(bytes)? {
        Value::Object(map) => Ok(map),
        other => Err(RequestError::NotAnObject { found: type_name(&other) }),
    }
}

/// The JSON type of a value, for error texts.
pub fn type_name(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "a boolean",
        Value::Number(number) if number.is_f64() => "a fraction",
        Value::Number(_) => "an integer",
        Value::String(_) => "a string",
        Value::Array(_) => "an array",
        Value::Object(_) => "an object",
    }
}

/// Builds a `Value` while counting levels and values and watching for repeated keys.
#[derive(Clone, Copy)]
struct Strict<'a> {
    depth: usize,
    num_values: &'a Cell<usize>,
}

impl Strict<'_> {
    fn deeper<E: serde::de::Error>(self) -> Result<Self, E> {
        if self.depth >= MAX_DEPTH {
            return Err(E::custom(format_args!("nested deeper than {MAX_DEPTH} levels")));
        }
        Ok(Self { depth: self.depth + 1, ..self })
    }
}

impl<'de> DeserializeSeed<'de> for Strict<'_> {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        let num_values = self.num_values.get() + 1;
        if num_values > MAX_VALUES {
            return Err(D::Error::custom(format_args!("more than {MAX_VALUES} values")));
        }
        self.num_values.set(num_values);
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Strict<'_> {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Bool(value))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(Value::Number(value.into()))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(Value::Number(value.into()))
    }

    fn visit_f64<E: serde::de::Error>(self, value: f64) -> Result<Value, E> {
        let number = Number::from_f64(value).ok_or_else(|| E::custom("number out of range"))?;
        Ok(Value::Number(number))
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(Value::String(value.to_owned()))
    }

    fn visit_string<E>(self, value: String) -> Result<Value, E> {
        Ok(Value::String(value))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Value, A::Error> {
        let inner = self.deeper()?;
        let mut values = Vec::new();
        while let Some(value) = seq.next_element_seed(inner)? {
            values.push(value);
        }
        Ok(Value::Array(values))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Value, A::Error> {
        let inner = self.deeper()?;
        let mut map = Map::new();
        while let Some(key) = entries.next_key::<String>()? {
            if map.contains_key(&key) {
                return Err(A::Error::custom(format_args!("duplicate key `{}`", shorten(&key))));
            }
            let value = entries.next_value_seed(inner)?;
            map.insert(key, value);
        }
        Ok(Value::Object(map))
    }
}

/// Keeps the position, which follows the key in the error text, inside the clipped length.
fn shorten(key: &str) -> String {
    key.chars().take(40).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(body: &[u8], expected: &str) {
        let got = match parse(body) {
            Ok(value) => value.to_string(),
            Err(error) => format!("error: {error}"),
        };
        assert!(
            got.starts_with(expected) && got.len() < 400,
            "{:?} gave {got}",
            String::from_utf8_lossy(&body[..body.len().min(80)])
        );
    }

    #[test]
    fn one_document_is_read_as_it_stands() {
        check(
            br#"{"a": [1, -2, 0.5, true, null, "x\u0000\u001b\ud83d\ude00"]}"#,
            r#"{"a":[1,-2,0.5,true,null,"x\u0000\u001b😀"]}"#,
        );
        check(b" \n0 ", "0");
        check(b"18446744073709551615", "18446744073709551615");
        check(b"-9223372036854775808", "-9223372036854775808");
        check(b"1e20", "1e+20");
    }

    #[test]
    fn what_readers_disagree_about_is_refused() {
        let bad = "error: the body is not valid JSON: ";
        for body in [
            &b""[..],
            b"  ",
            b"{",
            b"[1",
            b"\"x",
            b"{} {}",
            b"{}x",
            b"// no\n{}",
            b"[1,]",
            b"{\"a\":1,}",
            b"{'a':1}",
            b"NaN",
            b"Infinity",
            b"-Infinity",
            b"1e999",
            b"-1e999",
            b"01",
            b"+1",
            b".5",
            b"1.",
            b"\xef\xbb\xbf{}",
            b"\"\xff\"",
            b"\"\xc0\xaf\"",
            b"\"\xed\xa0\x80\"",
            b"\"\\ud800\"",
            b"\"\\udc00\"",
            b"\"\\ud800\\u0041\"",
            b"\"a\nb\"",
            b"tru",
            b"{\"a\":1,\"a\":1}",
            b"{\"x\":{\"a\":1,\"b\":2,\"\\u0061\":3}}",
        ] {
            check(body, bad);
        }
        check(
            br#"{"model":1,"model":2}"#,
            "error: the body is not valid JSON: duplicate key `model`",
        );
    }

    #[test]
    fn nesting_and_size_are_bounded() {
        let nested = |open: &str, close: &str, depth: usize| {
            format!("{}0{}", open.repeat(depth), close.repeat(depth))
        };
        check(nested("[", "]", MAX_DEPTH).as_bytes(), "[[[[");
        let too_deep = "error: the body is not valid JSON: nested deeper than 64 levels";
        check(nested("[", "]", MAX_DEPTH + 1).as_bytes(), too_deep);
        check(nested("{\"a\":", "}", MAX_DEPTH + 1).as_bytes(), too_deep);
        check("[".repeat(1_000_000).as_bytes(), too_deep);
        check(
            format!("[{}0]", "0,".repeat(MAX_VALUES)).as_bytes(),
            "error: the body is not valid JSON: more than 1000000 values",
        );
        let long_key = "k".repeat(1 << 20);
        check(
            format!("{{\"{long_key}\":1,\"{long_key}\":1}}").as_bytes(),
            "error: the body is not valid JSON: duplicate key `kkk",
        );
    }
}
