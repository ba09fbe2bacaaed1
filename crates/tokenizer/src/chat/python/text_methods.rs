//! The methods of `str`.

use super::arguments::{Args, text as text_argument, whole};
use super::characters::{self as chars, push_lower, push_title};
use super::html::escape_text;
use super::iterate::entries;
use super::strings::{center, join, ljust, replace, rjust, split_lines, strip, zfill};
use super::text_search::{begins_or_ends, make_table, search, translate};
use super::value::{Text, Value};
use crate::chat::budget::{PART_BYTES, Writer, charge};
use crate::chat::fault::{Outcome, type_error, value_error};

/// Every one that a template can call; `format` and `format_map` are elsewhere.
pub(super) const NAMES: [&str; 47] = [
    "capitalize",
    "casefold",
    "center",
    "count",
    "encode",
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
            // Most messages have nothing to cut off.
            let is_whole = cut.len() == all.len();
            Ok(Value::Text(if is_whole { text.clone() } else { text.like(cut) }))
        }
        "center" | "ljust" | "rjust" => {
            let [width, fill] = args.unnamed(name, 1)?;
            let width = width.as_ref().map_or(Ok(0), whole)?;
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
            like(zfill(all, width.as_ref().map_or(Ok(0), whole)?)?)
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
            like(expand_tabs(all, size.as_ref().map_or(Ok(8), whole)?)?)
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
            parts(text, &split_lines(all, keeps_ends.as_ref().map_or(Ok(0), whole)? != 0)?)
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
            charge(chars::class_cost(all))?;
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
            let is = |c: char, lower: bool| if lower { c.is_lowercase() } else { c.is_uppercase() };
            let lower = name == "islower";
            text.chars().any(|c| is(c, lower))
                && !text.chars().any(|c| is(c, !lower) || chars::is_title(c))
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
