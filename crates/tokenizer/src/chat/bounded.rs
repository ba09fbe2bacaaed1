//! The operations, filters, tests, functions and methods that templates have, each charged before it
//! does its work.
//!
//! What is not in these tables does not exist: nothing runs whose cost nobody wrote down.

use super::budget::{charge, made, num_entries, text_size};
use super::costs::{self, Cost};
use crate::error::shortened;
use minijinja::value::{Kwargs, ObjectRepr, Rest, Value};
use minijinja::{
    AutoEscape, Environment, Error, ErrorKind, Output, State, escape_formatter, filters, functions,
    tests,
};

/// Python keeps few names in a namespace too.
const MAX_NAMES: u64 = 1000;
/// The engine copies its list of macros when a macro defines another.
const MACRO_BYTES: u64 = 4096;
/// `&#x27;` for `'`.
const MAX_ESCAPED_BYTES: u64 = 6;

/// Filters, which `Value::from_function` makes callable by name.
fn all_filters() -> Vec<(&'static str, Value, Cost)> {
    macro_rules! table {
        ($($cost:ident: $($name:ident)*;)*) => {
            vec![$($((stringify!($name), Value::from_function(filters::$name), costs::$cost as Cost),)*)*]
        };
    }
    let mut table = table! {
        free: default round abs bool;
        scan: length first last int float;
        deep: min max sum;
        text: string safe;
        letters: lower upper title capitalize;
        escape: escape;
        trim: trim;
        replace: replace;
        entries: items list reverse;
        each: map select reject selectattr rejectattr;
        sort: sort unique groupby dictsort;
        batch: batch slice;
        join: join;
        split: split;
        lines: lines;
        indent: indent;
        format: format;
        item: attr;
    };
    table.push(("e", Value::from_function(filters::escape), costs::escape));
    table.push(("d", Value::from_function(filters::default), costs::free));
    table.push(("count", Value::from_function(filters::length), costs::scan));
    table.push(("tojson", Value::from_function(super::json::to_json), costs::json));
    table
}

fn all_tests() -> Vec<(&'static str, Value, Cost)> {
    macro_rules! table {
        ($($cost:ident: $($test:ident $($name:literal)*),*;)*) => {
            vec![$($($(($name, Value::from_function(tests::$test), costs::$cost as Cost),)*)*)*]
        };
    }
    table! {
        free:
            is_undefined "undefined", is_defined "defined", is_none "none", is_safe "safe" "escaped",
            is_boolean "boolean", is_odd "odd", is_even "even", is_divisibleby "divisibleby",
            is_number "number", is_integer "integer" "int", is_float "float", is_string "string",
            is_sequence "sequence", is_mapping "mapping", is_true "true", is_false "false";
        scan: is_iterable "iterable", is_lower "lower", is_upper "upper", is_filter "filter", is_test "test";
        text: is_startingwith "startingwith", is_endingwith "endingwith";
        compare:
            is_sameas "sameas", is_eq "eq" "equalto" "==", is_ne "ne" "!=", is_lt "lt" "lessthan" "<",
            is_le "le" "<=", is_gt "gt" "greaterthan" ">", is_ge "ge" ">=";
        contains: is_in "in";
    }
}

/// Gives `environment` everything a template may use; see [`super::rewrite`] for who calls the
/// operations.
pub(super) fn fill(environment: &mut Environment<'static>) {
    for (name, filter, cost) in all_filters() {
        environment.add_filter(
            name,
            move |state: &State<'_, '_>, arguments: Rest<Value>| -> Result<Value, Error> {
                charge(cost(&arguments)?)?;
                made(filter.call(state, &arguments)?)
            },
        );
    }
    for (name, test, cost) in all_tests() {
        environment.add_test(
            name,
            move |state: &State<'_, '_>, arguments: Rest<Value>| -> Result<Value, Error> {
                charge(cost(&arguments)?)?;
                test.call(state, &arguments)
            },
        );
    }
    add_operations(environment);
    environment.add_function("dict", dict);
    environment.add_function("namespace", namespace);
    environment.set_unknown_method_callback(call_method);
    environment.set_formatter(write);
}

