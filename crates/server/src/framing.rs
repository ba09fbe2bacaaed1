//! Follows what a client sends from request to request: which bytes are head, which are body, and
//! where each request ends.
//!
//! What a handler has read of a body says nothing about what the client has sent of it. Here the
//! end is known as soon as its last byte has come.

use crate::head::{BodyLength, HeadFault, HeadScanner, Verdict};

/// Where in a request the client is.
#[derive(Debug)]
pub(crate) enum Framing {
    /// In its head, or before it.
    Head(HeadScanner),
    /// In its body, of which so many bytes are to come.
    Bytes(u64),
    /// In a body of chunks.
    Chunks(ChunkScanner),
    /// All of it has come.
    Whole,
    /// In chunks that are none. The HTTP library tells the handler, and no request follows.
    Lost,
}

impl Default for Framing {
    fn default() -> Self {
        Self::Head(HeadScanner::default())
    }
}

impl Framing {
    /// Takes the next bytes of the stream and says how many of them belong to this request: fewer
    /// than all only when they end it.
    pub(crate) fn feed(&mut self, bytes: &[u8]) -> Result<usize, HeadFault> {
        let mut num_taken = 0;
        while num_taken < bytes.len() {
            let rest = &bytes[num_taken..];
            match self {
                Self::Head(scanner) => {
                    let (num_bytes, verdict) = scanner.feed(rest);
                    num_taken += num_bytes;
                    match verdict {
                        Verdict::Incomplete => {}
                        Verdict::Complete(length) => *self = Self::of_body(length),
                        Verdict::Refused(fault) => return Err(fault),
                    }
                }
                Self::Bytes(num_left) => {
                    let num_bytes =
                        usize::try_from(*num_left).map_or(rest.len(), |it| it.min(rest.len()));
                    num_taken += num_bytes;
                    *self = Self::of_body(BodyLength::Bytes(*num_left - num_bytes as u64));
                }
                Self::Chunks(scanner) => {
                    let (num_bytes, next) = scanner.feed(rest);
                    num_taken += num_bytes;
                    if let Some(next) = next {
                        *self = next;
                    }
                }
                Self::Whole => break,
                Self::Lost => num_taken = bytes.len(),
            }
        }
        Ok(num_taken)
    }

    fn of_body(length: BodyLength) -> Self {
        match length {
            BodyLength::Bytes(0) => Self::Whole,
            BodyLength::Bytes(num_left) => Self::Bytes(num_left),
            BodyLength::Chunked => Self::Chunks(ChunkScanner::default()),
        }
    }

    /// Whether a head is awaited or under way.
    pub(crate) fn is_in_head(&self) -> bool {
        matches!(self, Self::Head(_))
    }

    /// Whether any byte of a head has come that is not whole yet.
    pub(crate) fn has_begun_head(&self) -> bool {
        matches!(self, Self::Head(scanner) if scanner.has_begun())
    }

    /// Whether the request has come to its end.
    pub(crate) fn is_whole(&self) -> bool {
        matches!(self, Self::Whole)
    }
}

/// Follows chunks and the trailers after the last one.
#[derive(Debug, Default)]
pub(crate) struct ChunkScanner {
    state: ChunkState,
    /// Of the current chunk: its size as far as it has come, then the bytes of it that are to come.
    num_left: u64,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum ChunkState {
    /// Before the first digit of a size.
    #[default]
    Start,
    Size,
    /// Blanks and extensions after a size.
    Extension,
    SizeEnd,
    Data,
    DataCr,
    DataLf,
    /// At the beginning of a line of trailers, which may be the empty one.
    TrailerStart,
    Trailer,
    TrailerEnd,
    /// Before the very last byte.
    LastLf,
    End,
}

impl ChunkScanner {
    /// How many bytes belong to the body, and what follows where that is not more chunks.
    fn feed(&mut self, bytes: &[u8]) -> (usize, Option<Framing>) {
        let mut at = 0;
        while at < bytes.len() {
            if self.state == ChunkState::Data {
                let num_rest = bytes.len() - at;
                let num_bytes =
                    usize::try_from(self.num_left).map_or(num_rest, |it| it.min(num_rest));
                at += num_bytes;
                self.num_left -= num_bytes as u64;
                if self.num_left == 0 {
                    self.state = ChunkState::DataCr;
                }
                continue;
            }
            let Some(next) = self.step(bytes[at]) else {
                return (bytes.len(), Some(Framing::Lost));
            };
            at += 1;
            self.state = next;
            if next == ChunkState::End {
                return (at, Some(Framing::Whole));
            }
        }
        (at, None)
    }

