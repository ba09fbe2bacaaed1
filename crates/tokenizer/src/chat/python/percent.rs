//! `text % values`, Python's older way to format.

use super::characters::is_printable;
use super::compare::charge_key;
use super::html::escape;
use super::index::item;
use super::number::{float_of, truncated};
use super::repr::{repr, text_of};
use super::spec::{Spec, float_digits, pad};
use super::value::{Text, Value};
use crate::chat::budget::{Writer, charge};
use crate::chat::fault::{Outcome, type_error, value_error};
use std::iter::Peekable;
use std::str::Chars;

/// `format % values`. A `Markup` escapes what it writes.
pub(crate) fn percent_format(format: &Text, values: &Value) -> Outcome<Value> {
    let mut source = Source::new(values, format.is_markup);
    let mut out = Writer::default();
    let mut rest = format.as_str();
    while let Some(at) = rest.find('%') {
        out.text(&rest[..at])?;
        let mut characters = rest[at + 1..].chars().peekable();
        field(&mut characters, &mut source, &mut out)?;
        let len: usize = characters.map(char::len_utf8).sum();
        rest = &rest[rest.len() - len..];
        // The rest is passed over for its length.
        charge(len as u64)?;
    }
    out.text(rest)?;
    if source.is_left_over() {
        return type_error("not all arguments converted during string formatting");
    }
    let text = out.finish();
    Ok(Value::Text(format.like(text)))
}

/// Where values come from: a tuple in order, a single one, or a map by name.
struct Source<'v> {
    values: &'v Value,
    single: [Value; 1],
    taken: usize,
    by_name: bool,
    escapes: bool,
}

impl Source<'_> {
    fn new(values: &Value, escapes: bool) -> Source<'_> {
        Source { values, single: [values.clone()], taken: 0, by_name: false, escapes }
    }

    fn positional(&self) -> &[Value] {
        match self.values {
            Value::Tuple(_) | Value::Group(_) => self.values.as_sequence().unwrap_or_default(),
            _ => &self.single,
        }
    }

    fn next(&mut self) -> Outcome<Value> {
        if self.by_name {
            return Ok(self.values.clone());
        }
        let Some(value) = self.positional().get(self.taken).cloned() else {
            return type_error("not enough arguments for format string");
        };
        self.taken += 1;
        Ok(value)
    }

    fn named(&mut self, name: &str) -> Outcome<Value> {
        if matches!(self.values, Value::Tuple(_) | Value::Group(_) | Value::Text(_))
            || !is_mapping(self.values)
        {
            return type_error("format requires a mapping");
        }
        let key = Value::text(name);
        charge_key(&key)?;
        self.by_name = true;
        item(self.values, &key)
    }

    fn is_left_over(&self) -> bool {
        match self.values {
            Value::Tuple(_) | Value::Group(_) => self.taken < self.positional().len(),
            _ => !self.by_name && self.taken == 0 && !is_mapping(self.values),
        }
    }
}

fn is_mapping(value: &Value) -> bool {
    matches!(value, Value::Dict(_) | Value::List(_) | Value::Range(_) | Value::Undefined(_))
}

fn field(
    characters: &mut Peekable<Chars<'_>>,
    source: &mut Source<'_>,
    out: &mut Writer,
) -> Outcome<()> {
    let mut named = None;
    if characters.next_if_eq(&'(').is_some() {
        let mut name = String::new();
        let mut num_open = 1;
        for c in characters.by_ref() {
            num_open += i32::from(c == '(') - i32::from(c == ')');
            if num_open == 0 {
                break;
            }
            name.push(c);
        }
        if num_open > 0 {
            return value_error("incomplete format key");
        }
        named = Some(source.named(&name)?);
    }
    let mut spec = Spec::default();
    let mut is_left = false;
    while let Some(flag) = characters.next_if(|c| matches!(c, '-' | '+' | ' ' | '#' | '0')) {
        match flag {
            '-' => is_left = true,
            '+' => spec.sign = Some('+'),
            ' ' if spec.sign.is_none() => spec.sign = Some(' '),
            '#' => spec.alternate = true,
            '0' => spec.zero = true,
            _ => {}
        }
    }
    if let Some(width) = size(characters, source)? {
        is_left |= width < 0;
        spec.width = usize::try_from(width.unsigned_abs()).unwrap_or(usize::MAX);
    }
    if characters.next_if_eq(&'.').is_some() {
        let precision = size(characters, source)?.unwrap_or(0).max(0);
        spec.precision = Some(usize::try_from(precision).unwrap_or(usize::MAX));
    }
    characters.next_if(|c| matches!(c, 'h' | 'l' | 'L'));
    let Some(kind) = characters.next() else { return value_error("incomplete format") };
    if kind == '%' {
        return out.text("%");
    }
    let value = match named {
        Some(value) => value,
        None => source.next()?,
    };
    let align = if is_left { '<' } else { '>' };
    let text = match kind {
        's' | 'r' | 'a' => text_field(&value, kind, source.escapes)?,
        'c' => match (&value, value.as_int()) {
            (_, Some(number)) => match u32::try_from(number).ok().and_then(char::from_u32) {
                Some(c) => Text::new(c.to_string()),
                None => return type_error("%c arg not in range(0x110000)"),
            },
            (Value::Text(text), _)
                if text.as_str().chars().nth(1).is_none() && !text.as_str().is_empty() =>
            {
                text.clone()
            }
            _ => return type_error("%c requires int or char"),
        },
        'd' | 'i' | 'u' | 'o' | 'x' | 'X' => {
            return out.text(&whole_field(&value, kind, &spec, is_left)?);
        }
        'e' | 'E' | 'f' | 'F' | 'g' | 'G' => {
            value.defined()?;
            let Some(number) = float_of(&value) else {
                return type_error(format!("must be real number, not {}", value.type_name()));
            };
            let digits = float_digits(number.abs(), Some(kind), &spec, false)?;
            let is_negative = number.is_sign_negative() && !number.is_nan();
            let zero = spec.zero && number.is_finite();
            return out.text(&padded(
                sign(is_negative, &spec),
                &digits,
                zero,
                is_left,
                spec.width,
            )?);
        }
        _ => return value_error(format!("unsupported format character '{kind}'")),
    };
    let cut = match spec.precision {
        Some(precision) if kind != 'c' => {
            let text = text.as_str();
            text.char_indices().nth(precision).map_or(text, |(at, _)| &text[..at])
        }
        _ => text.as_str(),
    };
    out.text(&pad("", cut, ' ', align, spec.width)?)
}

