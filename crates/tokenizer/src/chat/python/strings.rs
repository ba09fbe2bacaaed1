//! Work on texts that methods and filters share.

use super::characters::{is_line_end, is_space};
use super::html::escape;
use super::repr::text_of;
use super::value::{Text, Value};
use crate::chat::budget::{PART_BYTES, Writer, charge};
use crate::chat::fault::{Outcome, type_error};

/// `text` in the middle of so many characters.
pub(crate) fn center(text: &str, width: i128, fill: char) -> Outcome<String> {
    let (left, right) = margins(text, width, |margin, width| {
        // Python puts the odd one where the width is odd too.
        margin / 2 + (margin & width & 1)
    })?;
    padded(left, text, right, fill)
}

fn margins(
    text: &str,
    width: i128,
    left: impl Fn(usize, usize) -> usize,
) -> Outcome<(usize, usize)> {
    charge(text.len() as u64)?;
    let width = usize::try_from(width.max(0)).unwrap_or(usize::MAX);
    let margin = width.saturating_sub(text.chars().count());
    let left = left(margin, width);
    Ok((left, margin - left))
}

pub(super) fn ljust(text: &str, width: i128, fill: char) -> Outcome<String> {
    let (left, right) = margins(text, width, |_, _| 0)?;
    padded(left, text, right, fill)
}

pub(super) fn rjust(text: &str, width: i128, fill: char) -> Outcome<String> {
    let (left, right) = margins(text, width, |margin, _| margin)?;
    padded(left, text, right, fill)
}

fn padded(left: usize, text: &str, right: usize, fill: char) -> Outcome<String> {
    let mut out = Writer::default();
    out.repeat(fill, left)?;
    out.text(text)?;
    out.repeat(fill, right)?;
    Ok(out.finish())
}

pub(super) fn zfill(text: &str, width: i128) -> Outcome<String> {
    let (left, _) = margins(text, width, |margin, _| margin)?;
    let (sign, digits) = text.split_at(usize::from(text.starts_with(['-', '+'])));
    let mut out = Writer::default();
    out.text(sign)?;
    out.repeat('0', left)?;
    out.text(digits)?;
    Ok(out.finish())
}

/// `old` replaced by `new`, at most so many times; negative is every time.
pub(crate) fn replace(text: &str, old: &str, new: &str, times: i128) -> Outcome<String> {
    charge((text.len() + old.len()) as u64)?;
    let mut left = usize::try_from(times).unwrap_or(usize::MAX);
    if times < 0 {
        left = usize::MAX;
    }
    let mut out = Writer::default();
    let mut end = 0;
    for (at, found) in text.match_indices(old) {
        if left == 0 {
            break;
        }
        left -= 1;
        out.text(&text[end..at])?;
        out.text(new)?;
        end = at + found.len();
    }
    out.text(&text[end..])?;
    Ok(out.finish())
}

/// The entries as texts, with `between` between.
pub(crate) fn join(between: &Text, entries: &[Value], converts: bool) -> Outcome<Value> {
    let is_markup = between.is_markup;
    let mut out = Writer::default();
    for (at, entry) in entries.iter().enumerate() {
        if at > 0 {
            out.text(between.as_str())?;
        }
        match entry {
            _ if is_markup => out.text(escape(entry)?.as_str())?,
            Value::Text(text) => out.text(text.as_str())?,
            _ if converts => out.text(text_of(entry)?.as_str())?,
            _ => {
                return type_error(format!(
                    "sequence item {at}: expected str instance, {} found",
                    entry.type_name()
                ));
            }
        }
    }
    Ok(Value::Text(between.like(out.finish())))
}

/// The lines of `text`, with what ends them or without.
pub(crate) fn split_lines(text: &str, keeps_ends: bool) -> Outcome<Vec<&str>> {
    charge(text.len() as u64)?;
    let mut lines = Vec::new();
    let mut rest = text;
    while !rest.is_empty() {
        charge(PART_BYTES)?;
        let Some(at) = rest.find(is_line_end) else {
            lines.push(rest);
            break;
        };
        let end = rest[at..].chars().next().map_or(0, char::len_utf8);
        let end = if rest[at..].starts_with("\r\n") { 2 } else { end };
        lines.push(&rest[..if keeps_ends { at + end } else { at }]);
        rest = &rest[at + end..];
    }
    Ok(lines)
}

/// Jinja's `title`: words begin after white space, hyphens and brackets that open.
pub(crate) fn title_of_words(text: &str) -> Outcome<String> {
    charge(4 * text.len() as u64)?;
    let is_break = |c: char| is_space(c) || matches!(c, '-' | '(' | '{' | '[' | '<');
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while !rest.is_empty() {
        let len = rest.find(is_break).unwrap_or(rest.len());
        let (word, after) = rest.split_at(len);
        let mut characters = word.chars();
        if let Some(first) = characters.next() {
            out.extend(first.to_uppercase());
            out.push_str(&characters.as_str().to_lowercase());
        }
        let len = after.find(|c| !is_break(c)).unwrap_or(after.len());
        out.push_str(&after[..len]);
        rest = &after[len..];
    }
    Ok(out)
}

/// What is cut off at the ends: white space, or the characters of a text.
pub(super) fn strip<'t>(
    text: &'t str,
    characters: Option<&str>,
    left: bool,
    right: bool,
) -> Outcome<&'t str> {
    let per_character = characters.map_or(1, |characters| characters.len() as u64 + 1);
    charge((text.len() as u64).saturating_mul(per_character))?;
    let is_cut = |c: char| match characters {
        Some(characters) => characters.contains(c),
        None => is_space(c),
    };
    let text = if left { text.trim_start_matches(is_cut) } else { text };
    Ok(if right { text.trim_end_matches(is_cut) } else { text })
}
