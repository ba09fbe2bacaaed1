//! Python's format specifications (`>8,.2f`) and how numbers are written by them.

use super::number::float_of;
use super::repr::{float_text, text_of};
use super::value::Value;
use crate::chat::budget::{Writer, charge};
use crate::chat::fault::{Outcome, type_error, value_error};

/// `[[fill]align][sign][z][#][0][width][grouping][.precision][type]`
#[derive(Clone, Debug, Default)]
pub(super) struct Spec {
    pub(super) fill: Option<char>,
    pub(super) align: Option<char>,
    pub(super) sign: Option<char>,
    pub(super) alternate: bool,
    pub(super) zero: bool,
    pub(super) width: usize,
    pub(super) grouping: Option<char>,
    pub(super) precision: Option<usize>,
    pub(super) kind: Option<char>,
}

/// Python's own limit of digits after the point; a float has no more than 1,074.
const MAX_PRECISION: usize = 1100;

fn number_of(digits: &str) -> Outcome<usize> {
    match digits.parse::<usize>() {
        Ok(number) if number < 1 << 31 => Ok(number),
        _ => value_error("too many decimal digits in format string"),
    }
}

impl Spec {
    pub(super) fn parse(text: &str) -> Outcome<Spec> {
        let mut spec = Spec::default();
        let is_align = |c: char| matches!(c, '<' | '>' | '^' | '=');
        let mut rest = text;
        let mut characters = text.chars();
        match (characters.next(), characters.next()) {
            (Some(fill), Some(align)) if is_align(align) => {
                (spec.fill, spec.align) = (Some(fill), Some(align));
                rest = &rest[fill.len_utf8() + 1..];
            }
            (Some(align), _) if is_align(align) => {
                spec.align = Some(align);
                rest = &rest[1..];
            }
            _ => {}
        }
        if let Some(sign) = rest.chars().next().filter(|c| matches!(c, '+' | '-' | ' ')) {
            spec.sign = Some(sign);
            rest = &rest[1..];
        }
        if let Some(after) = rest.strip_prefix('#') {
            (spec.alternate, rest) = (true, after);
        }
        if let Some(after) = rest.strip_prefix('0') {
            (spec.zero, rest) = (true, after);
        }
        let width = rest.len() - rest.trim_start_matches(|c: char| c.is_ascii_digit()).len();
        if width > 0 {
            spec.width = number_of(&rest[..width])?;
            rest = &rest[width..];
        }
        if let Some(grouping) = rest.chars().next().filter(|c| matches!(c, ',' | '_')) {
            spec.grouping = Some(grouping);
            rest = &rest[1..];
        }
        if let Some(after) = rest.strip_prefix('.') {
            let digits = after.len() - after.trim_start_matches(|c: char| c.is_ascii_digit()).len();
            if digits == 0 {
                return value_error("Format specifier missing precision");
            }
            spec.precision = Some(number_of(&after[..digits])?);
            rest = &after[digits..];
        }
        let mut kind = rest.chars();
        spec.kind = kind.next();
        if kind.next().is_some() {
            return value_error(format!("Invalid format specifier '{text}'"));
        }
        Ok(spec)
    }
}

/// Python's `format(value, spec)`.
pub(super) fn format_value(value: &Value, spec: &str) -> Outcome<String> {
    if spec.is_empty() {
        return Ok(text_of(value)?.as_str().to_owned());
    }
    match value {
        Value::Text(text) => format_text(text.as_str(), &Spec::parse(spec)?),
        Value::Int(_) | Value::Bool(_) | Value::Float(_) => {
            format_number(value, &Spec::parse(spec)?)
        }
        Value::Undefined(missing) if missing.is_kept => value.defined().map(|()| String::new()),
        _ => type_error(format!(
            "unsupported format string passed to {}.__format__",
            value.type_name()
        )),
    }
}

fn format_text(text: &str, spec: &Spec) -> Outcome<String> {
    if spec.kind.is_some_and(|kind| kind != 's') {
        return value_error("Unknown format code for object of type 'str'");
    }
    if spec.sign.is_some() || spec.alternate || spec.grouping.is_some() || spec.align == Some('=') {
        return value_error("not allowed in string format specifier");
    }
    let mut cut = text;
    if let Some(precision) = spec.precision {
        cut = text.char_indices().nth(precision).map_or(text, |(at, _)| &text[..at]);
    }
    // A zero before the width fills, and says nothing of the side.
    let fill = spec.fill.unwrap_or(if spec.zero { '0' } else { ' ' });
    pad("", cut, fill, spec.align.unwrap_or('<'), spec.width)
}

