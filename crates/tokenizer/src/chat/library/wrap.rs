//! The filter `wordwrap`: lines no wider than so many characters, broken as Python's `textwrap` does.

use crate::chat::budget::{PART_BYTES, Writer, charge};
use crate::chat::fault::{Outcome, value_error};
use crate::chat::python::arguments::{Args, is_true_or, text as text_argument, whole};
use crate::chat::python::characters::{class_cost, is_decimal, is_space, is_word};
use crate::chat::python::{Text, Value, split_lines};
use crate::chat::run::Run;

struct Wrap {
    width: usize,
    breaks_words: bool,
    breaks_at_hyphens: bool,
}

pub(super) fn wordwrap(_: &mut Run<'_>, value: &Value, args: Args) -> Outcome<Value> {
    let names = ["width", "break_long_words", "wrapstring", "break_on_hyphens"];
    let [width, breaks_words, between, breaks_at_hyphens] = args.bind("wordwrap", names, 0)?;
    let text = text_argument(value)?;
    charge(class_cost(text.as_str()))?;
    let width = width.as_ref().map_or(Ok(79), whole)?;
    let between = match &between {
        None | Some(Value::None) => Text::new("\n"),
        Some(between) => text_argument(between)?.clone(),
    };
    let wrap = Wrap {
        width: usize::try_from(width.max(0)).unwrap_or(usize::MAX),
        breaks_words: is_true_or(breaks_words.as_ref(), true),
        breaks_at_hyphens: is_true_or(breaks_at_hyphens.as_ref(), true),
    };
    let mut out = Writer::default();
    for (at, line) in split_lines(text.as_str(), false)?.into_iter().enumerate() {
        if wrap.width == 0 {
            return value_error(format!("invalid width {width} (must be > 0)"));
        }
        if at > 0 {
            out.text(between.as_str())?;
        }
        for (at, line) in wrap.lines(line)?.iter().enumerate() {
            if at > 0 {
                out.text(between.as_str())?;
            }
            out.text(line)?;
        }
    }
    Ok(Value::Text(between.like(out.finish())))
}

/// White space for `textwrap`, which knows ASCII alone.
fn is_blank(c: char) -> bool {
    matches!(c, '\t' | '\n' | '\u{b}' | '\u{c}' | '\r' | ' ')
}

fn is_all_space(chunk: &[char]) -> bool {
    chunk.iter().all(|&c| is_space(c))
}

impl Wrap {
    fn lines(&self, line: &str) -> Outcome<Vec<String>> {
        // Characters of four bytes, and a part for each word at most.
        charge((line.len() as u64).saturating_mul(PART_BYTES / 2))?;
        let characters: Vec<char> = line.chars().collect();
        let mut chunks: Vec<&[char]> = self.chunks(&characters);
        chunks.reverse();
        let mut lines = Vec::new();
        while !chunks.is_empty() {
            charge(PART_BYTES)?;
            let mut line: Vec<&[char]> = Vec::new();
            let mut length = 0;
            if !lines.is_empty() && chunks.last().is_some_and(|chunk| is_all_space(chunk)) {
                chunks.pop();
            }
            while let Some(chunk) = chunks.last()
                && length + chunk.len() <= self.width
            {
                length += chunk.len();
                line.extend(chunks.pop());
            }
            if let Some(chunk) = chunks.last_mut()
                && chunk.len() > self.width
            {
                if self.breaks_words {
                    let (fits, rest) = chunk.split_at(self.break_at(chunk, self.width - length));
                    line.push(fits);
                    *chunk = rest;
                } else if line.is_empty() {
                    line.extend(chunks.pop());
                }
            }
            if line.last().is_some_and(|chunk| is_all_space(chunk)) {
                line.pop();
            }
            if !line.is_empty() {
                lines.push(line.concat().into_iter().collect());
            }
        }
        Ok(lines)
    }

    /// Where a word that fits no line is broken: after its last hyphen that fits.
    fn break_at(&self, chunk: &[char], space_left: usize) -> usize {
        let fits = &chunk[..space_left.min(chunk.len())];
        let hyphen = fits.iter().rposition(|&c| c == '-').filter(|_| self.breaks_at_hyphens);
        match hyphen {
            Some(at) if at > 0 && chunk[..at].iter().any(|&c| c != '-') => at + 1,
            _ => space_left,
        }
    }

    /// Words, the white space between them, and parts of words that end with a hyphen.
    fn chunks<'c>(&self, characters: &'c [char]) -> Vec<&'c [char]> {
        let mut chunks = Vec::new();
        let mut start = 0;
        while start < characters.len() {
            let end = start + self.chunk_len(characters, start);
            chunks.push(&characters[start..end]);
            start = end;
        }
        chunks
    }

    fn chunk_len(&self, characters: &[char], start: usize) -> usize {
        let rest = &characters[start..];
        let run = |test: fn(char) -> bool| rest.iter().take_while(|&&c| test(c)).count();
        if is_blank(rest[0]) {
            return run(is_blank);
        }
        let word_len = run(|c| !is_blank(c));
        if !self.breaks_at_hyphens {
            return word_len;
        }
        let at = |place: usize| characters.get(place).copied();
        let is_letter = |place: usize| {
            at(place).is_some_and(|c| is_word(c) && !is_decimal(c) && !c.is_numeric())
        };
        let is_mark = |place: Option<usize>| {
            place.and_then(at).is_some_and(|c| is_word(c) || "!\"'&.,?".contains(c))
        };
        let dashes = |place: usize| characters[place..].iter().take_while(|&&c| c == '-').count();
        let is_dash = |place: usize| {
            let num = dashes(place);
            num >= 2 && at(place + num).is_some_and(is_word)
        };
        if is_mark(start.checked_sub(1)) && is_dash(start) {
            return dashes(start);
        }
        for len in 1..=word_len {
            let end = start + len;
            let is_hyphen = len > 1 && at(end - 1) == Some('-');
            let after_two = is_hyphen && end >= 3 && is_letter(end - 2) && is_letter(end - 3);
            let after_one = is_hyphen
                && end >= 4
                && is_letter(end - 2)
                && at(end - 3) == Some('-')
                && is_letter(end - 4);
            let before_letters = is_letter(end)
                && (is_letter(end + 1) || at(end + 1) == Some('-') && is_letter(end + 2));
            if (after_two || after_one) && before_letters {
                return len;
            }
            if len < word_len && is_mark(Some(end - 1)) && is_dash(end) {
                return len;
            }
        }
        word_len
    }
}
