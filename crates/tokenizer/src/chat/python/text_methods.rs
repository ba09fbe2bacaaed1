//! The methods of `str`.

use super::arguments::{Args, is_true_or, text as text_argument, whole, whole_or};
use super::characters::{self as chars, push_lower, push_title};
use super::html::escape_text;
use super::index::item;
use super::iterate::entries;
use super::strings::{center, join, ljust, replace, rjust, split_lines, strip, zfill};
use super::value::{Key, Text, Value};
use crate::chat::budget::{PART_BYTES, Writer, charge};
use crate::chat::fault::{Exception, Outcome, type_error, value_error};
use indexmap::IndexMap;

/// Every one that a template can call; `format` and `format_map` are elsewhere.
pub(super) const NAMES: [&str; 46] = [
    "capitalize",
    "casefold",
    "center",
    "count",
    "endswith",
    "expandtabs",
    "find",
    "format",
    "format_map",
    "index",
    "isalnum",
    "isalpha",
    "isascii",
    "isdecimal",
    "isdigit",
    "isidentifier",
    "islower",
    "isnumeric",
    "isprintable",
    "isspace",
    "istitle",
    "isupper",
    "join",
    "ljust",
    "lower",
    "lstrip",
    "maketrans",
    "partition",
    "removeprefix",
    "removesuffix",
    "replace",
    "rfind",
    "rindex",
    "rjust",
    "rpartition",
    "rsplit",
    "rstrip",
    "split",
    "splitlines",
    "startswith",
    "strip",
    "swapcase",
    "title",
    "translate",
    "upper",
    "zfill",
];

/// `text.name(args)`.
pub(super) fn call(text: &Text, name: &'static str, args: Args) -> Outcome<Value> {
    let all = text.as_str();
    // Reading it once is the least that each does; another case may need three bytes for one.
    charge(all.len() as u64)?;
    let like = |made: String| Ok(Value::Text(text.like(made)));
    match name {
        "upper" | "lower" | "capitalize" | "title" | "swapcase" | "casefold" => {
            args.none(name)?;
            charge(3 * all.len() as u64)?;
            like(cased(all, name))
        }
        "strip" | "lstrip" | "rstrip" => {
            let [characters] = args.unnamed(name, 0)?;
            let characters = match &characters {
                None | Some(Value::None) => None,
                Some(characters) => Some(text_argument(characters)?.as_str()),
            };
            let cut = strip(all, characters, name != "rstrip", name != "lstrip")?;
            like(cut.to_owned())
        }
        "center" | "ljust" | "rjust" => {
            let [width, fill] = args.unnamed(name, 1)?;
            let width = whole_or(width.as_ref(), 0)?;
            let fill = match &fill {
                None => ' ',
                Some(fill) => one_character(text_argument(fill)?, name)?,
            };
            like(match name {
                "center" => center(all, width, fill)?,
                "ljust" => ljust(all, width, fill)?,
                _ => rjust(all, width, fill)?,
            })
        }
        "zfill" => {
            let [width] = args.unnamed(name, 1)?;
            like(zfill(all, whole_or(width.as_ref(), 0)?)?)
        }
        "replace" => {
            let [old, new, times] = args.unnamed(name, 2)?;
            let (Some(old), Some(new)) = (old, new) else { return type_error("replace()") };
            let (old, mut new) = (text_argument(&old)?.clone(), text_argument(&new)?.clone());
            if text.is_markup {
                new = escape_text(&new)?;
            }
            let times = times.as_ref().map_or(Ok(-1), whole)?;
            like(replace(all, old.as_str(), new.as_str(), times)?)
        }
        "removeprefix" | "removesuffix" => {
            let [affix] = args.unnamed(name, 1)?;
            let affix = affix.unwrap_or(Value::None);
            let affix = text_argument(&affix)?.as_str();
            let rest = if name == "removeprefix" {
                all.strip_prefix(affix)
            } else {
                all.strip_suffix(affix)
            };
            like(rest.unwrap_or(all).to_owned())
        }
        "expandtabs" => {
            let [size] = args.bind(name, ["tabsize"], 0)?;
            like(expand_tabs(all, whole_or(size.as_ref(), 8)?)?)
        }
        "split" | "rsplit" => {
            let [separator, times] = args.bind(name, ["sep", "maxsplit"], 0)?;
            let times = times.as_ref().map_or(Ok(-1), whole)?;
            let separator = match &separator {
                None | Some(Value::None) => None,
                Some(separator) => Some(text_argument(separator)?.as_str()),
            };
            if separator == Some("") {
                return value_error("empty separator");
            }
            parts(text, &split(all, separator, times, name == "rsplit")?)
        }
        "splitlines" => {
            let [keeps_ends] = args.bind(name, ["keepends"], 0)?;
            parts(text, &split_lines(all, is_true_or(keeps_ends.as_ref(), false))?)
        }
        "partition" | "rpartition" => {
            let [separator] = args.unnamed(name, 1)?;
            let separator = separator.unwrap_or(Value::None);
            let separator = text_argument(&separator)?.as_str();
            if separator.is_empty() {
                return value_error("empty separator");
            }
            let is_last = name == "rpartition";
            let at = if is_last { all.rfind(separator) } else { all.find(separator) };
            let cut = match at {
                Some(at) => [&all[..at], separator, &all[at + separator.len()..]],
                None if is_last => ["", "", all],
                None => [all, "", ""],
            };
            Value::tuple(cut.map(|part| Value::Text(text.like(part))).to_vec())
        }
        "join" => {
            let [list] = args.unnamed(name, 1)?;
            let list = list.unwrap_or(Value::None);
            join(text, &entries(&list)?, false)
        }
        "find" | "rfind" | "index" | "rindex" | "count" => search(all, name, args),
        "startswith" | "endswith" => begins_or_ends(all, name, args),
        "translate" => {
            let [table] = args.unnamed(name, 1)?;
            like(translate(all, &table.unwrap_or(Value::None))?)
        }
        "maketrans" => make_table(args),
        _ => {
            args.none(name)?;
            Ok(Value::Bool(is(all, name)))
        }
    }
}

