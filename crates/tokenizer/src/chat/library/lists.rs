//! Filters of lists and maps.

use super::select::{follow, path};
use crate::chat::budget::{ENTRY_BYTES, charge, charge_entries};
use crate::chat::fault::{Fault, Outcome, arithmetic_error, other_error, type_error};
use crate::chat::python::arguments::{Args, is_true_or, whole};
use crate::chat::python::{
    self, Group, Key, Sequence, Text, Value, View, add, entries, equal, order, slice as cut,
    sort_by,
};
use crate::chat::run::Run;
use indexmap::IndexSet;
use std::cmp::Ordering;
use std::rc::Rc;

/// A generator of what `make` makes; Python fails where it is read.
fn lazily(shown: &'static str, make: impl FnOnce() -> Outcome<Vec<Value>>) -> Outcome<Value> {
    match make() {
        Ok(made) => Value::iter(shown, made, None),
        Err(fault) if matches!(*fault, Fault::Raised(..)) => {
            Value::iter(shown, Vec::new(), Some(fault))
        }
        Err(fault) => Err(fault),
    }
}

pub(super) fn length(_: &mut Run<'_>, value: &Value, args: Args) -> Outcome<Value> {
    args.none("len")?;
    Ok(Value::int(python::length(value)?))
}

pub(super) fn default(_: &mut Run<'_>, value: &Value, args: Args) -> Outcome<Value> {
    let [default, or_false] = args.bind("default", ["default_value", "boolean"], 0)?;
    let or_false = is_true_or(or_false.as_ref(), false);
    if value.is_undefined() || or_false && !value.is_true() {
        return Ok(default.unwrap_or_else(|| Value::text("")));
    }
    Ok(value.clone())
}

pub(super) fn list(_: &mut Run<'_>, value: &Value, args: Args) -> Outcome<Value> {
    args.none("list")?;
    Ok(Value::List(Sequence::new(entries(value)?)?))
}

pub(super) fn items(_: &mut Run<'_>, value: &Value, args: Args) -> Outcome<Value> {
    args.none("items")?;
    match value {
        Value::Undefined(_) => Value::iter("generator object do_items", Vec::new(), None),
        Value::Dict(dict) => {
            let pairs = entries(&Value::View(View::Items, Rc::clone(dict)))?;
            Value::iter("generator object do_items", pairs, None)
        }
        _ => {
            let fault = type_error::<Value>("Can only get item pairs from a mapping.").err();
            Value::iter("generator object do_items", Vec::new(), fault)
        }
    }
}

pub(super) fn first(_: &mut Run<'_>, value: &Value, args: Args) -> Outcome<Value> {
    args.none("first")?;
    let first = python::first(value)?;
    Ok(first.unwrap_or_else(|| Value::undefined("No first item, sequence was empty.")))
}

pub(super) fn last(_: &mut Run<'_>, value: &Value, args: Args) -> Outcome<Value> {
    args.none("last")?;
    if let Value::Text(text) = value {
        let last = text.as_str().chars().next_back();
        let last = last.map(|c| Value::Text(text.like(c.to_string())));
        return Ok(last.unwrap_or_else(|| Value::undefined("No last item, sequence was empty.")));
    }
    let last = match value.as_sequence() {
        Some(entries) => entries.last().cloned(),
        None if is_reversible(value) => entries(value)?.pop(),
        None => return type_error(format!("'{}' object is not reversible", value.type_name())),
    };
    Ok(last.unwrap_or_else(|| Value::undefined("No last item, sequence was empty.")))
}

fn is_reversible(value: &Value) -> bool {
    python::is_iterable(value) && !matches!(value, Value::Iter(_) | Value::Loop(_))
}

pub(super) fn reverse(_: &mut Run<'_>, value: &Value, args: Args) -> Outcome<Value> {
    args.none("reverse")?;
    if let Value::Text(_) = value {
        return cut(value, &[Value::None, Value::None, Value::Int(-1)]);
    }
    if !python::is_iterable(value) {
        return other_error("argument must be iterable");
    }
    let mut reversed = entries(value)?;
    reversed.reverse();
    let shown = match value {
        Value::List(_) => "list_reverseiterator object",
        Value::Dict(_) | Value::View(View::Keys, _) => "dict_reversekeyiterator object",
        Value::View(View::Values, _) => "dict_reversevalueiterator object",
        Value::View(View::Items, _) => "dict_reverseitemiterator object",
        Value::Range(_) => "range_iterator object",
        _ if is_reversible(value) => "reversed object",
        _ => return Value::list(reversed),
    };
    Value::iter(shown, reversed, None)
}

