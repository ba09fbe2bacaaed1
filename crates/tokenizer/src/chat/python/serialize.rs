//! Turns what a caller passes to a template into values, keys in the order they come.

use super::containers::{Dict, Key, Sequence};
use super::value::Value;
use crate::chat::fault::Fault;
use indexmap::IndexMap;
use serde::ser::{self, Impossible, Serialize};
use std::fmt;

/// `what` as a value.
pub(crate) fn to_value(what: &(impl Serialize + ?Sized)) -> Result<Value, Unusable> {
    what.serialize(Serializer)
}

/// What no template can be given.
#[derive(Debug)]
pub(crate) struct Unusable(pub(crate) String);

impl fmt::Display for Unusable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Unusable {}

impl ser::Error for Unusable {
    fn custom<T: fmt::Display>(message: T) -> Unusable {
        Unusable(message.to_string())
    }
}

impl From<Box<Fault>> for Unusable {
    fn from(_: Box<Fault>) -> Unusable {
        Unusable("a value nests too deep for a template".to_owned())
    }
}

struct Serializer;

type Made = Result<Value, Unusable>;

fn no<T>(what: &str) -> Result<T, Unusable> {
    Err(Unusable(format!("{what} is no value of a template")))
}

macro_rules! whole {
    ($($name:ident: $type:ty),*) => {
        $(fn $name(self, value: $type) -> Made { Ok(Value::Int(i128::from(value))) })*
    };
}

impl ser::Serializer for Serializer {
    type Ok = Value;
    type Error = Unusable;
    type SerializeSeq = Entries;
    type SerializeTuple = Entries;
    type SerializeTupleStruct = Entries;
    type SerializeTupleVariant = Impossible<Value, Unusable>;
    type SerializeMap = Pairs;
    type SerializeStruct = Pairs;
    type SerializeStructVariant = Impossible<Value, Unusable>;

    whole!(
        serialize_i8: i8, serialize_i16: i16, serialize_i32: i32, serialize_i64: i64,
        serialize_u8: u8, serialize_u16: u16, serialize_u32: u32, serialize_u64: u64
    );

    fn serialize_bool(self, value: bool) -> Made {
        Ok(Value::Bool(value))
    }

    fn serialize_f32(self, value: f32) -> Made {
        Ok(Value::Float(f64::from(value)))
    }

    fn serialize_f64(self, value: f64) -> Made {
        Ok(Value::Float(value))
    }

    fn serialize_char(self, value: char) -> Made {
        Ok(Value::text(value.to_string()))
    }

    fn serialize_str(self, value: &str) -> Made {
        Ok(Value::text(value))
    }

    fn serialize_bytes(self, _: &[u8]) -> Made {
        no("a list of bytes")
    }

    fn serialize_none(self) -> Made {
        Ok(Value::None)
    }

    fn serialize_some<T: Serialize + ?Sized>(self, value: &T) -> Made {
        value.serialize(self)
    }

    fn serialize_unit(self) -> Made {
        Ok(Value::None)
    }

    fn serialize_unit_struct(self, _: &'static str) -> Made {
        Ok(Value::None)
    }

    fn serialize_unit_variant(self, _: &'static str, _: u32, variant: &'static str) -> Made {
        Ok(Value::text(variant))
    }

    fn serialize_newtype_struct<T: Serialize + ?Sized>(self, _: &'static str, value: &T) -> Made {
        value.serialize(self)
    }

    fn serialize_newtype_variant<T: Serialize + ?Sized>(
        self,
        _: &'static str,
        _: u32,
        _: &'static str,
        _: &T,
    ) -> Made {
        no("a variant")
    }

    fn serialize_seq(self, length: Option<usize>) -> Result<Entries, Unusable> {
        Ok(Entries(Vec::with_capacity(length.unwrap_or(0).min(1024))))
    }

    fn serialize_tuple(self, length: usize) -> Result<Entries, Unusable> {
        self.serialize_seq(Some(length))
    }

    fn serialize_tuple_struct(self, _: &'static str, length: usize) -> Result<Entries, Unusable> {
        self.serialize_seq(Some(length))
    }

    fn serialize_tuple_variant(
        self,
        _: &'static str,
        _: u32,
        _: &'static str,
        _: usize,
    ) -> Result<Impossible<Value, Unusable>, Unusable> {
        no("a variant")
    }

    fn serialize_map(self, _: Option<usize>) -> Result<Pairs, Unusable> {
        Ok(Pairs { entries: IndexMap::new(), key: Value::None })
    }

    fn serialize_struct(self, _: &'static str, _: usize) -> Result<Pairs, Unusable> {
        self.serialize_map(None)
    }

    fn serialize_struct_variant(
        self,
        _: &'static str,
        _: u32,
        _: &'static str,
        _: usize,
    ) -> Result<Impossible<Value, Unusable>, Unusable> {
        no("a variant")
    }
}

#[derive(Debug)]
struct Entries(Vec<Value>);

macro_rules! entries {
    ($($trait:ident: $push:ident),*) => {
        $(impl ser::$trait for Entries {
            type Ok = Value;
            type Error = Unusable;

            fn $push<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), Unusable> {
                self.0.push(to_value(value)?);
                Ok(())
            }

            fn end(self) -> Made {
                Ok(Value::List(Sequence::new(self.0)?))
            }
        })*
    };
}

entries!(
    SerializeSeq: serialize_element,
    SerializeTuple: serialize_element,
    SerializeTupleStruct: serialize_field
);

#[derive(Debug)]
struct Pairs {
    entries: IndexMap<Key, Value>,
    key: Value,
}

impl ser::SerializeMap for Pairs {
    type Ok = Value;
    type Error = Unusable;

    fn serialize_key<T: Serialize + ?Sized>(&mut self, key: &T) -> Result<(), Unusable> {
        self.key = to_value(key)?;
        self.key.hashable()?;
        Ok(())
    }

    fn serialize_value<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), Unusable> {
        let key = std::mem::replace(&mut self.key, Value::None);
        self.entries.insert(Key(key), to_value(value)?);
        Ok(())
    }

    fn end(self) -> Made {
        Ok(Value::Dict(Dict::new(self.entries)?))
    }
}

impl ser::SerializeStruct for Pairs {
    type Ok = Value;
    type Error = Unusable;

    fn serialize_field<T: Serialize + ?Sized>(
        &mut self,
        key: &'static str,
        value: &T,
    ) -> Result<(), Unusable> {
        self.entries.insert(Key(Value::text(key)), to_value(value)?);
        Ok(())
    }

    fn end(self) -> Made {
        Ok(Value::Dict(Dict::new(self.entries)?))
    }
}
