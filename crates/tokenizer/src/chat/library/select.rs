//! Filters that apply something to each entry.

use super::{call_filter, call_test};
use crate::chat::budget::charge_entries;
use crate::chat::fault::{Fault, Outcome, other_error, quoted, type_error};
use crate::chat::python::arguments::Args;
use crate::chat::python::{Value, entries, text_of};
use crate::chat::run::Run;

/// How Python writes the result of `map`.
const MAP: &str = "generator object sync_do_map";

/// Of what an entry is looked at: `a.b.0`, or a number, or the entry itself.
pub(super) fn path(attribute: Option<&Value>) -> Outcome<Vec<Value>> {
    let part = |part: &str| {
        let is_index = !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
        match part.parse::<u32>() {
            Ok(index) if is_index => Value::Int(i128::from(index)),
            _ => Value::text(part),
        }
    };
    match attribute {
        None | Some(Value::None) => Ok(Vec::new()),
        Some(Value::Text(text)) => {
            charge_entries(text.as_str().matches('.').count() + 1)?;
            Ok(text.as_str().split('.').map(part).collect())
        }
        Some(other) => Ok(vec![other.clone()]),
    }
}

/// What is at `path` in `value`; `default` stands in for each part that is not there.
pub(super) fn follow(
    run: &mut Run<'_>,
    value: &Value,
    path: &[Value],
    default: Option<&Value>,
) -> Outcome<Value> {
    let mut value = value.clone();
    for part in path {
        value = run.item(&value, part)?;
        if value.is_undefined()
            && let Some(default) = default
        {
            value = default.clone();
        }
    }
    Ok(value)
}

/// What `each` makes of the entries of `value`, as far as it gets; Python fails where the result is read.
fn generator(
    value: &Value,
    shown: &'static str,
    mut each: impl FnMut(Value) -> Outcome<Option<Value>>,
) -> Outcome<Value> {
    let mut made = Vec::new();
    let mut fault = None;
    // What is false is not asked for its entries.
    if value.is_true() {
        match entries(value) {
            Ok(entries) => {
                for entry in entries {
                    match each(entry) {
                        Ok(entry) => made.extend(entry),
                        Err(found) => {
                            fault = Some(found);
                            break;
                        }
                    }
                }
            }
            Err(found) => fault = Some(found),
        }
    }
    // A bound is no exception, and nothing waits for it.
    match fault {
        Some(fault) if !matches!(*fault, Fault::Raised(..)) => Err(fault),
        fault => Value::iter(shown, made, fault),
    }
}

pub(super) fn map(run: &mut Run<'_>, value: &Value, args: Args) -> Outcome<Value> {
    let Args { mut positional, mut named } = args;
    let attribute = named.iter().position(|(name, _)| name.as_str() == "attribute");
    if let (true, Some(at)) = (positional.is_empty(), attribute) {
        let (_, attribute) = named.remove(at);
        let default = named.iter().position(|(name, _)| name.as_str() == "default");
        let default =
            default.map(|at| named.remove(at).1).filter(|value| !matches!(value, Value::None));
        let unexpected = named.into_iter().next();
        let path = path(Some(&attribute));
        return generator(value, MAP, |entry| {
            if let Some((name, _)) = &unexpected {
                return other_error(format!(
                    "Unexpected keyword argument {}",
                    quoted(name.as_str())
                ));
            }
            follow(run, &entry, path.as_ref().map_err(Clone::clone)?, default.as_ref()).map(Some)
        });
    }
    let filter = (!positional.is_empty()).then(|| positional.remove(0));
    let args = Args { positional, named };
    generator(value, MAP, |entry| {
        let Some(filter) = &filter else { return other_error("map requires a filter argument") };
        call_filter(run, text_of(filter)?.as_str(), &entry, args.clone()).map(Some)
    })
}

fn choose(
    run: &mut Run<'_>,
    value: &Value,
    args: Args,
    wants: bool,
    has_attribute: bool,
) -> Outcome<Value> {
    let Args { mut positional, named } = args;
    let attribute = (has_attribute && !positional.is_empty()).then(|| positional.remove(0));
    let test = (!positional.is_empty()).then(|| positional.remove(0));
    let args = Args { positional, named };
    let path = path(attribute.as_ref());
    generator(value, "generator object select_or_reject", |entry| {
        if has_attribute && attribute.is_none() {
            return other_error("Missing parameter for attribute name");
        }
        let looked_at = follow(run, &entry, path.as_ref().map_err(Clone::clone)?, None)?;
        let holds = match &test {
            Some(test) => {
                call_test(run, text_of(test)?.as_str(), &looked_at, args.clone())?.is_true()
            }
            None => looked_at.is_true(),
        };
        Ok((holds == wants).then_some(entry))
    })
}

pub(super) fn select(run: &mut Run<'_>, value: &Value, args: Args) -> Outcome<Value> {
    choose(run, value, args, true, false)
}

pub(super) fn reject(run: &mut Run<'_>, value: &Value, args: Args) -> Outcome<Value> {
    choose(run, value, args, false, false)
}

pub(super) fn selectattr(run: &mut Run<'_>, value: &Value, args: Args) -> Outcome<Value> {
    choose(run, value, args, true, true)
}

pub(super) fn rejectattr(run: &mut Run<'_>, value: &Value, args: Args) -> Outcome<Value> {
    choose(run, value, args, false, true)
}

/// An attribute, and never an entry.
pub(super) fn attr(run: &mut Run<'_>, value: &Value, args: Args) -> Outcome<Value> {
    let [name] = args.bind("attr", ["name"], 1)?;
    let Some(Value::Text(name)) = name else { return type_error("attribute name must be string") };
    value.defined()?;
    match run.own_attribute(value, name.as_str())? {
        Some(found) => Ok(found),
        None => Ok(Value::undefined(format!(
            "'{} object' has no attribute {}",
            value.type_name(),
            quoted(name.as_str())
        ))),
    }
}
