//! Filters of texts.

use super::select::{follow, path};
use crate::chat::budget::{Writer, charge};
use crate::chat::fault::{Outcome, other_error, type_error, value_error};
use crate::chat::python::arguments::{Args, is_true_or, text as text_argument, whole};
use crate::chat::python::characters::{class_cost, is_space, is_word};
use crate::chat::python::{
    self, JsonStyle, Key, Text, Value, call_method, entries, escape_text, percent_format,
    split_lines, text_of, title_of_words,
};
use crate::chat::run::Run;

/// A method of the value as a text.
fn method(name: &'static str, value: &Value, args: Args) -> Outcome<Value> {
    call_method(&Value::Text(text_of(value)?), name, args)
}

pub(super) fn upper(_: &mut Run<'_>, value: &Value, args: Args) -> Outcome<Value> {
    method("upper", value, args)
}

pub(super) fn lower(_: &mut Run<'_>, value: &Value, args: Args) -> Outcome<Value> {
    method("lower", value, args)
}

pub(super) fn capitalize(_: &mut Run<'_>, value: &Value, args: Args) -> Outcome<Value> {
    method("capitalize", value, args)
}

pub(super) fn trim(_: &mut Run<'_>, value: &Value, args: Args) -> Outcome<Value> {
    let [characters] = args.bind("trim", ["chars"], 0)?;
    let args = Args { positional: characters.into_iter().collect(), named: Vec::new() };
    method("strip", value, args)
}

pub(super) fn center(_: &mut Run<'_>, value: &Value, args: Args) -> Outcome<Value> {
    let [width] = args.bind("center", ["width"], 0)?;
    let text = text_of(value)?;
    let width = width.as_ref().map_or(Ok(80), whole)?;
    Ok(Value::Text(text.like(python::center(text.as_str(), width, ' ')?)))
}

pub(super) fn title(_: &mut Run<'_>, value: &Value, args: Args) -> Outcome<Value> {
    args.none("title")?;
    Value::made_text(title_of_words(text_of(value)?.as_str())?)
}

pub(super) fn string(_: &mut Run<'_>, value: &Value, args: Args) -> Outcome<Value> {
    args.none("string")?;
    Ok(Value::Text(text_of(value)?))
}

pub(super) fn safe(_: &mut Run<'_>, value: &Value, args: Args) -> Outcome<Value> {
    args.none("safe")?;
    let text = text_of(value)?;
    charge(text.as_str().len() as u64)?;
    Ok(Value::Text(Text::markup(text.as_str())))
}

pub(super) fn escape(_: &mut Run<'_>, value: &Value, args: Args) -> Outcome<Value> {
    args.none("escape")?;
    Ok(Value::Text(python::escape(value)?))
}

pub(super) fn forceescape(_: &mut Run<'_>, value: &Value, args: Args) -> Outcome<Value> {
    args.none("forceescape")?;
    Ok(Value::Text(escape_text(&Text::new(text_of(value)?.as_str()))?))
}

pub(super) fn format(_: &mut Run<'_>, value: &Value, args: Args) -> Outcome<Value> {
    let Args { positional, named } = args;
    if !positional.is_empty() && !named.is_empty() {
        return other_error("can't handle positional and keyword arguments at the same time");
    }
    let values = if named.is_empty() {
        Value::tuple(positional)?
    } else {
        let pairs = named.into_iter().map(|(name, value)| (Key(Value::Text(name)), value));
        Value::dict(pairs.collect())?
    };
    percent_format(&text_of(value)?, &values)
}

pub(super) fn replace(run: &mut Run<'_>, value: &Value, args: Args) -> Outcome<Value> {
    let [old, new, times] = args.bind("replace", ["old", "new", "count"], 2)?;
    let (old, new) = (old.unwrap_or(Value::None), new.unwrap_or(Value::None));
    let times = match &times {
        None | Some(Value::None) => -1,
        Some(times) => whole(times)?,
    };
    let mut text = text_of(value)?;
    let (old, mut new) = (text_of(&old)?, text_of(&new)?);
    if run.escapes() {
        if old.is_markup || new.is_markup && !text.is_markup {
            text = escape_text(&text)?;
        }
        if text.is_markup {
            new = escape_text(&new)?;
        }
    } else {
        text = Text::new(text.as_str());
    }
    let made = python::replace(text.as_str(), old.as_str(), new.as_str(), times)?;
    Ok(Value::Text(text.like(made)))
}

pub(super) fn join(run: &mut Run<'_>, value: &Value, args: Args) -> Outcome<Value> {
    let [between, attribute] = args.bind("join", ["d", "attribute"], 0)?;
    let mut between = between.map_or_else(|| Ok(Text::new("")), |between| text_of(&between))?;
    let path = path(attribute.as_ref())?;
    let mut joined = entries(value)?;
    for entry in &mut joined {
        *entry = follow(run, entry, &path, None)?;
    }
    if run.escapes() {
        let is_markup = |entry: &Value| entry.as_text().is_some_and(|text| text.is_markup);
        if joined.iter().any(is_markup) {
            between = escape_text(&between)?;
        }
    } else {
        between = Text::new(between.as_str());
    }
    python::join(&between, &joined, true)
}

