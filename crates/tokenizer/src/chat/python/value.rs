//! The values that a template handles.

use super::containers::{Counter, Dict, Group, Iter, Key, Names, Range, Sequence, View, nested};
use crate::chat::budget::{charge, charge_entries};
use crate::chat::fault::{Fault, Outcome, security_error, type_error, undefined_error};
use indexmap::IndexMap;
use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::Arc;

/// A text, and whether it is `Markup`, which escapes what joins it.
#[derive(Clone, Debug)]
pub(crate) struct Text {
    text: Arc<str>,
    pub(crate) is_markup: bool,
}

impl Text {
    pub(crate) fn new(text: impl Into<Arc<str>>) -> Text {
        Text { text: text.into(), is_markup: false }
    }

    pub(crate) fn markup(text: impl Into<Arc<str>>) -> Text {
        Text { text: text.into(), is_markup: true }
    }

    pub(crate) fn as_str(&self) -> &str {
        &self.text
    }

    /// Another text of the same kind.
    pub(crate) fn like(&self, text: impl Into<Arc<str>>) -> Text {
        Text { text: text.into(), is_markup: self.is_markup }
    }
}

#[derive(Clone, Debug)]
pub(crate) enum Value {
    Undefined(Rc<Missing>),
    None,
    Bool(bool),
    Int(i128),
    Float(f64),
    Text(Text),
    List(Rc<Sequence>),
    Tuple(Rc<Sequence>),
    /// What `groupby` makes: a tuple with two names.
    Group(Rc<Group>),
    Dict(Rc<Dict>),
    Range(Range),
    View(View, Rc<Dict>),
    Iter(Rc<Iter>),
    Namespace(Rc<Names>),
    Function(Function),
    Method(Rc<Method>),
    Macro(Rc<MacroValue>),
    Loop(Rc<LoopState>),
    Cycler(Rc<Counter>),
    Joiner(Rc<Counter>),
    /// `self`.
    Blocks,
    /// By its place among the template's blocks.
    Block(usize),
}

/// Why there is no value.
#[derive(Debug)]
pub(crate) struct Missing {
    pub(crate) message: String,
    /// It is there, and the sandbox keeps it.
    pub(crate) is_kept: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Function {
    Range,
    Dict,
    Cycler,
    Joiner,
    Lipsum,
    Namespace,
    RaiseException,
    StrftimeNow,
}

#[derive(Debug)]
pub(crate) struct Method {
    pub(crate) receiver: Value,
    pub(crate) name: &'static str,
}

#[derive(Debug)]
pub(crate) struct MacroValue {
    /// The macro's place in the template.
    pub(crate) place: usize,
    pub(crate) name: Option<Box<str>>,
    /// The frame it was defined in: its place and its number.
    pub(crate) frame: (usize, u64),
}

/// What `loop` tells.
#[derive(Debug)]
pub(crate) struct LoopState {
    /// The loop's place in the template, and the frame around it.
    pub(crate) place: usize,
    pub(crate) frame: usize,
    pub(crate) depth0: usize,
    pub(crate) source: RefCell<Rc<Sequence>>,
    /// Of the source, the first that was not looked at.
    pub(crate) next: Cell<usize>,
    pub(crate) fault: RefCell<Option<Box<Fault>>>,
    /// The next entry, if someone looked ahead.
    pub(crate) after: RefCell<Option<Option<Value>>>,
    pub(crate) before: RefCell<Value>,
    pub(crate) current: RefCell<Value>,
    pub(crate) index0: Cell<usize>,
    /// `None` until it is known.
    pub(crate) length: Cell<Option<usize>>,
    pub(crate) last_changed: RefCell<Option<Value>>,
}

impl Value {
    pub(crate) fn undefined(message: impl Into<String>) -> Value {
        Value::Undefined(Rc::new(Missing { message: message.into(), is_kept: false }))
    }

    pub(crate) fn text(text: impl Into<Arc<str>>) -> Value {
        Value::Text(Text::new(text))
    }

    /// A text that was made just now.
    pub(crate) fn made_text(text: String) -> Outcome<Value> {
        charge(text.len() as u64)?;
        Ok(Value::text(text))
    }

    /// A list that was made just now.
    pub(crate) fn list(entries: Vec<Value>) -> Outcome<Value> {
        charge_entries(entries.len())?;
        Ok(Value::List(Sequence::new(entries)?))
    }

    pub(crate) fn tuple(entries: Vec<Value>) -> Outcome<Value> {
        charge_entries(entries.len())?;
        Ok(Value::Tuple(Sequence::new(entries)?))
    }

    pub(crate) fn dict(entries: IndexMap<Key, Value>) -> Outcome<Value> {
        charge_entries(2 * entries.len())?;
        Ok(Value::Dict(Dict::new(entries)?))
    }

    /// Something that is read once; its entries are already there, and the fault comes after them.
    pub(crate) fn iter(
        shown: &'static str,
        entries: Vec<Value>,
        fault: Option<Box<Fault>>,
    ) -> Outcome<Value> {
        charge_entries(entries.len())?;
        let depth = nested(entries.iter())?;
        let (left, fault) = (RefCell::new(entries.into()), RefCell::new(fault));
        Ok(Value::Iter(Rc::new(Iter { shown, left, fault, depth })))
    }

    pub(crate) fn int(number: usize) -> Value {
        Value::Int(number as i128)
    }

    pub(super) fn depth(&self) -> usize {
        match self {
            Value::List(sequence) | Value::Tuple(sequence) => sequence.depth,
            Value::Group(group) => group.sequence.depth,
            Value::Dict(dict) | Value::View(_, dict) => dict.depth,
            Value::Iter(iter) => iter.depth,
            Value::Method(method) => method.receiver.depth(),
            Value::Cycler(counter) | Value::Joiner(counter) => counter.entries.depth,
            _ => 0,
        }
    }

