//! What the template engine's own filters, tests and methods cost, in bytes made and read.
//!
//! A cost is known before the work is done. It may be more than the work, never less by an order of
//! magnitude.

use super::budget::{ENTRY_BYTES, num_entries, scan_size, size, text_size};
use minijinja::value::{DynObject, ObjectRepr, Value};
use minijinja::{Error, ErrorKind};

/// Bytes that an operation makes and reads with its arguments; the first is what it is applied to.
pub(super) type Cost = fn(&[Value]) -> Result<u64, Error>;

/// Compares of one key with those of the largest map that a budget allows.
const MAX_KEY_COMPARES: u64 = 16;
/// One text among the parts of another: a value, an allocation, and their list.
const PART_BYTES: u64 = 96;

fn sum(values: &[Value], cost: impl Fn(&Value) -> Result<u64, Error>) -> Result<u64, Error> {
    values.iter().try_fold(0_u64, |total, value| Ok(total.saturating_add(cost(value)?)))
}

fn text_of(values: &[Value], index: usize) -> Option<&str> {
    values.get(index).and_then(Value::as_str)
}

fn entries_of(values: &[Value]) -> u64 {
    values.first().map_or(0, num_entries)
}

/// The largest number among the arguments, named ones too.
fn largest_number(arguments: &[Value]) -> u64 {
    let mut largest = 0;
    for argument in arguments.iter().skip(1) {
        let named = argument.as_object().filter(|_| argument.is_kwargs());
        let named = named.and_then(DynObject::try_iter_pairs).into_iter().flatten();
        let values = named.map(|(_, value)| value).chain([argument.clone()]);
        largest = values.filter_map(|value| value.as_usize()).fold(largest, usize::max);
    }
    largest as u64
}

pub(super) fn free(_: &[Value]) -> Result<u64, Error> {
    Ok(0)
}

/// Reads texts from end to end, and lists not at all.
pub(super) fn scan(arguments: &[Value]) -> Result<u64, Error> {
    sum(arguments, |argument| Ok(scan_size(argument)))
}

/// Reads everything.
pub(super) fn deep(arguments: &[Value]) -> Result<u64, Error> {
    sum(arguments, size)
}

/// Writes everything as text.
pub(super) fn text(arguments: &[Value]) -> Result<u64, Error> {
    sum(arguments, text_size)
}

/// Another case may need three bytes for one.
pub(super) fn letters(arguments: &[Value]) -> Result<u64, Error> {
    Ok(text(arguments)?.saturating_mul(4))
}

/// `&quot;` for `"`.
pub(super) fn escape(arguments: &[Value]) -> Result<u64, Error> {
    Ok(text(arguments)?.saturating_mul(6))
}

/// With sorted keys a second tree of values is made.
pub(super) fn json(arguments: &[Value]) -> Result<u64, Error> {
    Ok(deep(arguments)?.saturating_mul(4))
}

/// Each character is looked for among those to cut off.
pub(super) fn trim(arguments: &[Value]) -> Result<u64, Error> {
    let num_characters = text_of(arguments, 1).map_or(1, |characters| characters.len() as u64 + 1);
    Ok(text(arguments)?.saturating_mul(num_characters))
}

/// A list, or pairs, of the entries.
pub(super) fn entries(arguments: &[Value]) -> Result<u64, Error> {
    Ok(scan(arguments)?.saturating_add(entries_of(arguments).saturating_mul(2 * ENTRY_BYTES)))
}

/// Something with the other arguments for each entry; what it calls is charged by itself.
pub(super) fn each(arguments: &[Value]) -> Result<u64, Error> {
    let one = deep(arguments.get(1..).unwrap_or(&[]))?.saturating_add(ENTRY_BYTES);
    Ok(scan(arguments)?.saturating_add(entries_of(arguments).saturating_mul(one)))
}

/// Compares entries with each other until they are in order.
pub(super) fn sort(arguments: &[Value]) -> Result<u64, Error> {
    let rounds = u64::from(entries_of(arguments).checked_ilog2().unwrap_or(0)) + 2;
    Ok(deep(arguments)?.saturating_add(each(arguments)?).saturating_mul(rounds))
}

