//! Log lines: to stderr, as text or JSON, never with control characters from outside.

use std::{
    io::{self, Write},
    str::FromStr,
};

use tracing::level_filters::LevelFilter;

use crate::log_writer::{LogGuard, LogWriter};

/// Starts logging at `level`, one of the words that the setting allows. Lines are written until the
/// guard is dropped.
pub(crate) fn start(level: &str, json: bool) -> io::Result<LogGuard> {
    let (writer, guard) = LogWriter::start(io::stderr())?;
    let level = LevelFilter::from_str(level).unwrap_or(LevelFilter::INFO);
    let lines = tracing_subscriber::fmt()
        .with_max_level(level)
        .with_ansi(false)
        .with_writer(move || EscapedLines(writer.clone()));
    if json {
        lines.json().flatten_event(true).init();
    } else {
        lines.init();
    }
    Ok(guard)
}

/// Writes a log line whole, with control characters inside it escaped: a client's text can neither
/// start a line of its own nor reach the terminal's controls.
struct EscapedLines<W>(W);

impl<W: Write> Write for EscapedLines<W> {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        self.write_all(line)?;
        Ok(line.len())
    }

    /// The formatter hands over one event at a time.
    fn write_all(&mut self, line: &[u8]) -> io::Result<()> {
        let is_plain = |byte: &u8| matches!(byte, b' '..=b'~');
        if line.strip_suffix(b"\n").is_some_and(|body| body.iter().all(is_plain)) {
            return self.0.write_all(line);
        }
        let (body, end) = match line.strip_suffix(b"\n") {
            Some(body) => (body, "\n"),
            None => (line, ""),
        };
        let text = String::from_utf8_lossy(body);
        self.0.write_all(format!("{}{end}", crate::output::printable(&text)).as_bytes())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_is_one_line_without_controls() {
        let mut lines = EscapedLines(Vec::new());
        lines.write_all(b"INFO user=\"a\x1b[31m\nERROR forged\"\n").unwrap();
        lines.write_all(b"INFO plain\n").unwrap();
        assert_eq!(lines.0, b"INFO user=\"a\\u{1b}[31m\\nERROR forged\"\nINFO plain\n");
    }
}
