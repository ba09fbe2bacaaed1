//! Text that is safe to show: control characters escaped, columns aligned, length bounded.

use std::io::{self, Write};

/// Characters of somebody's text that a message repeats at most.
const MAX_SHOWN_CHARS: usize = 100;
/// Characters of a word that a message keeps whole: paths are long, and their ends tell most.
const MAX_WORD_CHARS: usize = 200;
/// Characters of a message.
const MAX_MESSAGE_CHARS: usize = 2000;

/// The beginning of a text, enough to recognise it in a message.
pub(crate) fn shortened(text: &str) -> String {
    match text.char_indices().nth(MAX_SHOWN_CHARS) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}

/// One line of a message that holds texts of others, of which none fills the screen or controls it.
pub(crate) fn message(text: &str) -> String {
    // Words are what is cut, so that the words of our own around them stay.
    let words = text.split_inclusive(char::is_whitespace);
    let words: String = words.map(|it| without_middle(it, MAX_WORD_CHARS)).collect();
    without_middle(&printable(&words), MAX_MESSAGE_CHARS)
}

/// The beginning and the end of a text that has more than `max_chars`.
fn without_middle(text: &str, max_chars: usize) -> String {
    let num_chars = text.chars().count();
    if num_chars <= max_chars {
        return text.to_owned();
    }
    let end: String = text.chars().skip(num_chars - max_chars / 4).collect();
    let beginning: String = text.chars().take(max_chars / 2).collect();
    format!("{beginning}…{end}")
}

/// `text` in which nothing can move the cursor, clear the screen or start another log line.
pub(crate) fn printable(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    for character in text.chars() {
        if character.is_control() {
            shown.extend(character.escape_default());
        } else {
            shown.push(character);
        }
    }
    shown
}

/// [`printable`] that keeps line breaks and tabs, for text of several lines.
pub(crate) fn printable_lines(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    for character in text.chars() {
        if character.is_control() && character != '\n' && character != '\t' {
            shown.extend(character.escape_default());
        } else {
            shown.push(character);
        }
    }
    shown
}

/// Writes rows of two columns.
pub(crate) fn write_pairs(out: &mut impl Write, pairs: &[(String, String)]) -> io::Result<()> {
    let width = pairs.iter().map(|it| it.0.chars().count()).max().unwrap_or_default();
    for (name, value) in pairs {
        writeln!(out, "{name:width$}  {}", printable(value))?;
    }
    Ok(())
}

/// An error with its causes, each said once: some messages hold their cause's already.
pub(crate) fn with_causes(error: &anyhow::Error) -> String {
    error.chain().map(ToString::to_string).fold(String::new(), |said, cause| match () {
        () if said.is_empty() => cause,
        () if said.ends_with(&cause) => said,
        () => format!("{said}: {cause}"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_is_bounded_whatever_it_repeats() {
        let long = "k".repeat(84_000);
        let path = "/a/path/that/is/long".repeat(8);
        for (text, expected) in [
            ("port is 1".to_owned(), "port is 1".to_owned()),
            (format!("cannot open {path}: no file"), format!("cannot open {path}: no file")),
            (
                format!("cannot open {long}: no file"),
                format!("cannot open {}…{}: no file", &long[..100], &long[..48]),
            ),
            (format!("one\n{long}\ntwo"), format!("one\\n{}…{}\\ntwo", &long[..100], &long[..49])),
        ] {
            assert_eq!(message(&text), expected);
        }
        for text in ["a b ".repeat(40_000), "\u{1b}".repeat(40_000), "é ".repeat(40_000)] {
            assert!(message(&text).chars().count() <= MAX_MESSAGE_CHARS);
        }
        assert_eq!(shortened(&long).chars().count(), MAX_SHOWN_CHARS + 1);
        assert_eq!(shortened("short"), "short");
    }

    #[test]
    fn nothing_that_is_shown_controls_the_terminal() {
        let check = |text: &str, expected: &str| assert_eq!(printable(text), expected);
        check("Grüße 世界", "Grüße 世界");
        check("\x1b[2Jhello\r\n", "\\u{1b}[2Jhello\\r\\n");
        check("\u{9b}31m\u{7f}", "\\u{9b}31m\\u{7f}");
        assert_eq!(printable_lines("a\n\tb\x07"), "a\n\tb\\u{7}");
    }

    #[test]
    fn a_cause_is_said_once() {
        for (causes, expected) in [
            (&["no such file"][..], "no such file"),
            (&["no such file", "cannot open a.gguf"], "cannot open a.gguf: no such file"),
            (
                &["no such file", "cannot open a.gguf: no such file"],
                "cannot open a.gguf: no such file",
            ),
        ] {
            let (first, contexts) = causes.split_first().unwrap();
            let error =
                contexts.iter().fold(anyhow::anyhow!(*first), |error, it| error.context(*it));
            assert_eq!(with_causes(&error), expected);
        }
    }
}
