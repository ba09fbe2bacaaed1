//! The values that a metadata key may have, and how they are read.

use std::fmt;

use super::cursor::Cursor;
use crate::Error;

/// The value of a metadata key.
#[derive(Clone, Debug, PartialEq)]
#[expect(missing_docs, reason = "the variants are named after Rust's own types")]
pub enum Value {
    U8(u8),
    I8(i8),
    U16(u16),
    I16(i16),
    U32(u32),
    I32(i32),
    F32(f32),
    Bool(bool),
    String(String),
    Array(Array),
    U64(u64),
    I64(i64),
    F64(f64),
}

/// An array, all of whose elements have one type. Arrays of arrays are refused.
#[derive(Clone, Debug, PartialEq)]
#[expect(missing_docs, reason = "the variants are named after Rust's own types")]
pub enum Array {
    U8(Vec<u8>),
    I8(Vec<i8>),
    U16(Vec<u16>),
    I16(Vec<i16>),
    U32(Vec<u32>),
    I32(Vec<i32>),
    F32(Vec<f32>),
    Bool(Vec<bool>),
    String(Vec<String>),
    U64(Vec<u64>),
    I64(Vec<i64>),
    F64(Vec<f64>),
}

/// The type of a [`Value`]; the number is its id in the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "the variants are named after Rust's own types")]
#[repr(u32)]
pub enum ValueType {
    U8 = 0,
    I8 = 1,
    U16 = 2,
    I16 = 3,
    U32 = 4,
    I32 = 5,
    F32 = 6,
    Bool = 7,
    String = 8,
    Array = 9,
    U64 = 10,
    I64 = 11,
    F64 = 12,
}

impl ValueType {
    const ALL: [Self; 13] = [
        Self::U8,
        Self::I8,
        Self::U16,
        Self::I16,
        Self::U32,
        Self::I32,
        Self::F32,
        Self::Bool,
        Self::String,
        Self::Array,
        Self::U64,
        Self::I64,
        Self::F64,
    ];

    fn read(cursor: &mut Cursor<'_>, key: &str) -> Result<Self, Error> {
        let offset = cursor.offset();
        let id = cursor.u32(&format_args!("value type of {key:?}"))?;
        let found = Self::ALL.into_iter().find(|it| *it as u32 == id);
        found.ok_or_else(|| Error::ValueType { key: key.to_owned(), offset, id })
    }

    /// The name used in messages, such as `u32` or `string`.
    pub fn name(self) -> &'static str {
        match self {
            Self::U8 => "u8",
            Self::I8 => "i8",
            Self::U16 => "u16",
            Self::I16 => "i16",
            Self::U32 => "u32",
            Self::I32 => "i32",
            Self::F32 => "f32",
            Self::Bool => "bool",
            Self::String => "string",
            Self::Array => "array",
            Self::U64 => "u64",
            Self::I64 => "i64",
            Self::F64 => "f64",
        }
    }
}

impl Value {
    /// The value's type.
    pub fn value_type(&self) -> ValueType {
        match self {
            Self::U8(_) => ValueType::U8,
            Self::I8(_) => ValueType::I8,
            Self::U16(_) => ValueType::U16,
            Self::I16(_) => ValueType::I16,
            Self::U32(_) => ValueType::U32,
            Self::I32(_) => ValueType::I32,
            Self::F32(_) => ValueType::F32,
            Self::Bool(_) => ValueType::Bool,
            Self::String(_) => ValueType::String,
            Self::Array(_) => ValueType::Array,
            Self::U64(_) => ValueType::U64,
            Self::I64(_) => ValueType::I64,
            Self::F64(_) => ValueType::F64,
        }
    }

    /// The type in words, such as `a string` or `an array of 3 f32`.
    pub(super) fn describe(&self) -> String {
        match self {
            Self::Array(array) => {
                format!("an array of {} {}", array.len(), array.element_type().name())
            }
            other => format!("of type {}", other.value_type().name()),
        }
    }

