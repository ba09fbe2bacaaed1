//! What `+`, `-`, `*`, `/`, `//`, `%` and `**` do.

use super::containers::Sequence;
use super::html::escape_text;
use super::number::float_of;
use super::percent::percent_format;
use super::value::{Text, Value};
use crate::chat::budget::{charge, charge_entries};
use crate::chat::fault::{Outcome, arithmetic_error, other_error, too_large, type_error};
use crate::chat::syntax::Binary;

/// `a` and `b` with `operation` between.
pub(crate) fn binary(operation: Binary, a: &Value, b: &Value) -> Outcome<Value> {
    match operation {
        Binary::Add => return add(a, b),
        Binary::Mul => {
            if let Some(repeated) = repeat(a, b)? {
                return Ok(repeated);
            }
        }
        Binary::Mod => {
            if let Value::Text(format) = a {
                return percent_format(format, b);
            }
        }
        _ => {}
    }
    a.defined()?;
    b.defined()?;
    let (Some(x), Some(y)) = (float_of(a), float_of(b)) else {
        return unsupported(operation, a, b);
    };
    match (a.as_int(), b.as_int()) {
        (Some(a), Some(b)) => whole(operation, a, b),
        _ => floats(operation, x, y),
    }
}

fn unsupported(operation: Binary, a: &Value, b: &Value) -> Outcome<Value> {
    type_error(format!(
        "unsupported operand type(s) for {}: '{}' and '{}'",
        operation.symbol(),
        a.type_name(),
        b.type_name()
    ))
}

/// `a + b`.
pub(crate) fn add(a: &Value, b: &Value) -> Outcome<Value> {
    match (a, b) {
        (Value::Text(a), Value::Text(b)) => Ok(Value::Text(join_two(a, b)?)),
        (Value::List(x), Value::List(y)) => {
            charge_entries(x.entries.len() + y.entries.len())?;
            Ok(Value::List(Sequence::new([&*x.entries, &*y.entries].concat())?))
        }
        (Value::Tuple(_) | Value::Group(_), Value::Tuple(_) | Value::Group(_)) => {
            let (x, y) = (a.as_sequence().unwrap_or_default(), b.as_sequence().unwrap_or_default());
            charge_entries(x.len() + y.len())?;
            Ok(Value::Tuple(Sequence::new([x, y].concat())?))
        }
        _ => {
            a.defined()?;
            b.defined()?;
            match (float_of(a), float_of(b)) {
                (Some(x), Some(y)) => match (a.as_int(), b.as_int()) {
                    (Some(a), Some(b)) => whole(Binary::Add, a, b),
                    _ => Ok(Value::Float(x + y)),
                },
                _ => match a {
                    Value::Text(_) | Value::List(_) | Value::Tuple(_) => type_error(format!(
                        "can only concatenate {0} (not \"{1}\") to {0}",
                        a.type_name(),
                        b.type_name()
                    )),
                    _ => unsupported(Binary::Add, a, b),
                },
            }
        }
    }
}

fn join_two(a: &Text, b: &Text) -> Outcome<Text> {
    let is_markup = a.is_markup || b.is_markup;
    let (a, b) =
        if is_markup { (escape_text(a)?, escape_text(b)?) } else { (a.clone(), b.clone()) };
    charge((a.as_str().len() + b.as_str().len()) as u64)?;
    let joined = [a.as_str(), b.as_str()].concat();
    Ok(if is_markup { Text::markup(joined) } else { Text::new(joined) })
}

/// A text, list or tuple so many times, on either side of the number.
fn repeat(a: &Value, b: &Value) -> Outcome<Option<Value>> {
    let is_repeatable = |value: &Value| value.as_text().is_some() || value.as_sequence().is_some();
    let (value, times) = if is_repeatable(a) { (a, b) } else { (b, a) };
    if !is_repeatable(value) {
        return Ok(None);
    }
    times.defined()?;
    let Some(times) = times.as_int() else {
        return type_error(format!(
            "can't multiply sequence by non-int of type '{}'",
            times.type_name()
        ));
    };
    let Ok(times) = isize::try_from(times.max(0)) else {
        return arithmetic_error("cannot fit 'int' into an index-sized integer");
    };
    let times = times.unsigned_abs();
    if let Value::Text(text) = value {
        charge((text.as_str().len() as u64).saturating_mul(times as u64))?;
        let times = if text.as_str().is_empty() { 0 } else { times };
        return Ok(Some(Value::Text(text.like(text.as_str().repeat(times)))));
    }
    let entries = value.as_sequence().unwrap_or_default();
    charge_entries(entries.len().saturating_mul(times))?;
    let times = if entries.is_empty() { 0 } else { times };
    let repeated = Sequence::new((0..times).flat_map(|_| entries.iter().cloned()).collect())?;
    let is_list = matches!(value, Value::List(_));
    Ok(Some(if is_list { Value::List(repeated) } else { Value::Tuple(repeated) }))
}