fn one_character(text: &Text, name: &str) -> Outcome<char> {
    let mut characters = text.as_str().chars();
    match (characters.next(), characters.next()) {
        (Some(character), None) => Ok(character),
        _ => type_error(format!("{name}: the fill character must be exactly one character long")),
    }
}

fn parts(text: &Text, parts: &[&str]) -> Outcome<Value> {
    Value::list(parts.iter().map(|part| Value::Text(text.like(*part))).collect())
}

fn cased(text: &str, name: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut after_cased = false;
    for (at, c) in text.char_indices() {
        match name {
            "upper" => out.extend(c.to_uppercase()),
            "lower" => push_lower(text, at, c, &mut out),
            "capitalize" if at == 0 => push_title(c, &mut out),
            "capitalize" => push_lower(text, at, c, &mut out),
            "title" if after_cased => push_lower(text, at, c, &mut out),
            "title" => push_title(c, &mut out),
            "swapcase" if c.is_uppercase() => push_lower(text, at, c, &mut out),
            "swapcase" if c.is_lowercase() => out.extend(c.to_uppercase()),
            "casefold" => {
                out.extend(caseless::Caseless::default_case_fold(std::iter::once(c)));
            }
            _ => out.push(c),
        }
        after_cased = chars::is_cased(c);
    }
    out
}

fn is(text: &str, name: &str) -> bool {
    let all = |test: fn(char) -> bool| !text.is_empty() && text.chars().all(test);
    match name {
        "isalnum" => all(chars::is_alphanumeric),
        "isalpha" => all(chars::is_alpha),
        "isascii" => text.is_ascii(),
        "isdecimal" => all(chars::is_decimal),
        "isdigit" => all(chars::is_digit),
        "isnumeric" => all(chars::is_numeric),
        "isidentifier" => chars::is_identifier(text),
        "isprintable" => text.chars().all(chars::is_printable),
        "isspace" => all(chars::is_space),
        "islower" | "isupper" => {
            let (wanted, other): (fn(char) -> bool, fn(char) -> bool) = if name == "islower" {
                (char::is_lowercase, char::is_uppercase)
            } else {
                (char::is_uppercase, char::is_lowercase)
            };
            text.chars().any(wanted) && !text.chars().any(|c| other(c) || chars::is_title(c))
        }
        "istitle" => {
            let (mut after_cased, mut found) = (false, false);
            for c in text.chars() {
                let begins = c.is_uppercase() || chars::is_title(c);
                if begins && after_cased || c.is_lowercase() && !after_cased {
                    return false;
                }
                after_cased = begins || c.is_lowercase();
                found |= after_cased;
            }
            found
        }
        _ => false,
    }
}