fn sign(is_negative: bool, spec: &Spec) -> &'static str {
    match (is_negative, spec.sign) {
        (true, _) => "-",
        (false, Some('+')) => "+",
        (false, Some(_)) => " ",
        (false, None) => "",
    }
}

fn padded(sign: &str, digits: &str, zero: bool, is_left: bool, width: usize) -> Outcome<String> {
    match (is_left, zero) {
        (true, _) => pad(sign, digits, ' ', '<', width),
        (false, true) => pad(sign, digits, '0', '=', width),
        (false, false) => pad(sign, digits, ' ', '>', width),
    }
}

/// A number of the format, or `*` for one of the values.
fn size(characters: &mut Peekable<Chars<'_>>, source: &mut Source<'_>) -> Outcome<Option<i128>> {
    if characters.next_if_eq(&'*').is_some() {
        return match source.next()?.as_int() {
            Some(number) => Ok(Some(number)),
            None => type_error("* wants int"),
        };
    }
    let mut number = None;
    while let Some(digit) = characters.next_if(char::is_ascii_digit) {
        let digit = i128::from(digit.to_digit(10).unwrap_or(0));
        number = Some(number.unwrap_or(0_i128).saturating_mul(10).saturating_add(digit));
        if number > Some(i128::from(i64::MAX)) {
            return value_error("width too big");
        }
    }
    Ok(number)
}

fn text_field(value: &Value, kind: char, escapes: bool) -> Outcome<Text> {
    let text = match kind {
        's' => text_of(value)?,
        'r' => Text::new(repr(value)?),
        _ => {
            let mut out = Writer::default();
            for c in repr(value)?.chars() {
                match u32::from(c) {
                    ..0x80 => out.character(c)?,
                    code @ 0x80..0x100 => out.text(&format!("\\x{code:02x}"))?,
                    code @ 0x100..0x10000 => out.text(&format!("\\u{code:04x}"))?,
                    _ if !is_printable(c) => out.character(c)?,
                    code => out.text(&format!("\\U{code:08x}"))?,
                }
            }
            Text::new(out.finish())
        }
    };
    if escapes { escape(&Value::Text(text)) } else { Ok(text) }
}

fn whole_field(value: &Value, kind: char, spec: &Spec, is_left: bool) -> Outcome<String> {
    value.defined()?;
    let is_decimal = matches!(kind, 'd' | 'i' | 'u');
    let number = match (value, value.as_int()) {
        (_, Some(number)) => number,
        (Value::Float(number), _) if is_decimal => truncated(*number)?,
        _ => {
            return type_error(format!(
                "%{kind} format: a number is required, not {}",
                value.type_name()
            ));
        }
    };
    let magnitude = number.unsigned_abs();
    let digits = match kind {
        'o' => format!("{magnitude:o}"),
        'x' => format!("{magnitude:x}"),
        'X' => format!("{magnitude:X}"),
        _ => magnitude.to_string(),
    };
    let digits = pad("", &digits, '0', '>', spec.precision.unwrap_or(0))?;
    let prefix = if spec.alternate && !is_decimal { format!("0{kind}") } else { String::new() };
    let sign = format!("{}{prefix}", sign(number < 0, spec));
    padded(&sign, &digits, spec.zero, is_left, spec.width)
}
