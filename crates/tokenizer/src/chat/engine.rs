//! Runs a template as Hugging Face does, within bounds.

use super::fault::Outcome;
use super::python::{Dict, Value, to_value};
use super::run::Run;
use super::syntax::{Template, parse};
use super::{budget, date};
use crate::TemplateError;
use indexmap::IndexMap;
use serde::Serialize;
use std::sync::Arc;
use std::thread;

// Of address space; memory is taken as the stack grows. The parser and the renderer recurse as deep as
// their bounds let them, which fits this stack and maybe not the caller's.
const STACK_BYTES: usize = 64 << 20;

/// A template that compiles.
#[derive(Debug, Default)]
pub(super) struct Engine {
    template: Arc<Template>,
}

impl Engine {
    pub(super) fn compile(source: &str) -> Result<Engine, TemplateError> {
        let template = Arc::new(on_a_stack("chat-template", || parse(source))?);
        Ok(Engine { template })
    }

    pub(super) fn render(
        &self,
        context: &(impl Serialize + Sync),
    ) -> Result<String, TemplateError> {
        on_a_stack("chat-render", || {
            budget::begin();
            let unusable = |message: String| TemplateError::Invalid { line: 0, message };
            let context = match to_value(context).map_err(|error| unusable(error.to_string()))? {
                Value::Dict(context) => context,
                _ => Dict::new(IndexMap::new()).map_err(|fault| fault.explain(0))?,
            };
            let now: fn(&str) -> Outcome<String> = |format| Ok(date::strftime_now(format));
            let run = Run::new(&self.template, &context, now);
            run.render().map_err(|(fault, line)| fault.explain(line))
        })
    }
}

/// Does `work` on a thread with a stack that fits it.
fn on_a_stack<T: Send>(
    name: &str,
    work: impl FnOnce() -> Result<T, TemplateError> + Send,
) -> Result<T, TemplateError> {
    let failed = |message: String| TemplateError::Invalid { line: 0, message };
    thread::scope(|scope| {
        let thread = thread::Builder::new().name(name.to_owned()).stack_size(STACK_BYTES);
        match thread.spawn_scoped(scope, work) {
            Ok(working) => {
                working.join().unwrap_or_else(|_| Err(failed("the template engine failed".into())))
            }
            Err(error) => Err(failed(error.to_string())),
        }
    })
}
