//! `value[index]` and `value[start:stop:step]`.

use super::compare::charge_key;
use super::containers::{Key, Range, Sequence};
use super::iterate::length;
use super::value::Value;
use crate::chat::budget::{charge, charge_entries};
use crate::chat::fault::{Outcome, lookup_error, type_error, value_error};

/// `value[key]`, which fails where it is not.
pub(crate) fn item(value: &Value, key: &Value) -> Outcome<Value> {
    value.defined()?;
    match value {
        Value::Dict(dict) => {
            key.hashable()?;
            charge_key(key)?;
            match dict.entries.get(&Key(key.clone())) {
                Some(found) => Ok(found.clone()),
                None => lookup_error("no such key"),
            }
        }
        Value::Text(_) | Value::List(_) | Value::Tuple(_) | Value::Group(_) | Value::Range(_) => {
            let Some(index) = key.as_int() else {
                return type_error(format!(
                    "{} indices must be integers, not {}",
                    value.type_name(),
                    key.type_name()
                ));
            };
            let length = length(value)? as i128;
            let index = if index < 0 { index.saturating_add(length) } else { index };
            if !(0..length).contains(&index) {
                return lookup_error(format!("{} index out of range", value.type_name()));
            }
            entry(value, index as usize)
        }
        _ => type_error(format!("'{}' object is not subscriptable", value.type_name())),
    }
}

fn entry(value: &Value, index: usize) -> Outcome<Value> {
    let found = match value {
        Value::Text(text) => {
            let character = text.as_str().chars().nth(index);
            character.map(|c| Value::Text(text.like(c.to_string())))
        }
        Value::Range(range) => Some(Value::Int(range.entry(index))),
        _ => value.as_sequence().and_then(|entries| entries.get(index)).cloned(),
    };
    found.map_or_else(|| lookup_error("index out of range"), Ok)
}

/// Where a slice of a sequence of some length begins, its step, and how many entries it has. No number
/// of it leaves the sequence, whatever the template asked for.
#[derive(Debug, PartialEq, Eq)]
struct Cut {
    start: i128,
    step: i128,
    len: usize,
}

fn cut(length: usize, parts: [Option<i128>; 3]) -> Outcome<Cut> {
    let [start, stop, step] = parts;
    let step = step.unwrap_or(1);
    if step == 0 {
        return value_error("slice step cannot be zero");
    }
    let length = length as i128;
    // No step is wider than the sequence, whether it is asked to be or not.
    let step = step.clamp(-length.max(1), length.max(1));
    let (lowest, highest) = if step > 0 { (0, length) } else { (-1, length - 1) };
    let bound = |bound: Option<i128>, missing: i128| match bound {
        None => missing,
        Some(bound) if bound < 0 => bound.saturating_add(length).clamp(lowest, highest),
        Some(bound) => bound.clamp(lowest, highest),
    };
    let (first, last) = if step > 0 { (lowest, highest) } else { (highest, lowest) };
    let (start, stop) = (bound(start, first), bound(stop, last));
    let len = Range { start, stop, step }.len();
    Ok(Cut { start, step, len })
}

/// `value[start:stop:step]`.
pub(crate) fn slice(value: &Value, parts: &[Value; 3]) -> Outcome<Value> {
    value.defined()?;
    let mut bounds = [None; 3];
    for (bound, part) in bounds.iter_mut().zip(parts) {
        *bound = match part {
            Value::None => None,
            _ => match part.as_int() {
                Some(number) => Some(number),
                None => return type_error("slice indices must be integers or None"),
            },
        };
    }
    if !matches!(
        value,
        Value::Text(_) | Value::List(_) | Value::Tuple(_) | Value::Group(_) | Value::Range(_)
    ) {
        return type_error(format!("'{}' object cannot be sliced", value.type_name()));
    }
    let Cut { start, step, len } = cut(length(value)?, bounds)?;
    let places = (0..len).map(|at| (start + step * at as i128) as usize);
    match value {
        Value::Text(text) => {
            charge(text.as_str().len() as u64)?;
            let all = text.as_str();
            let cut: String = if step == 1 {
                all.chars().skip(start.max(0) as usize).take(len).collect()
            } else {
                charge((all.len() as u64).saturating_mul(4))?;
                let characters: Vec<char> = all.chars().collect();
                places.filter_map(|at| characters.get(at)).collect()
            };
            Ok(Value::Text(text.like(cut)))
        }
        Value::Range(range) => {
            let start = range.start + range.step * start;
            let step = range.step * step;
            Ok(Value::Range(Range { start, stop: start + step * len as i128, step }))
        }
        _ => {
            charge_entries(len)?;
            let entries = value.as_sequence().unwrap_or_default();
            let cut = Sequence::new(places.filter_map(|at| entries.get(at)).cloned().collect())?;
            let is_list = matches!(value, Value::List(_));
            Ok(if is_list { Value::List(cut) } else { Value::Tuple(cut) })
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slice_never_leaves_its_sequence() {
        let numbers = [
            i128::MIN,
            i128::from(i64::MIN),
            -7,
            -3,
            -1,
            0,
            1,
            2,
            5,
            i128::from(i64::MAX),
            i128::MAX,
        ];
        let bounds = || numbers.into_iter().map(Some).chain([None]);
        for length in [0, 1, 3, 5] {
            for start in bounds() {
                for stop in bounds() {
                    for step in bounds().filter(|step| *step != Some(0)) {
                        let Ok(Cut { start, step, len }) = cut(length, [start, stop, step]) else {
                            panic!("{start:?}:{stop:?}:{step:?}")
                        };
                        assert!(len <= length, "{start}:{stop:?}:{step}");
                        for at in 0..len as i128 {
                            let place = start + step * at;
                            assert!((0..length as i128).contains(&place), "{start}, {step}, {len}");
                        }
                    }
                }
            }
        }
    }
}
