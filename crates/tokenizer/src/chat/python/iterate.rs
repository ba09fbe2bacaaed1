//! What a loop over a value gives, and how many.

use super::containers::{Iter, Key, View};
use super::value::Value;
use crate::chat::budget::{PART_BYTES, charge, charge_entries};
use crate::chat::fault::{Outcome, type_error};

/// The entries of `value`; what is read once is empty afterwards.
pub(crate) fn entries(value: &Value) -> Outcome<Vec<Value>> {
    if let Some(entries) = value.as_sequence() {
        charge_entries(entries.len())?;
        return Ok(entries.to_vec());
    }
    match value {
        Value::Undefined(_) => Ok(Vec::new()),
        Value::Text(text) => {
            charge((text.as_str().len() as u64).saturating_mul(PART_BYTES))?;
            let mut bytes = [0; 4];
            let character = |c: char| Value::text(&*c.encode_utf8(&mut bytes));
            Ok(text.as_str().chars().map(character).collect())
        }
        Value::Dict(dict) | Value::View(View::Keys, dict) => {
            charge_entries(dict.entries.len())?;
            Ok(dict.entries.keys().map(|Key(key)| key.clone()).collect())
        }
        Value::View(View::Values, dict) => {
            charge_entries(dict.entries.len())?;
            Ok(dict.entries.values().cloned().collect())
        }
        Value::View(View::Items, dict) => {
            charge_entries(dict.entries.len())?;
            let pair =
                |(Key(key), value): (&Key, &Value)| Value::tuple(vec![key.clone(), value.clone()]);
            dict.entries.iter().map(pair).collect()
        }
        Value::Range(range) => {
            charge_entries(range.len())?;
            Ok((0..range.len()).map(|at| Value::Int(range.entry(at))).collect())
        }
        Value::Iter(iter) => {
            let mut entries = Vec::new();
            while let Some(entry) = take_next(iter)? {
                charge_entries(1)?;
                entries.push(entry);
            }
            Ok(entries)
        }
        _ => type_error(format!("'{}' object is not iterable", value.type_name())),
    }
}

pub(super) fn take_next(iter: &Iter) -> Outcome<Option<Value>> {
    match iter.left.borrow_mut().pop_front() {
        Some(entry) => Ok(Some(entry)),
        None => iter.fault.borrow_mut().take().map_or(Ok(None), Err),
    }
}

/// The first entry of `value`, and only that.
pub(crate) fn first(value: &Value) -> Outcome<Option<Value>> {
    match value {
        Value::Iter(iter) => take_next(iter),
        Value::Text(text) => {
            let first = text.as_str().chars().next();
            Ok(first.map(|c| Value::text(c.to_string())))
        }
        _ => match value.as_sequence() {
            Some(entries) => Ok(entries.first().cloned()),
            None => Ok(entries(value)?.into_iter().next()),
        },
    }
}

pub(crate) fn is_iterable(value: &Value) -> bool {
    match value {
        Value::Undefined(_)
        | Value::Text(_)
        | Value::List(_)
        | Value::Tuple(_)
        | Value::Group(_)
        | Value::Dict(_)
        | Value::Range(_)
        | Value::View(..)
        | Value::Iter(_)
        | Value::Loop(_) => true,
        Value::None
        | Value::Bool(_)
        | Value::Int(_)
        | Value::Float(_)
        | Value::Namespace(_)
        | Value::Function(_)
        | Value::Method(_)
        | Value::Macro(_)
        | Value::Cycler(_)
        | Value::Joiner(_)
        | Value::Blocks
        | Value::Block(_) => false,
    }
}

/// Python's `len`.
pub(crate) fn length(value: &Value) -> Outcome<usize> {
    if let Some(entries) = value.as_sequence() {
        return Ok(entries.len());
    }
    match value {
        Value::Undefined(_) => Ok(0),
        Value::Text(text) => {
            charge(text.as_str().len() as u64)?;
            Ok(text.as_str().chars().count())
        }
        Value::Dict(dict) | Value::View(_, dict) => Ok(dict.entries.len()),
        Value::Range(range) => Ok(range.len()),
        _ => type_error(format!("object of type '{}' has no len()", value.type_name())),
    }
}
