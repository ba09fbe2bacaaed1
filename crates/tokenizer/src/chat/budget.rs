//! Counts the bytes that one rendering makes and reads, and stops it when they are too many.
//!
//! The template engine counts steps, and one step can double a text or compare two values that share
//! their parts a thousandfold. So every operation whose work grows with its values is charged here
//! first. A rendering has a thread of its own, and so has its count.

use minijinja::value::{DynObject, ObjectRepr, Value};
use minijinja::{Error, ErrorKind};
use std::cell::Cell;
use std::fmt;

/// Bytes one rendering may make and read. A conversation of 1 MB takes 3 to 20 MB of it.
pub(super) const MAX_BYTES: u64 = 64 << 20;
/// What an entry of a list counts for: a value of 24 bytes, the room that a growing list keeps free,
/// and that looking at a value takes longer than reading its bytes. With it the worst template found
/// is stopped within 0.3 s.
pub(super) const ENTRY_BYTES: u64 = 64;
/// Writing a value that others hold recurses into it; templates and tools nest a few levels.
pub(super) const MAX_DEPTH: usize = 256;
/// A list or map as text quotes and escapes the texts in it: `\u{1}` for one byte.
const MAX_ESCAPED_BYTES: u64 = 6;

thread_local! {
    static LEFT: Cell<u64> = const { Cell::new(MAX_BYTES) };
}

/// The budget is spent.
#[derive(Debug)]
pub(super) struct Spent;

impl fmt::Display for Spent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "made and read more than {MAX_BYTES} bytes")
    }
}

impl std::error::Error for Spent {}

/// A value holds others too deep.
#[derive(Debug)]
pub(super) struct Deep;

impl fmt::Display for Deep {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "a value nests deeper than {MAX_DEPTH}")
    }
}

impl std::error::Error for Deep {}

fn stopped(why: impl std::error::Error + Send + Sync + 'static) -> Error {
    Error::new(ErrorKind::InvalidOperation, why.to_string()).with_source(why)
}

/// Takes `num_bytes` off the budget. Once one charge fails, every later one does.
pub(super) fn charge(num_bytes: u64) -> Result<(), Error> {
    if num_bytes == 0 {
        return Ok(());
    }
    let left = LEFT.get().checked_sub(num_bytes);
    LEFT.set(left.unwrap_or(0));
    left.map(|_| ()).ok_or_else(|| stopped(Spent))
}

/// Bytes of `value` written out, each entry with [`ENTRY_BYTES`], however often it is shared. Counting
/// stops at what is left of the budget.
pub(super) fn size(value: &Value) -> Result<u64, Error> {
    let mut num_bytes = 0;
    add_size(value, 0, &mut num_bytes)?;
    Ok(num_bytes)
}

fn add_size(value: &Value, depth: usize, num_bytes: &mut u64) -> Result<(), Error> {
    if let Some(bytes) = value.as_bytes() {
        *num_bytes += bytes.len() as u64;
    }
    let Some(object) = value.as_object() else { return Ok(()) };
    if depth == MAX_DEPTH {
        return Err(stopped(Deep));
    }
    let mut add = |value: &Value| {
        *num_bytes += ENTRY_BYTES;
        add_size(value, depth + 1, num_bytes)?;
        within(*num_bytes).map(|_| ())
    };
    if object.repr() == ObjectRepr::Map {
        for (key, value) in object.try_iter_pairs().into_iter().flatten() {
            add(&key)?;
            add(&value)?;
        }
    } else {
        for value in object.try_iter().into_iter().flatten() {
            add(&value)?;
        }
    }
    Ok(())
}

/// `num_bytes`, unless that is more than the budget has left.
pub(super) fn within(num_bytes: u64) -> Result<u64, Error> {
    if num_bytes > LEFT.get() {
        charge(num_bytes)?;
    }
    Ok(num_bytes)
}

/// Bytes that `value` may take as text.
pub(super) fn text_size(value: &Value) -> Result<u64, Error> {
    match value.as_bytes() {
        Some(bytes) => Ok(bytes.len() as u64),
        // A number counts as an entry; the longest has 309 digits.
        None => Ok(size(value)?.saturating_mul(MAX_ESCAPED_BYTES).max(ENTRY_BYTES)),
    }
}

/// How many entries `value` gives a loop; for a text at most.
pub(super) fn num_entries(value: &Value) -> u64 {
    let num_entries = match value.as_bytes() {
        Some(bytes) => Some(bytes.len()),
        None => value.as_object().and_then(DynObject::enumerator_len),
    };
    num_entries.unwrap_or(0) as u64
}

/// Bytes read to find an entry of `value`, its length, or the first pass of a loop over it.
pub(super) fn scan_size(value: &Value) -> u64 {
    if let Some(bytes) = value.as_bytes() {
        return bytes.len() as u64;
    }
    match value.as_object().map(DynObject::repr) {
        Some(ObjectRepr::Map | ObjectRepr::Iterable) => {
            num_entries(value).saturating_mul(ENTRY_BYTES)
        }
        _ => 0,
    }
}

/// Charges what was just made, without the values that it only refers to, and turns what computes
/// its entries when asked into a list; so no later step does work that was not charged.
pub(super) fn made(value: Value) -> Result<Value, Error> {
    if let Some(bytes) = value.as_bytes() {
        charge(bytes.len() as u64)?;
        return Ok(value);
    }
    let Some(object) = value.as_object() else { return Ok(value) };
    if object.repr() != ObjectRepr::Iterable {
        charge(num_entries(&value).saturating_mul(ENTRY_BYTES))?;
        return Ok(value);
    }
    let mut entries = Vec::new();
    for entry in object.try_iter().into_iter().flatten() {
        charge(ENTRY_BYTES)?;
        entries.push(entry);
    }
    Ok(Value::from(entries))
}

/// Starts a rendering on this thread.
pub(super) fn begin() {
    LEFT.set(MAX_BYTES);
}
