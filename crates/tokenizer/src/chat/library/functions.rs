//! The functions that a template has without being given them.

use crate::chat::budget::charge;
use crate::chat::date;
use crate::chat::fault::{Fault, Outcome, other_error, type_error, value_error};
use crate::chat::python::arguments::{Args, text, whole};
use crate::chat::python::{
    Counter, Function, Key, Names, Range, Sequence, Value, make_dict, text_of,
};
use crate::chat::run::{Run, check_attribute};
use indexmap::IndexMap;
use std::cell::{Cell, RefCell};
use std::rc::Rc;

/// As Python's sandbox has it.
const MAX_RANGE: usize = 100_000;
/// Of the numbers of a range, so that none of its entries is too large.
const MAX_RANGE_NUMBER: i128 = 1 << 100;
/// Templates keep a few.
const MAX_NAMES: usize = 1000;
const NAMESPACE_BYTES: u64 = 256;

/// `function(args)`.
pub(crate) fn call_function(run: &mut Run<'_>, function: Function, args: Args) -> Outcome<Value> {
    match function {
        Function::Range => range(args),
        Function::Lipsum => other_error("function 'lipsum' is not offered"),
        Function::Dict => Value::dict(make_dict(args)?),
        Function::Namespace => namespace(run, args),
        Function::Cycler => {
            if args.positional.is_empty() {
                return other_error("at least one item has to be provided");
            }
            if !args.named.is_empty() {
                return type_error("cycler() takes no keyword arguments");
            }
            let entries = Sequence::new(args.positional)?;
            Ok(Value::Cycler(Rc::new(Counter { entries, at: Cell::new(0) })))
        }
        Function::Joiner => {
            let [separator] = args.bind("joiner", ["sep"], 0)?;
            let separator = separator.unwrap_or_else(|| Value::text(", "));
            let entries = Sequence::new(vec![separator])?;
            Ok(Value::Joiner(Rc::new(Counter { entries, at: Cell::new(0) })))
        }
        Function::RaiseException => {
            let [message] = args.bind("raise_exception", ["message"], 1)?;
            let message = text_of(&message.unwrap_or(Value::None))?;
            Err(Box::new(Fault::Refused(message.as_str().to_owned())))
        }
        Function::StrftimeNow => {
            let [format] = args.bind("strftime_now", ["format"], 1)?;
            let format = format.unwrap_or(Value::None);
            charge(date::MAX_BYTES)?;
            match date::strftime(text(&format)?.as_str(), run.now()) {
                Ok(date) => Value::made_text(date),
                Err(message) => value_error(message),
            }
        }
    }
}

fn range(args: Args) -> Outcome<Value> {
    let [first, second, step] = args.unnamed("range", 1)?;
    let number = |value: Option<Value>, missing: i128| {
        let number = value.as_ref().map_or(Ok(missing), whole)?;
        if number.abs() > MAX_RANGE_NUMBER {
            return value_error("range() of numbers that need more than 100 bits");
        }
        Ok(number)
    };
    let (start, stop) = match second {
        Some(stop) => (number(first, 0)?, number(Some(stop), 0)?),
        None => (0, number(first, 0)?),
    };
    let step = number(step, 1)?;
    if step == 0 {
        return value_error("range() arg 3 must not be zero");
    }
    let range = Range { start, stop, step };
    if range.len() > MAX_RANGE {
        return other_error(format!("range() of {} numbers, at most {MAX_RANGE}", range.len()));
    }
    Ok(Value::Range(range))
}

fn namespace(run: &mut Run<'_>, args: Args) -> Outcome<Value> {
    let entries = make_dict(args)?;
    if entries.len() > MAX_NAMES {
        let num_names = entries.len();
        return other_error(format!("namespace() of {num_names} names, at most {MAX_NAMES}"));
    }
    charge(NAMESPACE_BYTES)?;
    let mut names = IndexMap::with_capacity(entries.len());
    for (Key(name), value) in entries {
        let Value::Text(name) = &name else {
            return type_error("a namespace has names that are texts");
        };
        check_attribute(name.as_str())?;
        names.insert(Box::from(name.as_str()), value);
    }
    Ok(run.add_namespace(Names { names: RefCell::new(names) }))
}
