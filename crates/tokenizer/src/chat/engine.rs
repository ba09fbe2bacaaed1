//! Runs a template as Hugging Face does, within bounds.

use crate::TemplateError;
use minijinja::value::{Kwargs, Value};
use minijinja::{Environment, Error, ErrorKind};
use serde::Serialize;
use serde_json::ser::{Formatter, PrettyFormatter};
use std::fmt;
use std::io;
use std::thread;
use std::time::{SystemTime, UNIX_EPOCH};

const NAME: &str = "chat";
// A conversation of a thousand messages takes about 100,000 steps.
const MAX_STEPS: u64 = 250_000;
const MAX_OUTPUT_BYTES: usize = 4 << 20;
// Templates number messages and the like; the engine's own limit lets one step make 100,000 values.
const MAX_RANGE: usize = 4096;
// Templates call macros a few levels deep.
const MAX_RECURSION: usize = 64;
const COMPILE_STACK_BYTES: usize = 64 << 20;
// Of address space; memory is taken as the stack grows. A machine with little memory refuses the
// first, and there only a template made to nest values could tell the difference.
const RENDER_STACK_BYTES: [usize; 3] = [1 << 30, 1 << 28, 1 << 26];

/// A compiled template.
#[derive(Debug, Default)]
pub(super) struct Engine(Environment<'static>);

impl Engine {
    /// Compiles `source`, which [`super::check`] has seen.
    pub(super) fn compile(source: &str) -> Result<Engine, TemplateError> {
        let source = source.to_owned();
        let line = 0;
        // The parser recurses; how deep the checks let it go fits this stack, maybe not the caller's.
        thread::Builder::new()
            .name("chat-template".into())
            .stack_size(COMPILE_STACK_BYTES)
            .spawn(move || compile(source))
            .map_err(|error| TemplateError::Invalid { line, message: error.to_string() })?
            .join()
            .unwrap_or_else(|_| {
                Err(TemplateError::Invalid { line, message: "the parser failed".into() })
            })
    }

    pub(super) fn render(
        &self,
        context: &(impl Serialize + Sync),
    ) -> Result<String, TemplateError> {
        let failed = |message: String| TemplateError::Invalid { line: 0, message };
        // Writing and dropping a value recurse into what it holds.
        thread::scope(|scope| {
            let mut refused = None;
            for stack_bytes in RENDER_STACK_BYTES {
                let thread = thread::Builder::new().name("chat-render".into());
                let render = || self.render_here(context);
                match thread.stack_size(stack_bytes).spawn_scoped(scope, render) {
                    Ok(rendering) => {
                        let rendered = rendering.join();
                        return rendered.unwrap_or_else(|_| Err(failed("rendering failed".into())));
                    }
                    Err(error) => refused = Some(error),
                }
            }
            Err(failed(refused.map_or_else(String::new, |error| error.to_string())))
        })
    }

    fn render_here(&self, context: &impl Serialize) -> Result<String, TemplateError> {
        let template = self.0.get_template(NAME).map_err(|error| explain(&error))?;
        let mut out = Bounded(Vec::new());
        template.render_captured_to(context, &mut out).map_err(|error| explain(&error))?;
        String::from_utf8(out.0)
            .map_err(|error| TemplateError::Invalid { line: 0, message: error.to_string() })
    }
}

fn compile(source: String) -> Result<Engine, TemplateError> {
    let mut environment = Environment::new();
    environment.set_trim_blocks(true);
    environment.set_lstrip_blocks(true);
    environment.set_recursion_limit(MAX_RECURSION);
    environment.set_fuel(Some(MAX_STEPS));
    environment.set_auto_escape_callback(|_| minijinja::AutoEscape::None);
    environment.set_unknown_method_callback(minijinja_contrib::pycompat::unknown_method_callback);
    environment.add_filter("tojson", to_json);
    environment.add_function("raise_exception", raise_exception);
    environment.add_function("range", range);
    // A template that asks whether it is defined has a fixed date for when it is not.
    if source.contains("strftime_now") && !source.contains("strftime_now is defined") {
        environment.add_function("strftime_now", strftime_now);
    }
    environment.add_template_owned(NAME, source).map_err(|error| explain(&error))?;
    Ok(Engine(environment))
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

fn raise_exception(message: String) -> Result<Value, Error> {
    Err(Error::new(ErrorKind::InvalidOperation, "raise_exception").with_source(Refusal(message)))
}

fn explain(error: &Error) -> TemplateError {
    let mut cause: Option<&(dyn std::error::Error + 'static)> = Some(error);
    while let Some(current) = cause {
        if let Some(Refusal(message)) = current.downcast_ref() {
            return TemplateError::Refused { message: message.clone() };
        }
        if let Some(OutputFull) = current.downcast_ref::<io::Error>().and_then(full) {
            return TemplateError::OutputTooLong { max_bytes: MAX_OUTPUT_BYTES };
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
    TemplateError::Invalid { line: error.line().unwrap_or(0), message }
}

/// Takes output up to the bound.
struct Bounded(Vec<u8>);

#[derive(Debug)]
struct OutputFull;

impl fmt::Display for OutputFull {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "more than {MAX_OUTPUT_BYTES} bytes")
    }
}

impl std::error::Error for OutputFull {}

fn full(error: &io::Error) -> Option<&OutputFull> {
    error.get_ref()?.downcast_ref()
}

impl io::Write for Bounded {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.0.len() + bytes.len() > MAX_OUTPUT_BYTES {
            return Err(io::Error::other(OutputFull));
        }
        self.0.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
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
    Ok(values)
}

/// Python's `json.dumps(value, ensure_ascii=False)`: spaces after `,` and `:`, nothing escaped for HTML.
#[expect(clippy::needless_pass_by_value, reason = "the form of a filter")]
fn to_json(value: &Value, options: Kwargs) -> Result<Value, Error> {
    let indent: Option<usize> = options.get("indent")?;
    let sort_keys: Option<bool> = options.get("sort_keys")?;
    // Known to Python and without a meaning here.
    let _: (Option<Value>, Option<Value>) =
        (options.get("ensure_ascii")?, options.get("separators")?);
    options.assert_all_used()?;
    let failed = |error: serde_json::Error| {
        Error::new(ErrorKind::BadSerialization, "cannot be written as JSON").with_source(error)
    };
    let mut out = Bounded(Vec::new());
    let written = match indent {
        Some(indent) => {
            let indent = " ".repeat(indent.min(16));
            write_json(value, sort_keys, &mut out, PrettyFormatter::with_indent(indent.as_bytes()))
        }
        None => write_json(value, sort_keys, &mut out, Spaced),
    };
    written.map_err(failed)?;
    Ok(Value::from_safe_string(String::from_utf8_lossy(&out.0).into_owned()))
}

fn write_json(
    value: &Value,
    sort_keys: Option<bool>,
    out: &mut Bounded,
    formatter: impl Formatter,
) -> Result<(), serde_json::Error> {
    let mut serializer = serde_json::Serializer::with_formatter(out, formatter);
    if sort_keys == Some(true) {
        // serde_json's own maps are sorted.
        return serde_json::to_value(value)?.serialize(&mut serializer);
    }
    value.serialize(&mut serializer)
}

struct Spaced;

impl Formatter for Spaced {
    fn begin_array_value<W: ?Sized + io::Write>(
        &mut self,
        out: &mut W,
        first: bool,
    ) -> io::Result<()> {
        if first { Ok(()) } else { out.write_all(b", ") }
    }

    fn begin_object_key<W: ?Sized + io::Write>(
        &mut self,
        out: &mut W,
        first: bool,
    ) -> io::Result<()> {
        if first { Ok(()) } else { out.write_all(b", ") }
    }

    fn begin_object_value<W: ?Sized + io::Write>(&mut self, out: &mut W) -> io::Result<()> {
        out.write_all(b": ")
    }
}

/// Now (UTC) by a format of Python's `strftime`.
fn strftime_now(format: &str) -> String {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |passed| passed.as_secs());
    strftime(format, now)
}

fn strftime(format: &str, unix_seconds: u64) -> String {
    const MONTHS: [&str; 12] = [
        "January",
        "February",
        "March",
        "April",
        "May",
        "June",
        "July",
        "August",
        "September",
        "October",
        "November",
        "December",
    ];
    const DAYS: [&str; 7] =
        ["Thursday", "Friday", "Saturday", "Sunday", "Monday", "Tuesday", "Wednesday"];
    let (days, second) = (unix_seconds / 86_400, unix_seconds % 86_400);
    let is_leap = |year: u64| {
        let divides = |by: u64| year.is_multiple_of(by);
        divides(4) && !divides(100) || divides(400)
    };
    let (mut year, mut day) = (1970, days);
    while day >= 365 + u64::from(is_leap(year)) {
        day -= 365 + u64::from(is_leap(year));
        year += 1;
    }
    let lengths = [31, 28 + u64::from(is_leap(year)), 31, 30, 31, 30, 31, 31, 30, 31, 30, 31];
    let mut month = 0;
    while day >= lengths[month] {
        day -= lengths[month];
        month += 1;
    }
    let weekday = DAYS[(days % 7) as usize];
    let mut out = String::new();
    let mut letters = format.chars();
    while let Some(letter) = letters.next() {
        if letter != '%' {
            out.push(letter);
            continue;
        }
        let part = match letters.next() {
            Some('Y') => year.to_string(),
            Some('y') => format!("{:02}", year % 100),
            Some('m') => format!("{:02}", month + 1),
            Some('d') => format!("{:02}", day + 1),
            Some('B') => MONTHS[month].to_owned(),
            Some('b') => MONTHS[month][..3].to_owned(),
            Some('A') => weekday.to_owned(),
            Some('a') => weekday[..3].to_owned(),
            Some('H') => format!("{:02}", second / 3600),
            Some('M') => format!("{:02}", second / 60 % 60),
            Some('S') => format!("{:02}", second % 60),
            Some('%') => "%".to_owned(),
            Some(other) => format!("%{other}"),
            None => "%".to_owned(),
        };
        out.push_str(&part);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_are_written_as_python_writes_them() {
        for (seconds, want) in [
            (0, "1970-01-01 Thu 01 Jan 70 00:00:00"),
            (1_709_210_096, "2024-02-29 Thu 29 Feb 24 12:34:56"),
            (1_735_689_599, "2024-12-31 Tue 31 Dec 24 23:59:59"),
        ] {
            assert_eq!(strftime("%Y-%m-%d %a %d %b %y %H:%M:%S", seconds), want);
        }
    }
}
