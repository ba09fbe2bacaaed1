//! Calls: of methods, functions, macros, blocks and loops.

use super::Run;
use crate::chat::fault::{Outcome, quoted, type_error};
use crate::chat::library::call_function;
use crate::chat::python::arguments::Args;
use crate::chat::python::{
    Fields, MacroValue, Sequence, Text, Value, call_method, format_text, method_named,
};
use crate::chat::syntax::{Expr, Kind};
use indexmap::IndexMap;
use std::rc::Rc;

impl<'t> Run<'t> {
    /// A call as it is written; `caller` is the macro of a call block.
    pub(super) fn call_expression(
        &mut self,
        expression: &'t Expr,
        caller: Option<Value>,
    ) -> Outcome<Value> {
        let Kind::Call(function, arguments) = &expression.kind else {
            return type_error("a call block calls nothing");
        };
        // A method is called at once, without becoming a value.
        let (function, method) = match &function.kind {
            Kind::Attribute(receiver, name) => {
                let receiver = self.eval(receiver)?;
                receiver.defined()?;
                match method_named(&receiver, name.as_str()) {
                    Some(method) => (receiver, Some(method)),
                    None => (self.attribute(&receiver, name.as_str())?, None),
                }
            }
            _ => (self.eval(function)?, None),
        };
        let mut args = self.arguments(arguments)?;
        args.named.extend(caller.map(|caller| (Text::new("caller"), caller)));
        self.line = expression.line;
        match method {
            Some(method) => self.call_method(&function, method, args),
            None => self.call(&function, args),
        }
    }

    pub(crate) fn call(&mut self, function: &Value, args: Args) -> Outcome<Value> {
        match function {
            Value::Method(method) => self.call_method(&method.receiver, method.name, args),
            Value::Function(function) => call_function(self, *function, args),
            Value::Macro(found) => self.call_macro(&Rc::clone(found), args),
            Value::Loop(state) => {
                let state = Rc::clone(state);
                self.nested(|run| run.recurse(&state, args))
            }
            Value::Joiner(counter) => {
                args.none("joiner")?;
                let is_first = counter.at.replace(1) == 0;
                let separator = counter.entries.entries.first().cloned();
                Ok(separator.filter(|_| !is_first).unwrap_or_else(|| Value::text("")))
            }
            Value::Block(place) => {
                args.none("block")?;
                let body = &self.template.blocks[*place].1;
                let (text, _) = self.captured(|run| run.in_frame(0, |run| run.body(body)))?;
                Ok(self.written(text))
            }
            _ => {
                function.defined()?;
                type_error(format!("'{}' object is not callable", function.type_name()))
            }
        }
    }

    fn call_method(&mut self, value: &Value, name: &'static str, args: Args) -> Outcome<Value> {
        match (value, name) {
            (Value::Text(text), "format" | "format_map") => {
                let map;
                let fields = if name == "format" {
                    Fields::Args(&args)
                } else {
                    let [found] = args.clone().unnamed(name, 1)?;
                    map = found.unwrap_or(Value::None);
                    Fields::Map(&map)
                };
                format_text(text, &fields, &mut |value, key, is_attribute| match key {
                    Value::Text(name) if is_attribute => self.attribute(value, name.as_str()),
                    _ => self.item(value, key),
                })
            }
            (Value::Loop(state), _) => Run::call_loop_method(state, name, &args),
            _ => call_method(value, name, args),
        }
    }

    /// A macro's text. Arguments are taken as Python takes them, except that one that is missing is
    /// undefined.
    fn call_macro(&mut self, called: &MacroValue, args: Args) -> Outcome<Value> {
        let definition = &self.template.macros[called.place];
        let name = called.name.as_deref().unwrap_or("caller");
        let Args { mut positional, named } = args;
        let num_parameters = definition.parameters.len();
        let extra = positional.split_off(num_parameters.min(positional.len()));
        if !extra.is_empty() && !definition.uses.varargs {
            return type_error(format!(
                "macro {} takes not more than {num_parameters} argument(s)",
                quoted(name)
            ));
        }
        let mut named: IndexMap<Box<str>, Value> =
            named.into_iter().map(|(name, value)| (name.as_str().into(), value)).collect();
        let mut values: Vec<Option<Value>> = positional.into_iter().map(Some).collect();
        for (parameter, _) in definition.parameters.iter().skip(values.len()) {
            values.push(named.shift_remove(&*self.template.names[*parameter as usize]));
        }
        let caller = if definition.uses.caller { named.shift_remove("caller") } else { None };
        if let Some(name) = named.keys().next()
            && !definition.uses.kwargs
        {
            return type_error(format!("a macro takes no keyword argument {}", quoted(name)));
        }
        let parent = self.frames.place_of(called.frame);
        let line = self.line;
        let (text, ()) = self.captured(|run| {
            run.nested(|run| {
                run.in_frame(parent, |run| run.macro_body(called, values, caller, named, extra))
            })
        })?;
        self.line = line;
        Ok(self.written(text))
    }

    fn macro_body(
        &mut self,
        called: &MacroValue,
        values: Vec<Option<Value>>,
        caller: Option<Value>,
        named: IndexMap<Box<str>, Value>,
        extra: Vec<Value>,
    ) -> Outcome<()> {
        let template = self.template;
        let definition = &template.macros[called.place];
        let id_of = |name: &str| {
            template.names.iter().position(|known| **known == *name).map(|at| at as u32)
        };
        for ((parameter, default), value) in definition.parameters.iter().zip(values) {
            let value = match (value, default) {
                (Some(value), _) => value,
                (None, Some(default)) => self.eval(default)?,
                (None, None) => {
                    let name = &template.names[*parameter as usize];
                    Value::undefined(format!("parameter '{name}' was not provided"))
                }
            };
            self.frames.set(*parameter, value);
        }
        if definition.uses.caller
            && let Some(id) = id_of("caller")
        {
            let caller = caller.unwrap_or_else(|| Value::undefined("No caller defined"));
            self.frames.set(id, caller);
        }
        if definition.uses.kwargs
            && let Some(id) = id_of("kwargs")
        {
            let pairs = named
                .into_iter()
                .map(|(name, value)| (crate::chat::python::Key(Value::text(&*name)), value));
            let kwargs = Value::dict(pairs.collect())?;
            self.frames.set(id, kwargs);
        }
        if definition.uses.varargs
            && let Some(id) = id_of("varargs")
        {
            self.frames.set(id, Value::Tuple(Sequence::new(extra)?));
        }
        self.body(&definition.body)?;
        Ok(())
    }
}
