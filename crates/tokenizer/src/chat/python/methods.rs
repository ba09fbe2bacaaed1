//! Which methods and attributes the types have, and which of them the sandbox keeps.

use super::arguments::Args;
use super::containers::View;
use super::lists::{call_dict, call_sequence, call_view};
use super::number::truncated;
use super::text_methods;
use super::value::Value;
use crate::chat::fault::{Outcome, other_error, too_large, type_error};

const SEQUENCE: [&str; 2] = ["count", "index"];
const LIST: [&str; 3] = ["copy", "count", "index"];
const DICT: [&str; 6] = ["copy", "fromkeys", "get", "items", "keys", "values"];
const VIEW: [&str; 1] = ["isdisjoint"];
const INT: [&str; 6] =
    ["as_integer_ratio", "bit_count", "bit_length", "conjugate", "from_bytes", "to_bytes"];
const FLOAT: [&str; 5] = ["as_integer_ratio", "conjugate", "fromhex", "hex", "is_integer"];
const LOOP: [&str; 2] = ["changed", "cycle"];
const CYCLER: [&str; 2] = ["next", "reset"];
const FUNCTION: [&str; 1] = ["fromkeys"];

/// What would change a value; the sandbox keeps these.
const CHANGES_LIST: [&str; 8] =
    ["append", "clear", "extend", "insert", "pop", "remove", "reverse", "sort"];
const CHANGES_DICT: [&str; 5] = ["clear", "pop", "popitem", "setdefault", "update"];

/// Python has these, and no prompt needs them: they make bytes, read bytes, or write a float's bits.
pub(crate) const REFUSED: [&str; 5] = ["encode", "from_bytes", "fromhex", "hex", "to_bytes"];

fn names(value: &Value) -> &'static [&'static str] {
    match value {
        Value::Text(_) => &text_methods::NAMES,
        Value::List(_) => &LIST,
        Value::Tuple(_) | Value::Group(_) | Value::Range(_) => &SEQUENCE,
        Value::Dict(_) => &DICT,
        Value::View(View::Keys | View::Items, _) => &VIEW,
        Value::Int(_) | Value::Bool(_) => &INT,
        Value::Float(_) => &FLOAT,
        Value::Loop(_) => &LOOP,
        Value::Cycler(_) => &CYCLER,
        Value::Function(super::value::Function::Dict) => &FUNCTION,
        _ => &[],
    }
}

/// The method of that name that `value` has.
pub(crate) fn method_named(value: &Value, name: &str) -> Option<&'static str> {
    names(value).iter().find(|known| **known == name).copied()
}

/// Whether any type has a method of that name, or one that the sandbox keeps.
pub(crate) fn is_any_method(name: &str) -> bool {
    let all: [&[&str]; 12] = [
        &text_methods::NAMES,
        &LIST,
        &SEQUENCE,
        &DICT,
        &VIEW,
        &INT,
        &FLOAT,
        &LOOP,
        &CYCLER,
        &FUNCTION,
        &CHANGES_LIST,
        &CHANGES_DICT,
    ];
    all.iter().any(|names| names.contains(&name))
}

/// Whether `value` has an attribute of that name which the sandbox keeps to itself.
pub(crate) fn is_kept(value: &Value, name: &str) -> bool {
    match value {
        _ if name.starts_with("__") => is_of_every_object(name),
        Value::Blocks | Value::Block(_) | Value::Macro(_) | Value::Loop(_) => name.starts_with('_'),
        Value::List(_) => CHANGES_LIST.contains(&name),
        Value::Dict(_) => CHANGES_DICT.contains(&name),
        Value::Group(_) => {
            matches!(name, "_asdict" | "_fields" | "_field_defaults" | "_make" | "_replace")
        }
        _ => false,
    }
}

fn is_of_every_object(name: &str) -> bool {
    const NAMES: [&str; 26] = [
        "__class__",
        "__delattr__",
        "__dir__",
        "__doc__",
        "__eq__",
        "__format__",
        "__ge__",
        "__getattribute__",
        "__getstate__",
        "__gt__",
        "__hash__",
        "__init__",
        "__init_subclass__",
        "__le__",
        "__lt__",
        "__ne__",
        "__new__",
        "__reduce__",
        "__reduce_ex__",
        "__repr__",
        "__setattr__",
        "__sizeof__",
        "__str__",
        "__subclasshook__",
        "__len__",
        "__getitem__",
    ];
    NAMES.contains(&name)
}

