//! Watches the bytes of a request head for what a server must refuse before it parses anything.
//!
//! The HTTP library has limits of its own, but it answers some of these cases without a body, drops
//! the `Content-Length` beside a `Transfer-Encoding` without a word, and accepts lone line feeds.
//! What the head says about the body's length tells where the request ends: see `framing`.

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
    Complete(BodyLength),
    /// It must not be served.
    Refused(HeadFault),
}

/// What a head says about the body after it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum BodyLength {
    /// So many bytes.
    Bytes(u64),
    /// Chunks, of which the last one is empty.
    Chunked,
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
    /// A `Content-Length` that is no number.
    BadLength,
    /// A `Transfer-Encoding` other than `chunked`.
    UnknownCoding,
    /// A line that does not end with CR LF.
    BareLineFeed,
    /// Another version than HTTP/1, such as HTTP/2 with prior knowledge.
    Version,
    /// The HTTP library could not read it.
    Malformed,
    /// The client closed its sending side in the middle of the head.
    BrokenOff,
    /// The head did not come in time.
    TooSlow,
}

/// Reads one head byte by byte, keeping only the beginning of the current line.
#[derive(Debug, Default)]
pub(crate) struct HeadScanner {
    num_bytes: usize,
    num_lines: usize,
    line_bytes: usize,
    /// The first bytes of a header line, in lower case; more of them where the length is stated.
    line_start: Vec<u8>,
    /// The last bytes of the request line, the latest one lowest.
    request_line_end: u128,
    last_byte: u8,
    /// What was said about the body's length.
    length: Option<BodyLength>,
}

/// Long enough for the longest header name that matters, and its colon.
const NAME_BYTES: usize = TRANSFER_ENCODING.len();
/// Long enough for that name and its one good value, and for any number, with some blanks.
const LINE_START_BYTES: usize = 64;
const CONTENT_LENGTH: &[u8] = b"content-length:";
const TRANSFER_ENCODING: &[u8] = b"transfer-encoding:";

impl HeadScanner {
    /// Whether any byte of this head has come; empty lines before it are none of it.
    pub(crate) fn has_begun(&self) -> bool {
        self.num_lines > 0 || self.line_bytes > 0
    }

