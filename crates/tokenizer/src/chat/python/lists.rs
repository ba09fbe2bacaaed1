//! The methods of lists, tuples, ranges, maps and their views.

use super::arguments::{Args, whole_or};
use super::compare::{charge_key, contains, equal};
use super::containers::{Dict, Key, Sequence, View};
use super::iterate::entries;
use super::value::Value;
use crate::chat::budget::{ENTRY_BYTES, charge, charge_entries};
use crate::chat::fault::{Outcome, type_error, value_error};
use indexmap::IndexMap;
use std::rc::Rc;

/// A method of a list, tuple or range.
pub(super) fn call_sequence(value: &Value, name: &'static str, args: Args) -> Outcome<Value> {
    match name {
        "copy" => {
            args.none(name)?;
            let entries = entries(value)?;
            Ok(Value::List(Sequence::new(entries)?))
        }
        "count" => {
            let [wanted] = args.unnamed(name, 1)?;
            let wanted = wanted.unwrap_or(Value::None);
            let mut count = 0;
            for entry in entries(value)? {
                count += usize::from(is_equal(&entry, &wanted)?);
            }
            Ok(Value::int(count))
        }
        _ => {
            let [wanted, start, stop] = args.unnamed(name, 1)?;
            let wanted = wanted.unwrap_or(Value::None);
            let entries = entries(value)?;
            let length = entries.len() as i128;
            let place = |at: i128| if at < 0 { at.saturating_add(length).max(0) } else { at };
            let start = place(whole_or(start.as_ref(), 0)?).min(length) as usize;
            let stop = place(whole_or(stop.as_ref(), length)?).min(length) as usize;
            for (at, entry) in entries.iter().enumerate().take(stop).skip(start) {
                if is_equal(entry, &wanted)? {
                    return Ok(Value::int(at));
                }
            }
            value_error(format!("value is not in {}", value.type_name()))
        }
    }
}

fn is_equal(a: &Value, b: &Value) -> Outcome<bool> {
    charge(ENTRY_BYTES)?;
    Ok(a.is_same(b) || equal(a, b)?)
}

/// A method of a map.
pub(super) fn call_dict(dict: &Rc<Dict>, name: &'static str, args: Args) -> Outcome<Value> {
    match name {
        "get" => {
            let [key, missing] = args.unnamed(name, 1)?;
            let key = key.unwrap_or(Value::None);
            key.hashable()?;
            charge_key(&key)?;
            let found = dict.entries.get(&Key(key)).cloned();
            Ok(found.or(missing).unwrap_or(Value::None))
        }
        "fromkeys" => from_keys(args),
        _ => {
            args.none(name)?;
            Ok(match name {
                "items" => Value::View(View::Items, Rc::clone(dict)),
                "keys" => Value::View(View::Keys, Rc::clone(dict)),
                "values" => Value::View(View::Values, Rc::clone(dict)),
                // Nothing changes it, so one is as good as two.
                _ => {
                    charge_entries(2 * dict.entries.len())?;
                    Value::dict(dict.entries.clone())?
                }
            })
        }
    }
}

/// `dict.fromkeys(keys, value)`.
pub(super) fn from_keys(args: Args) -> Outcome<Value> {
    let [keys, value] = args.unnamed("fromkeys", 1)?;
    let value = value.unwrap_or(Value::None);
    let mut made = IndexMap::new();
    for key in entries(&keys.unwrap_or(Value::None))? {
        insert(&mut made, key, value.clone())?;
    }
    Value::dict(made)
}

/// Puts a value at its key, which keeps the place it has.
pub(crate) fn insert(entries: &mut IndexMap<Key, Value>, key: Value, value: Value) -> Outcome<()> {
    key.hashable()?;
    charge_key(&key)?;
    charge(2 * ENTRY_BYTES)?;
    entries.insert(Key(key), value);
    Ok(())
}

/// A method of a map's view.
pub(super) fn call_view(value: &Value, name: &'static str, args: Args) -> Outcome<Value> {
    let [other] = args.unnamed(name, 1)?;
    for entry in entries(&other.unwrap_or(Value::None))? {
        if contains(value, &entry)? {
            return Ok(Value::Bool(false));
        }
    }
    Ok(Value::Bool(true))
}

/// `dict(entries, **names)`.
pub(crate) fn make_dict(args: Args) -> Outcome<IndexMap<Key, Value>> {
    let Args { positional, named } = args;
    if positional.len() > 1 {
        let given = positional.len();
        return type_error(format!("dict expected at most 1 argument, got {given}"));
    }
    let mut made = IndexMap::new();
    match positional.first() {
        None => {}
        Some(Value::Dict(dict)) => {
            charge_entries(2 * dict.entries.len())?;
            made.clone_from(&dict.entries);
        }
        Some(pairs) => {
            for pair in entries(pairs)? {
                let [key, value] = &*entries(&pair)? else {
                    return value_error("a dict is made of pairs");
                };
                insert(&mut made, key.clone(), value.clone())?;
            }
        }
    }
    for (name, value) in named {
        insert(&mut made, Value::Text(name), value)?;
    }
    Ok(made)
}
