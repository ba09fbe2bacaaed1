//! Loops, and what `loop` tells inside of them.

use super::Run;
use super::statements::Flow;
use crate::chat::budget::step;
use crate::chat::fault::{Outcome, type_error};
use crate::chat::python::arguments::Args;
use crate::chat::python::{LoopState, Sequence, Value, entries, equal};
use std::cell::{Cell, RefCell};
use std::rc::Rc;

impl<'t> Run<'t> {
    pub(super) fn for_loop(&mut self, place: usize) -> Outcome<()> {
        let template = self.template;
        let values = self.eval(&template.loops[place].values)?;
        let (frame, _) = self.frames.current();
        self.repeat(place, &values, frame, 0)
    }

    fn repeat(&mut self, place: usize, values: &Value, frame: usize, depth0: usize) -> Outcome<()> {
        let template = self.template;
        let definition = &template.loops[place];
        let (source, fault) = match values {
            // What it gives before it fails comes first.
            Value::Iter(iter) => {
                let left = std::mem::take(&mut *iter.left.borrow_mut());
                (Sequence::new(left.into())?, iter.fault.borrow_mut().take())
            }
            Value::List(sequence) | Value::Tuple(sequence) => (Rc::clone(sequence), None),
            _ => (Sequence::new(entries(values)?)?, None),
        };
        let length =
            (definition.condition.is_none() && fault.is_none()).then_some(source.entries.len());
        let state = Rc::new(LoopState {
            place,
            frame,
            depth0,
            source: RefCell::new(source),
            next: Cell::new(0),
            fault: RefCell::new(fault),
            after: RefCell::new(None),
            before: RefCell::new(Value::None),
            current: RefCell::new(Value::None),
            index0: Cell::new(0),
            length: Cell::new(length),
            last_changed: RefCell::new(None),
        });
        let result = self.iterate(&state);
        // It may hold the loop itself.
        state.last_changed.take();
        if result? == 0 && !definition.otherwise.is_empty() {
            self.in_frame(frame, |run| run.body(&definition.otherwise))?;
        }
        Ok(())
    }

    /// Returns how often the body was carried out to its end; with none, Jinja goes to `else`.
    fn iterate(&mut self, state: &Rc<LoopState>) -> Outcome<usize> {
        let template = self.template;
        let definition = &template.loops[state.place];
        let loop_name = template.names.iter().position(|name| **name == *"loop");
        let (mut num_begun, mut num_done) = (0, 0);
        while let Some(value) = self.take_next(state)? {
            step()?;
            if num_begun > 0 {
                state.index0.set(num_begun);
                let before = state.current.replace(value.clone());
                state.before.replace(before);
            } else {
                state.current.replace(value.clone());
            }
            num_begun += 1;
            let flow = self.in_frame(state.frame, |run| {
                if let Some(name) = loop_name {
                    run.frames.set(name as u32, Value::Loop(Rc::clone(state)));
                }
                run.assign(&definition.target, value)?;
                run.body(&definition.body)
            })?;
            match flow {
                Flow::On => num_done += 1,
                Flow::Continue => {}
                Flow::Break => break,
            }
        }
        Ok(num_done)
    }

    fn take_next(&mut self, state: &LoopState) -> Outcome<Option<Value>> {
        match state.after.take() {
            Some(looked_at) => Ok(looked_at),
            None => self.look_for_next(state),
        }
    }

    /// The next entry for which the loop's condition holds.
    fn look_for_next(&mut self, state: &LoopState) -> Outcome<Option<Value>> {
        let template = self.template;
        let definition = &template.loops[state.place];
        loop {
            let next = state.source.borrow().entries.get(state.next.get()).cloned();
            let Some(value) = next else {
                return state.fault.borrow_mut().take().map_or(Ok(None), Err);
            };
            state.next.set(state.next.get() + 1);
            let Some(condition) =
                definition.condition.as_ref().filter(|_| state.length.get().is_none())
            else {
                return Ok(Some(value));
            };
            step()?;
            let holds = self.in_frame(state.frame, |run| {
                run.assign(&definition.target, value.clone())?;
                Ok(run.eval(condition)?.is_true())
            })?;
            if holds {
                return Ok(Some(value));
            }
        }
    }

    fn peek(&mut self, state: &LoopState) -> Outcome<Option<Value>> {
        if let Some(looked_at) = &*state.after.borrow() {
            return Ok(looked_at.clone());
        }
        let next = self.look_for_next(state)?;
        state.after.replace(Some(next.clone()));
        Ok(next)
    }

    /// How many entries the loop has; with a condition all are looked at for it.
    fn loop_length(&mut self, state: &LoopState) -> Outcome<usize> {
        if let Some(length) = state.length.get() {
            return Ok(length);
        }
        let mut rest = Vec::new();
        while let Some(value) = self.look_for_next(state)? {
            rest.push(value);
        }
        let is_ahead = matches!(&*state.after.borrow(), Some(Some(_)));
        let length = rest.len() + state.index0.get() + 1 + usize::from(is_ahead);
        state.source.replace(Sequence::new(rest)?);
        state.next.set(0);
        state.length.set(Some(length));
        Ok(length)
    }

    pub(super) fn loop_attribute(
        &mut self,
        state: &Rc<LoopState>,
        name: &str,
    ) -> Outcome<Option<Value>> {
        let index0 = state.index0.get();
        Ok(Some(match name {
            "index0" => Value::int(index0),
            "index" => Value::int(index0 + 1),
            "first" => Value::Bool(index0 == 0),
            "last" => Value::Bool(self.peek(state)?.is_none()),
            "length" => Value::int(self.loop_length(state)?),
            "revindex" => Value::int(self.loop_length(state)? - index0),
            "revindex0" => Value::int(self.loop_length(state)? - index0 - 1),
            "depth0" => Value::int(state.depth0),
            "depth" => Value::int(state.depth0 + 1),
            "previtem" if index0 == 0 => Value::undefined("there is no previous item"),
            "previtem" => state.before.borrow().clone(),
            "nextitem" => {
                self.peek(state)?.unwrap_or_else(|| Value::undefined("there is no next item"))
            }
            _ => return Ok(None),
        }))
    }

    /// `loop.cycle(...)` or `loop.changed(...)`.
    pub(super) fn call_loop_method(state: &LoopState, name: &str, args: &Args) -> Outcome<Value> {
        let values = &args.positional;
        if name == "cycle" {
            return match values.len() {
                0 => type_error("no items for cycling given"),
                length => Ok(values[state.index0.get() % length].clone()),
            };
        }
        let values = Value::tuple(values.clone())?;
        let before = state.last_changed.borrow().clone();
        if let Some(before) = before
            && equal(&before, &values)?
        {
            return Ok(Value::Bool(false));
        }
        state.last_changed.replace(Some(values));
        Ok(Value::Bool(true))
    }

    /// `loop(values)`: the loop's body again, one level deeper.
    pub(super) fn recurse(&mut self, state: &Rc<LoopState>, args: Args) -> Outcome<Value> {
        let [values] = args.unnamed("loop", 1)?;
        if !self.template.loops[state.place].recursive {
            return type_error(
                "the loop must have the 'recursive' marker to be called recursively",
            );
        }
        let values = values.unwrap_or(Value::None);
        let (text, ()) =
            self.captured(|run| run.repeat(state.place, &values, state.frame, state.depth0 + 1))?;
        Ok(self.written(text))
    }
}