pub(super) fn indent(_: &mut Run<'_>, value: &Value, args: Args) -> Outcome<Value> {
    let [width, first, blank] = args.bind("indent", ["width", "first", "blank"], 0)?;
    let text = text_argument(value)?;
    let (first, blank) = (is_true_or(first.as_ref(), false), is_true_or(blank.as_ref(), false));
    let indent = match &width {
        Some(Value::Text(indent)) => {
            let escaped = if text.is_markup { escape_text(indent)? } else { indent.clone() };
            escaped.as_str().to_owned()
        }
        width => {
            let width = width.as_ref().map_or(Ok(4), whole)?;
            let mut spaces = Writer::default();
            spaces.repeat(' ', usize::try_from(width.max(0)).unwrap_or(usize::MAX))?;
            spaces.finish()
        }
    };
    // An end of line at the end begins no line.
    let with_end = [text.as_str(), "\n"].concat();
    let mut out = Writer::default();
    for (at, line) in split_lines(&with_end, false)?.into_iter().enumerate() {
        if at > 0 {
            out.text("\n")?;
        }
        if if at == 0 { first } else { blank || !line.is_empty() } {
            out.text(&indent)?;
        }
        out.text(line)?;
    }
    Ok(Value::Text(text.like(out.finish())))
}

pub(super) fn truncate(_: &mut Run<'_>, value: &Value, args: Args) -> Outcome<Value> {
    let names = ["length", "killwords", "end", "leeway"];
    let [length, kills_words, end, leeway] = args.bind("truncate", names, 0)?;
    let length = length.as_ref().map_or(Ok(255), whole)?;
    let end = end.unwrap_or_else(|| Value::text("..."));
    let end = text_argument(&end)?.as_str();
    let leeway = match &leeway {
        None | Some(Value::None) => 5,
        Some(leeway) => whole(leeway)?,
    };
    let end_length = end.chars().count() as i128;
    if length < end_length {
        return other_error(format!("expected length >= {end_length}, got {length}"));
    }
    if leeway < 0 {
        return other_error(format!("expected leeway >= 0, got {leeway}"));
    }
    if python::length(value)? as i128 <= length.saturating_add(leeway) {
        return Ok(value.clone());
    }
    let text = text_argument(value)?;
    let keep = (length - end_length) as usize;
    let kept = text
        .as_str()
        .char_indices()
        .nth(keep)
        .map_or(text.as_str(), |(at, _)| &text.as_str()[..at]);
    let kept = match kept.rfind(' ') {
        Some(at) if !is_true_or(kills_words.as_ref(), false) => &kept[..at],
        _ => kept,
    };
    let mut out = Writer::default();
    out.text(kept)?;
    out.text(end)?;
    Ok(Value::Text(text.like(out.finish())))
}

pub(super) fn wordcount(_: &mut Run<'_>, value: &Value, args: Args) -> Outcome<Value> {
    args.none("wordcount")?;
    let text = text_of(value)?;
    charge(class_cost(text.as_str()))?;
    let words = text.as_str().split(|c| !is_word(c)).filter(|word| !word.is_empty());
    Ok(Value::int(words.count()))
}

pub(super) fn urlencode(_: &mut Run<'_>, value: &Value, args: Args) -> Outcome<Value> {
    args.none("urlencode")?;
    Ok(Value::text(python::urlencode(value)?))
}

pub(super) fn xmlattr(run: &mut Run<'_>, value: &Value, args: Args) -> Outcome<Value> {
    let [spaced] = args.bind("xmlattr", ["autospace"], 0)?;
    value.defined()?;
    let Value::Dict(dict) = value else {
        return type_error(format!("'{}' object has no attribute 'items'", value.type_name()));
    };
    let mut out = Writer::default();
    for (Key(key), value) in &dict.entries {
        if value.is_undefined() || matches!(value, Value::None) {
            continue;
        }
        let name = text_argument(key)?;
        let is_bad = |c: char| {
            c.is_ascii() && is_space(c) && c < '\u{1c}' || matches!(c, ' ' | '/' | '>' | '=')
        };
        if name.as_str().contains(is_bad) {
            return value_error("Invalid character in attribute name");
        }
        if out.len() > 0 || is_true_or(spaced.as_ref(), true) {
            out.text(" ")?;
        }
        out.text(escape_text(name)?.as_str())?;
        out.text("=\"")?;
        out.text(python::escape(value)?.as_str())?;
        out.text("\"")?;
    }
    let made = out.finish();
    Ok(Value::Text(if run.escapes() { Text::markup(made) } else { Text::new(made) }))
}

/// `json.dumps`, as `transformers` offers it.
pub(super) fn tojson(_: &mut Run<'_>, value: &Value, args: Args) -> Outcome<Value> {
    let names = ["ensure_ascii", "indent", "separators", "sort_keys"];
    let [ensure_ascii, indent, separators, sort_keys] = args.bind("tojson", names, 0)?;
    let indent = match &indent {
        None | Some(Value::None) => None,
        Some(Value::Text(indent)) => Some(indent.as_str().to_owned()),
        Some(width) => {
            let mut spaces = Writer::default();
            spaces.repeat(' ', usize::try_from(whole(width)?.max(0)).unwrap_or(usize::MAX))?;
            Some(spaces.finish())
        }
    };
    let (comma, colon) = match &separators {
        None | Some(Value::None) => {
            (if indent.is_some() { "," } else { ", " }.to_owned(), ": ".to_owned())
        }
        Some(pair) => match &*entries(pair)? {
            [comma, colon] => (
                text_argument(comma)?.as_str().to_owned(),
                text_argument(colon)?.as_str().to_owned(),
            ),
            _ => return value_error("separators are two texts"),
        },
    };
    let style = JsonStyle {
        ensure_ascii: is_true_or(ensure_ascii.as_ref(), false),
        indent,
        comma,
        colon,
        sort_keys: is_true_or(sort_keys.as_ref(), false),
    };
    Ok(Value::text(python::to_json(value, &style)?))
}
