//! Runs a template as Hugging Face does, within bounds.

use super::budget::{self, Deep, Spent};
use super::needs::Needs;
use super::{bounded, rewrite};
use crate::TemplateError;
use minijinja::machinery::{Vm, make_string_output};
use minijinja::value::Value;
use minijinja::{AutoEscape, Environment, Error, ErrorKind};
use serde::Serialize;
use std::fmt;
use std::thread;

// A conversation of a thousand messages takes 20,000 to 150,000 steps.
const MAX_STEPS: u64 = 300_000;
const MAX_OUTPUT_BYTES: usize = 4 << 20;
// What a template says may hold a whole message.
const MAX_MESSAGE_CHARS: usize = 1000;
// Templates number messages and the like; the engine's own limit lets one step make 100,000 values.
const MAX_RANGE: usize = 4096;
// Templates call macros a few levels deep.
const MAX_RECURSION: usize = 64;
const COMPILE_STACK_BYTES: usize = 64 << 20;
// Of address space; memory is taken as the stack grows. A machine with little memory refuses the
// first, and there only a template made to nest values could tell the difference.
const RENDER_STACK_BYTES: [usize; 3] = [1 << 30, 1 << 28, 1 << 26];

/// A template that compiles, and what it may use.
#[derive(Debug, Default)]
pub(super) struct Engine {
    source: String,
    environment: Environment<'static>,
    needs: Needs,
}

impl Engine {
    /// Compiles `source`, which [`super::check`] has seen.
    pub(super) fn compile(source: &str) -> Result<Engine, TemplateError> {
        // The parser recurses; how deep the checks let it go fits this stack, maybe not the caller's.
        on_a_stack("chat-template", &[COMPILE_STACK_BYTES], || {
            rewrite::compile(source).map_err(|error| explain(&error))?;
            let environment = environment();
            let program = rewrite::generate(source).map_err(|error| explain(&error))?;
            let needs = Needs::of(&program, &environment);
            Ok(Engine { source: source.to_owned(), environment, needs })
        })
    }

    /// What the template asks for by name.
    pub(super) fn needs(&self) -> &Needs {
        &self.needs
    }

    pub(super) fn render(
        &self,
        context: &(impl Serialize + Sync),
    ) -> Result<String, TemplateError> {
        // Dropping a value recurses into what it holds.
        on_a_stack("chat-render", &RENDER_STACK_BYTES, || {
            self.render_here(context).map_err(|error| explain(&error))
        })
        .and_then(|rendered| match rendered.len() {
            ..=MAX_OUTPUT_BYTES => Ok(rendered),
            _ => Err(TemplateError::OutputTooLong { max_bytes: MAX_OUTPUT_BYTES }),
        })
    }

    fn render_here(&self, context: &impl Serialize) -> Result<String, Error> {
        budget::begin();
        // Instructions borrow from their source, so they are made anew, which takes less than a
        // hundredth of what a long conversation does.
        let program = rewrite::compile(&self.source)?;
        let mut rendered = String::new();
        let context = Value::from_serialize(context);
        Vm::new(&self.environment).eval(
            &program.instructions,
            context,
            &program.blocks,
            &mut make_string_output(&mut rendered),
            AutoEscape::None,
        )?;
        Ok(rendered)
    }
}

/// Does `work` on a thread with the first of these stacks that the machine grants.
fn on_a_stack<T: Send>(
    name: &str,
    stack_bytes: &[usize],
    work: impl Fn() -> Result<T, TemplateError> + Sync,
) -> Result<T, TemplateError> {
    let failed = |message: String| TemplateError::Invalid { line: 0, message };
    thread::scope(|scope| {
        let mut refused = None;
        for &stack_bytes in stack_bytes {
            let thread = thread::Builder::new().name(name.to_owned()).stack_size(stack_bytes);
            match thread.spawn_scoped(scope, &work) {
                Ok(working) => {
                    let done = working.join();
                    return done
                        .unwrap_or_else(|_| Err(failed("the template engine failed".into())));
                }
                Err(error) => refused = Some(error),
            }
        }
        Err(failed(refused.map_or_else(String::new, |error| error.to_string())))
    })
}

fn environment() -> Environment<'static> {
    let mut environment = Environment::empty();
    environment.set_debug(false);
    environment.set_recursion_limit(MAX_RECURSION);
    environment.set_fuel(Some(MAX_STEPS));
    bounded::fill(&mut environment);
    environment.add_function("raise_exception", raise_exception);
    environment.add_function("range", range);
    environment
}

/// What a template said with `raise_exception`.
#[derive(Debug)]
struct Refusal(String);

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Refusal {}

fn raise_exception(message: &str) -> Result<Value, Error> {
    let refusal = Refusal(message.chars().take(MAX_MESSAGE_CHARS).collect());
    Err(Error::new(ErrorKind::InvalidOperation, "raise_exception").with_source(refusal))
}

fn explain(error: &Error) -> TemplateError {
    let mut cause: Option<&(dyn std::error::Error + 'static)> = Some(error);
    while let Some(current) = cause {
        if let Some(Refusal(message)) = current.downcast_ref() {
            return TemplateError::Refused { message: message.clone() };
        }
        if current.is::<Spent>() {
            return TemplateError::OutOfBytes { max_bytes: budget::MAX_BYTES };
        }
        if current.is::<Deep>() {
            let (num_steps, max_steps) = (budget::MAX_DEPTH + 1, budget::MAX_DEPTH);
            return TemplateError::TooDeep { what: "value", num_steps, max_steps };
        }
        cause = current.source();
    }
    if error.kind() == ErrorKind::OutOfFuel {
        return TemplateError::OutOfSteps { max_steps: MAX_STEPS };
    }
    let message = match error.detail() {
        Some(detail) => format!("{}: {detail}", error.kind()),
        None => error.kind().to_string(),
    };
    let message = message.chars().take(MAX_MESSAGE_CHARS).collect();
    TemplateError::Invalid { line: error.line().unwrap_or(0), message }
}

/// Python's `range`, short ones.
fn range(lower: i64, upper: Option<i64>, step: Option<i64>) -> Result<Vec<i64>, Error> {
    let (lower, upper) = upper.map_or((0, lower), |upper| (lower, upper));
    let step = step.unwrap_or(1);
    let refuse = |message: String| Err(Error::new(ErrorKind::InvalidOperation, message));
    if step == 0 {
        return refuse("range() with a step of 0".into());
    }
    let within = |at: &i64| if step > 0 { *at < upper } else { *at > upper };
    let mut values = Vec::new();
    let mut next = Some(lower).filter(within);
    while let Some(value) = next {
        if values.len() == MAX_RANGE {
            return refuse(format!("range() of more than {MAX_RANGE} numbers"));
        }
        values.push(value);
        next = value.checked_add(step).filter(within);
    }
    budget::charge(size_of_val(&*values) as u64)?;
    Ok(values)
}