/// Lists of so many entries each, which are made at their full length.
pub(super) fn batch(arguments: &[Value]) -> Result<u64, Error> {
    let num_entries = entries_of(arguments).saturating_add(largest_number(arguments));
    Ok(scan(arguments)?.saturating_add(num_entries.saturating_mul(2 * ENTRY_BYTES)))
}

/// Every entry as text, and the text between.
pub(super) fn join(arguments: &[Value]) -> Result<u64, Error> {
    let Some(list) = arguments.first() else { return Ok(0) };
    let between = match arguments.get(1) {
        Some(between) => text_size(between)?.saturating_add(1),
        None => 1,
    };
    let total = scan_size(list).saturating_add(num_entries(list).saturating_mul(between));
    if list.as_bytes().is_some() {
        return Ok(total.saturating_mul(4));
    }
    let entries = list.as_object().and_then(DynObject::try_iter).into_iter().flatten();
    entries.map(|entry| text_size(&entry)).try_fold(total, |total, cost| {
        let total = total.saturating_add(cost?);
        // One text in it a million times is counted no further than the budget goes.
        super::budget::within(total)
    })
}

/// `value, old, new`.
pub(super) fn replace(arguments: &[Value]) -> Result<u64, Error> {
    let read = text(arguments)?;
    let Some(new) = arguments.get(2) else { return Ok(read) };
    let num_places = match (text_of(arguments, 0), text_of(arguments, 1)) {
        (Some(value), Some(old)) if !old.is_empty() => value.matches(old).count() as u64,
        _ => read.saturating_add(1),
    };
    Ok(read.saturating_add(num_places.saturating_mul(text_size(new)?)))
}

/// Spaces before every line.
pub(super) fn indent(arguments: &[Value]) -> Result<u64, Error> {
    let read = text(arguments)?;
    let num_lines = match text_of(arguments, 0) {
        Some(value) => value.matches('\n').count() as u64 + 2,
        None => read,
    };
    // Four spaces, if nothing says how many.
    let num_spaces = largest_number(arguments).max(4);
    Ok(read.saturating_mul(2).saturating_add(num_lines.saturating_mul(num_spaces)))
}

/// `value, separator`; white space, if there is none.
pub(super) fn split(arguments: &[Value]) -> Result<u64, Error> {
    let Some(value) = text_of(arguments, 0) else { return text(arguments) };
    let num_parts = match text_of(arguments, 1) {
        Some(separator) => value.matches(separator).count(),
        None => value.split_whitespace().count(),
    };
    Ok(text(arguments)?.saturating_add((num_parts as u64 + 1).saturating_mul(PART_BYTES)))
}

pub(super) fn lines(arguments: &[Value]) -> Result<u64, Error> {
    let num_lines = text_of(arguments, 0).map_or(0, |value| value.matches('\n').count());
    Ok(text(arguments)?.saturating_add((num_lines as u64 + 1).saturating_mul(PART_BYTES)))
}

/// Each field may write any argument, as wide as any number in the format.
pub(super) fn format(arguments: &[Value]) -> Result<u64, Error> {
    let Some(format) = text_of(arguments, 0) else { return text(arguments) };
    let num_fields = format.matches(['%', '{']).count() as u64;
    let numbers = format.split(|c: char| !c.is_ascii_digit());
    let widest = numbers
        .filter(|number| !number.is_empty())
        .map(|number| number.parse::<u64>().unwrap_or(u64::MAX));
    let widest = widest.max().unwrap_or(0);
    let one = text(arguments)?.saturating_add(widest);
    Ok(one.saturating_add(num_fields.saturating_mul(one)))
}

/// `container, key`.
pub(super) fn item(arguments: &[Value]) -> Result<u64, Error> {
    let [container, key, ..] = arguments else { return Ok(0) };
    match container.as_object().map(DynObject::repr) {
        Some(ObjectRepr::Map | ObjectRepr::Plain) => {
            Ok(size(key)?.saturating_mul(MAX_KEY_COMPARES))
        }
        _ => Ok(scan_size(container)),
    }
}

