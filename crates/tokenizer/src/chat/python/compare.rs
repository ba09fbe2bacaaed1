//! Equality, order and membership; each look at an entry is charged.

use super::containers::{Key, View};
use super::iterate::{entries, take_next};
use super::number::float_of;
use super::value::Value;
use crate::chat::budget::{ENTRY_BYTES, charge};
use crate::chat::fault::{Outcome, type_error};
use std::cmp::Ordering;

/// One comparison of two values in a sort.
const COMPARISON_BYTES: u64 = 16;

/// `a == b`.
pub(crate) fn equal(a: &Value, b: &Value) -> Outcome<bool> {
    if let (Value::Text(a), Value::Text(b)) = (a, b) {
        let (a, b) = (a.as_str(), b.as_str());
        if a.len() == b.len() {
            charge(a.len() as u64)?;
        }
        return Ok(a == b);
    }
    if let (Some(x), Some(y)) = (float_of(a), float_of(b)) {
        return Ok(numbers(a, b, x, y) == Some(Ordering::Equal));
    }
    match (a, b) {
        (Value::Undefined(_), Value::Undefined(_)) | (Value::None, Value::None) => Ok(true),
        (Value::List(_), Value::List(_))
        | (Value::Tuple(_) | Value::Group(_), Value::Tuple(_) | Value::Group(_)) => {
            let (a, b) = (a.as_sequence().unwrap_or_default(), b.as_sequence().unwrap_or_default());
            Ok(a.len() == b.len() && first_difference(a, b)?.is_none())
        }
        (Value::Dict(a), Value::Dict(b)) => {
            if a.entries.len() != b.entries.len() {
                return Ok(false);
            }
            for (key, value) in &a.entries {
                charge(2 * ENTRY_BYTES)?;
                match b.entries.get(key) {
                    Some(other) if value.is_same(other) || equal(value, other)? => {}
                    _ => return Ok(false),
                }
            }
            Ok(true)
        }
        (Value::Range(a), Value::Range(b)) => Ok(a.len() == b.len()
            && (a.len() == 0 || a.start == b.start)
            && (a.len() < 2 || a.step == b.step)),
        (Value::View(View::Keys, a), Value::View(View::Keys, b)) => {
            charge(a.entries.len() as u64 * ENTRY_BYTES)?;
            Ok(a.entries.len() == b.entries.len()
                && a.entries.keys().all(|key| b.entries.contains_key(key)))
        }
        _ => Ok(a.is_same(b)),
    }
}

fn first_difference(a: &[Value], b: &[Value]) -> Outcome<Option<usize>> {
    for (at, (a, b)) in a.iter().zip(b).enumerate() {
        charge(ENTRY_BYTES)?;
        if !a.is_same(b) && !equal(a, b)? {
            return Ok(Some(at));
        }
    }
    Ok(None)
}

/// Whole numbers are compared as what they are, not as the floats next to them.
fn numbers(a: &Value, b: &Value, x: f64, y: f64) -> Option<Ordering> {
    match (a.as_int(), b.as_int()) {
        (Some(a), Some(b)) => Some(a.cmp(&b)),
        (Some(a), None) => whole_and_float(a, y),
        (None, Some(b)) => whole_and_float(b, x).map(Ordering::reverse),
        (None, None) => x.partial_cmp(&y),
    }
}

fn whole_and_float(a: i128, b: f64) -> Option<Ordering> {
    if b.is_nan() {
        return None;
    }
    if b.abs() >= 2_f64.powi(126) {
        return Some(if b > 0.0 { Ordering::Less } else { Ordering::Greater });
    }
    let whole = b.floor();
    let order = a.cmp(&(whole as i128));
    Some(if order == Ordering::Equal && b > whole { Ordering::Less } else { order })
}

/// How `a` and `b` stand to each other; `None` if neither comes first. `symbol` is for the message.
pub(crate) fn order(a: &Value, b: &Value, symbol: &str) -> Outcome<Option<Ordering>> {
    a.defined()?;
    b.defined()?;
    if let (Value::Text(a), Value::Text(b)) = (a, b) {
        charge(a.as_str().len().min(b.as_str().len()) as u64)?;
        return Ok(Some(a.as_str().cmp(b.as_str())));
    }
    if let (Some(x), Some(y)) = (float_of(a), float_of(b)) {
        return Ok(numbers(a, b, x, y));
    }
    let are_alike = matches!(
        (a, b),
        (Value::List(_), Value::List(_))
            | (Value::Tuple(_) | Value::Group(_), Value::Tuple(_) | Value::Group(_))
    );
    if let (true, Some(a), Some(b)) = (are_alike, a.as_sequence(), b.as_sequence()) {
        return match first_difference(a, b)? {
            Some(at) => order(&a[at], &b[at], symbol),
            None => Ok(Some(a.len().cmp(&b.len()))),
        };
    }
    type_error(format!(
        "'{symbol}' not supported between instances of '{}' and '{}'",
        a.type_name(),
        b.type_name()
    ))
}

