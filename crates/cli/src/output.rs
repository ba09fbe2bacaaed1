//! Text that is safe to show: control characters escaped, columns aligned.

use std::io::{self, Write};

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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_that_is_shown_controls_the_terminal() {
        let check = |text: &str, expected: &str| assert_eq!(printable(text), expected);
        check("Grüße 世界", "Grüße 世界");
        check("\x1b[2Jhello\r\n", "\\u{1b}[2Jhello\\r\\n");
        check("\u{9b}31m\u{7f}", "\\u{9b}31m\\u{7f}");
        assert_eq!(printable_lines("a\n\tb\x07"), "a\n\tb\\u{7}");
    }
}
