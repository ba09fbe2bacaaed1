//! Expressions.

use super::Run;
use crate::chat::budget::{charge, step};
use crate::chat::fault::{Outcome, type_error};
use crate::chat::library::{call_filter, call_test};
use crate::chat::python::arguments::Args;
use crate::chat::python::{
    Key, Text, Value, binary, contains, entries, equal, insert, join, negative, order, positive,
    slice,
};
use crate::chat::syntax::{Arguments, Comparison, Expr, Kind, Literal};
use indexmap::IndexMap;
use std::cmp::Ordering;

impl<'t> Run<'t> {
    pub(super) fn eval(&mut self, expression: &'t Expr) -> Outcome<Value> {
        // These take no step: they do nothing that the step around them does not pay for.
        match &expression.kind {
            Kind::Name(name) => {
                return Ok(match self.frames.get(*name) {
                    Some(value) => value.clone(),
                    None => {
                        let name = &self.template.names[*name as usize];
                        Value::undefined(format!("'{name}' is undefined"))
                    }
                });
            }
            Kind::Literal(literal) => {
                return Ok(match literal {
                    Literal::None => Value::None,
                    Literal::Bool(is) => Value::Bool(*is),
                    Literal::Int(number) => Value::Int(*number),
                    Literal::Float(number) => Value::Float(*number),
                    Literal::Text(text) => Value::Text(text.clone()),
                });
            }
            _ => {}
        }
        step()?;
        self.nested(|run| run.compound(expression))
    }

    fn compound(&mut self, expression: &'t Expr) -> Outcome<Value> {
        let value = match &expression.kind {
            Kind::Literal(_) | Kind::Name(_) => return self.eval(expression),
            Kind::Tuple(entries) => Value::tuple(self.eval_all(entries)?)?,
            Kind::List(entries) => Value::list(self.eval_all(entries)?)?,
            Kind::Dict(pairs) => {
                let mut made = IndexMap::with_capacity(pairs.len());
                for (key, value) in pairs {
                    let (key, value) = (self.eval(key)?, self.eval(value)?);
                    insert(&mut made, key, value)?;
                }
                Value::dict(made)?
            }
            Kind::Attribute(value, name) => {
                let value = self.eval(value)?;
                self.line = expression.line;
                self.attribute(&value, name.as_str())?
            }
            Kind::Item(value, key) => {
                let (value, key) = (self.eval(value)?, self.eval(key)?);
                self.line = expression.line;
                self.item(&value, &key)?
            }
            Kind::Slice(value, parts) => {
                let value = self.eval(value)?;
                let mut bounds = [Value::None, Value::None, Value::None];
                for (bound, part) in bounds.iter_mut().zip(parts.iter()) {
                    if let Some(part) = part {
                        *bound = self.eval(part)?;
                    }
                }
                self.line = expression.line;
                slice(&value, &bounds)?
            }
            Kind::Call(..) => self.call_expression(expression, None)?,
            Kind::Filter(value, name, arguments) => {
                let value = match value {
                    Some(value) => self.eval(value)?,
                    None => Value::None,
                };
                let args = self.arguments(arguments)?;
                self.line = expression.line;
                call_filter(self, name, &value, args)?
            }
            Kind::Test(value, name, arguments) => {
                let value = self.eval(value)?;
                let args = self.arguments(arguments)?;
                self.line = expression.line;
                call_test(self, name, &value, args)?
            }
            Kind::Not(value) => Value::Bool(!self.eval(value)?.is_true()),
            Kind::Negative(value) => negative(&self.eval(value)?)?,
            Kind::Positive(value) => positive(&self.eval(value)?)?,
            Kind::Binary(operation, a, b) => {
                let (a, b) = (self.eval(a)?, self.eval(b)?);
                self.line = expression.line;
                binary(*operation, &a, &b)?
            }
            Kind::And(a, b) => {
                let a = self.eval(a)?;
                if a.is_true() { self.eval(b)? } else { a }
            }
            Kind::Or(a, b) => {
                let a = self.eval(a)?;
                if a.is_true() { a } else { self.eval(b)? }
            }
            Kind::Concat(parts) => {
                let parts = self.eval_all(parts)?;
                let has_markup = self.escapes
                    && parts.iter().any(|part| part.as_text().is_some_and(|text| text.is_markup));
                join(&if has_markup { Text::markup("") } else { Text::new("") }, &parts, true)?
            }
            Kind::Compare(first, rest) => {
                let mut left = self.eval(first)?;
                let mut result = true;
                for (comparison, right) in rest {
                    let right = self.eval(right)?;
                    self.line = expression.line;
                    result = compare(*comparison, &left, &right)?;
                    if !result {
                        break;
                    }
                    left = right;
                }
                Value::Bool(result)
            }
            Kind::If(condition, value, otherwise) => {
                if self.eval(condition)?.is_true() {
                    self.eval(value)?
                } else if let Some(otherwise) = otherwise {
                    self.eval(otherwise)?
                } else {
                    Value::undefined(
                        "the inline if-expression evaluated to false and no else section was defined.",
                    )
                }
            }
        };
        Ok(value)
    }

    fn eval_all(&mut self, expressions: &'t [Expr]) -> Outcome<Vec<Value>> {
        expressions.iter().map(|expression| self.eval(expression)).collect()
    }

    pub(super) fn arguments(&mut self, arguments: &'t Arguments) -> Outcome<Args> {
        let mut args =
            Args { positional: self.eval_all(&arguments.positional)?, named: Vec::new() };
        for (name, value) in &arguments.named {
            args.named.push((name.clone(), self.eval(value)?));
        }
        if let Some(more) = &arguments.more_positional {
            args.positional.extend(entries(&self.eval(more)?)?);
        }
        if let Some(more) = &arguments.more_named {
            let more = self.eval(more)?;
            more.defined()?;
            let Value::Dict(dict) = &more else {
                return type_error(format!(
                    "argument after ** must be a mapping, not {}",
                    more.type_name()
                ));
            };
            for (Key(key), value) in &dict.entries {
                charge(64)?;
                let Value::Text(name) = key else { return type_error("keywords must be strings") };
                if args.named.iter().any(|(known, _)| known.as_str() == name.as_str()) {
                    return type_error("got multiple values for a keyword argument");
                }
                args.named.push((name.clone(), value.clone()));
            }
        }
        Ok(args)
    }
}

fn compare(comparison: Comparison, a: &Value, b: &Value) -> Outcome<bool> {
    let in_order =
        |symbol: &str, holds: fn(Ordering) -> bool| Ok(order(a, b, symbol)?.is_some_and(holds));
    match comparison {
        Comparison::Eq => equal(a, b),
        Comparison::Ne => Ok(!equal(a, b)?),
        Comparison::Lt => in_order("<", Ordering::is_lt),
        Comparison::Le => in_order("<=", Ordering::is_le),
        Comparison::Gt => in_order(">", Ordering::is_gt),
        Comparison::Ge => in_order(">=", Ordering::is_ge),
        Comparison::In => contains(b, a),
        Comparison::NotIn => Ok(!contains(b, a)?),
    }
}