/// `a < b`.
pub(crate) fn less(a: &Value, b: &Value) -> Outcome<bool> {
    charge(COMPARISON_BYTES)?;
    Ok(order(a, b, "<")? == Some(Ordering::Less))
}

/// `entries` in the order of their keys, equal ones in the order they came.
pub(crate) fn sort_by(mut entries: Vec<(Value, Value)>, is_reversed: bool) -> Outcome<Vec<Value>> {
    let mut width = 1;
    // Merges runs of twice the length each time; a comparison may fail, which no library's sort takes.
    while width < entries.len() {
        let mut merged = Vec::with_capacity(entries.len());
        let mut runs = entries.into_iter().peekable();
        while runs.peek().is_some() {
            let left: Vec<_> = runs.by_ref().take(width).collect();
            let right: Vec<_> = runs.by_ref().take(width).collect();
            let (mut left, mut right) = (left.into_iter().peekable(), right.into_iter().peekable());
            while let (Some((a, _)), Some((b, _))) = (left.peek(), right.peek()) {
                let takes_right = if is_reversed { less(a, b)? } else { less(b, a)? };
                merged.extend(if takes_right { right.next() } else { left.next() });
            }
            merged.extend(left);
            merged.extend(right);
        }
        entries = merged;
        width *= 2;
    }
    Ok(entries.into_iter().map(|(_, value)| value).collect())
}

/// `value in container`.
pub(crate) fn contains(container: &Value, value: &Value) -> Outcome<bool> {
    match container {
        Value::Undefined(_) => Ok(false),
        Value::Text(text) => {
            let Value::Text(part) = value else {
                return type_error(format!(
                    "'in <string>' requires string as left operand, not {}",
                    value.type_name()
                ));
            };
            charge((text.as_str().len() + part.as_str().len()) as u64)?;
            Ok(text.as_str().contains(part.as_str()))
        }
        Value::Dict(dict) | Value::View(View::Keys, dict) => {
            value.hashable()?;
            charge_key(value)?;
            Ok(dict.entries.contains_key(&Key(value.clone())))
        }
        Value::Range(range) => Ok(match value.as_int() {
            Some(number) => {
                let past = number - range.start;
                past % range.step == 0
                    && past / range.step >= 0
                    && past / range.step < range.len() as i128
            }
            None => match float_of(value) {
                Some(number) if number.fract() == 0.0 && number.abs() < 1e18 => {
                    return contains(container, &Value::Int(number as i128));
                }
                _ => false,
            },
        }),
        Value::Iter(iter) => {
            while let Some(entry) = take_next(iter)? {
                charge(ENTRY_BYTES)?;
                if entry.is_same(value) || equal(&entry, value)? {
                    return Ok(true);
                }
            }
            Ok(false)
        }
        Value::List(_) | Value::Tuple(_) | Value::Group(_) => {
            any_equal(container.as_sequence().unwrap_or_default().iter(), value)
        }
        Value::View(View::Values, dict) => any_equal(dict.entries.values(), value),
        Value::View(View::Items, _) => any_equal(entries(container)?.iter(), value),
        _ => type_error(format!("argument of type '{}' is not iterable", container.type_name())),
    }
}

fn any_equal<'a>(mut entries: impl Iterator<Item = &'a Value>, value: &Value) -> Outcome<bool> {
    entries.try_fold(false, |found, entry| {
        if found {
            return Ok(true);
        }
        charge(ENTRY_BYTES)?;
        Ok(entry.is_same(value) || equal(entry, value)?)
    })
}

/// Charges looking for `key`: it is read for its hash and compared.
pub(super) fn charge_key(key: &Value) -> Outcome<()> {
    match key {
        Value::Text(text) => charge(2 * text.as_str().len() as u64),
        Value::Tuple(sequence) => sequence.entries.iter().try_for_each(|entry| {
            charge(ENTRY_BYTES)?;
            charge_key(entry)
        }),
        _ => Ok(()),
    }
}