/// Fills up to the width; `=` between a sign and the digits.
pub(super) fn pad(
    sign: &str,
    body: &str,
    fill: char,
    align: char,
    width: usize,
) -> Outcome<String> {
    let length = sign.chars().count() + body.chars().count();
    let missing = width.saturating_sub(length);
    let (before, between, after) = match align {
        '<' => (0, 0, missing),
        '^' => (missing / 2, 0, missing - missing / 2),
        '=' => (0, missing, 0),
        _ => (missing, 0, 0),
    };
    let mut out = Writer::default();
    out.repeat(fill, before)?;
    out.text(sign)?;
    out.repeat(fill, between)?;
    out.text(body)?;
    out.repeat(fill, after)?;
    Ok(out.finish())
}

/// `n` is `g` without a country's own marks.
fn as_general(kind: char) -> char {
    if kind == 'n' { 'g' } else { kind }
}

fn format_number(value: &Value, spec: &Spec) -> Outcome<String> {
    let is_whole = value.as_int().is_some();
    let kind = spec.kind;
    let (is_negative, prefix, digits) = match (value.as_int(), kind) {
        (Some(number), None | Some('d' | 'n' | 'b' | 'o' | 'x' | 'X' | 'c')) => {
            if spec.precision.is_some() {
                return value_error("Precision not allowed in integer format specifier");
            }
            let magnitude = number.unsigned_abs();
            let digits = match kind {
                Some('b') => format!("{magnitude:b}"),
                Some('o') => format!("{magnitude:o}"),
                Some('x') => format!("{magnitude:x}"),
                Some('X') => format!("{magnitude:X}"),
                Some('c') if spec.alternate => {
                    return value_error("Alternate form (#) not allowed with 'c'");
                }
                Some('c') => {
                    if spec.sign.is_some() {
                        return value_error("Sign not allowed with integer format specifier 'c'");
                    }
                    let c = u32::try_from(number).ok().and_then(char::from_u32);
                    let Some(c) = c else { return value_error("%c arg not in range(0x110000)") };
                    return pad(
                        "",
                        &c.to_string(),
                        spec.fill.unwrap_or(' '),
                        spec.align.unwrap_or('<'),
                        spec.width,
                    );
                }
                _ => magnitude.to_string(),
            };
            let prefix = match kind {
                Some(kind @ ('b' | 'o' | 'x' | 'X')) if spec.alternate => format!("0{kind}"),
                _ => String::new(),
            };
            (number < 0, prefix, digits)
        }
        (_, None | Some('e' | 'E' | 'f' | 'F' | 'g' | 'G' | 'n' | '%')) => {
            let number = float_of(value).unwrap_or(0.0);
            let text = float_digits(number.abs(), kind.map(as_general), spec, is_whole)?;
            (number.is_sign_negative() && !number.is_nan(), String::new(), text)
        }
        (_, Some(kind)) => {
            return value_error(format!(
                "Unknown format code '{kind}' for object of type '{}'",
                value.type_name()
            ));
        }
    };
    if spec.grouping.is_some() && kind == Some('n') {
        return value_error("Cannot specify ',' with 'n'.");
    }
    if spec.grouping == Some(',') && matches!(kind, Some('b' | 'o' | 'x' | 'X')) {
        return value_error("Cannot specify ',' with this format code.");
    }
    let sign = match (is_negative, spec.sign) {
        (true, _) => "-",
        (false, Some('+')) => "+",
        (false, Some(' ')) => " ",
        _ => "",
    };
    let sign = format!("{sign}{prefix}");
    let fill = spec.fill.unwrap_or(if spec.zero { '0' } else { ' ' });
    let align = spec.align.unwrap_or(if spec.zero { '=' } else { '>' });
    let digits = match spec.grouping {
        None => digits,
        Some(separator) => {
            let size = if matches!(kind, Some('b' | 'o' | 'x' | 'X')) { 4 } else { 3 };
            let fills = fill == '0' && align == '=';
            let width = if fills { spec.width.saturating_sub(sign.len()) } else { 0 };
            grouped(&digits, separator, size, width)?
        }
    };
    pad(&sign, &digits, fill, align, spec.width)
}