/// An attribute that is no method.
pub(crate) fn property(value: &Value, name: &str) -> Option<Value> {
    Some(match (value, name) {
        (Value::Int(_) | Value::Bool(_), "real" | "numerator") => Value::Int(value.as_int()?),
        (Value::Int(_) | Value::Bool(_), "imag") => Value::Int(0),
        (Value::Int(_) | Value::Bool(_), "denominator") => Value::Int(1),
        (Value::Float(_), "real") => value.clone(),
        (Value::Float(_), "imag") => Value::Float(0.0),
        (Value::Range(range), "start") => Value::Int(range.start),
        (Value::Range(range), "stop") => Value::Int(range.stop),
        (Value::Range(range), "step") => Value::Int(range.step),
        (Value::Group(group), "grouper") => group.sequence.entries.first()?.clone(),
        (Value::Group(group), "list") => group.sequence.entries.get(1)?.clone(),
        (Value::Macro(found), "name") => Value::text(&**found.name.as_ref()?),
        (Value::Cycler(counter), "pos") => Value::int(counter.at.get()),
        (Value::Cycler(counter), "current") => {
            counter.entries.entries.get(counter.at.get())?.clone()
        }
        (Value::Cycler(counter), "items") => Value::Tuple(std::rc::Rc::clone(&counter.entries)),
        _ => return None,
    })
}

/// `value.name(args)` of what needs no more than the value; `name` is one that it has.
pub(crate) fn call_method(value: &Value, name: &'static str, args: Args) -> Outcome<Value> {
    if REFUSED.contains(&name) {
        return other_error(format!("method '{name}' is not offered"));
    }
    match value {
        Value::Text(text) => text_methods::call(text, name, args),
        Value::Dict(dict) => call_dict(dict, name, args),
        Value::View(..) => call_view(value, name, args),
        Value::Int(_) | Value::Bool(_) | Value::Float(_) => call_number(value, name, args),
        Value::Cycler(counter) => {
            args.none(name)?;
            if name == "reset" {
                counter.at.set(0);
                return Ok(Value::None);
            }
            let at = counter.at.get();
            counter.at.set((at + 1) % counter.entries.entries.len());
            Ok(counter.entries.entries[at].clone())
        }
        Value::Function(_) => super::lists::from_keys(args),
        _ => call_sequence(value, name, args),
    }
}

fn call_number(value: &Value, name: &'static str, args: Args) -> Outcome<Value> {
    args.none(name)?;
    match (value.as_int(), value, name) {
        (Some(number), _, "conjugate") => Ok(Value::Int(number)),
        (None, _, "conjugate") => Ok(value.clone()),
        (Some(number), _, "bit_length") => {
            Ok(Value::Int(i128::from(128 - number.unsigned_abs().leading_zeros())))
        }
        (Some(number), _, "bit_count") => {
            Ok(Value::Int(i128::from(number.unsigned_abs().count_ones())))
        }
        (Some(number), _, _) => Value::tuple(vec![Value::Int(number), Value::Int(1)]),
        (None, Value::Float(number), "is_integer") => {
            Ok(Value::Bool(number.is_finite() && number.fract() == 0.0))
        }
        (None, Value::Float(number), _) => ratio(*number),
        _ => type_error("not a number"),
    }
}

/// The two whole numbers whose quotient the float is.
fn ratio(mut number: f64) -> Outcome<Value> {
    truncated(if number.is_finite() { 0.0 } else { number })?;
    let mut divisor = 1_i128;
    while number.fract() != 0.0 {
        number *= 2.0;
        divisor = match divisor.checked_mul(2) {
            Some(divisor) => divisor,
            None => return too_large("a whole number"),
        };
    }
    Value::tuple(vec![Value::Int(truncated(number)?), Value::Int(divisor)])
}