fn expand_tabs(text: &str, size: i128) -> Outcome<String> {
    let size = usize::try_from(size.max(0)).unwrap_or(usize::MAX);
    let mut out = Writer::default();
    let mut column = 0_usize;
    for c in text.chars() {
        match c {
            '\t' if size > 0 => {
                let num_spaces = size - column % size;
                out.repeat(' ', num_spaces)?;
                column = column.saturating_add(num_spaces);
            }
            '\t' => {}
            _ => {
                out.character(c)?;
                column = if matches!(c, '\n' | '\r') { 0 } else { column + 1 };
            }
        }
    }
    Ok(out.finish())
}

fn split<'t>(
    text: &'t str,
    separator: Option<&str>,
    times: i128,
    from_end: bool,
) -> Outcome<Vec<&'t str>> {
    let mut left =
        if times < 0 { usize::MAX } else { usize::try_from(times).unwrap_or(usize::MAX) };
    let mut parts = Vec::new();
    let mut rest = text;
    let trimmed = |rest: &'t str| match (separator, from_end) {
        (Some(_), _) => rest,
        (None, false) => rest.trim_start_matches(chars::is_space),
        (None, true) => rest.trim_end_matches(chars::is_space),
    };
    loop {
        charge(PART_BYTES)?;
        rest = trimmed(rest);
        if separator.is_none() && rest.is_empty() {
            break;
        }
        let place = match (separator, from_end) {
            _ if left == 0 => None,
            (Some(separator), false) => rest.find(separator).map(|at| (at, separator.len())),
            (Some(separator), true) => rest.rfind(separator).map(|at| (at, separator.len())),
            (None, false) => rest.find(chars::is_space).map(|at| (at, 0)),
            (None, true) => {
                let found = rest.char_indices().rev().find(|(_, c)| chars::is_space(*c));
                found.map(|(at, c)| (at + c.len_utf8(), 0))
            }
        };
        let Some((at, len)) = place else {
            parts.push(rest);
            break;
        };
        left -= 1;
        let (before, after) = (&rest[..at], &rest[at + len..]);
        parts.push(if from_end { after } else { before });
        rest = if from_end { before } else { after };
    }
    if from_end {
        parts.reverse();
    }
    Ok(parts)
}

/// The part of `text` that `start` and `end` name, and how many characters are before it; `None` if it
/// begins behind the end.
fn window(
    text: &str,
    start: Option<&Value>,
    end: Option<&Value>,
) -> Outcome<Option<(usize, usize, usize)>> {
    if matches!(start, None | Some(Value::None)) && matches!(end, None | Some(Value::None)) {
        return Ok(Some((0, text.len(), 0)));
    }
    let length = text.chars().count() as i128;
    let place = |at: i128| if at < 0 { at.saturating_add(length).max(0) } else { at };
    let start = place(whole_or(start, 0)?);
    let end = place(whole_or(end, length)?).min(length);
    if start > end {
        return Ok(None);
    }
    let byte = |at: i128| text.char_indices().nth(at as usize).map_or(text.len(), |(at, _)| at);
    Ok(Some((byte(start), byte(end), start as usize)))
}

