//! Methods of `str` that look for parts, and those that map characters.

use super::arguments::{Args, text as text_argument, whole_or};
use super::containers::Key;
use super::index::item;
use super::value::Value;
use crate::chat::budget::{PART_BYTES, Writer, charge};
use crate::chat::fault::{Exception, Outcome, type_error, value_error};
use indexmap::IndexMap;

/// The part of `text` that `start` and `end` name, and how many characters are before it; `None` if it
/// begins behind the end.
fn window(
    text: &str,
    start: Option<&Value>,
    end: Option<&Value>,
) -> Outcome<Option<(usize, usize, usize)>> {
    if matches!(start, None | Some(Value::None)) && matches!(end, None | Some(Value::None)) {
        return Ok(Some((0, text.len(), 0)));
    }
    let length = text.chars().count() as i128;
    let place = |at: i128| if at < 0 { at.saturating_add(length).max(0) } else { at };
    let start = place(whole_or(start, 0)?);
    let end = place(whole_or(end, length)?).min(length);
    if start > end {
        return Ok(None);
    }
    let byte = |at: i128| text.char_indices().nth(at as usize).map_or(text.len(), |(at, _)| at);
    Ok(Some((byte(start), byte(end), start as usize)))
}

pub(super) fn search(text: &str, name: &str, args: Args) -> Outcome<Value> {
    let [part, start, end] = args.unnamed(name, 1)?;
    let part = part.unwrap_or(Value::None);
    let part = text_argument(&part)?.as_str();
    charge((text.len() + part.len()) as u64)?;
    let window = window(text, start.as_ref(), end.as_ref())?;
    if name == "count" {
        let count = window.map_or(0, |(from, to, _)| text[from..to].matches(part).count());
        return Ok(Value::int(count));
    }
    let place = window.and_then(|(from, to, before)| {
        let text = &text[from..to];
        let at = if name.starts_with('r') { text.rfind(part) } else { text.find(part) };
        at.map(|at| before + text[..at].chars().count())
    });
    match place {
        Some(at) => Ok(Value::int(at)),
        None if name.ends_with("index") => value_error("substring not found"),
        None => Ok(Value::Int(-1)),
    }
}

pub(super) fn begins_or_ends(text: &str, name: &str, args: Args) -> Outcome<Value> {
    let [affixes, start, end] = args.unnamed(name, 1)?;
    let affixes = affixes.unwrap_or(Value::None);
    let affixes = match &affixes {
        Value::Tuple(affixes) => affixes.entries.clone(),
        single => vec![single.clone()],
    };
    let window = window(text, start.as_ref(), end.as_ref())?;
    for affix in &affixes {
        affix.defined()?;
        let Value::Text(affix) = affix else {
            return type_error(format!(
                "{name} first arg must be str or a tuple of str, not {}",
                affix.type_name()
            ));
        };
        charge(affix.as_str().len() as u64)?;
        let Some((from, to, _)) = window else { continue };
        let (text, affix) = (&text[from..to], affix.as_str());
        if if name == "startswith" { text.starts_with(affix) } else { text.ends_with(affix) } {
            return Ok(Value::Bool(true));
        }
    }
    Ok(Value::Bool(false))
}

pub(super) fn translate(text: &str, table: &Value) -> Outcome<String> {
    let mut out = Writer::default();
    for c in text.chars() {
        charge(16)?;
        match item(table, &Value::Int(i128::from(u32::from(c)))) {
            Ok(Value::None) => {}
            Ok(Value::Text(text)) => out.text(text.as_str())?,
            Ok(other) => match other
                .as_int()
                .map(|code| u32::try_from(code).ok().and_then(char::from_u32))
            {
                Some(Some(c)) => out.character(c)?,
                Some(None) => return value_error("character mapping must be in range(0x110000)"),
                None => return type_error("character mapping must return integer, None or str"),
            },
            Err(fault) if fault.is(&[Exception::Lookup]) => out.character(c)?,
            Err(fault) => return Err(fault),
        }
    }
    Ok(out.finish())
}

pub(super) fn make_table(args: Args) -> Outcome<Value> {
    let [from, to, removed] = args.unnamed("maketrans", 1)?;
    let from = from.unwrap_or(Value::None);
    let mut table = IndexMap::new();
    let code = |c: char| Key(Value::Int(i128::from(u32::from(c))));
    let Some(to) = to else {
        let Value::Dict(dict) = &from else {
            return type_error("if you give only one argument to maketrans it must be a dict");
        };
        for (Key(key), value) in &dict.entries {
            charge(PART_BYTES)?;
            let key = match key {
                Value::Text(text) => {
                    match (text.as_str().chars().next(), text.as_str().chars().nth(1)) {
                        (Some(c), None) => code(c),
                        _ => {
                            return value_error(
                                "string keys in translate table must be of length 1",
                            );
                        }
                    }
                }
                other => Key(other.clone()),
            };
            table.insert(key, value.clone());
        }
        return Value::dict(table);
    };
    let (from, to) = (text_argument(&from)?.as_str(), text_argument(&to)?.as_str());
    charge((from.len() + to.len()) as u64 * PART_BYTES)?;
    if from.chars().count() != to.chars().count() {
        return value_error("the first two maketrans arguments must have equal length");
    }
    for (from, to) in from.chars().zip(to.chars()) {
        table.insert(code(from), Value::Int(i128::from(u32::from(to))));
    }
    if let Some(removed) = removed {
        for c in text_argument(&removed)?.as_str().chars() {
            charge(PART_BYTES)?;
            table.insert(code(c), Value::None);
        }
    }
    Value::dict(table)
}
