//! Python's `json.dumps`.

use super::compare::sort_by;
use super::containers::Key;
use super::repr::float_text;
use super::value::Value;
use crate::chat::budget::{ENTRY_BYTES, MAX_DEPTH, Writer, charge};
use crate::chat::fault::{Fault, Outcome, type_error};
use crate::chat::prompt::PRIVATE_USE;

/// How `json.dumps` is asked to write.
#[derive(Debug)]
pub(crate) struct JsonStyle {
    pub(crate) ensure_ascii: bool,
    /// What a level is indented by; everything is on one line without.
    pub(crate) indent: Option<String>,
    /// Between entries.
    pub(crate) comma: String,
    /// Between a key and its value.
    pub(crate) colon: String,
    pub(crate) sort_keys: bool,
}

/// `value` as JSON.
pub(crate) fn to_json(value: &Value, style: &JsonStyle) -> Outcome<String> {
    let mut out = Writer::default();
    write(value, style, 0, &mut out)?;
    Ok(out.finish())
}

fn write(value: &Value, style: &JsonStyle, depth: usize, out: &mut Writer) -> Outcome<()> {
    if depth > MAX_DEPTH {
        return Err(Box::new(Fault::TooDeep { what: "value", max_steps: MAX_DEPTH }));
    }
    match value {
        Value::None => out.text("null"),
        Value::Bool(is) => out.text(if *is { "true" } else { "false" }),
        Value::Int(number) => out.text(&number.to_string()),
        Value::Float(number) => out.text(&json_float(*number)),
        Value::Text(text) => quote(text.as_str(), style, out),
        Value::List(_) | Value::Tuple(_) | Value::Group(_) => {
            let entries = value.as_sequence().unwrap_or_default();
            if entries.is_empty() {
                return out.text("[]");
            }
            out.text("[")?;
            for (at, entry) in entries.iter().enumerate() {
                before_entry(at, style, depth + 1, out)?;
                write(entry, style, depth + 1, out)?;
            }
            line(style, depth, out)?;
            out.text("]")
        }
        Value::Dict(dict) => {
            if dict.entries.is_empty() {
                return out.text("{}");
            }
            out.text("{")?;
            for (at, (key, value)) in pairs(&dict.entries, style)?.into_iter().enumerate() {
                before_entry(at, style, depth + 1, out)?;
                quote(&key_text(key)?, style, out)?;
                out.text(&style.colon)?;
                write(value, style, depth + 1, out)?;
            }
            line(style, depth, out)?;
            out.text("}")
        }
        _ => type_error(format!("Object of type {} is not JSON serializable", value.type_name())),
    }
}

fn pairs<'v>(
    entries: &'v indexmap::IndexMap<Key, Value>,
    style: &JsonStyle,
) -> Outcome<Vec<(&'v Value, &'v Value)>> {
    charge(2 * ENTRY_BYTES * entries.len() as u64)?;
    if !style.sort_keys {
        return Ok(entries.iter().map(|(Key(key), value)| (key, value)).collect());
    }
    let keys = entries.keys().map(|Key(key)| (key.clone(), key.clone())).collect();
    let sorted = sort_by(keys, false)?.into_iter().filter_map(|key| {
        let (Key(key), value) = entries.get_key_value(&Key(key))?;
        Some((key, value))
    });
    Ok(sorted.collect())
}

fn before_entry(at: usize, style: &JsonStyle, depth: usize, out: &mut Writer) -> Outcome<()> {
    charge(ENTRY_BYTES)?;
    if at > 0 {
        out.text(&style.comma)?;
    }
    line(style, depth, out)
}

fn line(style: &JsonStyle, depth: usize, out: &mut Writer) -> Outcome<()> {
    let Some(indent) = &style.indent else { return Ok(()) };
    out.text("\n")?;
    (0..depth).try_for_each(|_| out.text(indent))
}

fn json_float(number: f64) -> String {
    match number {
        _ if number.is_nan() => "NaN".to_owned(),
        f64::INFINITY => "Infinity".to_owned(),
        f64::NEG_INFINITY => "-Infinity".to_owned(),
        _ => float_text(number),
    }
}

fn key_text(key: &Value) -> Outcome<String> {
    Ok(match key {
        Value::Text(text) => text.as_str().to_owned(),
        Value::Int(number) => number.to_string(),
        Value::Float(number) => json_float(*number),
        Value::Bool(is) => is.to_string(),
        Value::None => "null".to_owned(),
        _ => {
            return type_error(format!(
                "keys must be str, int, float, bool or None, not {}",
                key.type_name()
            ));
        }
    })
}

fn quote(text: &str, style: &JsonStyle, out: &mut Writer) -> Outcome<()> {
    out.text("\"")?;
    for c in text.chars() {
        match c {
            '"' => out.text("\\\"")?,
            '\\' => out.text("\\\\")?,
            '\n' => out.text("\\n")?,
            '\r' => out.text("\\r")?,
            '\t' => out.text("\\t")?,
            '\u{8}' => out.text("\\b")?,
            '\u{c}' => out.text("\\f")?,
            '\0'..' ' => out.text(&format!("\\u{:04x}", u32::from(c)))?,
            // What hides a control token stands for a text, which is written in its place.
            c if style.ensure_ascii
                && !c.is_ascii_graphic()
                && c != ' '
                && !PRIVATE_USE.contains(&c) =>
            {
                let mut units = [0; 2];
                if c == '\u{7f}' {
                    out.character(c)?;
                } else {
                    for unit in c.encode_utf16(&mut units) {
                        out.text(&format!("\\u{unit:04x}"))?;
                    }
                }
            }
            c => out.character(c)?,
        }
    }
    out.text("\"")
}
