//! Watches the bytes of a request head for what a server must refuse before it parses anything.
//!
//! The HTTP library has limits of its own, but it answers some of these cases without a body, drops
//! the `Content-Length` beside a `Transfer-Encoding` without a word, and accepts lone line feeds.

/// Bytes of a request line at most.
pub(crate) const MAX_REQUEST_LINE_BYTES: usize = 16 << 10;
/// Bytes of one header line at most.
pub(crate) const MAX_HEADER_BYTES: usize = 16 << 10;
/// Bytes of a whole head at most.
pub(crate) const MAX_HEAD_BYTES: usize = 64 << 10;
/// Header lines at most.
pub(crate) const MAX_HEADERS: usize = 100;

/// What a head looks like so far.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// It goes on.
    Incomplete,
    /// It ended, and nothing was wrong.
    Complete,
    /// It must not be served.
    Refused(HeadFault),
}

/// Why a head is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum HeadFault {
    /// The request line is too long.
    UriTooLong,
    /// A header, or all of them together, are too long.
    HeadersTooLarge,
    /// More than [`MAX_HEADERS`].
    TooManyHeaders,
    /// Two statements about the body's length: two readers could cut the stream differently.
    AmbiguousLength,
    /// A line that does not end with CR LF.
    BareLineFeed,
    /// HTTP/2 with prior knowledge.
    Http2,
    /// The head did not come in time.
    TooSlow,
}

/// Reads one head byte by byte, keeping only the beginning of the current line.
#[derive(Debug, Default)]
pub(crate) struct HeadScanner {
    num_bytes: usize,
    num_lines: usize,
    line_bytes: usize,
    /// The first bytes of the line, in lower case.
    line_start: Vec<u8>,
    last_byte: u8,
    num_content_lengths: usize,
    num_transfer_encodings: usize,
}

/// Long enough for `transfer-encoding:`, the longest line beginning that matters.
const LINE_START_BYTES: usize = 18;

impl HeadScanner {
    /// Whether any byte of this head has come.
    pub(crate) fn has_begun(&self) -> bool {
        self.num_bytes > 0
    }

    /// Takes the next bytes of the stream; those after the head's end are not looked at.
    pub(crate) fn feed(&mut self, bytes: &[u8]) -> Verdict {
        for &byte in bytes {
            let verdict = self.take(byte);
            if verdict != Verdict::Incomplete {
                return verdict;
            }
        }
        Verdict::Incomplete
    }

    fn take(&mut self, byte: u8) -> Verdict {
        let after_cr = self.last_byte == b'\r';
        self.last_byte = byte;
        self.num_bytes += 1;
        if self.num_bytes > MAX_HEAD_BYTES {
            return Verdict::Refused(HeadFault::HeadersTooLarge);
        }
        match byte {
            b'\n' if !after_cr => Verdict::Refused(HeadFault::BareLineFeed),
            b'\n' => self.end_line(),
            b'\r' => Verdict::Incomplete,
            _ => self.grow_line(byte),
        }
    }

    fn grow_line(&mut self, byte: u8) -> Verdict {
        self.line_bytes += 1;
        if self.line_start.len() < LINE_START_BYTES {
            self.line_start.push(byte.to_ascii_lowercase());
        }
        match self.num_lines {
            0 if self.line_bytes > MAX_REQUEST_LINE_BYTES => {
                Verdict::Refused(HeadFault::UriTooLong)
            }
            1.. if self.line_bytes > MAX_HEADER_BYTES => {
                Verdict::Refused(HeadFault::HeadersTooLarge)
            }
            _ => Verdict::Incomplete,
        }
    }

    fn end_line(&mut self) -> Verdict {
        let is_empty = self.line_bytes == 0;
        let verdict = match self.num_lines {
            // Empty lines before a request line are allowed (RFC 9112, 2.2).
            0 if is_empty => return Verdict::Incomplete,
            0 if self.line_start.starts_with(b"pri * http/2") => Verdict::Refused(HeadFault::Http2),
            0 => Verdict::Incomplete,
            _ if is_empty => self.end_head(),
            num_lines if num_lines > MAX_HEADERS => Verdict::Refused(HeadFault::TooManyHeaders),
            _ => {
                self.num_content_lengths +=
                    usize::from(self.line_start.starts_with(b"content-length:"));
                self.num_transfer_encodings +=
                    usize::from(self.line_start.starts_with(b"transfer-encoding:"));
                Verdict::Incomplete
            }
        };
        self.num_lines += 1;
        self.line_bytes = 0;
        self.line_start.clear();
        verdict
    }

    fn end_head(&self) -> Verdict {
        if self.num_content_lengths + self.num_transfer_encodings > 1 {
            return Verdict::Refused(HeadFault::AmbiguousLength);
        }
        Verdict::Complete
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Feeds a head whole and byte by byte; both ways must agree.
    fn check(head: &str, expected: Verdict) {
        assert_eq!(HeadScanner::default().feed(head.as_bytes()), expected, "{head:.80}");
        let mut scanner = HeadScanner::default();
        let slowly = head.bytes().map(|byte| scanner.feed(&[byte]));
        let slowly = slowly.into_iter().find(|verdict| *verdict != Verdict::Incomplete);
        assert_eq!(slowly.unwrap_or(Verdict::Incomplete), expected, "{head:.80}");
    }

    #[test]
    fn a_good_head_is_complete_at_its_empty_line() {
        check("GET / HTTP/1.1\r\nHost: x\r\n\r\n", Verdict::Complete);
        check("\r\n\r\nGET / HTTP/1.1\r\n\r\nanything\nafter", Verdict::Complete);
        check("POST / HTTP/1.1\r\nContent-Length: 5\r\n\r\n", Verdict::Complete);
        check("GET / HTTP/1.1\r\nHost: x\r\n", Verdict::Incomplete);
        check(&format!("GET / HTTP/1.1\r\n{}\r\n", "a: b\r\n".repeat(100)), Verdict::Complete);
    }

    #[test]
    fn dangerous_heads_are_refused() {
        let line = "GET / HTTP/1.1\r\n";
        let refused = |head: String, fault| check(&head, Verdict::Refused(fault));
        refused(format!("GET /{} HTTP/1.1\r\n", "x".repeat(64 << 10)), HeadFault::UriTooLong);
        refused(format!("{line}a: {}\r\n\r\n", "x".repeat(64 << 10)), HeadFault::HeadersTooLarge);
        refused(
            format!("{line}{}", format!("a: {}\r\n", "x".repeat(8000)).repeat(9)),
            HeadFault::HeadersTooLarge,
        );
        refused(format!("{line}{}\r\n", "a: b\r\n".repeat(101)), HeadFault::TooManyHeaders);
        refused(
            format!("{line}Content-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n"),
            HeadFault::AmbiguousLength,
        );
        refused(
            format!("{line}transfer-encoding: chunked\r\ncontent-LENGTH: 1\r\n\r\n"),
            HeadFault::AmbiguousLength,
        );
        refused(
            format!("{line}Content-Length: 5\r\nContent-Length: 5\r\n\r\n"),
            HeadFault::AmbiguousLength,
        );
        refused("GET / HTTP/1.1\nHost: x\n\n".into(), HeadFault::BareLineFeed);
        refused("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".into(), HeadFault::Http2);
        refused("\r\n".repeat(40 << 10), HeadFault::HeadersTooLarge);
    }
}
