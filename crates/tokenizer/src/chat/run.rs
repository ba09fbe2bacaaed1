//! Carries out a template's tree.

mod attributes;
mod calls;
mod expressions;
mod frames;
mod loops;
mod statements;

use super::budget::MAX_OUTPUT_BYTES;
use super::fault::{Fault, Outcome};
use super::python::{Dict, Names, Text, Value};
use super::syntax::Template;
use frames::Frames;
pub(crate) use statements::check_attribute;
use std::rc::Rc;

/// One rendering.
pub(crate) struct Run<'t> {
    template: &'t Template,
    frames: Frames,
    /// Of all that were made; emptied at the end, as they may hold themselves.
    namespaces: Vec<Rc<Names>>,
    out: String,
    escapes: bool,
    depth: usize,
    line: u32,
    /// The date by a format.
    now: fn(&str) -> Outcome<String>,
}

/// How deep expressions, statements and calls nest while they are carried out; Python gives up at 1,000
/// calls of its own, of which one of these takes several.
const MAX_NESTED: usize = 2500;

impl<'t> Run<'t> {
    pub(crate) fn new(
        template: &'t Template,
        context: &Rc<Dict>,
        now: fn(&str) -> Outcome<String>,
    ) -> Run<'t> {
        Run {
            template,
            frames: Frames::new(&template.names, context),
            namespaces: Vec::new(),
            out: String::new(),
            escapes: false,
            depth: 0,
            line: 1,
            now,
        }
    }

    /// The prompt, or why there is none and on which line.
    pub(crate) fn render(mut self) -> Result<String, (Box<Fault>, u32)> {
        self.body(&self.template.body).map_err(|fault| (fault, self.line))?;
        if self.out.len() > MAX_OUTPUT_BYTES {
            return Err((Box::new(Fault::OutputTooLong), 0));
        }
        Ok(std::mem::take(&mut self.out))
    }

    /// Does what nests.
    fn nested<T>(&mut self, work: impl FnOnce(&mut Run<'t>) -> Outcome<T>) -> Outcome<T> {
        if self.depth == MAX_NESTED {
            return Err(Box::new(Fault::TooDeep { what: "rendering", max_steps: MAX_NESTED }));
        }
        self.depth += 1;
        let result = work(self);
        self.depth -= 1;
        result
    }

    /// What `work` writes, instead of writing it.
    fn captured<T>(
        &mut self,
        work: impl FnOnce(&mut Run<'t>) -> Outcome<T>,
    ) -> Outcome<(String, T)> {
        let before = std::mem::take(&mut self.out);
        let result = work(self);
        let written = std::mem::replace(&mut self.out, before);
        Ok((written, result?))
    }

    /// What was written, which is `Markup` where everything is escaped.
    fn written(&self, text: String) -> Value {
        Value::Text(if self.escapes { Text::markup(text) } else { Text::new(text) })
    }

    pub(crate) fn escapes(&self) -> bool {
        self.escapes
    }

    pub(crate) fn now(&self, format: &str) -> Outcome<String> {
        (self.now)(format)
    }

    pub(crate) fn add_namespace(&mut self, names: Names) -> Value {
        let names = Rc::new(names);
        self.namespaces.push(Rc::clone(&names));
        Value::Namespace(names)
    }
}

impl Drop for Run<'_> {
    fn drop(&mut self) {
        for names in &self.namespaces {
            let names = std::mem::take(&mut *names.names.borrow_mut());
            drop(names);
        }
    }
}