/// Two values, until they differ.
pub(super) fn compare(arguments: &[Value]) -> Result<u64, Error> {
    let [a, b, ..] = arguments else { return Ok(0) };
    match (a.as_bytes(), b.as_bytes()) {
        (Some(a), Some(b)) => Ok(a.len().min(b.len()) as u64),
        (None, None) => Ok(size(a)?.saturating_add(size(b)?)),
        _ => Ok(0),
    }
}

/// `value, container`.
pub(super) fn contains(arguments: &[Value]) -> Result<u64, Error> {
    let [value, container, ..] = arguments else { return Ok(0) };
    match container.as_object().map(DynObject::repr) {
        None => Ok(scan_size(container).saturating_add(text_size(value)?)),
        Some(ObjectRepr::Seq | ObjectRepr::Iterable) => size(container),
        Some(_) => Ok(size(value)?.saturating_mul(MAX_KEY_COMPARES)),
    }
}

/// Keys and values in turn.
pub(super) fn pairs(arguments: &[Value]) -> Result<u64, Error> {
    let keys = arguments.iter().step_by(2).try_fold(0_u64, |total, key| {
        let key = size(key)?.saturating_mul(MAX_KEY_COMPARES);
        Ok::<u64, Error>(total.saturating_add(key))
    })?;
    Ok(keys.saturating_add((arguments.len() as u64).saturating_mul(ENTRY_BYTES)))
}

/// Maps into one.
pub(super) fn merge(arguments: &[Value]) -> Result<u64, Error> {
    let entries = sum(arguments, |map| Ok(num_entries(map).saturating_mul(2 * ENTRY_BYTES)))?;
    Ok(entries.saturating_add(deep(arguments)?))
}

/// `value, number`, or the other way round.
pub(super) fn multiply(arguments: &[Value]) -> Result<u64, Error> {
    let [a, b] = arguments else { return Ok(0) };
    let repeated = |value: &Value, times: &Value| {
        let times = times.as_usize().unwrap_or(0) as u64;
        let one = match value.as_bytes() {
            Some(bytes) => bytes.len() as u64,
            None => num_entries(value).saturating_mul(ENTRY_BYTES),
        };
        one.saturating_mul(times)
    };
    Ok(repeated(a, b).saturating_add(repeated(b, a)))
}

/// `value, start, stop, step`: a list is passed over, a text too, and backwards as characters.
pub(super) fn slice(arguments: &[Value]) -> Result<u64, Error> {
    let Some(value) = arguments.first() else { return Ok(0) };
    let backwards = arguments.get(3).and_then(Value::as_i64).is_some_and(|step| step < 0);
    let factor = match (value.as_bytes(), backwards) {
        (Some(_), false) => 1,
        (Some(_), true) => 5,
        (None, false) => 8,
        (None, true) => ENTRY_BYTES,
    };
    Ok(num_entries(value).saturating_mul(factor))
}

/// Lists that become arguments.
pub(super) fn arguments(lists: &[Value]) -> Result<u64, Error> {
    sum(lists, |list| Ok(num_entries(list).saturating_mul(ENTRY_BYTES)))
}

/// A method of Python's texts, lists and maps; `arguments` begins with the value it is of.
pub(super) fn method(name: &str, arguments: &[Value]) -> Result<u64, Error> {
    match name {
        "upper" | "lower" | "title" | "capitalize" => letters(arguments),
        "strip" | "lstrip" | "rstrip" => trim(arguments),
        "replace" => replace(arguments),
        "split" => split(arguments),
        "splitlines" => lines(arguments),
        "format" => format(arguments),
        "keys" | "values" | "items" => entries(arguments),
        "get" => item(arguments),
        "join" => match arguments {
            [between, list, ..] => join(&[list.clone(), between.clone()]),
            _ => Ok(0),
        },
        // Python's answer is of no use, and the engine's search would not end.
        "count" if text_of(arguments, 1) == Some("") => {
            Err(Error::new(ErrorKind::InvalidOperation, "count() of an empty text"))
        }
        _ => deep(arguments),
    }
}