fn whole(operation: Binary, a: i128, b: i128) -> Outcome<Value> {
    let result = match operation {
        Binary::Add => a.checked_add(b),
        Binary::Sub => a.checked_sub(b),
        Binary::Mul => a.checked_mul(b),
        Binary::Div if b == 0 => return arithmetic_error("division by zero"),
        Binary::Div => return Ok(Value::Float(quotient(a, b))),
        Binary::FloorDiv | Binary::Mod if b == 0 => {
            return arithmetic_error("integer division or modulo by zero");
        }
        Binary::FloorDiv => {
            // Towards minus infinity, and the rest has the divisor's sign.
            a.checked_div(b)
                .map(|down| if a % b != 0 && (a < 0) != (b < 0) { down - 1 } else { down })
        }
        Binary::Mod => a
            .checked_rem(b)
            .map(|rest| if rest != 0 && (rest < 0) != (b < 0) { rest + b } else { rest }),
        Binary::Pow if b < 0 => return floats(operation, a as f64, b as f64),
        Binary::Pow => power(a, b),
    };
    result.map_or_else(|| too_large("a whole number"), |number| Ok(Value::Int(number)))
}

fn power(a: i128, b: i128) -> Option<i128> {
    match a {
        0 | 1 => Some(if b == 0 { 1 } else { a }),
        -1 => Some(if b % 2 == 0 { 1 } else { -1 }),
        _ => a.checked_pow(u32::try_from(b).ok()?),
    }
}

/// `a / b` to the nearest float, also of numbers that are none.
fn quotient(a: i128, b: i128) -> f64 {
    const EXACT: u128 = 1 << 53;
    if a.unsigned_abs() <= EXACT && b.unsigned_abs() <= EXACT {
        return a as f64 / b as f64;
    }
    // Both are cut by what they share; what remains is mostly small.
    let (mut x, mut y) = (a.unsigned_abs(), b.unsigned_abs());
    while y != 0 {
        (x, y) = (y, x % y);
    }
    let (a, b) = (a / x as i128, b / x as i128);
    a as f64 / b as f64
}

fn floats(operation: Binary, a: f64, b: f64) -> Outcome<Value> {
    Ok(Value::Float(match operation {
        Binary::Add => a + b,
        Binary::Sub => a - b,
        Binary::Mul => a * b,
        Binary::Div | Binary::FloorDiv | Binary::Mod if b == 0.0 => {
            return arithmetic_error("float division by zero");
        }
        Binary::Div => a / b,
        Binary::FloorDiv => floored(a, b).0,
        Binary::Mod => floored(a, b).1,
        Binary::Pow if a == 0.0 && b < 0.0 => {
            return arithmetic_error("0.0 cannot be raised to a negative power");
        }
        Binary::Pow if a < 0.0 && a.is_finite() && b.is_finite() && b.fract() != 0.0 => {
            return other_error(
                "the power of a negative number is complex, which no template needs",
            );
        }
        Binary::Pow => {
            let power = a.powf(b);
            if power.is_infinite() && a.is_finite() && b.is_finite() {
                return arithmetic_error("numerical result out of range");
            }
            power
        }
    }))
}

/// The quotient without its fraction and the rest, which has the divisor's sign.
fn floored(a: f64, b: f64) -> (f64, f64) {
    let mut rest = a % b;
    let mut quotient = (a - rest) / b;
    if rest == 0.0 {
        rest = 0.0_f64.copysign(b);
    } else if (b < 0.0) != (rest < 0.0) {
        rest += b;
        quotient -= 1.0;
    }
    if quotient == 0.0 {
        return (0.0_f64.copysign(a / b), rest);
    }
    let down = quotient.floor();
    (if quotient - down > 0.5 { down + 1.0 } else { down }, rest)
}

/// `-value`.
pub(crate) fn negative(value: &Value) -> Outcome<Value> {
    value.defined()?;
    match (value, value.as_int()) {
        (Value::Float(number), _) => Ok(Value::Float(-number)),
        (_, Some(number)) => number
            .checked_neg()
            .map_or_else(|| too_large("a whole number"), |number| Ok(Value::Int(number))),
        _ => type_error(format!("bad operand type for unary -: '{}'", value.type_name())),
    }
}

/// `+value`.
pub(crate) fn positive(value: &Value) -> Outcome<Value> {
    value.defined()?;
    match (value, value.as_int()) {
        (Value::Float(_), _) => Ok(value.clone()),
        (_, Some(number)) => Ok(Value::Int(number)),
        _ => type_error(format!("bad operand type for unary +: '{}'", value.type_name())),
    }
}