    pub(crate) fn is_undefined(&self) -> bool {
        matches!(self, Value::Undefined(_))
    }

    pub(crate) fn as_text(&self) -> Option<&Text> {
        match self {
            Value::Text(text) => Some(text),
            _ => None,
        }
    }

    /// The entries of what Python calls a sequence and holds them.
    pub(crate) fn as_sequence(&self) -> Option<&[Value]> {
        match self {
            Value::List(sequence) | Value::Tuple(sequence) => Some(&sequence.entries),
            Value::Group(group) => Some(&group.sequence.entries),
            _ => None,
        }
    }

    /// A number that is whole, `True` and `False` too.
    pub(crate) fn as_int(&self) -> Option<i128> {
        match self {
            Value::Int(number) => Some(*number),
            Value::Bool(is) => Some(i128::from(*is)),
            _ => None,
        }
    }

    pub(crate) fn is_true(&self) -> bool {
        match self {
            Value::Undefined(_) | Value::None => false,
            Value::Bool(is) => *is,
            Value::Int(number) => *number != 0,
            Value::Float(number) => *number != 0.0,
            Value::Text(text) => !text.as_str().is_empty(),
            Value::List(sequence) | Value::Tuple(sequence) => !sequence.entries.is_empty(),
            Value::Dict(dict) | Value::View(_, dict) => !dict.entries.is_empty(),
            Value::Range(range) => range.len() > 0,
            _ => true,
        }
    }

    pub(crate) fn is_callable(&self) -> bool {
        matches!(
            self,
            Value::Function(_)
                | Value::Method(_)
                | Value::Macro(_)
                | Value::Loop(_)
                | Value::Joiner(_)
                | Value::Undefined(_)
                | Value::Block(_)
        )
    }

    /// The name of its type, as Python's messages have it.
    pub(crate) fn type_name(&self) -> &'static str {
        match self {
            Value::Undefined(_) => "Undefined",
            Value::None => "NoneType",
            Value::Bool(_) => "bool",
            Value::Int(_) => "int",
            Value::Float(_) => "float",
            Value::Text(text) if text.is_markup => "Markup",
            Value::Text(_) => "str",
            Value::List(_) => "list",
            Value::Tuple(_) => "tuple",
            Value::Group(_) => "_GroupTuple",
            Value::Dict(_) => "dict",
            Value::Range(_) => "range",
            Value::View(View::Keys, _) => "dict_keys",
            Value::View(View::Values, _) => "dict_values",
            Value::View(View::Items, _) => "dict_items",
            Value::Iter(iter) => iter.shown.split(' ').next().unwrap_or_default(),
            Value::Namespace(_) => "Namespace",
            Value::Function(_) => "function",
            Value::Method(_) => "builtin_function_or_method",
            Value::Macro(_) => "Macro",
            Value::Loop(_) => "LoopContext",
            Value::Cycler(_) => "Cycler",
            Value::Joiner(_) => "Joiner",
            Value::Blocks => "TemplateReference",
            Value::Block(_) => "BlockReference",
        }
    }

    /// Fails as Python does when something is done with a value that is not there.
    pub(crate) fn defined(&self) -> Outcome<()> {
        match self {
            Value::Undefined(missing) if missing.is_kept => security_error(&*missing.message),
            Value::Undefined(missing) => undefined_error(&*missing.message),
            _ => Ok(()),
        }
    }

    /// Fails unless it can be a key.
    pub(crate) fn hashable(&self) -> Outcome<()> {
        match self {
            Value::List(_) | Value::Dict(_) | Value::View(View::Keys | View::Items, _) => {
                type_error(format!("unhashable type: '{}'", self.type_name()))
            }
            Value::Tuple(sequence) => sequence.entries.iter().try_for_each(Value::hashable),
            Value::Group(_) => type_error("unhashable type: 'list'"),
            _ => Ok(()),
        }
    }

    /// Whether it is the same object.
    pub(crate) fn is_same(&self, other: &Value) -> bool {
        match (self, other) {
            (Value::None, Value::None) => true,
            (Value::Bool(a), Value::Bool(b)) => a == b,
            // Python keeps one of each that a template writes down; who made it does not matter here.
            (Value::Int(a), Value::Int(b)) => a == b,
            (Value::Text(a), Value::Text(b)) => {
                a.is_markup == b.is_markup && (Arc::ptr_eq(&a.text, &b.text) || a.text == b.text)
            }
            (Value::List(a), Value::List(b)) | (Value::Tuple(a), Value::Tuple(b)) => {
                Rc::ptr_eq(a, b)
            }
            (Value::Group(a), Value::Group(b)) => Rc::ptr_eq(a, b),
            (Value::Dict(a), Value::Dict(b)) => Rc::ptr_eq(a, b),
            (Value::Namespace(a), Value::Namespace(b)) => Rc::ptr_eq(a, b),
            (Value::Iter(a), Value::Iter(b)) => Rc::ptr_eq(a, b),
            (Value::Macro(a), Value::Macro(b)) => Rc::ptr_eq(a, b),
            (Value::Loop(a), Value::Loop(b)) => Rc::ptr_eq(a, b),
            (Value::Cycler(a), Value::Cycler(b)) | (Value::Joiner(a), Value::Joiner(b)) => {
                Rc::ptr_eq(a, b)
            }
            (Value::Undefined(a), Value::Undefined(b)) => Rc::ptr_eq(a, b),
            (Value::Function(a), Value::Function(b)) => a == b,
            _ => false,
        }
    }
}