fn search(text: &str, name: &str, args: Args) -> Outcome<Value> {
    let [part, start, end] = args.unnamed(name, 1)?;
    let part = part.unwrap_or(Value::None);
    let part = text_argument(&part)?.as_str();
    charge((text.len() + part.len()) as u64)?;
    let window = window(text, start.as_ref(), end.as_ref())?;
    if name == "count" {
        let count = window.map_or(0, |(from, to, _)| text[from..to].matches(part).count());
        return Ok(Value::int(count));
    }
    let place = window.and_then(|(from, to, before)| {
        let text = &text[from..to];
        let at = if name.starts_with('r') { text.rfind(part) } else { text.find(part) };
        at.map(|at| before + text[..at].chars().count())
    });
    match place {
        Some(at) => Ok(Value::int(at)),
        None if name.ends_with("index") => value_error("substring not found"),
        None => Ok(Value::Int(-1)),
    }
}

fn begins_or_ends(text: &str, name: &str, args: Args) -> Outcome<Value> {
    let [affixes, start, end] = args.unnamed(name, 1)?;
    let affixes = affixes.unwrap_or(Value::None);
    let affixes = match &affixes {
        Value::Tuple(affixes) => affixes.entries.clone(),
        single => vec![single.clone()],
    };
    let window = window(text, start.as_ref(), end.as_ref())?;
    for affix in &affixes {
        affix.defined()?;
        let Value::Text(affix) = affix else {
            return type_error(format!(
                "{name} first arg must be str or a tuple of str, not {}",
                affix.type_name()
            ));
        };
        charge(affix.as_str().len() as u64)?;
        let Some((from, to, _)) = window else { continue };
        let (text, affix) = (&text[from..to], affix.as_str());
        if if name == "startswith" { text.starts_with(affix) } else { text.ends_with(affix) } {
            return Ok(Value::Bool(true));
        }
    }
    Ok(Value::Bool(false))
}

fn translate(text: &str, table: &Value) -> Outcome<String> {
    let mut out = Writer::default();
    for c in text.chars() {
        charge(16)?;
        match item(table, &Value::Int(i128::from(u32::from(c)))) {
            Ok(Value::None) => {}
            Ok(Value::Text(text)) => out.text(text.as_str())?,
            Ok(other) => match other
                .as_int()
                .map(|code| u32::try_from(code).ok().and_then(char::from_u32))
            {
                Some(Some(c)) => out.character(c)?,
                Some(None) => return value_error("character mapping must be in range(0x110000)"),
                None => return type_error("character mapping must return integer, None or str"),
            },
            Err(fault) if fault.is(&[Exception::Lookup]) => out.character(c)?,
            Err(fault) => return Err(fault),
        }
    }
    Ok(out.finish())
}

fn make_table(args: Args) -> Outcome<Value> {
    let [from, to, removed] = args.unnamed("maketrans", 1)?;
    let from = from.unwrap_or(Value::None);
    let mut table = IndexMap::new();
    let code = |c: char| Key(Value::Int(i128::from(u32::from(c))));
    let Some(to) = to else {
        let Value::Dict(dict) = &from else {
            return type_error("if you give only one argument to maketrans it must be a dict");
        };
        for (Key(key), value) in &dict.entries {
            charge(PART_BYTES)?;
            let key = match key {
                Value::Text(text) => {
                    match (text.as_str().chars().next(), text.as_str().chars().nth(1)) {
                        (Some(c), None) => code(c),
                        _ => {
                            return value_error(
                                "string keys in translate table must be of length 1",
                            );
                        }
                    }
                }
                other => Key(other.clone()),
            };
            table.insert(key, value.clone());
        }
        return Value::dict(table);
    };
    let (from, to) = (text_argument(&from)?.as_str(), text_argument(&to)?.as_str());
    charge((from.len() + to.len()) as u64 * PART_BYTES)?;
    if from.chars().count() != to.chars().count() {
        return value_error("the first two maketrans arguments must have equal length");
    }
    for (from, to) in from.chars().zip(to.chars()) {
        table.insert(code(from), Value::Int(i128::from(u32::from(to))));
    }
    if let Some(removed) = removed {
        for c in text_argument(&removed)?.as_str().chars() {
            charge(PART_BYTES)?;
            table.insert(code(c), Value::None);
        }
    }
    Value::dict(table)
}
