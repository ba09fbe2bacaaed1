//! Refuses templates that no model has, before the template engine reads them.
//!
//! The engine bounds nesting by itself, but long chains (`a.b.b.b...`, `elif`) become deep trees too.
//! On its way through the tags the check finds those that the engine lacks, for [`super::dialect`].

use super::dialect::Blocks;
use crate::TemplateError;

const MAX_SOURCE_BYTES: usize = 256 << 10;
const MAX_STEPS_PER_TAG: usize = 4096;
const MAX_ELIFS: usize = 512;

pub(super) fn check_source(source: &str) -> Result<Blocks, TemplateError> {
    if source.len() > MAX_SOURCE_BYTES {
        return Err(TemplateError::SourceTooLong {
            num_bytes: source.len(),
            max_bytes: MAX_SOURCE_BYTES,
        });
    }
    let mut blocks = Blocks::default();
    let mut num_elifs = 0;
    let mut rest = source;
    while let Some(at) = rest.find('{') {
        let tag = &rest[at..];
        let line = || source[..source.len() - tag.len()].matches('\n').count() + 1;
        let end = match tag.as_bytes().get(1) {
            Some(b'#') => {
                let end = tag[2..].find("#}").ok_or_else(|| unended("comment", line()))?;
                2 + end + 2
            }
            Some(b'%') if let Some(len) = word_tag_len(tag, "raw") => {
                len + raw_len(&tag[len..]).ok_or_else(|| unended("raw block", line()))?
            }
            Some(b'{' | b'%') => {
                let end = check_tag(tag, &mut num_elifs, line)?;
                blocks.see(source.len() - tag.len(), &tag[..end], line)?;
                end
            }
            _ => 1,
        };
        rest = &tag[end..];
    }
    blocks.end()?;
    Ok(blocks)
}

fn unended(what: &str, line: usize) -> TemplateError {
    TemplateError::Invalid { line, message: format!("unexpected end of input in a {what}") }
}

/// Bytes of the tag that `text` begins with, if it consists of `word`.
fn word_tag_len(text: &str, word: &str) -> Option<usize> {
    let is_space = |c: char| c.is_ascii_whitespace();
    let rest = text.strip_prefix("{%")?;
    let rest = rest.strip_prefix(['-', '+']).unwrap_or(rest).trim_start_matches(is_space);
    let rest = rest.strip_prefix(word)?.trim_start_matches(is_space);
    let rest = rest.strip_prefix(['-', '+']).unwrap_or(rest).strip_prefix("%}")?;
    Some(text.len() - rest.len())
}

/// Bytes up to the end of the `endraw` tag; nothing before it has a meaning.
fn raw_len(text: &str) -> Option<usize> {
    text.match_indices("{%")
        .find_map(|(at, _)| word_tag_len(&text[at..], "endraw").map(|len| at + len))
}

/// Checks the tag that `tag` begins with and returns where it ends.
fn check_tag(
    tag: &str,
    num_elifs: &mut usize,
    line: impl Fn() -> usize,
) -> Result<usize, TemplateError> {
    let close = if tag.starts_with("{{") { "}}" } else { "%}" };
    let mut num_steps = 0;
    // Inside parentheses the end of a tag is none.
    let mut num_open = 0_i64;
    let mut before = '{';
    let mut word_start = 2;
    let mut at = 2;
    while let Some(c) = tag[at..].chars().next() {
        if num_open == 0 && tag[at..].starts_with(close) {
            return Ok(at + 2);
        }
        match c {
            '(' | '[' | '{' => num_open += 1,
            ')' | ']' | '}' => num_open -= 1,
            _ => {}
        }
        match c {
            '"' | '\'' => {
                at += string_len(&tag[at..]).ok_or_else(|| unended("string", line()))?;
                before = c;
                num_steps += 1;
                continue;
            }
            '_' if before == '.' => {
                let message = "attributes that begin with _ cannot be read".to_owned();
                return Err(TemplateError::Invalid { line: line(), message });
            }
            c if c.is_alphanumeric() || c == '_' => {
                if !(before.is_alphanumeric() || before == '_') {
                    num_steps += 1;
                    word_start = at;
                }
                let is_word_end =
                    !tag[at + c.len_utf8()..].starts_with(|c: char| c.is_alphanumeric());
                if is_word_end && &tag[word_start..at + c.len_utf8()] == "elif" {
                    *num_elifs += 1;
                }
            }
            c if c.is_whitespace() => {
                // `a. _b` reads an attribute too.
                if before == '.' {
                    at += c.len_utf8();
                    continue;
                }
            }
            _ => num_steps += 1,
        }
        let deep =
            [("tag", num_steps, MAX_STEPS_PER_TAG), ("chain of elif", *num_elifs, MAX_ELIFS)];
        if let Some(&(what, num_steps, max_steps)) = deep.iter().find(|(_, num, max)| num > max) {
            return Err(TemplateError::TooDeep { what, num_steps, max_steps });
        }
        before = c;
        at += c.len_utf8();
    }
    Err(unended("tag", line()))
}

/// Bytes of the quoted string that `rest` begins with.
fn string_len(rest: &str) -> Option<usize> {
    let quote = rest.as_bytes()[0];
    let mut escaped = false;
    for (at, byte) in rest.bytes().enumerate().skip(1) {
        match byte {
            _ if escaped => escaped = false,
            b'\\' => escaped = true,
            byte if byte == quote => return Some(at + 1),
            _ => {}
        }
    }
    None
}