/// In lower case, if it is a text and case does not count.
fn key_of(value: Value, case_counts: bool) -> Outcome<Value> {
    match &value {
        Value::Text(text) if !case_counts => {
            charge(3 * text.as_str().len() as u64)?;
            python::call_method(&value, "lower", Args::default())
        }
        _ => Ok(value),
    }
}

pub(super) fn sort(run: &mut Run<'_>, value: &Value, args: Args) -> Outcome<Value> {
    let names = ["reverse", "case_sensitive", "attribute"];
    let [is_reversed, case_counts, attribute] = args.bind("sort", names, 0)?;
    let is_reversed = is_reversed.as_ref().map_or(Ok(0), whole)? != 0;
    let case_counts = is_true_or(case_counts.as_ref(), false);
    let paths = match &attribute {
        Some(Value::Text(text)) => {
            charge_entries(text.as_str().matches(',').count() + 1)?;
            let parts = text.as_str().split(',');
            parts.map(|part| path(Some(&Value::text(part)))).collect::<Outcome<Vec<_>>>()?
        }
        other => vec![path(other.as_ref())?],
    };
    let mut keyed = Vec::new();
    for entry in entries(value)? {
        let mut key = Vec::with_capacity(paths.len());
        for path in &paths {
            key.push(key_of(follow(run, &entry, path, None)?, case_counts)?);
        }
        keyed.push((Value::list(key)?, entry));
    }
    Value::list(sort_by(keyed, is_reversed)?)
}

pub(super) fn dictsort(_: &mut Run<'_>, value: &Value, args: Args) -> Outcome<Value> {
    let names = ["case_sensitive", "by", "reverse"];
    let [case_counts, by, is_reversed] = args.bind("dictsort", names, 0)?;
    let is_reversed = is_reversed.as_ref().map_or(Ok(0), whole)? != 0;
    let case_counts = is_true_or(case_counts.as_ref(), false);
    let by_value = match by.as_ref().map(|by| by.as_text().map(Text::as_str)) {
        None | Some(Some("key")) => false,
        Some(Some("value")) => true,
        _ => return other_error("You can only sort by either \"key\" or \"value\""),
    };
    value.defined()?;
    let Value::Dict(dict) = value else {
        return type_error(format!("'{}' object has no attribute 'items'", value.type_name()));
    };
    let mut keyed = Vec::new();
    for (Key(key), value) in &dict.entries {
        let by = key_of(if by_value { value } else { key }.clone(), case_counts)?;
        keyed.push((by, Value::tuple(vec![key.clone(), value.clone()])?));
    }
    Value::list(sort_by(keyed, is_reversed)?)
}

pub(super) fn unique(run: &mut Run<'_>, value: &Value, args: Args) -> Outcome<Value> {
    let [case_counts, attribute] = args.bind("unique", ["case_sensitive", "attribute"], 0)?;
    lazily("generator object sync_do_unique", || {
        let case_counts = is_true_or(case_counts.as_ref(), false);
        let path = path(attribute.as_ref())?;
        let mut seen = IndexSet::new();
        let mut kept = Vec::new();
        for entry in entries(value)? {
            let key = key_of(follow(run, &entry, &path, None)?, case_counts)?;
            key.hashable()?;
            charge(ENTRY_BYTES)?;
            if let Value::Text(text) = &key {
                charge(2 * text.as_str().len() as u64)?;
            }
            if seen.insert(Key(key)) {
                kept.push(entry);
            }
        }
        Ok(kept)
    })
}

pub(super) fn groupby(run: &mut Run<'_>, value: &Value, args: Args) -> Outcome<Value> {
    let names = ["attribute", "default", "case_sensitive"];
    let [attribute, default, case_counts] = args.bind("groupby", names, 1)?;
    let case_counts = is_true_or(case_counts.as_ref(), false);
    let default = default.filter(|default| !matches!(default, Value::None));
    let path = path(attribute.as_ref())?;
    let mut keyed = Vec::new();
    for entry in entries(value)? {
        let key = key_of(follow(run, &entry, &path, default.as_ref())?, case_counts)?;
        keyed.push((key.clone(), Value::tuple(vec![key, entry])?));
    }
    let mut groups: Vec<(Value, Vec<Value>)> = Vec::new();
    for pair in sort_by(keyed, false)? {
        let [key, entry] = pair.as_sequence().unwrap_or_default() else { continue };
        match groups.last_mut() {
            Some((known, group)) if equal(known, key)? => group.push(entry.clone()),
            _ => groups.push((key.clone(), vec![entry.clone()])),
        }
    }
    let mut made = Vec::new();
    for (key, group) in groups {
        // As it is written where it comes first.
        let key = match group.first() {
            Some(first) if !case_counts => follow(run, first, &path, default.as_ref())?,
            _ => key,
        };
        let sequence = Sequence::new(vec![key, Value::list(group)?])?;
        made.push(Value::Group(Rc::new(Group { sequence })));
    }
    Value::list(made)
}