    /// Takes the next bytes of the stream and says how many of them belong to the head; those after
    /// its end are not looked at.
    pub(crate) fn feed(&mut self, bytes: &[u8]) -> (usize, Verdict) {
        for (index, &byte) in bytes.iter().enumerate() {
            let verdict = self.take(byte);
            if verdict != Verdict::Incomplete {
                return (index + 1, verdict);
            }
        }
        (bytes.len(), Verdict::Incomplete)
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
        if self.num_lines == 0 {
            self.request_line_end = self.request_line_end << 8 | u128::from(byte);
        } else if self.line_start.len() < NAME_BYTES || self.is_about_length() {
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

    fn is_about_length(&self) -> bool {
        let line = &self.line_start;
        line.len() < LINE_START_BYTES
            && (line.starts_with(CONTENT_LENGTH) || line.starts_with(TRANSFER_ENCODING))
    }

    fn end_line(&mut self) -> Verdict {
        let is_empty = self.line_bytes == 0;
        let verdict = match self.num_lines {
            // Empty lines before a request line are allowed (RFC 9112, 2.2).
            0 if is_empty => return Verdict::Incomplete,
            0 if self.is_other_version() => Verdict::Refused(HeadFault::Version),
            0 => Verdict::Incomplete,
            _ if is_empty => Verdict::Complete(self.length.unwrap_or(BodyLength::Bytes(0))),
            num_lines if num_lines > MAX_HEADERS => Verdict::Refused(HeadFault::TooManyHeaders),
            _ => self.note_length(),
        };
        self.num_lines += 1;
        self.line_bytes = 0;
        self.line_start.clear();
        verdict
    }

    /// Whether the request line ends with ` HTTP/` and a version that is not 1.0 or 1.1. What is no
    /// version at all the HTTP library refuses.
    fn is_other_version(&self) -> bool {
        let end = self.request_line_end.to_be_bytes();
        let is_version = matches!(&end[7..], [b' ', b'H', b'T', b'T', b'P', b'/', major, b'.', minor]
            if major.is_ascii_digit() && minor.is_ascii_digit());
        is_version && !matches!(&end[13..], b"1.0" | b"1.1")
    }

    /// Takes what a header line says about the body's length.
    fn note_length(&mut self) -> Verdict {
        let line = &self.line_start[..];
        let fits = self.line_bytes <= LINE_START_BYTES;
        let length = if let Some(value) = line.strip_prefix(CONTENT_LENGTH) {
            let value = value.trim_ascii();
            // Not `parse` alone: it takes a sign.
            let is_number = fits && value.iter().all(u8::is_ascii_digit);
            let text = str::from_utf8(value).ok().filter(|_| is_number);
            let num_bytes = text.and_then(|text| text.parse().ok());
            num_bytes.map(BodyLength::Bytes).ok_or(HeadFault::BadLength)
        } else if let Some(value) = line.strip_prefix(TRANSFER_ENCODING) {
            let is_chunked = fits && value.trim_ascii() == b"chunked";
            is_chunked.then_some(BodyLength::Chunked).ok_or(HeadFault::UnknownCoding)
        } else {
            return Verdict::Incomplete;
        };
        match length {
            _ if self.length.is_some() => Verdict::Refused(HeadFault::AmbiguousLength),
            Ok(length) => {
                self.length = Some(length);
                Verdict::Incomplete
            }
            Err(fault) => Verdict::Refused(fault),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Feeds a head whole and byte by byte; both ways must agree.
    fn check(head: &str, expected: Verdict) {
        assert_eq!(HeadScanner::default().feed(head.as_bytes()).1, expected, "{head:.80}");
        let mut scanner = HeadScanner::default();
        let slowly = head.bytes().map(|byte| scanner.feed(&[byte]).1);
        let slowly = slowly.into_iter().find(|verdict| *verdict != Verdict::Incomplete);
        assert_eq!(slowly.unwrap_or(Verdict::Incomplete), expected, "{head:.80}");
    }

    #[test]
    fn a_good_head_is_complete_at_its_empty_line() {
        let complete = |head: &str, length| check(head, Verdict::Complete(length));
        let none = BodyLength::Bytes(0);
        complete("GET / HTTP/1.1\r\nHost: x\r\n\r\n", none);
        complete("\r\n\r\nGET / HTTP/1.0\r\n\r\nanything\nafter", none);
        complete("POST / HTTP/1.1\r\nContent-Length: 5\r\n\r\n", BodyLength::Bytes(5));
        complete("POST / HTTP/1.1\r\ncontent-LENGTH:\t 005 \r\n\r\n", BodyLength::Bytes(5));
        complete("P / HTTP/1.1\r\nTransfer-Encoding: Chunked\r\n\r\n", BodyLength::Chunked);
        check("GET / HTTP/1.1\r\nHost: x\r\n", Verdict::Incomplete);
        complete(&format!("GET / HTTP/1.1\r\n{}\r\n", "a: b\r\n".repeat(100)), none);
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
        for value in ["+5", "-1", "5, 5", "5 5", "0x10", "5.0", "18446744073709551616"] {
            refused(format!("{line}Content-Length: {value}\r\n\r\n"), HeadFault::BadLength);
        }
        for value in ["xchunked", "chunked, identity", "gzip, chunked", "identity", "chunked\u{b}"]
        {
            refused(format!("{line}Transfer-Encoding: {value}\r\n\r\n"), HeadFault::UnknownCoding);
        }
        for version in ["2.0", "1.2", "0.9", "9.9"] {
            refused(format!("PRI * HTTP/{version}\r\n\r\n"), HeadFault::Version);
        }
        refused("\r\n".repeat(40 << 10), HeadFault::HeadersTooLarge);
    }
}
