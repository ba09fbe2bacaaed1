//! Takes the fields of a JSON object one by one, and knows the name of each when something is wrong.

use std::ops::RangeInclusive;

use serde_json::{Map, Value};

use crate::{
    error::{RequestError, clip},
    json::type_name,
    neutral::{self, Place},
};

/// An object whose fields have not all been taken yet. An absent field and a null are the same.
pub(crate) struct Fields {
    /// Where this object stands, as a prefix of its fields' names: empty, or `messages[2].`.
    prefix: String,
    map: Map<String, Value>,
    place: Place,
}

impl Fields {
    pub(crate) fn of_body(map: Map<String, Value>, place: Place) -> Self {
        Self::new(String::new(), map, place)
    }

    /// The fields of the object found at `param`.
    pub(crate) fn of_value(param: &str, value: Value, place: Place) -> Result<Self, RequestError> {
        match value {
            Value::Object(map) => Ok(Self::new(format!("{param}."), map, place)),
            other => Err(wrong_type(param, "an object", &other)),
        }
    }

    /// What asks for nothing is as good as absent, so it goes before anything is taken.
    fn new(prefix: String, mut map: Map<String, Value>, place: Place) -> Self {
        for name in neutral::asking_for_nothing(&map, place) {
            map.remove(&name);
        }
        Self { prefix, map, place }
    }

    /// The full name of one of these fields.
    pub(crate) fn name_of(&self, name: &str) -> String {
        format!("{}{}", self.prefix, clip(name))
    }

    pub(crate) fn take(&mut self, name: &str) -> Option<Value> {
        self.map.remove(name).filter(|value| !value.is_null())
    }

    pub(crate) fn require(&mut self, name: &str) -> Result<Value, RequestError> {
        self.take(name).ok_or_else(|| RequestError::Missing { param: self.name_of(name) })
    }

    pub(crate) fn bool(&mut self, name: &str) -> Result<Option<bool>, RequestError> {
        match self.take(name) {
            None => Ok(None),
            Some(Value::Bool(value)) => Ok(Some(value)),
            Some(other) => Err(wrong_type(&self.name_of(name), "a boolean", &other)),
        }
    }

    pub(crate) fn string(&mut self, name: &str) -> Result<Option<String>, RequestError> {
        match self.take(name) {
            None => Ok(None),
            Some(Value::String(value)) => Ok(Some(value)),
            Some(other) => Err(wrong_type(&self.name_of(name), "a string", &other)),
        }
    }

    /// A whole number without a fraction part (`1.0` is one with).
    pub(crate) fn integer(
        &mut self,
        name: &str,
        range: RangeInclusive<u64>,
    ) -> Result<Option<u64>, RequestError> {
        let Some(value) = self.take(name) else { return Ok(None) };
        let param = self.name_of(name);
        let Value::Number(number) = &value else {
            return Err(wrong_type(&param, "an integer", &value));
        };
        match number.as_u64() {
            Some(given) if range.contains(&given) => Ok(Some(given)),
            _ if number.is_f64() => Err(wrong_type(&param, "an integer", &value)),
            _ => Err(out_of_range(param, &value, describe(&range))),
        }
    }

    /// A number within `range`; with `above_zero`, zero itself is outside.
    pub(crate) fn number(
        &mut self,
        name: &str,
        range: RangeInclusive<f64>,
        above_zero: bool,
    ) -> Result<Option<f32>, RequestError> {
        let Some(value) = self.take(name) else { return Ok(None) };
        let param = self.name_of(name);
        let Some(given) = value.as_f64() else {
            return Err(wrong_type(&param, "a number", &value));
        };
        if !range.contains(&given) || (above_zero && given == 0.0) {
            let lower =
                if above_zero { "above 0".into() } else { format!("at least {}", range.start()) };
            return Err(out_of_range(
                param,
                &value,
                format!("{lower} and at most {}", range.end()),
            ));
        }
        // Adding zero turns `-0.0` into `0.0`, so equal requests stay equal.
        Ok(Some(given as f32 + 0.0))
    }

    /// Every field must have been taken by now.
    pub(crate) fn finish(self) -> Result<(), RequestError> {
        let Some(name) = self.map.keys().next() else { return Ok(()) };
        let param = self.name_of(name);
        Err(match neutral::find(name, self.place) {
            None => RequestError::Unknown { param },
            Some(neutral) => {
                let reason = format!("only {} is accepted", neutral.accepted());
                RequestError::Unsupported { param, reason }
            }
        })
    }
}

pub(crate) fn wrong_type(param: &str, expected: &'static str, found: &Value) -> RequestError {
    RequestError::WrongType { param: param.to_owned(), expected, found: type_name(found) }
}

pub(crate) fn out_of_range(param: String, value: &Value, expected: String) -> RequestError {
    RequestError::OutOfRange { param, value: clip(&value.to_string()), expected }
}

fn describe(range: &RangeInclusive<u64>) -> String {
    match (*range.start(), *range.end()) {
        (start, u64::MAX) => format!("at least {start}"),
        (start, end) => format!("between {start} and {end}"),
    }
}
