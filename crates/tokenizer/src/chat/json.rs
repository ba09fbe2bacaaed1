//! Python's `json.dumps` as a filter.

use super::budget::charge;
use minijinja::value::{Kwargs, Value};
use minijinja::{Error, ErrorKind};
use serde::Serialize;
use serde_json::ser::{Formatter, PrettyFormatter};
use std::io;

/// Python's `json.dumps(value, ensure_ascii=False)`: spaces after `,` and `:`, nothing escaped for HTML.
#[expect(clippy::needless_pass_by_value, reason = "the form of a filter")]
pub(super) fn to_json(value: &Value, options: Kwargs) -> Result<Value, Error> {
    let indent: Option<usize> = options.get("indent")?;
    let sort_keys: Option<bool> = options.get("sort_keys")?;
    // Known to Python and without a meaning here.
    let _: (Option<Value>, Option<Value>) =
        (options.get("ensure_ascii")?, options.get("separators")?);
    options.assert_all_used()?;
    let failed = |error: serde_json::Error| {
        Error::new(ErrorKind::BadSerialization, "cannot be written as JSON").with_source(error)
    };
    let mut out = Charged(Vec::new());
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
    out: &mut Charged,
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

/// Takes text as far as the budget goes; indenting makes much of little.
struct Charged(Vec<u8>);

impl io::Write for Charged {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        charge(bytes.len() as u64).map_err(io::Error::other)?;
        self.0.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