    /// The number, if this is an integer of any width.
    pub fn as_integer(&self) -> Option<i128> {
        match *self {
            Self::U8(it) => Some(it.into()),
            Self::I8(it) => Some(it.into()),
            Self::U16(it) => Some(it.into()),
            Self::I16(it) => Some(it.into()),
            Self::U32(it) => Some(it.into()),
            Self::I32(it) => Some(it.into()),
            Self::U64(it) => Some(it.into()),
            Self::I64(it) => Some(it.into()),
            Self::F32(_) | Self::F64(_) | Self::Bool(_) | Self::String(_) | Self::Array(_) => None,
        }
    }
}

/// As a person would write it; long texts and arrays are cut.
impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::String(text) => {
                let shown: String = text.chars().take(60).collect();
                let dots = if shown.len() < text.len() { "..." } else { "" };
                write!(f, "{shown:?}{dots}")
            }
            Self::Array(array) => write!(f, "[{} {}]", array.len(), array.element_type().name()),
            Self::F32(it) => write!(f, "{it}"),
            Self::F64(it) => write!(f, "{it}"),
            Self::Bool(it) => write!(f, "{it}"),
            Self::U8(_)
            | Self::I8(_)
            | Self::U16(_)
            | Self::I16(_)
            | Self::U32(_)
            | Self::I32(_)
            | Self::U64(_)
            | Self::I64(_) => match self.as_integer() {
                Some(it) => write!(f, "{it}"),
                None => Ok(()),
            },
        }
    }
}

impl Array {
    /// How many elements there are.
    pub fn len(&self) -> usize {
        match self {
            Self::U8(it) => it.len(),
            Self::I8(it) => it.len(),
            Self::U16(it) => it.len(),
            Self::I16(it) => it.len(),
            Self::U32(it) => it.len(),
            Self::I32(it) => it.len(),
            Self::F32(it) => it.len(),
            Self::Bool(it) => it.len(),
            Self::String(it) => it.len(),
            Self::U64(it) => it.len(),
            Self::I64(it) => it.len(),
            Self::F64(it) => it.len(),
        }
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The elements' type; never [`ValueType::Array`].
    pub fn element_type(&self) -> ValueType {
        match self {
            Self::U8(_) => ValueType::U8,
            Self::I8(_) => ValueType::I8,
            Self::U16(_) => ValueType::U16,
            Self::I16(_) => ValueType::I16,
            Self::U32(_) => ValueType::U32,
            Self::I32(_) => ValueType::I32,
            Self::F32(_) => ValueType::F32,
            Self::Bool(_) => ValueType::Bool,
            Self::String(_) => ValueType::String,
            Self::U64(_) => ValueType::U64,
            Self::I64(_) => ValueType::I64,
            Self::F64(_) => ValueType::F64,
        }
    }

    /// The numbers, if the elements are integers of any width.
    pub fn integers(&self) -> Option<Vec<i128>> {
        fn widen<T: Copy + Into<i128>>(values: &[T]) -> Option<Vec<i128>> {
            Some(values.iter().map(|&it| it.into()).collect())
        }
        match self {
            Self::U8(it) => widen(it),
            Self::I8(it) => widen(it),
            Self::U16(it) => widen(it),
            Self::I16(it) => widen(it),
            Self::U32(it) => widen(it),
            Self::I32(it) => widen(it),
            Self::U64(it) => widen(it),
            Self::I64(it) => widen(it),
            Self::F32(_) | Self::F64(_) | Self::Bool(_) | Self::String(_) => None,
        }
    }
}

/// Reads the type and the value of `key`.
pub(super) fn read_value(cursor: &mut Cursor<'_>, key: &str) -> Result<Value, Error> {
    let field = format_args!("value of {key:?}");
    Ok(match ValueType::read(cursor, key)? {
        ValueType::U8 => Value::U8(u8::from_le_bytes(cursor.array(&field)?)),
        ValueType::I8 => Value::I8(i8::from_le_bytes(cursor.array(&field)?)),
        ValueType::U16 => Value::U16(u16::from_le_bytes(cursor.array(&field)?)),
        ValueType::I16 => Value::I16(i16::from_le_bytes(cursor.array(&field)?)),
        ValueType::U32 => Value::U32(cursor.u32(&field)?),
        ValueType::I32 => Value::I32(i32::from_le_bytes(cursor.array(&field)?)),
        ValueType::F32 => Value::F32(f32::from_le_bytes(cursor.array(&field)?)),
        ValueType::Bool => {
            let offset = cursor.offset();
            let [byte] = cursor.array(&field)?;
            Value::Bool(read_bool(byte, offset, &field)?)
        }
        ValueType::String => Value::String(cursor.string(&field)?.to_owned()),
        ValueType::Array => Value::Array(read_array(cursor, key)?),
        ValueType::U64 => Value::U64(cursor.u64(&field)?),
        ValueType::I64 => Value::I64(i64::from_le_bytes(cursor.array(&field)?)),
        ValueType::F64 => Value::F64(f64::from_le_bytes(cursor.array(&field)?)),
    })
}

fn read_array(cursor: &mut Cursor<'_>, key: &str) -> Result<Array, Error> {
    let type_offset = cursor.offset();
    let element_type = ValueType::read(cursor, key)?;
    let count_offset = cursor.offset();
    let count = cursor.u64(&format_args!("length of {key:?}"))?;
    let check = |cursor: &Cursor<'_>, min_bytes| {
        cursor.check_count(&format_args!("length of {key:?}"), count_offset, count, min_bytes)
    };

