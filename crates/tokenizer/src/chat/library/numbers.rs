//! Filters of numbers.

use crate::chat::fault::{Exception, Outcome, other_error, too_large, type_error, value_error};
use crate::chat::python::arguments::{Args, is_true_or, whole};
use crate::chat::python::{
    Value, binary, float_of, int_of, parse_float, parse_int, round as round_number,
};
use crate::chat::run::Run;
use crate::chat::syntax::Binary;

pub(super) fn abs(_: &mut Run<'_>, value: &Value, args: Args) -> Outcome<Value> {
    args.none("abs")?;
    match (value, value.as_int()) {
        (Value::Float(number), _) => Ok(Value::Float(number.abs())),
        (_, Some(number)) => number
            .checked_abs()
            .map_or_else(|| too_large("a number"), |number| Ok(Value::Int(number))),
        _ => type_error(format!("bad operand type for abs(): '{}'", value.type_name())),
    }
}

/// Python's `float(value)`.
fn as_float(value: &Value) -> Outcome<f64> {
    value.defined()?;
    match (value, float_of(value)) {
        (_, Some(number)) => Ok(number),
        (Value::Text(text), _) => match parse_float(text.as_str()) {
            Some(number) => Ok(number),
            None => value_error("could not convert string to float"),
        },
        _ => type_error(format!(
            "float() argument must be a string or a real number, not '{}'",
            value.type_name()
        )),
    }
}

pub(super) fn float(_: &mut Run<'_>, value: &Value, args: Args) -> Outcome<Value> {
    let [default] = args.bind("float", ["default"], 0)?;
    match as_float(value) {
        Ok(number) => Ok(Value::Float(number)),
        Err(fault) if fault.is(&[Exception::Type, Exception::Value]) => {
            Ok(default.unwrap_or(Value::Float(0.0)))
        }
        Err(fault) => Err(fault),
    }
}

pub(super) fn int(_: &mut Run<'_>, value: &Value, args: Args) -> Outcome<Value> {
    let [default, base] = args.bind("int", ["default", "base"], 0)?;
    let number = match value {
        Value::Text(text) => base.as_ref().map_or(Ok(10), whole).and_then(|base| {
            if base != 0 && !(2..=36).contains(&base) {
                return value_error("int() base must be >= 2 and <= 36, or 0");
            }
            parse_int(text.as_str(), base as u32)
                .unwrap_or_else(|| value_error("invalid literal for int()"))
        }),
        _ => int_of(value),
    };
    let caught = [Exception::Type, Exception::Value];
    match number {
        Err(fault) if fault.is(&caught) => {}
        number => return number.map(Value::Int),
    }
    let caught = [Exception::Type, Exception::Value, Exception::Arithmetic];
    match as_float(value).and_then(|number| int_of(&Value::Float(number))) {
        Err(fault) if fault.is(&caught) => Ok(default.unwrap_or(Value::Int(0))),
        number => number.map(Value::Int),
    }
}

pub(super) fn round(_: &mut Run<'_>, value: &Value, args: Args) -> Outcome<Value> {
    let [precision, method] = args.bind("round", ["precision", "method"], 0)?;
    let method = method
        .as_ref()
        .map_or(Some("common"), |method| method.as_text().map(crate::chat::python::Text::as_str));
    let precision = precision.unwrap_or(Value::Int(0));
    let up = match method {
        Some("common") => return round_number(value, whole(&precision)?),
        Some("ceil") => true,
        Some("floor") => false,
        _ => return other_error("method must be common, ceil or floor"),
    };
    let unit = binary(Binary::Pow, &Value::Int(10), &precision)?;
    let scaled = binary(Binary::Mul, value, &unit)?;
    let whole = match scaled {
        Value::Float(number) => {
            int_of(&Value::Float(if up { number.ceil() } else { number.floor() }))?
        }
        _ => whole(&scaled)?,
    };
    binary(Binary::Div, &Value::Int(whole), &unit)
}

pub(super) fn filesizeformat(_: &mut Run<'_>, value: &Value, args: Args) -> Outcome<Value> {
    let [is_binary] = args.bind("filesizeformat", ["binary"], 0)?;
    let is_binary = is_true_or(is_binary.as_ref(), false);
    let num_bytes = as_float(value)?;
    let (base, suffix) = if is_binary { (1024.0_f64, "iB") } else { (1000.0, "B") };
    let text = if (num_bytes - 1.0).abs() < f64::EPSILON / 2.0 {
        "1 Byte".to_owned()
    } else if num_bytes < base {
        format!("{} Bytes", int_of(&Value::Float(num_bytes))?)
    } else {
        let prefixes = if is_binary { "KMGTPEZY" } else { "kMGTPEZY" };
        let mut unit = base;
        let mut shown = String::new();
        for (at, prefix) in prefixes.chars().enumerate() {
            unit = base.powi(at as i32 + 2);
            shown = format!("{:.1} {prefix}{suffix}", base * num_bytes / unit);
            if num_bytes < unit {
                break;
            }
        }
        debug_assert!(unit > base);
        shown
    };
    Ok(Value::text(text))
}
