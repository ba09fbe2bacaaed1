//! `str.format`: texts with `{fields}`, read within the sandbox.

use super::arguments::Args;
use super::html::escape;
use super::repr::{repr, text_of};
use super::spec::format_value;
use super::value::{Text, Value};
use crate::chat::budget::Writer;
use crate::chat::fault::{Outcome, lookup_error, value_error};

/// How a field goes on from its value: `.name`, `[key]`.
pub(crate) type Lookup<'a> = &'a mut dyn FnMut(&Value, &Value, bool) -> Outcome<Value>;

/// Where fields take their values.
pub(crate) enum Fields<'a> {
    /// `format(args)`.
    Args(&'a Args),
    /// `format_map(map)`.
    Map(&'a Value),
}

/// `text.format(...)`.
pub(crate) fn format_text(text: &Text, fields: &Fields<'_>, lookup: Lookup<'_>) -> Outcome<Value> {
    let mut formatter =
        Formatter { fields, lookup, escapes: text.is_markup, next: 0, by_number: false };
    let made = formatter.format(text.as_str(), 2)?;
    Ok(Value::Text(text.like(made)))
}

const MIXED: &str = "fields with and without numbers are mixed";

struct Formatter<'a, 'l> {
    fields: &'a Fields<'a>,
    lookup: Lookup<'l>,
    escapes: bool,
    /// Of the fields without a name.
    next: usize,
    by_number: bool,
}

impl Formatter<'_, '_> {
    fn format(&mut self, text: &str, levels: usize) -> Outcome<String> {
        let mut out = Writer::default();
        let mut rest = text;
        while let Some(at) = rest.find(['{', '}']) {
            out.text(&rest[..at])?;
            let bracket = &rest[at..=at];
            rest = &rest[at + 1..];
            if let Some(after) = rest.strip_prefix(bracket) {
                out.text(bracket)?;
                rest = after;
                continue;
            }
            if bracket == "}" {
                return value_error("Single '}' encountered in format string");
            }
            let Some(end) = field_end(rest) else {
                return value_error("expected '}' before end of string");
            };
            if levels == 0 {
                return value_error("Max string recursion exceeded");
            }
            let field = self.field(&rest[..end], levels)?;
            out.text(&field)?;
            rest = &rest[end + 1..];
        }
        out.text(rest)?;
        Ok(out.finish())
    }

    fn field(&mut self, field: &str, levels: usize) -> Outcome<String> {
        let name_end = name_end(field);
        let (name, rest) = field.split_at(name_end);
        let (conversion, spec) = match rest.strip_prefix('!') {
            Some(rest) => {
                let mut characters = rest.chars();
                let conversion = characters.next();
                let rest = characters.as_str();
                match rest.strip_prefix(':') {
                    Some(spec) => (conversion, spec),
                    None if rest.is_empty() => (conversion, ""),
                    None => return value_error("expected ':' after conversion specifier"),
                }
            }
            None => (None, rest.strip_prefix(':').unwrap_or("")),
        };
        let mut value = self.value(name)?;
        value = match conversion {
            None => value,
            Some('s') => Value::Text(Text::new(text_of(&value)?.as_str())),
            Some('r') => Value::made_text(repr(&value)?)?,
            Some('a') => {
                let args = Value::tuple(vec![value])?;
                super::percent::percent_format(&Text::new("%a"), &args)?
            }
            Some(other) => return value_error(format!("Unknown conversion specifier {other}")),
        };
        let spec = self.format(spec, levels - 1)?;
        if !self.escapes {
            return format_value(&value, &spec);
        }
        match &value {
            Value::Text(text) if text.is_markup && !spec.is_empty() => {
                value_error("Unsupported format specification for Markup.")
            }
            Value::Text(text) if text.is_markup => Ok(text.as_str().to_owned()),
            _ => {
                let made = Value::made_text(format_value(&value, &spec)?)?;
                Ok(escape(&made)?.as_str().to_owned())
            }
        }
    }

    fn value(&mut self, name: &str) -> Outcome<Value> {
        let first_len = name.find(['.', '[']).unwrap_or(name.len());
        let (first, mut rest) = name.split_at(first_len);
        if name.is_empty() {
            return self.unnamed();
        }
        let mut value = self.first(first)?;
        while !rest.is_empty() {
            if let Some(after) = rest.strip_prefix('.') {
                let len = after.find(['.', '[']).unwrap_or(after.len());
                if len == 0 {
                    return value_error("Empty attribute in format string");
                }
                value = (self.lookup)(&value, &Value::text(&after[..len]), true)?;
                rest = &after[len..];
            } else if let Some(after) = rest.strip_prefix('[') {
                let Some(len) = after.find(']') else {
                    return value_error("Missing ']' in format string");
                };
                if len == 0 {
                    return value_error("Empty attribute in format string");
                }
                let key = &after[..len];
                let key = match key.parse::<u32>() {
                    Ok(index) => Value::Int(i128::from(index)),
                    Err(_) => Value::text(key),
                };
                value = (self.lookup)(&value, &key, false)?;
                rest = &after[len + 1..];
            } else {
                return value_error("Only '.' or '[' may follow ']' in format field specifier");
            }
        }
        Ok(value)
    }

    fn first(&mut self, name: &str) -> Outcome<Value> {
        let is_number = !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_digit());
        if let Some(index) = name.parse::<usize>().ok().filter(|_| is_number) {
            if self.next > 0 {
                return value_error(MIXED);
            }
            self.by_number = true;
            return self.at(index);
        }
        match self.fields {
            Fields::Args(args) => {
                match args.named.iter().find(|(known, _)| known.as_str() == name) {
                    Some((_, value)) => Ok(value.clone()),
                    None => lookup_error(format!("no argument named '{name}'")),
                }
            }
            Fields::Map(map) => super::index::item(map, &Value::text(name)),
        }
    }

    fn unnamed(&mut self) -> Outcome<Value> {
        if self.by_number {
            return value_error(MIXED);
        }
        self.next += 1;
        self.at(self.next - 1)
    }

    fn at(&self, index: usize) -> Outcome<Value> {
        match self.fields {
            Fields::Args(args) if index < args.positional.len() => {
                Ok(args.positional[index].clone())
            }
            _ => lookup_error(format!("replacement index {index} out of range")),
        }
    }
}

/// Where the brace closes that opened before `text`.
fn field_end(text: &str) -> Option<usize> {
    let mut num_open = 1;
    for (at, c) in text.char_indices() {
        num_open += i32::from(c == '{') - i32::from(c == '}');
        if num_open == 0 {
            return Some(at);
        }
    }
    None
}

/// Where a field's name ends; a key in brackets may hold anything.
fn name_end(field: &str) -> usize {
    let mut in_key = false;
    for (at, c) in field.char_indices() {
        match c {
            '[' => in_key = true,
            ']' => in_key = false,
            '!' | ':' if !in_key => return at,
            _ => {}
        }
    }
    field.len()
}
