//! Numbers: whole ones of 127 bits and floats, read from texts and rounded as Python does.

use super::characters::{is_decimal, is_space};
use super::value::Value;
use crate::chat::fault::{Outcome, arithmetic_error, too_large, type_error, value_error};
use std::cmp::Ordering;

/// A whole number as the float next to it.
pub(crate) fn float_of(value: &Value) -> Option<f64> {
    match value {
        Value::Float(number) => Some(*number),
        _ => value.as_int().map(|number| number as f64),
    }
}

/// Python's `int(value)` of what is no text.
pub(crate) fn int_of(value: &Value) -> Outcome<i128> {
    value.defined()?;
    match value {
        Value::Float(number) => truncated(*number),
        Value::Text(text) => match parse_int(text.as_str(), 10) {
            Some(number) => number,
            None => value_error("invalid literal for int() with base 10"),
        },
        _ => match value.as_int() {
            Some(number) => Ok(number),
            None => {
                type_error(format!("int() argument must be a number, not '{}'", value.type_name()))
            }
        },
    }
}

pub(super) fn truncated(number: f64) -> Outcome<i128> {
    if number.is_nan() {
        return value_error("cannot convert float NaN to integer");
    }
    if number.is_infinite() {
        return arithmetic_error("cannot convert float infinity to integer");
    }
    if number.abs() >= 2_f64.powi(127) { too_large("a whole number") } else { Ok(number as i128) }
}

/// The number that `text` is in `base`; none if it is none, and a fault if it is too large.
pub(crate) fn parse_int(text: &str, base: u32) -> Option<Outcome<i128>> {
    let text = text.trim_matches(is_space);
    let (is_negative, digits) = match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text.strip_prefix('+').unwrap_or(text)),
    };
    let lower = digits.get(..2).map(str::to_ascii_lowercase);
    let (prefix_base, rest) = match lower.as_deref() {
        Some("0x") => (16, &digits[2..]),
        Some("0o") => (8, &digits[2..]),
        Some("0b") => (2, &digits[2..]),
        _ => (0, digits),
    };
    let has_prefix = prefix_base != 0 && (base == 0 || base == prefix_base);
    let digits = if has_prefix { rest.strip_prefix('_').unwrap_or(rest) } else { digits };
    let radix = match base {
        0 if has_prefix => prefix_base,
        0 => {
            if digits.len() > 1
                && digits.starts_with('0')
                && digits.contains(|c| c != '0' && c != '_')
            {
                return None;
            }
            10
        }
        _ => base,
    };
    let mut number = Some(0_i128);
    let mut before = '_';
    for c in digits.chars() {
        if c == '_' {
            if before == '_' {
                return None;
            }
        } else {
            let digit =
                c.to_digit(radix).or_else(|| other_digit(c).filter(|&digit| digit < radix))?;
            number = number
                .and_then(|number| number.checked_mul(i128::from(radix)))
                .and_then(|number| number.checked_add(i128::from(digit)));
        }
        before = c;
    }
    if before == '_' {
        return None;
    }
    let number = number.map(|number| if is_negative { -number } else { number });
    Some(number.map_or_else(|| too_large("a whole number"), Ok))
}

/// The digit that a decimal of another script is: they stand in tens, in order.
fn other_digit(c: char) -> Option<u32> {
    if c.is_ascii() || !is_decimal(c) {
        return None;
    }
    let zero =
        (0..10).rev().find(|&back| char::from_u32(u32::from(c) - back).is_some_and(is_decimal))?;
    Some(zero % 10)
}

/// The number that `text` is for Python's `float`.
pub(crate) fn parse_float(text: &str) -> Option<f64> {
    let text = text.trim_matches(is_space);
    let unsigned = text.strip_prefix(['-', '+']).unwrap_or(text);
    let lower = unsigned.to_ascii_lowercase();
    if matches!(&*lower, "inf" | "infinity" | "nan") {
        return text.to_ascii_lowercase().parse().ok();
    }
    let is_digit = |c: Option<char>| c.is_some_and(|c| c.is_ascii_digit());
    let characters: Vec<char> = unsigned.chars().collect();
    let mut plain = String::with_capacity(text.len());
    for (at, &c) in characters.iter().enumerate() {
        match c {
            '_' => {
                let before = at.checked_sub(1).and_then(|at| characters.get(at)).copied();
                if !is_digit(before) || !is_digit(characters.get(at + 1).copied()) {
                    return None;
                }
            }
            '0'..='9' | '.' | 'e' | 'E' | '-' | '+' => plain.push(c),
            _ => plain.push(char::from_digit(other_digit(c)?, 10)?),
        }
    }
    if !plain.starts_with(|c: char| c.is_ascii_digit() || c == '.') {
        return None;
    }
    let number: f64 = plain.parse().ok()?;
    Some(if text.starts_with('-') { -number } else { number })
}

/// Python's `round(value, digits)`: to the even one, of what the number really is.
pub(crate) fn round(value: &Value, digits: i128) -> Outcome<Value> {
    value.defined()?;
    match value {
        Value::Float(number) => Ok(Value::Float(round_float(*number, digits))),
        _ => {
            let Some(number) = value.as_int() else {
                return type_error(format!(
                    "type {} doesn't define __round__ method",
                    value.type_name()
                ));
            };
            if digits >= 0 {
                return Ok(Value::Int(number));
            }
            let Some(unit) = u32::try_from(-digits).ok().and_then(|by| 10_i128.checked_pow(by))
            else {
                return Ok(Value::Int(0));
            };
            let (down, rest) = (number.div_euclid(unit), number.rem_euclid(unit));
            let up = match rest.cmp(&(unit - rest)) {
                Ordering::Greater => 1,
                Ordering::Less => 0,
                Ordering::Equal => down.rem_euclid(2),
            };
            let rounded = down.checked_add(up).and_then(|tens| tens.checked_mul(unit));
            rounded.map_or_else(|| too_large("a whole number"), |number| Ok(Value::Int(number)))
        }
    }
}

fn round_float(number: f64, digits: i128) -> f64 {
    // 17 digits say what a float is; beyond 400 there are none.
    if !number.is_finite() || digits > 400 {
        return number;
    }
    if digits < -400 {
        return number * 0.0;
    }
    if digits >= 0 {
        return format!("{number:.*}", digits as usize).parse().unwrap_or(number);
    }
    // Of whole numbers of this size a float has few digits; they are rounded as text.
    let text = format!("{:.0}", number.abs().trunc());
    let has_fraction = number.fract() != 0.0;
    let keep = text.len() as i128 + digits;
    if keep < 0 {
        return number * 0.0;
    }
    let (kept, cut) = text.split_at(keep as usize);
    let half = format!("5{}", "0".repeat(cut.len() - 1));
    let kept_is_odd = kept.ends_with(['1', '3', '5', '7', '9']);
    let up = cut > &*half || (cut == half && (has_fraction || kept_is_odd));
    let kept: f64 = if kept.is_empty() { 0.0 } else { kept.parse().unwrap_or(0.0) };
    let rounded = format!("{:.0}e{}", kept + f64::from(u8::from(up)), -digits);
    rounded.parse::<f64>().unwrap_or(number).copysign(number)
}
