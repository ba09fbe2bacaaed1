//! Values as texts: Python's `str` and `repr`.

use super::characters::{class_cost, is_printable};
use super::containers::{Key, View};
use super::value::{Function, Text, Value};
use crate::chat::budget::{ENTRY_BYTES, MAX_DEPTH, Writer, charge};
use crate::chat::fault::{Fault, Outcome};

/// Where Python writes an address; the same prompt every time is worth more than a true one.
const ADDRESS: &str = "0x7f0000000000";

/// `str(value)`, as the text that it is or one that is made.
pub(crate) fn text_of(value: &Value) -> Outcome<Text> {
    match value {
        Value::Text(text) => Ok(text.clone()),
        Value::Undefined(_) => Ok(Text::new("")),
        _ => Ok(Text::new(repr(value)?)),
    }
}

/// `repr(value)`.
pub(super) fn repr(value: &Value) -> Outcome<String> {
    let mut out = Writer::default();
    write(value, &mut out, 0)?;
    Ok(out.finish())
}

fn write(value: &Value, out: &mut Writer, depth: usize) -> Outcome<()> {
    if depth > MAX_DEPTH {
        return Err(Box::new(Fault::TooDeep { what: "value", max_steps: MAX_DEPTH }));
    }
    let inner = depth + 1;
    match value {
        Value::Undefined(_) => out.text("Undefined"),
        Value::None => out.text("None"),
        Value::Bool(true) => out.text("True"),
        Value::Bool(false) => out.text("False"),
        Value::Int(number) => out.text(&number.to_string()),
        Value::Float(number) => out.text(&float_text(*number)),
        Value::Text(text) if text.is_markup => {
            out.text("Markup(")?;
            quote(text.as_str(), out)?;
            out.text(")")
        }
        Value::Text(text) => quote(text.as_str(), out),
        Value::List(sequence) => {
            out.text("[")?;
            list(&sequence.entries, out, inner)?;
            out.text("]")
        }
        Value::Tuple(_) | Value::Group(_) => {
            let entries = value.as_sequence().unwrap_or_default();
            out.text("(")?;
            list(entries, out, inner)?;
            out.text(if entries.len() == 1 { ",)" } else { ")" })
        }
        Value::Dict(dict) => {
            out.text("{")?;
            pairs(dict.entries.iter().map(|(Key(key), value)| (key, value)), out, inner)?;
            out.text("}")
        }
        Value::Range(range) if range.step == 1 => {
            out.text(&format!("range({}, {})", range.start, range.stop))
        }
        Value::Range(range) => {
            out.text(&format!("range({}, {}, {})", range.start, range.stop, range.step))
        }
        Value::View(view, dict) => {
            out.text(value.type_name())?;
            out.text("([")?;
            for (at, (Key(key), value)) in dict.entries.iter().enumerate() {
                charge(ENTRY_BYTES)?;
                out.text(if at > 0 { ", " } else { "" })?;
                match view {
                    View::Keys => write(key, out, inner)?,
                    View::Values => write(value, out, inner)?,
                    View::Items => {
                        out.text("(")?;
                        list(&[key.clone(), value.clone()], out, inner)?;
                        out.text(")")?;
                    }
                }
            }
            out.text("])")
        }
        Value::Namespace(names) => {
            out.text("<Namespace {")?;
            for (at, (name, value)) in names.names.borrow().iter().enumerate() {
                charge(ENTRY_BYTES)?;
                out.text(if at > 0 { ", " } else { "" })?;
                quote(name, out)?;
                out.text(": ")?;
                write(value, out, inner)?;
            }
            out.text("}>")
        }
        Value::Macro(found) => match &found.name {
            Some(name) => out.text(&format!("<Macro '{name}'>")),
            None => out.text("<Macro anonymous>"),
        },
        Value::Loop(state) => {
            let length = state.length.get().unwrap_or_default();
            out.text(&format!("<LoopContext {}/{length}>", state.index0.get() + 1))
        }
        Value::Function(Function::Namespace) => {
            out.text("<class 'transformers.utils.chat_template_utils.TemplateNamespace'>")
        }
        Value::Function(_)
        | Value::Blocks
        | Value::Block(_)
        | Value::Cycler(_)
        | Value::Joiner(_) => out.text(&format!("<{} object at {ADDRESS}>", value.type_name())),
        Value::Method(method) => out.text(&format!(
            "<built-in method {} of {} object at {ADDRESS}>",
            method.name,
            method.receiver.type_name()
        )),
        Value::Iter(iter) => out.text(&format!("<{} at {ADDRESS}>", iter.shown)),
    }
}

fn list(entries: &[Value], out: &mut Writer, depth: usize) -> Outcome<()> {
    for (at, entry) in entries.iter().enumerate() {
        charge(ENTRY_BYTES)?;
        out.text(if at > 0 { ", " } else { "" })?;
        write(entry, out, depth)?;
    }
    Ok(())
}

fn pairs<'a>(
    pairs: impl Iterator<Item = (&'a Value, &'a Value)>,
    out: &mut Writer,
    depth: usize,
) -> Outcome<()> {
    for (at, (key, value)) in pairs.enumerate() {
        charge(ENTRY_BYTES)?;
        out.text(if at > 0 { ", " } else { "" })?;
        write(key, out, depth)?;
        out.text(": ")?;
        write(value, out, depth)?;
    }
    Ok(())
}

/// `text` in the quotes that need fewer escapes.
fn quote(text: &str, out: &mut Writer) -> Outcome<()> {
    let quote = if text.contains('\'') && !text.contains('"') { '"' } else { '\'' };
    charge(class_cost(text))?;
    out.character(quote)?;
    for c in text.chars() {
        match c {
            '\n' => out.text("\\n")?,
            '\r' => out.text("\\r")?,
            '\t' => out.text("\\t")?,
            '\\' => out.text("\\\\")?,
            c if c == quote => {
                out.character('\\')?;
                out.character(c)?;
            }
            c if is_printable(c) => out.character(c)?,
            c => {
                let code = u32::from(c);
                out.text(&match code {
                    ..0x100 => format!("\\x{code:02x}"),
                    0x100..0x10000 => format!("\\u{code:04x}"),
                    _ => format!("\\U{code:08x}"),
                })?;
            }
        }
    }
    out.character(quote)
}

/// The shortest text that is this number: `1.0`, `1e+16`, `1e-05`, `inf`.
pub(super) fn float_text(number: f64) -> String {
    if number.is_nan() {
        return "nan".to_owned();
    }
    if number.is_infinite() {
        return if number > 0.0 { "inf" } else { "-inf" }.to_owned();
    }
    let scientific = format!("{number:e}");
    let Some((digits, exponent)) = scientific.split_once('e') else { return scientific };
    let exponent: i32 = exponent.parse().unwrap_or(0);
    if (-4..16).contains(&exponent) {
        let plain = number.to_string();
        return if plain.contains('.') { plain } else { format!("{plain}.0") };
    }
    let sign = if exponent < 0 { '-' } else { '+' };
    format!("{digits}e{sign}{:02}", exponent.abs())
}
