//! Statements.

use super::Run;
use crate::chat::budget::{charge, step};
use crate::chat::fault::{Outcome, other_error, quoted, security_error, type_error, value_error};
use crate::chat::library::call_filter;
use crate::chat::python::arguments::Args;
use crate::chat::python::{MacroValue, Text, Value, entries, escape, text_of};
use crate::chat::syntax::{Expr, Kind, NameId, Statement, Target, What};
use std::rc::Rc;

/// How a body ends.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Flow {
    On,
    Break,
    Continue,
}

/// A macro has a body and a name of its own.
const MACRO_BYTES: u64 = 256;

impl<'t> Run<'t> {
    pub(super) fn body(&mut self, body: &'t [Statement]) -> Outcome<Flow> {
        for statement in body {
            self.line = statement.line;
            step()?;
            let flow = self.nested(|run| run.statement(statement))?;
            if flow != Flow::On {
                return Ok(flow);
            }
        }
        Ok(Flow::On)
    }

    /// A body with variables of its own.
    pub(super) fn scoped_body(&mut self, body: &'t [Statement]) -> Outcome<Flow> {
        let (current, _) = self.frames.current();
        self.in_frame(current, |run| run.body(body))
    }

    pub(super) fn in_frame<T>(
        &mut self,
        parent: usize,
        work: impl FnOnce(&mut Run<'t>) -> Outcome<T>,
    ) -> Outcome<T> {
        let before = self.frames.open(parent);
        let result = work(self);
        self.frames.close(before);
        result
    }

    fn statement(&mut self, statement: &'t Statement) -> Outcome<Flow> {
        match &statement.what {
            What::Data(text) => self.write(text)?,
            What::Print(expression) => {
                let value = self.eval(expression)?;
                self.print(&value)?;
            }
            What::For(place) => self.for_loop(*place)?,
            What::If(branches, otherwise) => {
                for (condition, body) in branches {
                    if self.eval(condition)?.is_true() {
                        return self.body(body);
                    }
                }
                return self.body(otherwise);
            }
            What::Set(target, expression) => {
                let value = self.eval(expression)?;
                self.assign(target, value)?;
            }
            What::SetBlock(target, filter, body) => {
                let (text, flow) = self.captured(|run| run.scoped_body(body))?;
                let mut value = self.written(text);
                if let Some(filter) = filter {
                    value = self.filtered(filter, value)?;
                }
                self.assign(target, value)?;
                return Ok(flow);
            }
            What::With(values, body) => {
                let values = values
                    .iter()
                    .map(|(target, value)| Ok((target, self.eval(value)?)))
                    .collect::<Outcome<Vec<_>>>()?;
                let (current, _) = self.frames.current();
                return self.in_frame(current, |run| {
                    for (target, value) in values {
                        run.assign(target, value)?;
                    }
                    run.body(body)
                });
            }
            What::Macro(place) => {
                charge(MACRO_BYTES)?;
                let value = self.macro_value(*place);
                if let Some(name) = self.template.macros[*place].name {
                    self.frames.set(name, value);
                }
            }
            What::Call(call, caller) => {
                let caller = self.macro_value(*caller);
                let value = self.call_expression(call, Some(caller))?;
                self.write_made(&value)?;
            }
            What::Filter(filter, body) => {
                let (text, flow) = self.captured(|run| run.scoped_body(body))?;
                let value = self.written(text);
                let value = self.filtered(filter, value)?;
                self.write_made(&value)?;
                return Ok(flow);
            }
            What::Autoescape(enabled, body) => {
                let escapes = self.eval(enabled)?.is_true();
                let before = std::mem::replace(&mut self.escapes, escapes);
                let flow = self.scoped_body(body);
                self.escapes = before;
                return flow;
            }
            What::Block(place, sees_around) => {
                let (current, _) = self.frames.current();
                let parent = if *sees_around { current } else { 0 };
                let body = &self.template.blocks[*place].1;
                self.in_frame(parent, |run| run.body(body))?;
            }
            What::Generation(body) => {
                let body = self.macro_value(*body);
                let value = self.call(&body, Args::default())?;
                self.write_made(&value)?;
            }
            What::Other(name) => {
                let name = text_of(&self.eval(name)?)?;
                return other_error(format!("template {} does not exist", quoted(name.as_str())));
            }
            What::Break => return Ok(Flow::Break),
            What::Continue => return Ok(Flow::Continue),
        }
        Ok(Flow::On)
    }

    fn macro_value(&self, place: usize) -> Value {
        let name = self.template.macros[place].name;
        let name = name.map(|name| self.template.names[name as usize].clone());
        Value::Macro(Rc::new(MacroValue { place, name, frame: self.frames.current() }))
    }

    /// What a filter without a value of its own makes of `value`.
    fn filtered(&mut self, filter: &'t Expr, value: Value) -> Outcome<Value> {
        let Kind::Filter(before, name, arguments) = &filter.kind else { return Ok(value) };
        let value = match before {
            Some(before) => self.nested(|run| run.filtered(before, value))?,
            None => value,
        };
        let args = self.arguments(arguments)?;
        call_filter(self, name, &value, args)
    }

    fn write(&mut self, text: &Text) -> Outcome<()> {
        charge(text.as_str().len() as u64)?;
        self.out.push_str(text.as_str());
        Ok(())
    }

    /// Writes what a call or filter made of a block; it is a text, and escaped by whoever made it.
    fn write_made(&mut self, value: &Value) -> Outcome<()> {
        match value {
            Value::Text(text) => self.write(text),
            _ => type_error(format!("expected str instance, {} found", value.type_name())),
        }
    }

    fn print(&mut self, value: &Value) -> Outcome<()> {
        let text = if self.escapes { escape(value)? } else { text_of(value)? };
        self.write(&text)
    }

    pub(super) fn assign(&mut self, target: &'t Target, value: Value) -> Outcome<()> {
        match target {
            Target::Name(name) => {
                self.frames.set(*name, value);
                Ok(())
            }
            Target::Tuple(targets) => {
                let entries = entries(&value)?;
                if entries.len() != targets.len() {
                    let (wanted, got) = (targets.len(), entries.len());
                    return value_error(format!("{wanted} values to unpack, got {got}"));
                }
                for (target, entry) in targets.iter().zip(entries) {
                    self.assign(target, entry)?;
                }
                Ok(())
            }
            Target::Attribute(name, attribute) => self.assign_attribute(*name, attribute, value),
        }
    }

    fn assign_attribute(&mut self, name: NameId, attribute: &Text, value: Value) -> Outcome<()> {
        let Some(Value::Namespace(names)) = self.frames.get(name) else {
            return other_error("cannot assign attribute on non-namespace object");
        };
        let attribute = attribute.as_str();
        check_attribute(attribute)?;
        let mut names = names.names.borrow_mut();
        charge(2 * attribute.len() as u64)?;
        match names.get_mut(attribute) {
            Some(slot) => *slot = value,
            None => {
                charge(MACRO_BYTES)?;
                names.insert(attribute.into(), value);
            }
        }
        Ok(())
    }
}

/// A namespace keeps no names that look like Python's own.
pub(crate) fn check_attribute(name: &str) -> Outcome<()> {
    if name.starts_with('_') {
        return security_error(format!(
            "a namespace has no attributes that begin with _, as {} does",
            quoted(name)
        ));
    }
    Ok(())
}
