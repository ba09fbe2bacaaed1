//! Variables: the template's own, and those of loops, macros and blocks around the current statement.

use crate::chat::python::{Dict, Function, Value};
use crate::chat::syntax::NameId;
use std::rc::Rc;

pub(super) struct Frames {
    /// The variables of the template itself, by name.
    outermost: Vec<Option<Value>>,
    frames: Vec<Frame>,
    /// Where names are looked for first.
    current: usize,
    next_number: u64,
}

struct Frame {
    number: u64,
    parent: usize,
    names: Vec<(NameId, Value)>,
}

impl Frames {
    pub(super) fn new(names: &[Box<str>], context: &Rc<Dict>) -> Frames {
        let given = |name: &str| context.get(name).cloned().or_else(|| global(name));
        Frames {
            outermost: names.iter().map(|name| given(name)).collect(),
            frames: vec![Frame { number: 0, parent: 0, names: Vec::new() }],
            current: 0,
            next_number: 1,
        }
    }

    /// The current frame, by its place and number.
    pub(super) fn current(&self) -> (usize, u64) {
        (self.current, self.frames[self.current].number)
    }

    /// Opens a frame inside of the one at `parent`, and returns the one that was current.
    pub(super) fn open(&mut self, parent: usize) -> usize {
        self.frames.push(Frame { number: self.next_number, parent, names: Vec::new() });
        self.next_number += 1;
        std::mem::replace(&mut self.current, self.frames.len() - 1)
    }

    /// Closes the frame that was opened last.
    pub(super) fn close(&mut self, current: usize) {
        self.frames.pop();
        self.current = current;
    }

    /// The place of a frame that something was defined in; the template's own, if it is gone.
    pub(super) fn place_of(&self, (place, number): (usize, u64)) -> usize {
        match self.frames.get(place) {
            Some(frame) if frame.number == number => place,
            _ => 0,
        }
    }

    pub(super) fn set(&mut self, name: NameId, value: Value) {
        if self.current == 0 {
            self.outermost[name as usize] = Some(value);
            return;
        }
        let names = &mut self.frames[self.current].names;
        match names.iter_mut().find(|(known, _)| *known == name) {
            Some((_, slot)) => *slot = value,
            None => names.push((name, value)),
        }
    }

    pub(super) fn get(&self, name: NameId) -> Option<&Value> {
        let mut place = self.current;
        while place != 0 {
            let frame = &self.frames[place];
            if let Some((_, value)) = frame.names.iter().find(|(known, _)| *known == name) {
                return Some(value);
            }
            place = frame.parent;
        }
        self.outermost[name as usize].as_ref()
    }
}

/// What a template has without being given it.
fn global(name: &str) -> Option<Value> {
    Some(Value::Function(match name {
        "range" => Function::Range,
        "lipsum" => Function::Lipsum,
        "dict" => Function::Dict,
        "cycler" => Function::Cycler,
        "joiner" => Function::Joiner,
        "namespace" => Function::Namespace,
        "raise_exception" => Function::RaiseException,
        "strftime_now" => Function::StrftimeNow,
        "self" => return Some(Value::Blocks),
        _ => return None,
    }))
}