/// Separators between the digits before the point, with zeros up to `width`.
fn grouped(text: &str, separator: char, size: usize, width: usize) -> Outcome<String> {
    let is_digit = |c: char| if size == 4 { c.is_ascii_hexdigit() } else { c.is_ascii_digit() };
    let (whole, rest) = text.split_at(text.find(|c| !is_digit(c)).unwrap_or(text.len()));
    if whole.is_empty() {
        return Ok(text.to_owned());
    }
    charge(width as u64)?;
    let width = width.saturating_sub(rest.len());
    let mut out: Vec<char> = Vec::new();
    let mut digits = whole.chars().rev();
    let mut num_digits = 0;
    loop {
        let digit = digits.next();
        if digit.is_none() && out.len() >= width {
            break;
        }
        if num_digits > 0 && num_digits % size == 0 {
            out.push(separator);
        }
        out.push(digit.unwrap_or('0'));
        num_digits += 1;
    }
    out.reverse();
    Ok(out.into_iter().chain(rest.chars()).collect())
}

/// The digits of a number that is not negative.
pub(super) fn float_digits(
    number: f64,
    kind: Option<char>,
    spec: &Spec,
    is_whole: bool,
) -> Outcome<String> {
    let precision = spec.precision.unwrap_or(6);
    if precision > MAX_PRECISION && number.is_finite() {
        // What follows are zeros; they cost like every other character.
        charge(precision as u64)?;
    }
    let is_upper = matches!(kind, Some('E' | 'F' | 'G'));
    let text = match kind {
        _ if number.is_nan() => "nan".to_owned(),
        _ if number.is_infinite() => "inf".to_owned(),
        Some('%') if number * 100.0 == f64::INFINITY => "inf%".to_owned(),
        Some('%') => fixed(number * 100.0, precision, spec.alternate) + "%",
        Some('f' | 'F') => fixed(number, precision, spec.alternate),
        Some('e' | 'E') => scientific(number, precision, spec.alternate),
        Some(_) => general(number, precision, spec.alternate, false),
        None if spec.precision.is_some() => general(number, precision, spec.alternate, !is_whole),
        None if spec.alternate => with_point(float_text(number)),
        None => float_text(number),
    };
    let text = if kind == Some('%') && !number.is_finite() { text + "%" } else { text };
    Ok(if is_upper { text.to_uppercase() } else { text })
}

/// A point also where an exponent follows a single digit.
fn with_point(text: String) -> String {
    match text.split_once('e') {
        Some((digits, exponent)) if !digits.contains('.') => format!("{digits}.e{exponent}"),
        _ => text,
    }
}

fn fixed(number: f64, precision: usize, with_point: bool) -> String {
    let exact = precision.min(MAX_PRECISION);
    let mut text = format!("{number:.exact$}");
    text.extend(std::iter::repeat_n('0', precision - exact));
    if with_point && precision == 0 {
        text.push('.');
    }
    text
}

fn scientific(number: f64, precision: usize, with_point: bool) -> String {
    let exact = precision.min(MAX_PRECISION);
    let text = format!("{number:.exact$e}");
    let (digits, exponent) = text.split_once('e').unwrap_or((&text, "0"));
    let exponent: i32 = exponent.parse().unwrap_or(0);
    let zeros = "0".repeat(precision - exact);
    let point = if with_point && precision == 0 { "." } else { "" };
    let sign = if exponent < 0 { '-' } else { '+' };
    format!("{digits}{zeros}{point}e{sign}{:02}", exponent.abs())
}

/// So many digits that count, without zeros at the end; `keeps_zero` leaves one after the point.
fn general(number: f64, precision: usize, alternate: bool, keeps_zero: bool) -> String {
    let precision = precision.max(1);
    let exact = (precision - 1).min(MAX_PRECISION);
    let text = format!("{number:.exact$e}");
    let (_, exponent) = text.split_once('e').unwrap_or((&text, "0"));
    let exponent: i32 = exponent.parse().unwrap_or(0);
    // `repr` has one digit less before it takes an exponent.
    let limit = precision as i32 - i32::from(keeps_zero);
    let is_plain = exponent >= -4 && exponent < limit;
    let strip = |text: String| {
        if alternate || !text.contains('.') {
            return text;
        }
        text.trim_end_matches('0').trim_end_matches('.').to_owned()
    };
    if is_plain {
        let digits = (precision as i32 - 1 - exponent).max(0) as usize;
        let plain = strip(fixed(number, digits, alternate));
        return if keeps_zero && !plain.contains('.') { plain + ".0" } else { plain };
    }
    let text = scientific(number, precision - 1, alternate);
    let (digits, exponent) = text.split_once('e').unwrap_or((&text, ""));
    format!("{}e{exponent}", strip(digits.to_owned()))
}
