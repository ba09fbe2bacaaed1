//! `value.name` and `value[key]`, as the sandbox gives them.

use super::Run;
use crate::chat::fault::{Exception, Outcome};
use crate::chat::python::{
    Function, Method, Missing, Value, is_kept, item, method_named, property, text_of,
};
use std::rc::Rc;

impl Run<'_> {
    /// `value.name`: an attribute, else an entry of that name.
    pub(crate) fn attribute(&mut self, value: &Value, name: &str) -> Outcome<Value> {
        value.defined()?;
        if let Some(found) = self.own_attribute(value, name)? {
            return Ok(found);
        }
        if let Value::Dict(dict) = value
            && let Some(found) = dict.get(name)
        {
            return Ok(found.clone());
        }
        Ok(missing(value, name))
    }

    /// `value[key]`: an entry, else an attribute of that name.
    pub(crate) fn item(&mut self, value: &Value, key: &Value) -> Outcome<Value> {
        match item(value, key) {
            Err(fault) if fault.is(&[Exception::Type, Exception::Lookup]) => {}
            result => return result,
        }
        match key {
            Value::Text(name) => {
                if let Some(found) = self.own_attribute(value, name.as_str())? {
                    return Ok(found);
                }
                Ok(missing(value, name.as_str()))
            }
            _ => {
                let message =
                    format!("{} has no element {}", described(value), text_of(key)?.as_str());
                Ok(Value::undefined(message))
            }
        }
    }

    /// An attribute that the value's type has.
    pub(crate) fn own_attribute(&mut self, value: &Value, name: &str) -> Outcome<Option<Value>> {
        if is_kept(value, name) {
            let type_name = value.type_name();
            let message =
                format!("access to attribute '{name}' of '{type_name}' object is unsafe.");
            return Ok(Some(Value::Undefined(Rc::new(Missing { message, is_kept: true }))));
        }
        if let Some(name) = method_named(value, name) {
            return Ok(Some(Value::Method(Rc::new(Method { receiver: value.clone(), name }))));
        }
        match value {
            Value::Namespace(names) => Ok(names.names.borrow().get(name).cloned()),
            Value::Loop(state) => self.loop_attribute(&Rc::clone(state), name),
            Value::Blocks => {
                let blocks = &self.template.blocks;
                Ok(blocks.iter().position(|(known, _)| **known == *name).map(Value::Block))
            }
            Value::Macro(found) => {
                let definition = &self.template.macros[found.place];
                Ok(match name {
                    "name" => {
                        Some(found.name.as_ref().map_or(Value::None, |name| Value::text(&**name)))
                    }
                    "arguments" => {
                        let names = definition.parameters.iter();
                        let names =
                            names.map(|(id, _)| Value::text(&*self.template.names[*id as usize]));
                        Some(Value::tuple(names.collect())?)
                    }
                    "catch_kwargs" => Some(Value::Bool(definition.uses.kwargs)),
                    "catch_varargs" => Some(Value::Bool(definition.uses.varargs)),
                    "caller" => Some(Value::Bool(definition.uses.caller)),
                    _ => None,
                })
            }
            Value::Function(Function::Dict) => Ok(None),
            _ => Ok(property(value, name)),
        }
    }
}

fn described(value: &Value) -> String {
    match value {
        Value::None => "None".to_owned(),
        _ => format!("{} object", value.type_name()),
    }
}

fn missing(value: &Value, name: &str) -> Value {
    Value::undefined(format!("'{}' has no attribute '{name}'", described(value)))
}