    macro_rules! numbers {
        ($variant:ident, $type:ty) => {{
            const SIZE: usize = size_of::<$type>();
            check(cursor, SIZE as u64)?;
            // `check` just bounded count * SIZE by what is left, so it cannot overflow.
            let bytes = cursor.take(&format_args!("value of {key:?}"), count * SIZE as u64)?;
            let (elements, _) = bytes.as_chunks::<SIZE>();
            Array::$variant(elements.iter().map(|it| <$type>::from_le_bytes(*it)).collect())
        }};
    }
    Ok(match element_type {
        ValueType::U8 => numbers!(U8, u8),
        ValueType::I8 => numbers!(I8, i8),
        ValueType::U16 => numbers!(U16, u16),
        ValueType::I16 => numbers!(I16, i16),
        ValueType::U32 => numbers!(U32, u32),
        ValueType::I32 => numbers!(I32, i32),
        ValueType::F32 => numbers!(F32, f32),
        ValueType::U64 => numbers!(U64, u64),
        ValueType::I64 => numbers!(I64, i64),
        ValueType::F64 => numbers!(F64, f64),
        ValueType::Bool => {
            check(cursor, 1)?;
            let offset = cursor.offset();
            let bytes = cursor.take(&format_args!("value of {key:?}"), count)?;
            let field = format_args!("element of {key:?}");
            let bools = (offset..).zip(bytes).map(|(at, &byte)| read_bool(byte, at, &field));
            Array::Bool(bools.collect::<Result<_, _>>()?)
        }
        ValueType::String => {
            let count = check(cursor, 8)?;
            let mut strings = Vec::with_capacity(count);
            for i in 0..count {
                strings.push(cursor.string(&format_args!("element {i} of {key:?}"))?.to_owned());
            }
            Array::String(strings)
        }
        ValueType::Array => {
            return Err(Error::NestedArray { key: key.to_owned(), offset: type_offset });
        }
    })
}

fn read_bool(byte: u8, offset: u64, field: &dyn fmt::Display) -> Result<bool, Error> {
    match byte {
        0 => Ok(false),
        1 => Ok(true),
        value => Err(Error::NotABool { field: field.to_string(), offset, value }),
    }
}