fn extreme(run: &mut Run<'_>, value: &Value, args: Args, wanted: Ordering) -> Outcome<Value> {
    let [case_counts, attribute] = args.bind("min", ["case_sensitive", "attribute"], 0)?;
    let case_counts = is_true_or(case_counts.as_ref(), false);
    let path = path(attribute.as_ref())?;
    let symbol = if wanted == Ordering::Less { "<" } else { ">" };
    let mut best: Option<(Value, Value)> = None;
    for entry in entries(value)? {
        let key = key_of(follow(run, &entry, &path, None)?, case_counts)?;
        match &best {
            Some((known, _)) if order(&key, known, symbol)? != Some(wanted) => {}
            _ => best = Some((key, entry)),
        }
    }
    let none = || Value::undefined("No aggregated item, sequence was empty.");
    Ok(best.map_or_else(none, |(_, entry)| entry))
}

pub(super) fn min(run: &mut Run<'_>, value: &Value, args: Args) -> Outcome<Value> {
    extreme(run, value, args, Ordering::Less)
}

pub(super) fn max(run: &mut Run<'_>, value: &Value, args: Args) -> Outcome<Value> {
    extreme(run, value, args, Ordering::Greater)
}

pub(super) fn sum(run: &mut Run<'_>, value: &Value, args: Args) -> Outcome<Value> {
    let [attribute, start] = args.bind("sum", ["attribute", "start"], 0)?;
    let path = path(attribute.as_ref())?;
    let mut total = start.unwrap_or(Value::Int(0));
    if total.as_text().is_some() {
        return type_error("sum() can't sum strings [use ''.join(seq) instead]");
    }
    for entry in entries(value)? {
        total = add(&total, &follow(run, &entry, &path, None)?)?;
    }
    Ok(total)
}

pub(super) fn batch(_: &mut Run<'_>, value: &Value, args: Args) -> Outcome<Value> {
    let [size, fill] = args.bind("batch", ["linecount", "fill_with"], 1)?;
    lazily("generator object do_batch", || {
        let size = size.as_ref().map_or(Ok(0), whole)?;
        let size =
            usize::try_from(size).unwrap_or(if size < 0 { usize::MAX } else { usize::MAX - 1 });
        let mut batches = Vec::new();
        let mut batch = Vec::new();
        for entry in entries(value)? {
            if batch.len() == size {
                batches.push(Value::list(std::mem::take(&mut batch))?);
            }
            batch.push(entry);
        }
        if !batch.is_empty() {
            if let Some(fill) = fill.filter(|fill| !matches!(fill, Value::None))
                && batch.len() < size
                && size != usize::MAX
            {
                charge_entries(size - batch.len())?;
                batch.resize(size, fill);
            }
            batches.push(Value::list(batch)?);
        }
        Ok(batches)
    })
}

pub(super) fn slice(_: &mut Run<'_>, value: &Value, args: Args) -> Outcome<Value> {
    let [num_slices, fill] = args.bind("slice", ["slices", "fill_with"], 1)?;
    lazily("generator object sync_do_slice", || {
        let entries = entries(value)?;
        let num_slices = num_slices.as_ref().map_or(Ok(0), whole)?;
        if num_slices == 0 {
            return arithmetic_error("integer division or modulo by zero");
        }
        let num_slices = usize::try_from(num_slices.max(0)).unwrap_or(usize::MAX);
        charge_entries(num_slices)?;
        let size = entries.len().checked_div(num_slices).unwrap_or(0);
        let num_longer = entries.len().checked_rem(num_slices).unwrap_or(0);
        let fill = fill.filter(|fill| !matches!(fill, Value::None));
        let mut slices = Vec::with_capacity(num_slices);
        let mut rest = &*entries;
        for at in 0..num_slices {
            let (slice, after) = rest.split_at(size + usize::from(at < num_longer));
            rest = after;
            let fill = fill.iter().filter(|_| at >= num_longer);
            slices.push(Value::list(slice.iter().chain(fill).cloned().collect())?);
        }
        Ok(slices)
    })
}