fn add_operations(environment: &mut Environment<'static>) {
    type Binary = fn(&Value, &Value) -> Result<Value, Error>;
    let binary: [(&str, Cost, Binary); 9] = [
        ("~", costs::text, |a, b| Ok(Value::from(format!("{a}{b}")))),
        ("in", costs::contains, is_in),
        ("==", costs::compare, |a, b| Ok(Value::from(a == b))),
        ("!=", costs::compare, |a, b| Ok(Value::from(a != b))),
        ("<", costs::compare, |a, b| Ok(Value::from(a < b))),
        ("<=", costs::compare, |a, b| Ok(Value::from(a <= b))),
        (">", costs::compare, |a, b| Ok(Value::from(a > b))),
        (">=", costs::compare, |a, b| Ok(Value::from(a >= b))),
        ("[]", costs::item, Value::get_item),
    ];
    for (name, cost, operation) in binary {
        environment.add_filter(name, move |a: &Value, b: &Value| -> Result<Value, Error> {
            charge(cost(&[a.clone(), b.clone()])?)?;
            operation(a, b)
        });
    }
    // The last operand comes first, as the engine unpacks a list from its end.
    let looked_at: [(&str, Cost); 5] = [
        ("*", costs::multiply),
        ("[:]", costs::slice),
        ("<>", costs::deep),
        ("*args", costs::arguments),
        ("**args", costs::merge),
    ];
    for (name, cost) in looked_at {
        environment.add_filter(name, move |operands: Rest<Value>| -> Result<Value, Error> {
            charge(cost(&operands)?)?;
            Ok(operands.iter().rev().cloned().collect())
        });
    }
    environment.add_filter("{}", |pairs: Rest<Value>| -> Result<Value, Error> {
        charge(costs::pairs(&pairs)?)?;
        Ok(pairs.chunks_exact(2).map(|pair| (pair[0].clone(), pair[1].clone())).collect())
    });
    environment.add_filter("made", |value: &Value| made(value.clone()));
    environment.add_filter("for", |value: &Value| -> Result<Value, Error> {
        charge(costs::scan(std::slice::from_ref(value))?)?;
        Ok(value.clone())
    });
    environment.add_filter("macro", |_: &Value| charge(MACRO_BYTES));
    environment.add_filter(
        "loop.changed",
        |state: &State<'_, '_>, values: Rest<Value>| -> Result<Value, Error> {
            charge(costs::deep(&values)?)?;
            let [object, values @ ..] = &values[..] else { return Ok(Value::UNDEFINED) };
            object.call_method(state, "changed", values)
        },
    );
    environment.add_filter(
        "loop.cycle",
        |state: &State<'_, '_>, values: Rest<Value>| -> Result<Value, Error> {
            let [object, values @ ..] = &values[..] else { return Ok(Value::UNDEFINED) };
            if values.is_empty() {
                // The engine would divide by their number.
                return Err(Error::new(ErrorKind::MissingArgument, "cycle() of no values"));
            }
            object.call_method(state, "cycle", values)
        },
    );
    environment.add_filter("include", |name: &Value| -> Result<Value, Error> {
        let name = shortened(name.as_str().unwrap_or("of no name"));
        let message = format!("template {name:?} does not exist");
        Err(Error::new(ErrorKind::TemplateNotFound, message))
    });
}

/// Writes what `{{ }}` holds, into the output or a variable.
fn write(out: &mut Output<'_>, state: &State<'_, '_>, value: &Value) -> Result<(), Error> {
    let factor = match state.auto_escape() {
        AutoEscape::None => 1,
        _ => MAX_ESCAPED_BYTES,
    };
    charge(text_size(value)?.saturating_mul(factor))?;
    escape_formatter(out, state, value)
}

fn is_in(value: &Value, container: &Value) -> Result<Value, Error> {
    if container.is_undefined() {
        return Ok(Value::from(false));
    }
    if let Some(text) = container.as_str() {
        return Ok(Value::from(match value.as_str() {
            Some(part) => text.contains(part),
            None => text.contains(&value.to_string()),
        }));
    }
    let Some(object) = container.as_object() else {
        let message = "cannot perform a containment check on this value";
        return Err(Error::new(ErrorKind::InvalidOperation, message));
    };
    Ok(Value::from(match object.repr() {
        ObjectRepr::Map => object.get_value(value).is_some(),
        ObjectRepr::Seq | ObjectRepr::Iterable => {
            container.try_iter()?.any(|entry| entry == *value)
        }
        _ => false,
    }))
}

fn call_method(
    state: &State<'_, '_>,
    value: &Value,
    name: &str,
    arguments: &[Value],
) -> Result<Value, Error> {
    let all: Vec<Value> = [value].into_iter().chain(arguments).cloned().collect();
    charge(costs::method(name, &all)?)?;
    made(minijinja_contrib::pycompat::unknown_method_callback(state, value, name, arguments)?)
}

fn dict(value: Option<Value>, update_with: Kwargs) -> Result<Value, Error> {
    let named = Value::from(update_with.clone());
    let all: Vec<Value> = value.iter().cloned().chain([named]).collect();
    charge(costs::merge(&all)?)?;
    functions::dict(value, update_with)
}

fn namespace(defaults: Option<Value>) -> Result<Value, Error> {
    let num_names = defaults.as_ref().map_or(0, num_entries);
    if num_names > MAX_NAMES {
        let message = format!("namespace() of {num_names} names, at most {MAX_NAMES}");
        return Err(Error::new(ErrorKind::InvalidOperation, message));
    }
    charge(costs::merge(defaults.as_slice())?)?;
    functions::namespace(defaults)
}
