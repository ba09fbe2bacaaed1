//! Values that hold others.

use super::compare::equal;
use super::value::{Text, Value};
use crate::chat::budget::MAX_DEPTH;
use crate::chat::fault::{Fault, Outcome};
use indexmap::IndexMap;
use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::hash::{Hash, Hasher};
use std::rc::Rc;

/// The entries of a list or tuple.
#[derive(Debug)]
pub(crate) struct Sequence {
    pub(crate) entries: Vec<Value>,
    pub(super) depth: usize,
}

#[derive(Debug)]
pub(crate) struct Group {
    pub(crate) sequence: Rc<Sequence>,
}

/// In the order in which keys came.
#[derive(Debug, Default)]
pub(crate) struct Dict {
    pub(crate) entries: IndexMap<Key, Value>,
    pub(super) depth: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Range {
    pub(crate) start: i128,
    pub(crate) stop: i128,
    pub(crate) step: i128,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum View {
    Keys,
    Values,
    Items,
}

/// A generator or iterator: what is left of it, and how it ends.
#[derive(Debug)]
pub(crate) struct Iter {
    /// As Python writes it: its type first.
    pub(crate) shown: &'static str,
    pub(crate) left: RefCell<VecDeque<Value>>,
    pub(crate) fault: RefCell<Option<Box<Fault>>>,
    pub(super) depth: usize,
}

/// A namespace. The rendering that made it empties it, so that one that holds itself is freed.
#[derive(Debug, Default)]
pub(crate) struct Names {
    pub(crate) names: RefCell<IndexMap<Box<str>, Value>>,
}

/// A `cycler` or `joiner`.
#[derive(Debug)]
pub(crate) struct Counter {
    pub(crate) entries: Rc<Sequence>,
    pub(crate) at: Cell<usize>,
}

pub(super) fn nested<'a>(values: impl Iterator<Item = &'a Value>) -> Outcome<usize> {
    let depth = 1 + values.map(Value::depth).max().unwrap_or(0);
    if depth > MAX_DEPTH {
        return Err(Box::new(Fault::TooDeep { what: "value", max_steps: MAX_DEPTH }));
    }
    Ok(depth)
}

impl Sequence {
    /// The entries are charged by whoever made them.
    pub(crate) fn new(entries: Vec<Value>) -> Outcome<Rc<Sequence>> {
        let depth = nested(entries.iter())?;
        Ok(Rc::new(Sequence { entries, depth }))
    }
}

impl Dict {
    pub(crate) fn new(entries: IndexMap<Key, Value>) -> Outcome<Rc<Dict>> {
        let depth = nested(entries.keys().map(|key| &key.0).chain(entries.values()))?;
        Ok(Rc::new(Dict { entries, depth }))
    }

    pub(crate) fn get(&self, key: &str) -> Option<&Value> {
        self.entries.get(&Key(Value::Text(Text::new(key))))
    }
}

impl Range {
    pub(crate) fn len(&self) -> usize {
        let Range { start, stop, step } = *self;
        let span = if step > 0 { stop - start } else { start - stop };
        let step = step.abs();
        if span <= 0 { 0 } else { usize::try_from((span + step - 1) / step).unwrap_or(usize::MAX) }
    }

    pub(crate) fn entry(&self, index: usize) -> i128 {
        self.start + self.step * index as i128
    }
}

/// A value that is a key; only what [`Value::hashable`] lets pass becomes one.
#[derive(Clone, Debug)]
pub(crate) struct Key(pub(crate) Value);

impl PartialEq for Key {
    fn eq(&self, other: &Key) -> bool {
        match (&self.0, &other.0) {
            (Value::Text(a), Value::Text(b)) => a.as_str() == b.as_str(),
            (a, b) => equal(a, b).unwrap_or(false),
        }
    }
}

impl Eq for Key {}

impl Hash for Key {
    fn hash<H: Hasher>(&self, state: &mut H) {
        hash(&self.0, state);
    }
}

fn hash<H: Hasher>(value: &Value, state: &mut H) {
    match value {
        Value::Text(text) => text.as_str().hash(state),
        Value::Int(number) => number.hash(state),
        Value::Bool(is) => i128::from(*is).hash(state),
        // Equal numbers are one key.
        Value::Float(number) if number.fract() == 0.0 && number.abs() < 1e38 => {
            (*number as i128).hash(state);
        }
        Value::Float(number) => number.to_bits().hash(state),
        Value::Tuple(sequence) => sequence.entries.iter().for_each(|entry| hash(entry, state)),
        // Few, and none of them is a key in a chat template.
        _ => 0_u8.hash(state),
    }
}