    /// The state after a byte; none where the byte may not stand there.
    fn step(&mut self, byte: u8) -> Option<ChunkState> {
        use ChunkState as S;
        Some(match (self.state, byte) {
            (S::Start | S::Size, b'0'..=b'9' | b'a'..=b'f' | b'A'..=b'F') => {
                let digit = char::from(byte).to_digit(16)?;
                self.num_left = self.num_left.checked_mul(16)? + u64::from(digit);
                S::Size
            }
            (S::Size, b' ' | b'\t' | b';') => S::Extension,
            (S::Size | S::Extension, b'\r') => S::SizeEnd,
            (S::Extension, byte) if byte != b'\n' => S::Extension,
            (S::SizeEnd, b'\n') if self.num_left == 0 => S::TrailerStart,
            (S::SizeEnd, b'\n') => S::Data,
            (S::DataCr, b'\r') => S::DataLf,
            (S::DataLf, b'\n') => S::Start,
            (S::TrailerStart, b'\r') => S::LastLf,
            (S::LastLf, b'\n') => S::End,
            (S::Trailer, b'\r') => S::TrailerEnd,
            (S::TrailerStart | S::Trailer, byte) if byte != b'\n' => S::Trailer,
            (S::TrailerEnd, b'\n') => S::TrailerStart,
            _ => return None,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GET: &str = "GET / HTTP/1.1\r\nHost: x\r\n\r\n";
    const LENGTH: &str = "POST / HTTP/1.1\r\nContent-Length: 5\r\n\r\n";
    const CHUNKED: &str = "POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n";

    /// Feeds `head`, `body` and then `after`, in two pieces cut at every place; `after` must be left.
    fn check(head: &str, body: &str, after: &str, expected: &str) {
        let request = format!("{head}{body}");
        let all = format!("{request}{after}");
        for cut in 0..=all.len() {
            let mut framing = Framing::default();
            let mut num_taken = 0;
            for piece in [&all.as_bytes()[..cut], &all.as_bytes()[cut..]] {
                num_taken += framing.feed(piece).unwrap();
            }
            let state = match framing {
                Framing::Whole => "whole",
                Framing::Lost => "lost",
                Framing::Head(_) | Framing::Bytes(_) | Framing::Chunks(_) => "open",
            };
            assert_eq!(state, expected, "{request:?} cut at {cut}");
            let num_expected = if state == "lost" { all.len() } else { request.len() };
            assert_eq!(num_taken, num_expected, "{request:?} cut at {cut}");
        }
    }

    #[test]
    fn a_request_ends_where_its_framing_says() {
        check(GET, "", GET, "whole");
        check(LENGTH, "12345", GET, "whole");
        check(LENGTH, "1234", "", "open");
        check(CHUNKED, "0\r\n\r\n", GET, "whole");
        check(CHUNKED, "5\r\n12345\r\n0\r\n\r\n", "0\r\n\r\n", "whole");
        check(CHUNKED, "a;name=\"v\"\r\n0123456789\r\n00 \r\nA: b\r\nC: d\r\n\r\n", "x", "whole");
        check(CHUNKED, "5\r\n12345\r\n0\r\n", "", "open");
        check(CHUNKED, "5\r\n12345\r\n0\r\nA: b\r\n", "", "open");
        check(CHUNKED, "5\r\n1234", "", "open");
        check(CHUNKED, "", "", "open");
    }

    #[test]
    fn chunks_that_are_none_have_no_end() {
        for body in [
            "x\r\n",
            "-1\r\n",
            "\r\n",
            "5\n",
            "5\r5",
            "2\r\n123",
            "2\r\n12\n",
            "0\r\n\n",
            "0\r\nA: b\n",
            "fffffffffffffffff\r\n",
        ] {
            check(CHUNKED, body, "0\r\n\r\n", "lost");
        }
    }
}
