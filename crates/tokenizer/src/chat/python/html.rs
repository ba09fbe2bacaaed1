//! Escapes for HTML and addresses.

use super::containers::Key;
use super::iterate::entries;
use super::repr::text_of;
use super::value::{Text, Value};
use crate::chat::budget::Writer;
use crate::chat::fault::{Outcome, type_error};

/// `value` as `Markup`.
pub(crate) fn escape(value: &Value) -> Outcome<Text> {
    escape_text(&text_of(value)?)
}

/// `text` as `Markup`, which it may already be.
pub(crate) fn escape_text(text: &Text) -> Outcome<Text> {
    if text.is_markup {
        return Ok(text.clone());
    }
    let mut out = Writer::default();
    let mut rest = text.as_str();
    while let Some(at) = rest.find(['&', '<', '>', '\'', '"']) {
        out.text(&rest[..at])?;
        out.text(match rest.as_bytes()[at] {
            b'&' => "&amp;",
            b'<' => "&lt;",
            b'>' => "&gt;",
            b'\'' => "&#39;",
            _ => "&#34;",
        })?;
        rest = &rest[at + 1..];
    }
    out.text(rest)?;
    Ok(Text::markup(out.finish()))
}

/// A text for an address, or the pairs of a query.
pub(crate) fn urlencode(value: &Value) -> Outcome<String> {
    let pairs = match value {
        Value::Dict(dict) => {
            dict.entries.iter().map(|(Key(key), value)| (key.clone(), value.clone())).collect()
        }
        Value::List(_)
        | Value::Tuple(_)
        | Value::Group(_)
        | Value::Iter(_)
        | Value::View(..)
        | Value::Range(_)
        | Value::Undefined(_) => {
            let pair = |entry: &Value| match &*entries(entry)? {
                [key, value] => Ok((key.clone(), value.clone())),
                _ => type_error("a query is made of pairs"),
            };
            entries(value)?.iter().map(pair).collect::<Outcome<Vec<_>>>()?
        }
        _ => {
            let mut out = Writer::default();
            quote(text_of(value)?.as_str(), false, &mut out)?;
            return Ok(out.finish());
        }
    };
    let mut out = Writer::default();
    for (at, (key, value)) in pairs.iter().enumerate() {
        out.text(if at > 0 { "&" } else { "" })?;
        quote(text_of(key)?.as_str(), true, &mut out)?;
        out.text("=")?;
        quote(text_of(value)?.as_str(), true, &mut out)?;
    }
    Ok(out.finish())
}

fn quote(text: &str, is_query: bool, out: &mut Writer) -> Outcome<()> {
    for byte in text.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'_' | b'.' | b'-' | b'~' => {
                out.character(char::from(byte))?;
            }
            b'/' if !is_query => out.text("/")?,
            b' ' if is_query => out.text("+")?,
            _ => out.text(&format!("%{byte:02X}"))?,
        }
    }
    Ok(())
}
