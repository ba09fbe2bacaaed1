//! Jinja's tests: what stands after `is`.

use super::is_filter;
use crate::chat::fault::{Outcome, other_error, quoted};
use crate::chat::python::arguments::Args;
use crate::chat::python::{
    Value, binary, call_method, contains, equal, is_iterable, length, order, text_of,
};
use crate::chat::run::Run;
use crate::chat::syntax::Binary;
use std::cmp::Ordering;

/// Every test that Jinja has.
pub(crate) const TESTS: [&str; 39] = [
    "!=",
    "<",
    "<=",
    "==",
    ">",
    ">=",
    "boolean",
    "callable",
    "defined",
    "divisibleby",
    "eq",
    "equalto",
    "escaped",
    "even",
    "false",
    "filter",
    "float",
    "ge",
    "greaterthan",
    "gt",
    "in",
    "integer",
    "iterable",
    "le",
    "lessthan",
    "lower",
    "lt",
    "mapping",
    "ne",
    "none",
    "number",
    "odd",
    "sameas",
    "sequence",
    "string",
    "test",
    "true",
    "undefined",
    "upper",
];

/// `value is name(args)`.
pub(crate) fn call_test(_: &mut Run<'_>, name: &str, value: &Value, args: Args) -> Outcome<Value> {
    let num_arguments = match name {
        "==" | "eq" | "equalto" | "!=" | "ne" | "<" | "lt" | "lessthan" | "<=" | "le" | ">"
        | "gt" | "greaterthan" | ">=" | "ge" | "in" | "sameas" | "divisibleby" => 1,
        _ if TESTS.contains(&name) => 0,
        _ => return other_error(format!("test {} is unknown", quoted(name))),
    };
    let other = if num_arguments == 1 {
        let parameter = match name {
            "divisibleby" => "num",
            "in" => "seq",
            _ => "other",
        };
        let [other] = args.bind(name, [parameter], 1)?;
        other.unwrap_or(Value::None)
    } else {
        args.none(name)?;
        Value::None
    };
    if matches!(name, "filter" | "test") {
        value.hashable()?;
    }
    let in_order = |symbol: &str, holds: fn(Ordering) -> bool| {
        Ok(order(value, &other, symbol)?.is_some_and(holds))
    };
    let rest_is = |divisor: &Value, wanted: i128| {
        equal(&binary(Binary::Mod, value, divisor)?, &Value::Int(wanted))
    };
    let holds = match name {
        "==" | "eq" | "equalto" => equal(value, &other),
        "!=" | "ne" => equal(value, &other).map(|are| !are),
        "<" | "lt" | "lessthan" => in_order("<", Ordering::is_lt),
        "<=" | "le" => in_order("<=", Ordering::is_le),
        ">" | "gt" | "greaterthan" => in_order(">", Ordering::is_gt),
        ">=" | "ge" => in_order(">=", Ordering::is_ge),
        "in" => contains(&other, value),
        "sameas" => Ok(value.is_same(&other)),
        "divisibleby" => rest_is(&other, 0),
        "odd" => rest_is(&Value::Int(2), 1),
        "even" => rest_is(&Value::Int(2), 0),
        "lower" | "upper" => {
            let method = if name == "lower" { "islower" } else { "isupper" };
            let text = Value::Text(text_of(value)?);
            return call_method(&text, method, Args::default());
        }
        "defined" => Ok(!value.is_undefined()),
        "undefined" => Ok(value.is_undefined()),
        "none" => Ok(matches!(value, Value::None)),
        "boolean" => Ok(matches!(value, Value::Bool(_))),
        "true" => Ok(matches!(value, Value::Bool(true))),
        "false" => Ok(matches!(value, Value::Bool(false))),
        "integer" => Ok(matches!(value, Value::Int(_))),
        "float" => Ok(matches!(value, Value::Float(_))),
        "number" => Ok(matches!(value, Value::Int(_) | Value::Float(_) | Value::Bool(_))),
        "string" => Ok(matches!(value, Value::Text(_))),
        "mapping" => Ok(matches!(value, Value::Dict(_))),
        "sequence" => Ok(length(value).is_ok() && !matches!(value, Value::View(..))),
        "iterable" => Ok(is_iterable(value)),
        "callable" => Ok(value.is_callable()),
        "escaped" => Ok(value.as_text().is_some_and(|text| text.is_markup)),
        "filter" => Ok(value.as_text().is_some_and(|name| is_filter(name.as_str()))),
        _ => Ok(value.as_text().is_some_and(|name| TESTS.contains(&name.as_str()))),
    };
    holds.map(Value::Bool)
}
