//! A file's keys in their order, and typed access to them.

use std::{borrow::Cow, collections::HashMap};

use super::value::{Array, Value};
use crate::Error;

/// The keys of a file in their order.
///
/// The typed getters give `None` for a key that is absent and an error for one that has another
/// type. Integers of any width serve where an integer is wanted, if the number fits.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Metadata {
    entries: Vec<(String, Value)>,
    index: HashMap<String, usize>,
}

impl Metadata {
    /// Adds a key; `false`, and nothing changes, if it is there already.
    pub(super) fn insert(&mut self, key: &str, value: Value) -> bool {
        if self.index.contains_key(key) {
            return false;
        }
        self.index.insert(key.to_owned(), self.entries.len());
        self.entries.push((key.to_owned(), value));
        true
    }

    /// How many keys there are.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Keys and values in the file's order.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Value)> {
        self.entries.iter().map(|(key, value)| (key.as_str(), value))
    }

    /// The value of `key`.
    pub fn get(&self, key: &str) -> Option<&Value> {
        self.index.get(key).map(|&i| &self.entries[i].1)
    }

    fn typed<'a, T>(
        &'a self,
        key: &str,
        wanted: &'static str,
        read: impl FnOnce(&'a Value) -> Option<T>,
    ) -> Result<Option<T>, Error> {
        let Some(value) = self.get(key) else { return Ok(None) };
        match read(value) {
            Some(read) => Ok(Some(read)),
            None => Err(Error::WrongType { key: key.to_owned(), wanted, found: value.describe() }),
        }
    }

    fn integer<T: TryFrom<i128>>(
        &self,
        key: &str,
        wanted: &'static str,
    ) -> Result<Option<T>, Error> {
        let Some(value) = self.typed(key, wanted, Value::as_integer)? else { return Ok(None) };
        fit(key, value, wanted).map(Some)
    }

    fn integers<T: TryFrom<i128>>(
        &self,
        key: &str,
        wanted: &'static str,
        wanted_element: &'static str,
    ) -> Result<Option<Vec<T>>, Error> {
        let values = self.typed(key, wanted, |it| match it {
            Value::Array(array) => array.integers(),
            _ => None,
        })?;
        let Some(values) = values else { return Ok(None) };
        values
            .into_iter()
            .map(|it| fit(key, it, wanted_element))
            .collect::<Result<_, _>>()
            .map(Some)
    }

    /// A text.
    pub fn str(&self, key: &str) -> Result<Option<&str>, Error> {
        self.typed(key, "a string", |it| match it {
            Value::String(text) => Some(text.as_str()),
            _ => None,
        })
    }

    /// A truth value.
    pub fn bool(&self, key: &str) -> Result<Option<bool>, Error> {
        self.typed(key, "a bool", |it| match it {
            Value::Bool(value) => Some(*value),
            _ => None,
        })
    }

    /// A whole number from 0 to 2^32 - 1.
    pub fn u32(&self, key: &str) -> Result<Option<u32>, Error> {
        self.integer(key, "a whole number from 0 to 4294967295")
    }

    /// A whole number from 0 to 2^64 - 1.
    pub fn u64(&self, key: &str) -> Result<Option<u64>, Error> {
        self.integer(key, "a whole number from 0 to 18446744073709551615")
    }

    /// A whole number that is not negative and fits this machine's memory.
    pub fn usize(&self, key: &str) -> Result<Option<usize>, Error> {
        self.integer(key, "a whole number, not negative")
    }

    /// A number with a fraction, of 32 or 64 bits.
    pub fn f32(&self, key: &str) -> Result<Option<f32>, Error> {
        self.typed(key, "an f32", |it| match it {
            Value::F32(value) => Some(*value),
            Value::F64(value) => Some(*value as f32),
            _ => None,
        })
    }

    /// An array of texts.
    pub fn strings(&self, key: &str) -> Result<Option<&[String]>, Error> {
        self.typed(key, "an array of strings", |it| match it {
            Value::Array(Array::String(strings)) => Some(strings.as_slice()),
            _ => None,
        })
    }

    /// An array of 32-bit numbers with fractions.
    pub fn f32s(&self, key: &str) -> Result<Option<Cow<'_, [f32]>>, Error> {
        self.typed(key, "an array of f32", |it| match it {
            Value::Array(Array::F32(values)) => Some(Cow::Borrowed(values.as_slice())),
            Value::Array(Array::F64(values)) => {
                Some(values.iter().map(|&it| it as f32).collect::<Vec<_>>().into())
            }
            _ => None,
        })
    }

    /// An array of whole numbers from -2^31 to 2^31 - 1.
    pub fn i32s(&self, key: &str) -> Result<Option<Cow<'_, [i32]>>, Error> {
        if let Some(Value::Array(Array::I32(values))) = self.get(key) {
            return Ok(Some(Cow::Borrowed(values)));
        }
        let values =
            self.integers(key, "an array of integers", "from -2147483648 to 2147483647")?;
        Ok(values.map(Cow::Owned))
    }

    /// An array of whole numbers that are not negative and fit this machine's memory.
    pub fn usizes(&self, key: &str) -> Result<Option<Vec<usize>>, Error> {
        self.integers(key, "an array of integers", "a whole number, not negative")
    }

    /// An array of truth values.
    pub fn bools(&self, key: &str) -> Result<Option<&[bool]>, Error> {
        self.typed(key, "an array of bool", |it| match it {
            Value::Array(Array::Bool(values)) => Some(values.as_slice()),
            _ => None,
        })
    }

    /// [`Self::str`] of a key that must be there.
    pub fn require_str(&self, key: &str) -> Result<&str, Error> {
        require(key, self.str(key)?)
    }

    /// [`Self::u32`] of a key that must be there.
    pub fn require_u32(&self, key: &str) -> Result<u32, Error> {
        require(key, self.u32(key)?)
    }

    /// [`Self::u64`] of a key that must be there.
    pub fn require_u64(&self, key: &str) -> Result<u64, Error> {
        require(key, self.u64(key)?)
    }

    /// [`Self::usize`] of a key that must be there.
    pub fn require_usize(&self, key: &str) -> Result<usize, Error> {
        require(key, self.usize(key)?)
    }

    /// [`Self::f32`] of a key that must be there.
    pub fn require_f32(&self, key: &str) -> Result<f32, Error> {
        require(key, self.f32(key)?)
    }

    /// [`Self::strings`] of a key that must be there.
    pub fn require_strings(&self, key: &str) -> Result<&[String], Error> {
        require(key, self.strings(key)?)
    }
}

fn require<T>(key: &str, value: Option<T>) -> Result<T, Error> {
    value.ok_or_else(|| Error::MissingKey { key: key.to_owned() })
}

fn fit<T: TryFrom<i128>>(key: &str, value: i128, wanted: &'static str) -> Result<T, Error> {
    T::try_from(value).map_err(|_| Error::OutOfRange {
        key: key.to_owned(),
        value: value.to_string(),
        wanted,
    })
}
